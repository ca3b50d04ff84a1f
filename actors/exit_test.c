/* What an exit says of where it happened: also when the handler had let go of its message before it
 * failed. */
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include <dcontext/handling.h>

#include "fixture.h"

typedef enum deed {
    DEED_NOTHING,
    DEED_STASH,
    DEED_STASH_AGAIN, /* once it was put back */
    DEED_FORWARD,     /* to an actor of this system */
    DEED_SEND_BACK,   /* to another node, if there is one */
    DEED_DELEGATE,
    DEED_TAKE,
    DEEDS
} deed_t;

typedef struct scene {
    dctx_test_world_t *world;
    dctx_system_t *here, *there; /* who fails is there */
    dctx_ref_t failing, other, back;
    deed_t deed;
    bool by_error, stashed;
    int ended;
    char where[320], line[512];
} scene_t;

static dctx_error_t count(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)state;
    return dctx_message_is_ask(message) ? dctx_reply(message, NULL, NULL) : DCTX_OK;
}

static dctx_error_t do_deed(scene_t *scene, dctx_actor_t *self, const dctx_message_t *message)
{
    uint64_t value = 0;
    switch (scene->deed) {
    case DEED_STASH:
    case DEED_STASH_AGAIN:
        return dctx_stash(self, message);
    case DEED_FORWARD:
        return dctx_forward(self, message, scene->other);
    case DEED_SEND_BACK:
        return dctx_forward(self, message, scene->back);
    case DEED_DELEGATE:
        return dctx_delegate(self, message, scene->other, NULL, NULL, 0);
    case DEED_TAKE:
        return dctx_message_take(message, DCTX_TYPE_UINT64, &value);
    default:
        return DCTX_OK;
    }
}

static dctx_error_t fail(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    scene_t *scene = state;
    bool again = scene->deed == DEED_STASH_AGAIN && !scene->stashed;
    dctx_error_t error = do_deed(scene, self, message);
    cr_assert_eq(error, DCTX_OK, "deed %d: %s", scene->deed, dctx_error_detail());
    if (again) {
        scene->stashed = true;
        cr_assert(dctx_unstash_one(self));
        return DCTX_OK;
    }
    if (scene->by_error)
        return DCTX_ERR_IO;
    dctx_self_fail(self, DCTX_ERR_IO, "disk full");
    return DCTX_OK;
}

static void on_down(dctx_ref_t who, const dctx_exit_t *exit, void *arg)
{
    scene_t *scene = arg;
    cr_assert(dctx_ref_equal(who, scene->failing));
    snprintf(scene->where, sizeof scene->where, "%s", dctx_exit_where(exit));
    (void)dctx_exit_format(exit, scene->line, sizeof scene->line);
    scene->ended++;
}

static void connect_nodes(scene_t *scene)
{
    char *endpoint = NULL;
    cr_assert_eq(dctx_system_bind(scene->there, "tcp://127.0.0.1:*", &endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_connect(scene->here, "there", endpoint), DCTX_OK);
    cr_assert_eq(dctx_system_wait_node(scene->here, "there", WAIT_MS), DCTX_OK);
    dctx_free(endpoint);
}

static void scene_start(scene_t *scene, bool remote)
{
    cr_assert_eq(dctx_test_world_new(1, &scene->world), DCTX_OK);
    scene->there = start(&(dctx_system_options_t){.name = "there", .world = scene->world});
    if (remote) {
        scene->here = start(&(dctx_system_options_t){.name = "here", .world = scene->world});
        connect_nodes(scene);
    }
    dctx_supervision_t supervision = {.on_error = DCTX_STOP, .on_failure = DCTX_STOP};
    dctx_actor_options_t options = {.handler = count, .supervision = &supervision};
    dctx_ref_t parent;
    cr_assert_eq(dctx_spawn(scene->there, &options, &parent), DCTX_OK);
    options = (dctx_actor_options_t){
        .name = "failing", .handler = fail, .state = scene, .parent = parent};
    cr_assert_eq(dctx_spawn(scene->there, &options, &scene->failing), DCTX_OK);
    scene->other = spawn(scene->there, "other", count, NULL);
    scene->back = scene->other;
    if (remote) {
        (void)spawn(scene->here, "other", count, NULL);
        cr_assert_eq(dctx_system_find(scene->there, "other@here", &scene->back), DCTX_OK);
    }
    cr_assert_eq(dctx_monitor_call(scene->failing, on_down, scene), DCTX_OK);
    cr_assert(dctx_test_run(scene->world));
}

/* `value`: else it is a message without one, and so without a type. */
static void send(scene_t *scene, bool ask, bool value)
{
    const dctx_type_t *type = value ? DCTX_TYPE_UINT64 : NULL;
    uint64_t number = 7;
    dctx_ref_t to = scene->failing;
    if (scene->here != NULL)
        cr_assert_eq(dctx_system_find(scene->here, "failing@there", &to), DCTX_OK);
    if (ask) {
        dctx_message_t *reply = NULL;
        dctx_error_t status = dctx_ask_wait(to, type, value ? &number : NULL, WAIT_MS, &reply);
        cr_assert_neq(status, DCTX_ERR_TIMEOUT);
        dctx_message_destroy(&reply);
    } else {
        cr_assert_eq(dctx_tell(to, type, value ? &number : NULL), DCTX_OK);
    }
    /* Links have delays. */
    cr_assert(dctx_test_advance(scene->world, 1000000000));
}

static void scene_finish(scene_t *scene)
{
    if (scene->here != NULL)
        finish(&scene->here);
    finish(&scene->there);
    dctx_test_world_destroy(&scene->world);
}

/* An ask can be delegated, and nobody waits for one that is stashed by an actor that ends. */
static bool makes_sense(deed_t deed, bool ask, bool value)
{
    return (deed != DEED_DELEGATE || ask) && (deed != DEED_TAKE || value);
}

static void check_deed(deed_t deed, unsigned how)
{
    bool remote = how & 1, ask = how & 2, by_error = how & 4, value = how & 8;
    if (!makes_sense(deed, ask, value))
        return;
    scene_t scene = {.deed = deed, .by_error = by_error};
    scene_start(&scene, remote);
    send(&scene, ask, value);
    cr_assert_eq(scene.ended, 1, "deed %d, %u", deed, how);
    cr_assert_str_eq(scene.where, value ? "handler of \"uint64\"" : "handler of \"\"",
                     "deed %d, %u: %s", deed, how, scene.line);
    char line[96];
    snprintf(line, sizeof line, "failing failed on a message of type \"%s\": DCTX_ERR_IO",
             value ? "uint64" : "");
    if (by_error)
        cr_assert(logged(line), "deed %d, %u", deed, how);
    scene_finish(&scene);
}

Test(exit, says_what_was_handled_though_it_was_sent_on_or_kept, .init = fixture_init, .timeout = 60)
{
    for (unsigned how = 0; how < 16; how++) {
        for (deed_t deed = DEED_NOTHING; deed < DEEDS; deed++)
            check_deed(deed, how);
    }
}
