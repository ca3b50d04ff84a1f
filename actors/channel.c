#include "channel.h"

#include <string.h>

#include <dcontext/internal.h>

#include "ask.h"
#include "extra.h"
#include "outgoing.h"
#include "system.h"

enum { WINDOW = 64, PENDING_MAX = 65536 };

static pthread_mutex_t channels_lock = PTHREAD_MUTEX_INITIALIZER;

static void init_slot(void *slot)
{
    dctx_channel_t *self = slot;
    self->generation = 1;
    self->node.kind = DCTX_NODE_STREAM;
}

void dctx_channels_init(dctx_channels_t *channels)
{
    dctx_slab_init(&channels->slots, sizeof(dctx_channel_t), init_slot);
}

void dctx_channels_finish(dctx_channels_t *channels)
{
    dctx_slab_finish(&channels->slots);
}

void dctx_channels_lock_(void)
{
    pthread_mutex_lock(&channels_lock);
}

void dctx_channels_unlock_(void)
{
    pthread_mutex_unlock(&channels_lock);
}

static uint64_t id_of(const dctx_channel_t *channel)
{
    return dctx_id_make(channel->generation, channel->slot.index);
}

dctx_stream_t dctx_channel_value_(dctx_system_t *system, const dctx_channel_t *channel)
{
    return (dctx_stream_t){.system_ = system, .id_ = id_of(channel)};
}

/* ---- making and finding ---------------------------------------------------------------------- */

dctx_channel_t *dctx_channel_new_(dctx_system_t *system, dctx_actor_t *actor, bool sink, bool asker,
                                  const dctx_stream_options_t *options)
{
    dctx_channel_t *channel = dctx_slab_take(&system->channels.slots);
    if (channel == NULL) {
        (void)dctx_fail_(DCTX_ERR_NOMEM, "no memory for a stream");
        return NULL;
    }
    channel->sink = sink;
    channel->asker = asker;
    channel->posted = channel->waiting = channel->finished = false;
    channel->told = channel->closed = channel->listed = false;
    channel->status = DCTX_OK;
    channel->actor = actor;
    channel->next = NULL;
    channel->link = NULL;
    channel->ask = channel->other = channel->credit = 0;
    channel->other_system = NULL;
    channel->system = system;
    channel->peer[0] = '\0';
    channel->taken = channel->queued = 0;
    channel->first = channel->last = NULL;
    channel->snapshot = NULL;
    channel->reply_to = NULL;
    channel->options = options != NULL ? *options : (dctx_stream_options_t){0};
    channel->window = channel->options.window != 0 ? channel->options.window : WINDOW;
    return channel;
}

static void renew(dctx_channel_t *channel)
{
    channel->state = DCTX_CHANNEL_FREE;
    channel->generation = (channel->generation + 1) & 0x7fffffff;
    if (channel->generation == 0)
        channel->generation = 1;
}

void dctx_channel_drop_(dctx_system_t *system, dctx_channel_t *channel)
{
    dctx_channels_lock_();
    renew(channel);
    dctx_channels_unlock_();
    dctx_snapshot_unref(&channel->snapshot);
    dctx_slab_give(&system->channels.slots, channel);
}

void dctx_channel_open_(dctx_channel_t *channel)
{
    dctx_actor_t *actor = channel->actor;
    channel->state = DCTX_CHANNEL_OPEN;
    channel->node.generation = (uint32_t)(dctx_self(actor).id_ >> 32);
    channel->next = actor->extra->channels;
    channel->link = &actor->extra->channels;
    if (channel->next != NULL)
        channel->next->link = &channel->next;
    actor->extra->channels = channel;
}

dctx_channel_t *dctx_channel_at_(dctx_system_t *system, uint64_t id)
{
    dctx_channel_t *channel = dctx_slab_at(&system->channels.slots, (uint32_t)id);
    bool open =
        channel != NULL && channel->generation == id >> 32 && channel->state == DCTX_CHANNEL_OPEN;
    return open ? channel : NULL;
}

dctx_channel_t *dctx_channel_other_(const dctx_channel_t *channel)
{
    bool joined = channel->other != 0 && channel->other_system != NULL;
    return joined ? dctx_channel_at_(channel->other_system, channel->other) : NULL;
}

void dctx_channel_join_(dctx_channel_t *one, dctx_channel_t *other)
{
    one->other = id_of(other);
    one->other_system = other->system;
    other->other = id_of(one);
    other->other_system = one->system;
}

static dctx_channel_t **bucket_of(dctx_system_t *system, uint64_t ask)
{
    return &system->channels.buckets[(ask ^ ask >> 8) % DCTX_CHANNEL_BUCKETS];
}

