/* Streams, as actors use them. */
#include <dcontext/stream.h>

#include <string.h>

#include <dcontext/internal.h>

#include "ask.h"
#include "channel.h"
#include "extra.h"
#include "reply.h"
#include "send.h"
#include "system.h"

static void set_stream(dctx_stream_t *place, dctx_stream_t stream)
{
    if (place != NULL)
        *place = stream;
}

static dctx_error_t check(const dctx_actor_t *self, const dctx_stream_options_t *options, bool sink)
{
    dctx_runner_t *here = dctx_runner_here;
    if (self == NULL || here == NULL || here->actor != self)
        return dctx_fail_(DCTX_ERR_INVALID, "a stream is an actor's, made in its own callbacks");
    if (options == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "a stream needs options");
    if (sink && options->on_item == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "who receives a stream needs on_item");
    return DCTX_OK;
}

/* ---- asking ---------------------------------------------------------------------------------- */

/* The stream's ask has ended, and so does the stream: first with what has come of it, then for
 * good. */
static void on_reply(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply,
                     void *state, void *arg)
{
    dctx_system_t *system = self->system;
    uint64_t id = (uint64_t)(uintptr_t)arg;
    dctx_stream_t stream = {.system_ = system, .id_ = id};
    dctx_runner_t *runner = dctx_runner_here;
    dctx_channels_lock_();
    dctx_channel_t *channel = dctx_channel_at_(system, id);
    if (channel == NULL) {
        dctx_channels_unlock_();
        return;
    }
    dctx_stream_options_t options = channel->options;
    dctx_message_t *item;
    while (!self->stopping && (item = dctx_channel_take_(channel)) != NULL) {
        dctx_channels_unlock_();
        options.on_item(self, stream, item, state, options.arg);
        dctx_message_release_(system, runner, item);
        dctx_channels_lock_();
    }
    if (self->stopping) { /* nothing more is called; its end ends the channel */
        dctx_channels_unlock_();
        return;
    }
    dctx_channel_t *other = dctx_channel_other_(channel);
    if (channel->closed) /* though an answer was there already */
        status = channel->status;
    dctx_channel_rest_t rest = dctx_channel_end_(system, channel);
    if (other != NULL) /* it did not end it: the answer came from elsewhere, or not at all */
        dctx_channel_close_(other, DCTX_ERR_CANCELLED);
    dctx_channels_unlock_();
    dctx_channel_rest_free_(system, runner, &rest);
    if (options.on_end != NULL)
        options.on_end(self, stream, status, reply, state, options.arg);
}

static dctx_error_t start(dctx_actor_t *self, dctx_ref_t to, const dctx_type_t *type,
                          const void *value, const dctx_stream_options_t *options, bool sink,
                          dctx_stream_t *ret_stream)
{
    dctx_error_t error = check(self, options, sink);
    if (error != DCTX_OK)
        return error;
    dctx_system_t *system = self->system;
    if (dctx_ref_is_remote(to) && to.system_ != system)
        return dctx_fail_(DCTX_ERR_INVALID,
                          "a stream to another node goes by the asker's own system: "
                          "find the actor there (dctx_system_find())");
    dctx_channel_t *channel =
        dctx_extra_get_(self) == NULL ? NULL : dctx_channel_new_(system, self, sink, true, options);
    if (channel == NULL)
        return DCTX_ERR_NOMEM;
    channel->waiting = !sink; /* on_ready tells that there is somebody who takes items */
    if (!dctx_is_empty())
        error = dctx_fork(&channel->snapshot);
    dctx_stream_t stream = dctx_channel_value_(system, channel);
    int64_t timeout_ms = options->timeout_ms > 0 ? options->timeout_ms : INT64_MAX;
    if (error == DCTX_OK)
        error = dctx_ask_with_(self, to, type, value, timeout_ms, on_reply,
                               (void *)(uintptr_t)stream.id_, channel);
    if (error != DCTX_OK) {
        dctx_channels_lock_();
        bool open = channel->state == DCTX_CHANNEL_OPEN;
        dctx_channel_rest_t rest = {0};
        if (open)
            rest = dctx_channel_end_(system, channel);
        dctx_channels_unlock_();
        dctx_channel_rest_free_(system, dctx_runner_here, &rest);
        if (!open)
            dctx_channel_drop_(system, channel);
        return error;
    }
    set_stream(ret_stream, stream);
    return DCTX_OK;
}

dctx_error_t dctx_ask_stream(dctx_actor_t *self, dctx_ref_t to, const dctx_type_t *type,
                             const void *value, const dctx_stream_options_t *options,
                             dctx_stream_t *ret_stream)
{
    return start(self, to, type, value, options, true, ret_stream);
}

