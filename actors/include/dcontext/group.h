/*
 * dcontext/group.h - named groups of actors, and messages to all members at once.
 *
 * A group is there as long as it has members, and is its system's. An actor of the system leaves
 * all its groups when it ends, before anybody can see that it has; an actor on another node is a
 * member until somebody takes it out.
 */
#ifndef DCONTEXT_GROUP_H
#define DCONTEXT_GROUP_H

#include <stddef.h>

#include <dcontext/actor.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Join and leave. Joining again is fine. An actor of the system is alive at the moment it joins.
 *
 * Ownership: strings are copied.
 * Errors: DCTX_ERR_INVALID (not a group's name, or an address of another system); DCTX_ERR_NO_ACTOR
 *   (it has gone); DCTX_ERR_NOMEM; leave: DCTX_ERR_ABSENT (no member).
 * Thread-safety: any thread.
 * Limits and units: names as of actors, 1..56 bytes of [A-Za-z0-9_.:/-]; any number of members.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_group_join(dctx_system_t *system, const char *group,
                                                         dctx_ref_t member);
DCTX_EXPORT dctx_error_t dctx_group_leave(dctx_system_t *system, const char *group,
                                          dctx_ref_t member);

/*
 * The members, in no order. Size: how many.
 *
 * Ownership: *ret_members is to be freed with dctx_free(); NULL when there are none.
 * Errors: DCTX_ERR_INVALID, DCTX_ERR_NOMEM. Thread-safety: any thread.
 * Limits and units: none.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_group_members(dctx_system_t *system,
                                                            const char *group,
                                                            dctx_ref_t **ret_members,
                                                            size_t *ret_count);
DCTX_EXPORT size_t dctx_group_size(dctx_system_t *system, const char *group);

/* What became of a message to a group: together as many as it had members. */
typedef struct dctx_group_sent {
    size_t delivered; /* dctx_tell() to it returned DCTX_OK */
    size_t failed;    /* it did not */
} dctx_group_sent_t;

/*
 * Tell all who are members when it begins, the sender too if it is one, each as dctx_tell() does:
 * in the sender's context, which is forked once. A value over 64 bytes, or one with a copy
 * function, is copied once and shared by all members, who may not change it; see
 * dctx_message_take(). Nobody is kept from joining and leaving meanwhile.
 *
 * Ownership: *value is copied. ret_sent may be NULL.
 * Errors: DCTX_ERR_INVALID, DCTX_ERR_NOMEM, what the value's copy says, and what says of a context
 *   that it cannot go; then nobody was told. That a member could not be told is no error but
 *   counted.
 * Thread-safety: any thread.
 * Limits and units: as dctx_tell().
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_group_tell(dctx_system_t *system, const char *group,
                                                         const dctx_type_t *type, const void *value,
                                                         dctx_group_sent_t *ret_sent);

#ifdef __cplusplus
}
#endif
#endif
