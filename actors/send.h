/* Sending, for the rooms of this library. */
#ifndef DCTX_SEND_H
#define DCTX_SEND_H

#include <dcontext/actor.h>
#include <dcontext/group.h>

#include "channel.h"
#include "message.h"
#include "share.h"

/* A fork of the calling thread's context, as a message of this system carries it: NULL when it is
 * empty. A context of another registry crosses as it would on a wire. On a codec's refusal the
 * system's policy says whether that is an error or no context. */
dctx_error_t dctx_fork_for_(dctx_system_t *system, dctx_snapshot_t **ret_snapshot);

/* Sends a message in hand on to another actor, in the calling thread's context: its content moves,
 * and with it the right to answer. Not for an ask to another node. On an error it is as before. */
dctx_error_t dctx_send_on_(dctx_ref_t to, dctx_message_t *message);

/* As dctx_ask_call(), but the ask is `home`'s, which runs `call`; `content`, not NULL: what it
 * holds is asked for, and moves, in the place of type and value. *ret_ask, if it is not NULL, is
 * the ask's number: it may be over by now. */
dctx_error_t dctx_ask_for_(dctx_system_t *home, dctx_ref_t to, const dctx_type_t *type,
                           const void *value, dctx_message_t *content, int64_t timeout_ms,
                           dctx_ask_fn call, void *arg, uint64_t *ret_ask);

/* Opens an ask of `home` that is put to nobody: others end it. *ret_deadline: when it ends by
 * itself, by the clock of `home`. */
struct dctx_errand_asker;
dctx_error_t dctx_ask_own_(dctx_system_t *home, int64_t timeout_ms,
                           const struct dctx_errand_asker *asker, uint64_t *ret_ask,
                           int64_t *ret_deadline);

/* dctx_ask() for a stream: its channel, unless NULL, opens with the ask. */
dctx_error_t dctx_ask_with_(dctx_actor_t *self, dctx_ref_t to, const dctx_type_t *type,
                            const void *value, int64_t timeout_ms, dctx_reply_fn on_reply,
                            void *arg, dctx_channel_t *channel);

/* Tells one of many: the value is in `share`, unless that is NULL, and the context in `snapshot`,
 * unless that is. *ret_held: a message has used a reference to the share, also if it went no
 * further. */
dctx_error_t dctx_tell_shared_(dctx_ref_t to, const dctx_type_t *type, const void *value,
                               dctx_share_t *share, dctx_snapshot_t *snapshot, bool *ret_held);

/* dctx_group_tell() to these. */
dctx_error_t dctx_tell_all_(dctx_system_t *system, const dctx_ref_t *members, size_t count,
                            const dctx_type_t *type, const void *value,
                            dctx_group_sent_t *ret_sent);

#endif