dctx_error_t dctx_ask_collect(dctx_actor_t *self, dctx_ref_t to, const dctx_type_t *type,
                              const void *value, const dctx_stream_options_t *options,
                              dctx_stream_t *ret_stream)
{
    return start(self, to, type, value, options, false, ret_stream);
}

/* ---- being asked ----------------------------------------------------------------------------- */

/* Joins our end to the asker's in this process. */
static dctx_error_t join_here(dctx_system_t *system, const dctx_message_t *message,
                              dctx_channel_t *channel)
{
    dctx_error_t error = DCTX_OK;
    dctx_system_t *home = dctx_home_enter_(system, dctx_message_home_(message, system));
    dctx_channels_lock_();
    dctx_channel_t *other = NULL;
    if (home != NULL)
        other = dctx_channel_find_(home, true, "", message->u.request.ask);
    if (other == NULL || other->sink == channel->sink || other->other != 0) {
        error = DCTX_ERR_INVALID;
    } else {
        channel->ask = other->ask;
        dctx_channel_open_(channel);
        dctx_channel_join_(channel, other);
        if (channel->sink) {
            other->credit = channel->window;
            dctx_channel_poke_(other);
        } else {
            channel->credit = other->window;
        }
    }
    dctx_channels_unlock_();
    dctx_home_leave_(system, home);
    return error;
}

/* The same for an asker on another node: who wants a stream has granted room before he asked. */
static dctx_error_t join_there(dctx_system_t *system, const dctx_message_t *message,
                               dctx_channel_t *channel)
{
    dctx_channel_rest_t rest = {0};
    dctx_error_t error = DCTX_OK;
    uint64_t window = channel->window;
    dctx_channels_lock_();
    channel->ask = message->u.request.ask;
    strncpy(channel->peer, message->parcel->node, sizeof channel->peer - 1);
    dctx_channel_t *pending = dctx_channel_find_(system, false, channel->peer, channel->ask);
    bool wanted = pending != NULL && pending->state == DCTX_CHANNEL_PENDING;
    if (channel->sink ? pending != NULL : !wanted) {
        error = DCTX_ERR_INVALID;
    } else if (channel->sink) {
        error = dctx_channel_speak_(system, channel, DCTX_LINK_ROOM, DCTX_TYPE_UINT64, &window);
    } else {
        channel->credit = pending->credit;
        rest = dctx_channel_end_(system, pending); /* it has nothing to release */
    }
    if (error == DCTX_OK) {
        dctx_channel_open_(channel);
        dctx_channel_list_(system, channel);
    }
    dctx_channels_unlock_();
    dctx_channel_rest_free_(system, dctx_runner_here, &rest);
    return error;
}

static dctx_error_t answer_with(dctx_actor_t *self, const dctx_message_t *message,
                                const dctx_stream_options_t *options, bool sink,
                                dctx_stream_t *ret_stream)
{
    dctx_error_t error = check(self, options, sink);
    if (error != DCTX_OK)
        return error;
    dctx_system_t *system = self->system;
    dctx_channel_t *channel = dctx_extra_get_(self) == NULL
                                  ? NULL
                                  : dctx_channel_new_(system, self, sink, false, options);
    if (channel == NULL)
        return DCTX_ERR_NOMEM;
    error = dctx_reply_defer(message, &channel->reply_to);
    if (error == DCTX_OK) {
        if (message->snapshot != NULL)
            channel->snapshot = dctx_snapshot_ref(message->snapshot);
        error = dctx_message_asker_is_remote_(message) ? join_there(system, message, channel)
                                                       : join_here(system, message, channel);
        if (error == DCTX_ERR_INVALID)
            (void)dctx_fail_(error, sink ? "nobody asks to send a stream, or not any more"
                                         : "nobody asks for a stream, or not any more");
    }
    if (error != DCTX_OK) {
        if (channel->reply_to != NULL)
            dctx_reply_undefer_(message, &channel->reply_to);
        dctx_channel_drop_(system, channel);
        return error;
    }
    set_stream(ret_stream, dctx_channel_value_(system, channel));
    return DCTX_OK;
}

dctx_error_t dctx_stream_open(dctx_actor_t *self, const dctx_message_t *message,
                              const dctx_stream_options_t *options, dctx_stream_t *ret_stream)
{
    return answer_with(self, message, options, false, ret_stream);
}

dctx_error_t dctx_stream_accept(dctx_actor_t *self, const dctx_message_t *message,
                                const dctx_stream_options_t *options, dctx_stream_t *ret_stream)
{
    return answer_with(self, message, options, true, ret_stream);
}