void dctx_channel_list_(dctx_system_t *system, dctx_channel_t *channel)
{
    dctx_channel_t **bucket = bucket_of(system, channel->ask);
    channel->in_bucket = *bucket;
    channel->listed = true;
    *bucket = channel;
}

static void unlist(dctx_system_t *system, dctx_channel_t *channel)
{
    dctx_channel_t **place = bucket_of(system, channel->ask);
    if (!channel->listed)
        return;
    while (*place != channel)
        place = &(*place)->in_bucket;
    *place = channel->in_bucket;
    channel->listed = false;
}

/* An asker's is found by its ask alone, which is of this system; the peer is then checked. */
dctx_channel_t *dctx_channel_find_(dctx_system_t *system, bool asker, const char *peer,
                                   uint64_t ask)
{
    dctx_channel_t *channel = *bucket_of(system, ask);
    while (channel != NULL &&
           (channel->ask != ask || channel->asker != asker || strcmp(channel->peer, peer) != 0))
        channel = channel->in_bucket;
    return channel;
}

/* ---- what there is to do --------------------------------------------------------------------- */

static bool has_event(const dctx_channel_t *channel)
{
    if (channel->state != DCTX_CHANNEL_OPEN)
        return false;
    if (channel->first != NULL || (channel->closed && !channel->told && !channel->asker))
        return true;
    if (channel->sink)
        return channel->finished && !channel->told;
    return channel->waiting && channel->credit > 0 && !channel->closed;
}

void dctx_channel_poke_(dctx_channel_t *channel)
{
    dctx_system_t *system = channel->system;
    dctx_runner_t *runner = dctx_runner_of(system);
    if (channel->posted || !has_event(channel))
        return;
    channel->posted = true;
    channel->node.spent = 0;
    dctx_count_(system, runner, DCTX_TALLY_POSTED);
    dctx_post_(system, runner, channel->actor, &channel->node);
}

void dctx_channel_append_(dctx_channel_t *sink, dctx_message_t *item)
{
    atomic_store_explicit(&item->node.next, NULL, memory_order_relaxed);
    if (sink->first == NULL)
        sink->first = item;
    else
        atomic_store_explicit(&sink->last->node.next, &item->node, memory_order_relaxed);
    sink->last = item;
    sink->queued++;
}

static dctx_message_t *next_of(dctx_message_t *item)
{
    dctx_node_t *next = atomic_load_explicit(&item->node.next, memory_order_relaxed);
    return next != NULL ? dctx_message_of(next) : NULL;
}

dctx_message_t *dctx_channel_take_(dctx_channel_t *sink)
{
    dctx_message_t *item = sink->first;
    if (item == NULL)
        return NULL;
    sink->first = next_of(item);
    sink->queued--;
    return item;
}

void dctx_channel_close_(dctx_channel_t *channel, dctx_error_t status)
{
    if (channel->closed)
        return;
    channel->closed = true;
    channel->status = status;
    dctx_channel_poke_(channel);
}

/* ---- the end --------------------------------------------------------------------------------- */

static void give(dctx_system_t *system, dctx_channel_t *channel)
{
    renew(channel);
    dctx_slab_give(&system->channels.slots, channel);
}

dctx_channel_rest_t dctx_channel_end_(dctx_system_t *system, dctx_channel_t *channel)
{
    dctx_channel_rest_t rest = {
        .items = channel->first, .snapshot = channel->snapshot, .reply_to = channel->reply_to};
    dctx_channel_t *other = dctx_channel_other_(channel);
    if (other != NULL)
        other->other_system = NULL;
    unlist(system, channel);
    if (channel->state == DCTX_CHANNEL_PENDING)
        system->channels.pending--;
    if (channel->link != NULL) {
        *channel->link = channel->next;
        if (channel->next != NULL)
            channel->next->link = channel->link;
        channel->link = NULL;
    }
    channel->first = channel->last = NULL;
    channel->snapshot = NULL;
    channel->reply_to = NULL;
    channel->state = DCTX_CHANNEL_OVER;
    if (!channel->posted)
        give(system, channel);
    return rest;
}

void dctx_channel_rest_free_(dctx_system_t *system, dctx_runner_t *runner,
                             dctx_channel_rest_t *rest)
{
    while (rest->items != NULL) {
        dctx_message_t *item = rest->items;
        rest->items = next_of(item);
        dctx_message_release_(system, runner, item);
    }
    dctx_snapshot_unref(&rest->snapshot);
    dctx_reply_to_destroy(&rest->reply_to);
}

