/*
 * chat.c - a chat over PUB and SUB sockets, where each line says for whom it was and how it came.
 *
 * A room and its guests, each a system of its own, talk over tcp; they could be processes as well. The
 * sockets belong to pinned actors: the room's receives what a guest publishes and publishes it to all,
 * a guest's publishes what he types, and hands what it receives to his screen, an actor like any other. No
 * code passes the id of a line or its way along.
 *
 * What a PUB socket sends before a subscription has arrived is lost. So nobody speaks before he was heard
 * of: XPUB sockets receive the subscriptions.
 */
#include <czmq.h>
#include <stdio.h>
#include <string.h>

#include <dcontext/actors.h>
#include <dcontext/transport.h>

#include "must.h"

DCTX_KEY_STRING(line_id, "line", DCTX_BROADCAST)

/* What a pinned actor has, be it the room's or a guest's. */
typedef struct door {
    const char *name;
    const char *topics[3]; /* a guest's subscriptions, then NULL; the room has them all */
    char in[64], out[64];  /* the room's endpoints */
    zsock_t *publisher, *subscriber;
    int subscriptions,
        awaited;              /* that have arrived at the publisher, and that somebody waits for */
    dctx_reply_to_t *waiting; /* until as many have arrived as are awaited */
    dctx_ref_t screen;        /* a guest's */
} door_t;

/* A line on its way from the keyboard to the guest's door. */
typedef struct line {
    char topic[16];
    char text[64];
} line_t;

static const dctx_type_t line_type = {.name = "line", .size = sizeof(line_t)};

/* ---- doors ----------------------------------------------------------------------------------- */

static void answer_if_complete(door_t *door)
{
    if (door->waiting != NULL && door->subscriptions >= door->awaited)
        must(dctx_reply_to_send(&door->waiting, NULL, NULL));
}

/* Somebody has subscribed to what we publish. */
static void on_subscription(dctx_actor_t *self, void *socket, void *state)
{
    door_t *door = state;
    zframe_t *frame = zframe_recv(socket);
    (void)self;
    door->subscriptions += frame != NULL && zframe_size(frame) > 0 && zframe_data(frame)[0] == 1;
    zframe_destroy(&frame);
    answer_if_complete(door);
}

/* A guest has published something: it goes to all who have subscribed to its topic. */
static void on_published(dctx_actor_t *self, void *socket, void *state)
{
    door_t *door = state;
    zmsg_t *message;
    DCTX_RECEIVED(scope);
    (void)self;
    if (dctx_recv_attach(socket, "room", &message, &scope) == DCTX_OK)
        must(dctx_send(door->publisher, &message)); /* PUB sockets never block */
}

/* The room has sent something: it goes on the guest's screen. */
static void on_heard(dctx_actor_t *self, void *socket, void *state)
{
    door_t *door = state;
    zmsg_t *message;
    DCTX_RECEIVED(scope);
    (void)self;
    if (dctx_recv_attach(socket, "door", &message, &scope) != DCTX_OK)
        return;
    if (dctx_tell_take(door->screen, DCTX_TYPE_ZMSG, &message) != DCTX_OK)
        zmsg_destroy(&message); /* the evening is over */
}

/* All sockets are made, used and destroyed on the actor's own thread. */
static dctx_error_t open_room(dctx_actor_t *self, void *state)
{
    door_t *door = state;
    door->publisher = zsock_new(ZMQ_XPUB);
    zsock_set_xpub_verbose(door->publisher, 1); /* of each guest, not of the first alone */
    zsock_bind(door->publisher, "tcp://127.0.0.1:*");
    snprintf(door->out, sizeof(door->out), "%s", zsock_endpoint(door->publisher));
    door->subscriber = zsock_new_sub("@tcp://127.0.0.1:*", "");
    snprintf(door->in, sizeof(door->in), "%s", zsock_endpoint(door->subscriber));
    must(dctx_socket_watch(self, door->publisher, on_subscription));
    return dctx_socket_watch(self, door->subscriber, on_published);
}

static dctx_error_t open_guest(dctx_actor_t *self, void *state)
{
    door_t *door = state;
    door->publisher = zsock_new(ZMQ_XPUB);
    zsock_connect(door->publisher, "%s", door->in);
    door->subscriber = zsock_new(ZMQ_SUB);
    for (int i = 0; door->topics[i] != NULL; i++)
        zsock_set_subscribe(door->subscriber, door->topics[i]);
    zsock_connect(door->subscriber, "%s", door->out);
    must(dctx_socket_watch(self, door->publisher, on_subscription));
    return dctx_socket_watch(self, door->subscriber, on_heard);
}

static void close_door(dctx_actor_t *self, void *state)
{
    door_t *door = state;
    (void)self;
    zsock_destroy(&door->publisher);
    zsock_destroy(&door->subscriber);
}

/* A line to publish; or somebody asks to be told when so many subscriptions are there. */
static dctx_error_t on_mail(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    door_t *door = state;
    const line_t *line = dctx_message_get(message, &line_type);
    const int64_t *awaited = dctx_message_get(message, DCTX_TYPE_INT64);
    (void)self;
    if (awaited != NULL) {
        door->awaited = (int)*awaited;
        dctx_error_t error = dctx_reply_defer(message, &door->waiting);
        answer_if_complete(door);
        return error;
    }
    if (line == NULL)
        return DCTX_ERR_REJECTED;
    zmsg_t *out = zmsg_new();
    zmsg_addstr(out, line->topic);
    zmsg_addstr(out, door->name);
    zmsg_addstr(out, line->text);
    return dctx_send(door->publisher, &out);
}