/* ---- using ----------------------------------------------------------------------------------- */

/* Locks, and finds the channel, which is the calling actor's. On an error it is not locked. */
static dctx_error_t enter(dctx_stream_t stream, dctx_channel_t **ret_channel)
{
    dctx_runner_t *here = dctx_runner_here;
    dctx_system_t *system = stream.system_;
    if (system == NULL || here == NULL || here->system != system || here->actor == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "a stream is used in the callbacks of its actor");
    dctx_channels_lock_();
    dctx_channel_t *channel = dctx_channel_at_(system, stream.id_);
    if (channel != NULL && channel->actor == here->actor) {
        *ret_channel = channel;
        return DCTX_OK;
    }
    dctx_channels_unlock_();
    return channel == NULL ? dctx_fail_(DCTX_ERR_NOT_OPEN, "the stream is over")
                           : dctx_fail_(DCTX_ERR_INVALID, "the stream is another actor's");
}

static dctx_error_t check_room(dctx_channel_t *channel)
{
    if (channel->sink)
        return dctx_fail_(DCTX_ERR_INVALID, "this end of the stream receives");
    if (channel->finished)
        return dctx_fail_(DCTX_ERR_INVALID, "that was the last item already");
    if (channel->closed)
        return dctx_fail_(DCTX_ERR_NOT_OPEN, "the other end has gone");
    if (channel->credit > 0)
        return DCTX_OK;
    channel->waiting = true;
    return dctx_fail_(DCTX_ERR_AGAIN, "the receiver has no room; on_ready runs when it has");
}

/* Gives an item to the other end. User code has run since we looked; but only this thread sends
 * here, and room does not become less. */
static dctx_error_t hand_over(dctx_system_t *system, dctx_stream_t stream, dctx_message_t *item)
{
    dctx_error_t error = DCTX_OK;
    dctx_channels_lock_();
    dctx_channel_t *channel = dctx_channel_at_(stream.system_, stream.id_);
    dctx_channel_t *other = channel != NULL ? dctx_channel_other_(channel) : NULL;
    if (other == NULL || other->system != system || other->closed) {
        error = dctx_fail_(DCTX_ERR_NOT_OPEN, "the other end has gone");
    } else {
        channel->credit--;
        item->u.request.sender = dctx_self(channel->actor);
        dctx_channel_append_(other, item);
        dctx_channel_poke_(other);
    }
    dctx_channels_unlock_();
    return error;
}

static dctx_error_t send_here(dctx_system_t *system, dctx_stream_t stream, const dctx_type_t *type,
                              const void *value)
{
    dctx_runner_t *here = dctx_runner_here;
    dctx_message_t *item = dctx_message_new_(system, here, DCTX_NODE_MESSAGE);
    if (item == NULL)
        return DCTX_ERR_NOMEM;
    dctx_error_t error = dctx_message_store_(item, type, value);
    if (error == DCTX_OK)
        error = hand_over(system, stream, item);
    if (error != DCTX_OK)
        dctx_message_release_(system, here, item);
    return error;
}

/* To another system of the process, in a cell of that one's, which may go as long as we do not hold
 * it: no user code runs then. */
static dctx_error_t send_across(const void *address, dctx_stream_t stream, const dctx_type_t *type,
                                const void *value)
{
    dctx_message_t content;
    memset(&content, 0, offsetof(dctx_message_t, inline_));
    dctx_error_t error = dctx_message_store_(&content, type, value);
    if (error != DCTX_OK)
        return error;
    dctx_system_t *system = dctx_systems_lock_(address);
    dctx_message_t *item =
        system == NULL ? NULL : dctx_message_new_(system, NULL, DCTX_NODE_MESSAGE);
    if (system == NULL)
        error = dctx_fail_(DCTX_ERR_NOT_OPEN, "the other end has gone");
    else if (item == NULL)
        error = DCTX_ERR_NOMEM;
    if (item != NULL) {
        dctx_message_take_content_(item, &content);
        error = hand_over(system, stream, item);
    }
    if (item != NULL && error != DCTX_OK) {
        dctx_message_take_content_(&content, item);
        dctx_message_release_(system, NULL, item);
    }
    if (system != NULL)
        dctx_systems_unlock_();
    if (error != DCTX_OK)
        dctx_message_clear_(&content);
    return error;
}