void dctx_channel_done_(dctx_system_t *system, dctx_node_t *node)
{
    dctx_channel_t *channel =
        (dctx_channel_t *)(void *)((unsigned char *)node - offsetof(dctx_channel_t, node));
    dctx_channels_lock_();
    channel->posted = false;
    if (channel->state == DCTX_CHANNEL_OVER)
        give(system, channel);
    else
        dctx_channel_poke_(channel);
    dctx_channels_unlock_();
}

void dctx_channels_end_(dctx_runner_t *runner, dctx_actor_t *actor)
{
    dctx_system_t *system = actor->system;
    for (;;) {
        dctx_channels_lock_();
        dctx_channel_t *channel = actor->extra->channels;
        if (channel == NULL) {
            dctx_channels_unlock_();
            return;
        }
        uint64_t ask = channel->ask;
        bool asker = channel->asker;
        dctx_channel_t *other = dctx_channel_other_(channel);
        dctx_channel_rest_t rest = dctx_channel_end_(system, channel);
        if (asker && other != NULL)
            dctx_channel_close_(other, DCTX_ERR_CANCELLED);
        dctx_channels_unlock_();
        if (asker)
            (void)dctx_ask_call_off_(system, runner, ask, DCTX_ERR_CANCELLED, "the asker has gone");
        if (rest.reply_to != NULL &&
            dctx_reply_to_error(&rest.reply_to, DCTX_ERR_STOPPED,
                                "the other end of the stream has gone") != DCTX_OK)
            dctx_reply_to_destroy(&rest.reply_to);
        dctx_channel_rest_free_(system, runner, &rest);
    }
}

/* ---- in the actor's turn --------------------------------------------------------------------- */

bool dctx_channel_next_(dctx_system_t *system, dctx_node_t *node, dctx_channel_event_t *ret_event)
{
    dctx_channel_t *channel =
        (dctx_channel_t *)(void *)((unsigned char *)node - offsetof(dctx_channel_t, node));
    dctx_channels_lock_();
    bool any = has_event(channel);
    if (any) {
        *ret_event = (dctx_channel_event_t){.channel = channel,
                                            .snapshot = dctx_snapshot_ref(channel->snapshot),
                                            .status = channel->status,
                                            .stream = dctx_channel_value_(system, channel)};
        ret_event->item = dctx_channel_take_(channel);
        if (ret_event->item != NULL) {
            ret_event->what = DCTX_CHANNEL_ITEM;
        } else if (!channel->sink && !channel->closed) {
            ret_event->what = DCTX_CHANNEL_READY;
            channel->waiting = false;
        } else {
            ret_event->what = DCTX_CHANNEL_END;
            channel->told = true;
        }
    }
    dctx_channels_unlock_();
    return any;
}

void dctx_channel_call_(const dctx_channel_event_t *event, dctx_actor_t *actor)
{
    const dctx_stream_options_t *options = &event->channel->options;
    if (event->what == DCTX_CHANNEL_ITEM)
        options->on_item(actor, event->stream, event->item, actor->state, options->arg);
    else if (event->what == DCTX_CHANNEL_READY && options->on_ready != NULL)
        options->on_ready(actor, event->stream, actor->state, options->arg);
    else if (event->what == DCTX_CHANNEL_END && options->on_end != NULL)
        options->on_end(actor, event->stream, event->status, NULL, actor->state, options->arg);
}

/* Half of the window is handled: the source may send as much again. */
static dctx_error_t grant(dctx_system_t *system, dctx_channel_t *sink)
{
    if (++sink->taken < (sink->window + 1) / 2 || sink->finished)
        return DCTX_OK;
    uint64_t count = sink->taken;
    dctx_channel_t *source = dctx_channel_other_(sink);
    if (sink->peer[0] != '\0') {
        dctx_error_t error =
            dctx_channel_speak_(system, sink, sink->asker ? DCTX_LINK_CREDIT : DCTX_LINK_ROOM,
                                DCTX_TYPE_UINT64, &count);
        if (error != DCTX_OK)
            return error;
    } else if (source != NULL) {
        source->credit += count;
        dctx_channel_poke_(source);
    }
    sink->taken = 0;
    return DCTX_OK;
}

