/* Rights to answer, for the rooms of this library. */
#ifndef DCTX_REPLY_H
#define DCTX_REPLY_H

#include <dcontext/actor.h>

/* Puts a right back that dctx_reply_defer() has just taken out of the message. */
void dctx_reply_undefer_(const dctx_message_t *message, dctx_reply_to_t **reply_to_p);

/* Answers with the end of another ask, whose content moves. Cannot fail: what does not go to the asker's node
 * goes as an error. */
void dctx_reply_to_relay_(dctx_reply_to_t **reply_to_p, dctx_error_t status, dctx_message_t *end);

#endif