static dctx_ref_t spawn_door(dctx_system_t *system, door_t *door, bool room)
{
    dctx_ref_t ref;
    dctx_actor_options_t options = {.name = door->name,
                                    .handler = on_mail,
                                    .state = door,
                                    .on_start = room ? open_room : open_guest,
                                    .on_stop = close_door,
                                    .flags = DCTX_PINNED};
    must(dctx_spawn(system, &options, &ref));
    return ref;
}

/* Returns when as many have subscribed to what this door publishes. */
static void await_subscriptions(dctx_ref_t door, int64_t count)
{
    dctx_message_t *reply;
    must(dctx_ask_wait(door, DCTX_TYPE_INT64, &count, 10000, &reply));
    dctx_message_destroy(&reply);
}

/* ---- screens --------------------------------------------------------------------------------- */

typedef struct screen {
    const char *owner;
    int lines, awaited;
    dctx_reply_to_t *waiting;
    char text[1024];
} screen_t;

static void answer_if_shown(screen_t *screen)
{
    if (screen->waiting != NULL && screen->lines >= screen->awaited)
        must(dctx_reply_to_send(&screen->waiting, DCTX_TYPE_STRING, screen->text));
}

/* A line to show; or somebody asks for what is there when it is so many lines. */
static dctx_error_t on_screen(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    screen_t *screen = state;
    const int64_t *awaited = dctx_message_get(message, DCTX_TYPE_INT64);
    (void)self;
    if (awaited != NULL) {
        screen->awaited = (int)*awaited;
        dctx_error_t error = dctx_reply_defer(message, &screen->waiting);
        answer_if_shown(screen);
        return error;
    }
    zmsg_t *heard;
    dctx_error_t error = dctx_message_take(message, DCTX_TYPE_ZMSG, &heard);
    if (error != DCTX_OK)
        return error;
    char *topic = zmsg_popstr(heard), *who = zmsg_popstr(heard), *text = zmsg_popstr(heard);
    char chain[128];
    dctx_chain_format(chain, sizeof(chain));
    size_t used = strlen(screen->text);
    snprintf(screen->text + used, sizeof(screen->text) - used,
             "%s's screen, %s: %s: %s  [line %s: %s]\n", screen->owner, topic, who, text,
             line_id_get_or("?"), chain);
    screen->lines++;
    zstr_free(&topic);
    zstr_free(&who);
    zstr_free(&text);
    zmsg_destroy(&heard);
    answer_if_shown(screen);
    return DCTX_OK;
}

static dctx_ref_t spawn_screen(dctx_system_t *system, screen_t *screen)
{
    dctx_ref_t ref;
    dctx_actor_options_t options = {.name = "screen", .handler = on_screen, .state = screen};
    must(dctx_spawn(system, &options, &ref));
    return ref;
}

/* What is on a screen, once it is so many lines. */
static dctx_message_t *await_lines(dctx_ref_t screen, int64_t lines)
{
    dctx_message_t *reply;
    must(dctx_ask_wait(screen, DCTX_TYPE_INT64, &lines, 10000, &reply));
    return reply;
}

/* ---- an evening ------------------------------------------------------------------------------ */

static void say(dctx_ref_t guest, const char *id, const char *topic, const char *text)
{
    line_t line = {0};
    snprintf(line.topic, sizeof(line.topic), "%s", topic);
    snprintf(line.text, sizeof(line.text), "%s", text);
    DCTX_SCOPE("keyboard");
    must(line_id_set(id));
    must(dctx_tell(guest, &line_type, &line));
}

int main(void)
{
    must(DCTX_REGISTER_KEYS(NULL, &line_id));
    must(dctx_registry_freeze(NULL));
    dctx_system_t *systems[3];
    for (int i = 0; i < 3; i++)
        must(dctx_system_new(&(dctx_system_options_t){.workers = 1}, &systems[i]));

    door_t room = {.name = "room"};
    dctx_ref_t room_ref = spawn_door(systems[0], &room, true);
    await_subscriptions(room_ref, 0); /* it has its endpoints */

    screen_t screens[2] = {{.owner = "ada"}, {.owner = "bob"}};
    door_t guests[2] = {{.name = "ada", .topics = {"lobby"}},
                        {.name = "bob", .topics = {"lobby", "kitchen"}}};
    dctx_ref_t refs[2], screen_refs[2];
    for (int i = 0; i < 2; i++) {
        snprintf(guests[i].in, sizeof(guests[i].in), "%s", room.in);
        snprintf(guests[i].out, sizeof(guests[i].out), "%s", room.out);
        screen_refs[i] = guests[i].screen = spawn_screen(systems[1 + i], &screens[i]);
        refs[i] = spawn_door(systems[1 + i], &guests[i], false);
        await_subscriptions(refs[i], 1); /* the room hears him */
    }
    await_subscriptions(room_ref, 3); /* and they hear the room */

    say(refs[0], "a-1", "lobby", "is anybody here?");
    say(refs[0], "a-2", "kitchen", "tea is ready");
    dctx_message_t *shown = await_lines(screen_refs[1], 2);
    dctx_message_destroy(&shown);
    say(refs[1], "b-1", "lobby", "coming");
    for (int i = 0; i < 2; i++) {
        shown = await_lines(screen_refs[i], 2 + i);
        fputs(dctx_message_get(shown, DCTX_TYPE_STRING), stdout);
        dctx_message_destroy(&shown);
    }

    for (int i = 2; i >= 0; i--)
        dctx_system_destroy(&systems[i]);
    return 0;
}
