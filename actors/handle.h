/* Handling a message: into its context, through the handler, and back out of it. */
#ifndef DCTX_HANDLE_H
#define DCTX_HANDLE_H

#include <stdbool.h>

#include "cell.h"
#include "message.h"
#include "names.h"
#include "runner.h"

enum { DCTX_SCOPE_NAME = DCTX_NAME_MAX + 16 };

/* The scope in which an actor handles a message: the actor's own, or, where the message came from
 * another node, one that is made in `buffer`. */
const char *dctx_handle_scope_(const dctx_actor_t *actor, const dctx_message_t *message,
                               char buffer[DCTX_SCOPE_NAME]);

/* Into a context, be there memory for it or not, and back out of it to the empty one:
 * around user code. */
void dctx_handle_enter_(dctx_runner_t *runner, const dctx_snapshot_t *snapshot, const char *name,
                        dctx_scope_t *scope);
void dctx_handle_leave_(dctx_runner_t *runner, dctx_actor_t *actor, dctx_scope_t *scope);

/* Closes what was left open for the next message:
 * before any code but that message's handler runs. */
void dctx_handle_cool_(dctx_runner_t *runner);

/* Destroys a message's value, which is user code. A remote ask without an answer keeps its parcel,
 * which says whom to answer; the I/O actor clears it. */
void dctx_handle_clear_(dctx_runner_t *runner, dctx_message_t *message);

/* Both return false when the thread was abandoned in user code. */

/* A tell or an ask for the living actor. */
bool dctx_handle_(dctx_runner_t *runner, dctx_actor_t *actor, dctx_message_t *message);

/* The same, with a look at the clock before and after. */
bool dctx_handle_measured_(dctx_runner_t *runner, dctx_actor_t *actor, dctx_message_t *message);

/*
 * What most messages are: a tell from this process to an actor about which nothing is special.
 * These are handled one after the other with nothing in between, as long as they come so; all that
 * is looked at is whether they still do. For the receiver, in a turn, with the oldest node of the
 * mailbox not spent. *n counts up for each that is done with; at most `most`.
 */
typedef enum dctx_plain {
    DCTX_PLAIN_LOOK,     /* at the oldest node, which is another now, or was none of them */
    DCTX_PLAIN_TAKEN,    /* the oldest node is handled, and still in the mailbox */
    DCTX_PLAIN_ABANDONED /* see dctx_runner_end() */
} dctx_plain_t;
dctx_plain_t dctx_handle_plain_(dctx_runner_t *runner, dctx_actor_t *actor, unsigned *n,
                                unsigned most);

#endif