/* Ends a stream from this end, whatever it is, for a reason of our own. */
static void break_off_end(dctx_runner_t *runner, uint64_t id, dctx_error_t why)
{
    dctx_system_t *system = runner->system;
    dctx_channels_lock_();
    dctx_channel_t *channel = dctx_channel_at_(system, id);
    uint64_t ask = channel != NULL && channel->asker ? channel->ask : 0;
    if (channel != NULL && !channel->asker)
        dctx_channel_close_(channel, why);
    dctx_channels_unlock_();
    if (ask != 0)
        (void)dctx_ask_call_off_(system, runner, ask, why, "no room could be granted");
}

void dctx_channel_ran_(dctx_runner_t *runner, const dctx_channel_event_t *event)
{
    dctx_system_t *system = runner->system;
    dctx_channel_rest_t rest = {.snapshot = event->snapshot}, ended = {0};
    if (event->what == DCTX_CHANNEL_ITEM)
        dctx_message_release_(system, runner, event->item);
    dctx_channels_lock_();
    dctx_channel_t *channel = dctx_channel_at_(system, event->stream.id_);
    dctx_error_t error = DCTX_OK;
    if (channel != NULL && event->what == DCTX_CHANNEL_ITEM)
        error = grant(system, channel);
    /* One that is closed is over; a collector has yet to answer. */
    else if (channel != NULL && event->what == DCTX_CHANNEL_END && channel->closed)
        ended = dctx_channel_end_(system, channel);
    dctx_channels_unlock_();
    dctx_channel_rest_free_(system, runner, &rest);
    dctx_channel_rest_free_(system, runner, &ended);
    if (error != DCTX_OK) /* without room the source would wait for ever */
        break_off_end(runner, event->stream.id_, error);
}

/* ---- to and from another node ---------------------------------------------------------------- */

dctx_error_t dctx_channel_speak_(dctx_system_t *system, const dctx_channel_t *channel,
                                 dctx_link_kind_t kind, const dctx_type_t *type, const void *value)
{
    dctx_outgoing_t *outgoing = NULL;
    dctx_error_t error = dctx_outgoing_new_(system, kind, type, value, &outgoing);
    if (error != DCTX_OK)
        return error;
    memcpy(outgoing->peer, channel->peer, sizeof outgoing->peer);
    outgoing->correlation = channel->ask;
    error = dctx_outgoing_check_size_(system, outgoing);
    if (error != DCTX_OK) {
        dctx_outgoing_destroy_(outgoing);
        return error;
    }
    dctx_io_post_(&system->io, &outgoing->node);
    return DCTX_OK;
}

dctx_error_t dctx_channel_asked_(dctx_system_t *system, dctx_channel_t *channel, uint64_t ask,
                                 const char *peer)
{
    dctx_error_t error = DCTX_OK;
    uint64_t window = channel->window;
    dctx_channels_lock_();
    channel->ask = ask;
    if (peer != NULL)
        strncpy(channel->peer, peer, sizeof channel->peer - 1);
    /* Before the ask itself, so that whoever handles that finds it. */
    if (peer != NULL && channel->sink)
        error = dctx_channel_speak_(system, channel, DCTX_LINK_WINDOW, DCTX_TYPE_UINT64, &window);
    if (error == DCTX_OK) {
        dctx_channel_open_(channel);
        dctx_channel_list_(system, channel);
    }
    dctx_channels_unlock_();
    return error;
}

static uint64_t read_count(const dctx_link_message_t *incoming)
{
    dctx_reader_t reader;
    dctx_reader_init(&reader, incoming->payload.data, incoming->payload.size);
    uint64_t count = dctx_read_uint(&reader);
    return dctx_reader_error(&reader) == DCTX_OK && count <= UINT32_MAX ? count : 0;
}

/* Room for a stream that is asked for here, which is perhaps not opened yet. */
static void take_credit(dctx_system_t *system, bool asker, const char *peer,
                        const dctx_link_message_t *incoming)
{
    uint64_t count = read_count(incoming);
    dctx_channel_t *channel = dctx_channel_find_(system, asker, peer, incoming->correlation);
    bool first = incoming->kind == DCTX_LINK_WINDOW;
    if (channel == NULL && first && system->channels.pending < PENDING_MAX) {
        channel = dctx_channel_new_(system, NULL, false, false, NULL);
        if (channel == NULL)
            return; /* who opens it hears that nobody wants a stream */
        strncpy(channel->peer, peer, sizeof channel->peer - 1);
        channel->ask = incoming->correlation;
        channel->state = DCTX_CHANNEL_PENDING;
        system->channels.pending++;
        dctx_channel_list_(system, channel);
    }
    if (channel == NULL || channel->sink)
        return;
    channel->credit += count;
    dctx_channel_poke_(channel);
}