dctx_error_t dctx_stream_send(dctx_stream_t stream, const dctx_type_t *type, const void *value)
{
    dctx_channel_t *channel = NULL;
    dctx_error_t error = enter(stream, &channel);
    if (error != DCTX_OK)
        return error;
    dctx_system_t *system = stream.system_;
    error = check_room(channel);
    bool remote = channel->peer[0] != '\0';
    const dctx_system_t *to = channel->other_system;
    dctx_channels_unlock_();
    if (error != DCTX_OK)
        return error;
    if (!remote)
        return to == system ? send_here(system, stream, type, value)
                            : send_across(to, stream, type, value);
    /* Nobody but this thread ends an open channel, or takes of its credit. */
    error = dctx_channel_speak_(system, channel, channel->asker ? DCTX_LINK_PUT : DCTX_LINK_ITEM,
                                type, value);
    dctx_channels_lock_();
    if (error == DCTX_OK)
        channel->credit--;
    dctx_channels_unlock_();
    return error;
}

/* The asker has sent the last item. Under the lock. */
static dctx_error_t finish(dctx_system_t *system, dctx_channel_t *channel)
{
    if (channel->finished)
        return dctx_fail_(DCTX_ERR_INVALID, "that was said already");
    dctx_error_t error = DCTX_OK;
    if (channel->peer[0] != '\0')
        error = dctx_channel_speak_(system, channel, DCTX_LINK_DONE, NULL, NULL);
    if (error != DCTX_OK)
        return error;
    channel->finished = true;
    channel->waiting = false;
    dctx_channel_t *other = dctx_channel_other_(channel);
    if (other != NULL) {
        other->finished = true;
        dctx_channel_poke_(other);
    }
    return DCTX_OK;
}

/* The channel is over. Under the lock, which is given back. */
static void leave(dctx_system_t *system, dctx_channel_t *channel)
{
    dctx_channel_rest_t rest = dctx_channel_end_(system, channel);
    dctx_channels_unlock_();
    dctx_channel_rest_free_(system, dctx_runner_here, &rest);
}

dctx_error_t dctx_stream_end(dctx_stream_t stream, const dctx_type_t *type, const void *value)
{
    dctx_channel_t *channel = NULL;
    dctx_error_t error = enter(stream, &channel);
    if (error != DCTX_OK)
        return error;
    dctx_system_t *system = stream.system_;
    if (channel->asker) {
        if (channel->sink)
            error = dctx_fail_(DCTX_ERR_INVALID, "who asked for a stream ends it with an error");
        else if (type != NULL || value != NULL)
            error = dctx_fail_(DCTX_ERR_INVALID, "the answer is the other's to give");
        else if (channel->other == 0 && channel->peer[0] == '\0')
            error = dctx_fail_(DCTX_ERR_AGAIN, "nobody has accepted the stream; on_ready tells");
        else
            error = finish(system, channel);
        dctx_channels_unlock_();
        return error;
    }
    dctx_channels_unlock_();
    error = dctx_reply_to_send(&channel->reply_to, type, value);
    if (error != DCTX_OK)
        return error;
    dctx_channels_lock_();
    leave(system, channel);
    return DCTX_OK;
}

/* The asker wants no more: nothing that came already, and no answer either. Under the lock, which
 * is given back. */
static dctx_error_t call_off(dctx_system_t *system, dctx_channel_t *channel, dctx_error_t error,
                             const char *reason)
{
    uint64_t ask = channel->ask;
    bool again = channel->closed;
    dctx_channel_rest_t rest = {.items = again ? NULL : channel->first};
    if (!again) {
        channel->closed = true;
        channel->status = error;
        channel->first = NULL;
        channel->queued = 0;
    }
    dctx_channels_unlock_();
    if (again)
        return dctx_fail_(DCTX_ERR_NOT_OPEN, "the stream is called off already");
    dctx_channel_rest_free_(system, dctx_runner_here, &rest);
    (void)dctx_ask_call_off_(system, dctx_runner_here, ask, error, reason);
    return DCTX_OK;
}

dctx_error_t dctx_stream_fail(dctx_stream_t stream, dctx_error_t error, const char *reason)
{
    dctx_channel_t *channel = NULL;
    if (error == DCTX_OK)
        return dctx_fail_(DCTX_ERR_INVALID, "DCTX_OK is no error to end a stream with");
    dctx_error_t failed = enter(stream, &channel);
    if (failed != DCTX_OK)
        return failed;
    dctx_system_t *system = stream.system_;
    if (channel->asker)
        return call_off(system, channel, error, reason);
    dctx_channels_unlock_();
    failed = dctx_reply_to_error(&channel->reply_to, error, reason);
    if (failed != DCTX_OK)
        return failed;
    dctx_channels_lock_();
    leave(system, channel);
    return DCTX_OK;
}
