/* The stamp frame of a snapshot, made for a policy and a class of peers. */
#ifndef DCTX_PREPARED_H
#define DCTX_PREPARED_H

#include <zmq.h>

#include "policy.h"

#define DCTX_MAGIC_SIZE 6
extern const uint8_t dctx_magic_[DCTX_MAGIC_SIZE];

static inline bool dctx_is_stamp_(const void *data, size_t size)
{
    return size >= DCTX_MAGIC_SIZE && __builtin_memcmp(data, dctx_magic_, DCTX_MAGIC_SIZE) == 0;
}

/*
 * The stamp to send; *ret_stamped is false if the context is empty, or nothing of it may leave;
 * then, unless `always`, the frame is empty as well. A snapshot that is sent again shares one
 * frame's bytes between all its messages. Counts what was stripped. DCTX_ERR_LIMIT, DCTX_ERR_CODEC,
 * DCTX_ERR_NOMEM.
 */
dctx_error_t dctx_prepare_(const dctx_snapshot_t *snapshot, dctx_policy_t *policy,
                           dctx_class_t peer, bool always, zmq_msg_t *ret_frame, bool *ret_stamped);

/* The same for the calling thread's context, which is not empty. */
dctx_error_t dctx_prepare_own_(dctx_policy_t *policy, dctx_class_t peer, bool always,
                               zmq_msg_t *ret_frame, bool *ret_stamped);

#endif