/* DCTX_OK, or why the stream has to end. The item's memory is the caller's if it is not taken. */
static dctx_error_t take_item(dctx_system_t *system, bool asker, const char *peer, uint64_t ask,
                              dctx_message_t **item_p)
{
    dctx_channel_t *sink = dctx_channel_find_(system, asker, peer, ask);
    if (sink == NULL || !sink->sink || sink->finished || sink->closed)
        return DCTX_OK; /* it was called off meanwhile */
    if (*item_p == NULL)
        return DCTX_ERR_NOMEM;
    if (sink->queued >= sink->window)
        return DCTX_ERR_LIMIT;
    dctx_channel_append_(sink, *item_p);
    *item_p = NULL;
    dctx_channel_poke_(sink);
    return DCTX_OK;
}

static dctx_message_t *make_item(dctx_system_t *system, dctx_runner_t *runner, const char *peer,
                                 const dctx_link_message_t *incoming)
{
    dctx_message_t *item = dctx_message_new_(system, runner, DCTX_NODE_MESSAGE);
    if (item == NULL)
        return NULL;
    item->parcel = dctx_parcel_new_(peer, incoming->type, incoming->payload);
    if (item->parcel == NULL) {
        dctx_message_release_(system, runner, item);
        return NULL;
    }
    item->node.flags = DCTX_MESSAGE_REMOTE;
    return item;
}

/* Ends a stream between nodes from this side, for a reason of its own. */
static void break_off(dctx_system_t *system, dctx_runner_t *runner, bool asker, const char *peer,
                      uint64_t ask, dctx_error_t why)
{
    if (asker) {
        (void)dctx_ask_call_off_(system, runner, ask, why, "a stream between nodes broke off");
        return;
    }
    dctx_channels_close_(system, runner, peer, ask, why);
}

static void receive_item(dctx_system_t *system, dctx_runner_t *runner, bool asker, const char *peer,
                         const dctx_link_message_t *incoming)
{
    dctx_message_t *item = make_item(system, runner, peer, incoming);
    dctx_channels_lock_();
    dctx_error_t error = take_item(system, asker, peer, incoming->correlation, &item);
    dctx_channels_unlock_();
    if (item != NULL)
        dctx_message_release_(system, runner, item);
    if (error != DCTX_OK)
        break_off(system, runner, asker, peer, incoming->correlation, error);
}

void dctx_channels_receive_(dctx_system_t *system, dctx_runner_t *runner, const char *peer,
                            const dctx_link_message_t *incoming)
{
    bool asker = incoming->kind == DCTX_LINK_ITEM || incoming->kind == DCTX_LINK_ROOM;
    if (incoming->kind == DCTX_LINK_ITEM || incoming->kind == DCTX_LINK_PUT) {
        receive_item(system, runner, asker, peer, incoming);
        return;
    }
    dctx_channels_lock_();
    if (incoming->kind != DCTX_LINK_DONE) {
        take_credit(system, asker, peer, incoming);
    } else {
        dctx_channel_t *sink = dctx_channel_find_(system, false, peer, incoming->correlation);
        if (sink != NULL && sink->sink) {
            sink->finished = true;
            dctx_channel_poke_(sink);
        }
    }
    dctx_channels_unlock_();
}

void dctx_channels_undelivered_(dctx_system_t *system, dctx_runner_t *runner, const char *peer,
                                const dctx_link_message_t *message, dctx_error_t why)
{
    bool asker = message->kind != DCTX_LINK_ITEM && message->kind != DCTX_LINK_ROOM;
    break_off(system, runner, asker, peer, message->correlation, why);
}

void dctx_channels_close_(dctx_system_t *system, dctx_runner_t *runner, const char *peer,
                          uint64_t ask, dctx_error_t why)
{
    dctx_channel_rest_t rest = {0};
    uint32_t count = ask != 0 ? 1 : DCTX_CHANNEL_BUCKETS;
    dctx_channels_lock_();
    for (uint32_t i = 0; i < count; i++) {
        dctx_channel_t *channel = ask != 0 ? *bucket_of(system, ask) : system->channels.buckets[i];
        for (dctx_channel_t *next; channel != NULL; channel = next) {
            next = channel->in_bucket;
            if (channel->asker || (ask != 0 && channel->ask != ask) ||
                strcmp(channel->peer, peer) != 0)
                continue;
            if (channel->state == DCTX_CHANNEL_PENDING)
                rest = dctx_channel_end_(system, channel); /* it has nothing to release */
            else
                dctx_channel_close_(channel, why);
        }
    }
    dctx_channels_unlock_();
    dctx_channel_rest_free_(system, runner, &rest);
}
