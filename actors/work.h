/*
 * The work for an ask, while its handler has it in hand: the cancel scope that what the handler
 * starts belongs to.
 *
 * The scope is made when it is first needed: when the handler forks its context, as every send
 * does, asks for the scope, or puts off its answer. So a handler that just answers costs nothing
 * but being marked as at work. For an ask of this process the scope is a child of the asker's and
 * known to the ask's slot; for one of another node it came with the message, known to the I/O
 * actor.
 */
#ifndef DCTX_WORK_H
#define DCTX_WORK_H

#include <stdbool.h>

#include <dcontext/internal.h>

#include "ask.h"
#include "message.h"
#include "runner.h"

void dctx_work_init_(dctx_runner_t *runner);

/* Around the handler of an ask, whose context is the thread's between the two. */
void dctx_work_begin_(dctx_runner_t *runner);
void dctx_work_end_(dctx_runner_t *runner);

/* The scope of the ask in hand, made now if need be; borrowed. NULL when it was answered before any
 * was made. DCTX_ERR_NOMEM. */
dctx_error_t dctx_work_scope_(dctx_cancel_t **ret_scope);

/* Whether the asker still waits, by what this message tells. */
bool dctx_work_is_wanted_(dctx_system_t *system, const dctx_message_t *message);

#endif
