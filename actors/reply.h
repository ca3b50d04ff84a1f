/* Rights to answer, for the rooms of this library. */
#ifndef DCTX_REPLY_H
#define DCTX_REPLY_H

#include <dcontext/actor.h>

/* Puts a right back that dctx_reply_defer() has just taken out of the message. */
void dctx_reply_undefer_(const dctx_message_t *message, dctx_reply_to_t **reply_to_p);

/* Answers with the end of another ask, whose content moves. Cannot fail: what does not go to the
 * asker's node goes as an error. */
void dctx_reply_to_relay_(dctx_reply_to_t **reply_to_p, dctx_error_t status, dctx_message_t *end);

/* Ends an ask of this process with the content of a message that stands for it, or was its like; an
 * ask that is over is counted as answered late. `system`: that of who was asked; `home`: the
 * address of the one that has the ask, which may be stale. */
void dctx_ask_answer_(dctx_system_t *system, void *home, uint64_t ask, dctx_message_t *content,
                      dctx_error_t status);

#endif
