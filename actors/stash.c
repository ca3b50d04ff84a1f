#include "stash.h"

#include <dcontext/handling.h>
#include <dcontext/internal.h>

#include "deadletter.h"
#include "extra.h"
#include "life.h"
#include "system.h"

enum { STASH_LIMIT = 1024 };

/* What stays with a message beside its content. */
enum {
    KEPT_FLAGS = DCTX_MESSAGE_ASK | DCTX_MESSAGE_ANSWERED | DCTX_MESSAGE_ELSEWHERE |
                 DCTX_MESSAGE_FORWARDED | DCTX_MESSAGE_RELAYED
};

/* ---- lists ----------------------------------------------------------------------------------- */

static dctx_message_t *next_of(dctx_message_t *message)
{
    dctx_node_t *next = atomic_load_explicit(&message->node.next, memory_order_relaxed);
    return next != NULL ? dctx_message_of(next) : NULL;
}

static void link_to(dctx_message_t *message, dctx_message_t *next)
{
    atomic_store_explicit(&message->node.next, next != NULL ? &next->node : NULL,
                          memory_order_relaxed);
}

static void append(dctx_stash_list_t *list, dctx_message_t *message)
{
    link_to(message, NULL);
    if (list->first == NULL)
        list->first = message;
    else
        link_to(list->last, message);
    list->last = message;
}

static dctx_message_t *take_first(dctx_stash_list_t *list)
{
    dctx_message_t *message = list->first;
    if (message != NULL)
        list->first = next_of(message);
    return message;
}

/* ---- keeping and putting back ---------------------------------------------------------------- */

static dctx_error_t check(const dctx_actor_t *self, const dctx_message_t *message)
{
    dctx_runner_t *here = dctx_runner_here;
    if (self == NULL || message == NULL || here == NULL || here->actor != self ||
        here->message != message || message->node.kind != DCTX_NODE_MESSAGE)
        return dctx_fail_(DCTX_ERR_INVALID, "an actor keeps the message in hand, in its handler");
    /* Nobody has accepted it, as the counters have it, and its handler is on_item. */
    if (here->callback != NULL)
        return dctx_fail_(DCTX_ERR_INVALID,
                          "an item of a stream is not kept: take its value out of it");
    if (message->node.flags & DCTX_MESSAGE_MOVED)
        return dctx_fail_(DCTX_ERR_INVALID, "the message is sent on, or kept, already");
    return DCTX_OK;
}

dctx_message_t *dctx_message_keep_(dctx_runner_t *runner, dctx_message_t *from)
{
    dctx_message_t *kept = dctx_message_new_(runner->system, runner, DCTX_NODE_MESSAGE);
    if (kept == NULL)
        return NULL;
    kept->node.generation = from->node.generation;
    kept->node.flags |= (uint16_t)(from->node.flags & KEPT_FLAGS);
    kept->u.request = from->u.request;
    if (from->snapshot != NULL)
        kept->snapshot = dctx_snapshot_ref(from->snapshot);
    dctx_runner_keep_type_(runner, from);
    int64_t sent_at = from->sent_at;
    dctx_message_take_content_(kept, from);
    /* It waits on. */
    if (from->node.flags & DCTX_MESSAGE_METERED) {
        kept->node.flags |= DCTX_MESSAGE_METERED;
        kept->sent_at = sent_at;
    }
    from->node.flags |= DCTX_MESSAGE_MOVED | DCTX_MESSAGE_KEPT | DCTX_MESSAGE_ANSWERED;
    return kept;
}

dctx_error_t dctx_stash(dctx_actor_t *self, const dctx_message_t *message)
{
    dctx_error_t error = check(self, message);
    if (error != DCTX_OK)
        return error;
    dctx_extra_t *extra = dctx_extra_get_(self);
    if (extra == NULL)
        return DCTX_ERR_NOMEM;
    dctx_stash_t *stash = &extra->stash;
    size_t limit = stash->limit != 0 ? stash->limit : STASH_LIMIT;
    /* One that is kept anew is still counted as the one in hand. */
    size_t again = message == stash->hand;
    if (stash->size - again >= limit)
        return dctx_fail_(DCTX_ERR_FULL, "%s keeps %zu messages, and may not keep more",
                          dctx_self_name(self), stash->size);
    dctx_message_t *kept = dctx_message_keep_(dctx_runner_here, dctx_message_own(message));
    if (kept == NULL)
        return DCTX_ERR_NOMEM;
    append(&stash->list, kept);
    stash->listed++;
    stash->size++;
    return DCTX_OK;
}

static dctx_stash_t *stash_of(const dctx_actor_t *self)
{
    dctx_runner_t *here = dctx_runner_here;
    bool mine = self != NULL && here != NULL && here->actor == self;
    return mine && self->extra != NULL ? &self->extra->stash : NULL;
}

/* Puts the first `count` back: before what was put back earlier,
 * but after what this same callback did. */
static void put_back(dctx_actor_t *self, dctx_stash_t *stash, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        dctx_message_t *message = take_first(&stash->list);
        stash->listed--;
        dctx_message_t *next = stash->mark != NULL ? next_of(stash->mark) : stash->ready.first;
        link_to(message, next);
        if (stash->mark != NULL)
            link_to(stash->mark, message);
        else
            stash->ready.first = message;
        if (next == NULL)
            stash->ready.last = message;
        stash->mark = message;
        (void)atomic_fetch_add_explicit(&stash->waiting, 1, memory_order_relaxed);
        (void)atomic_fetch_sub_explicit(&stash->kept, 1, memory_order_relaxed);
        dctx_count_(self->system, dctx_runner_here, DCTX_TALLY_POSTED);
    }
    self->unstashed = true;
}

bool dctx_unstash_one(dctx_actor_t *self)
{
    dctx_stash_t *stash = stash_of(self);
    if (stash == NULL || stash->list.first == NULL)
        return false;
    put_back(self, stash, 1);
    return true;
}

size_t dctx_stash_size(const dctx_actor_t *self)
{
    const dctx_stash_t *stash = stash_of(self);
    return stash != NULL ? stash->listed : 0;
}

size_t dctx_unstash_all(dctx_actor_t *self)
{
    size_t count = dctx_stash_size(self);
    if (count > 0)
        put_back(self, stash_of(self), count);
    return count;
}

/* ---- for the turn ---------------------------------------------------------------------------- */

void dctx_stash_settle_(dctx_actor_t *actor)
{
    (void)atomic_fetch_add_explicit(&actor->extra->stash.kept, 1, memory_order_relaxed);
}

dctx_message_t *dctx_stash_next_(dctx_actor_t *actor)
{
    dctx_stash_t *stash = &actor->extra->stash;
    dctx_message_t *message = take_first(&stash->ready);
    stash->mark = NULL;
    stash->hand = message;
    actor->unstashed = stash->ready.first != NULL;
    return message;
}

void dctx_stash_done_(dctx_actor_t *actor)
{
    if (actor->extra == NULL)
        return;
    dctx_stash_t *stash = &actor->extra->stash;
    stash->hand = NULL;
    stash->size--;
    (void)atomic_fetch_sub_explicit(&stash->waiting, 1, memory_order_relaxed);
}

/* ---- the end --------------------------------------------------------------------------------- */

static size_t count_dead(dctx_system_t *system, dctx_runner_t *runner,
                         const dctx_stash_list_t *list)
{
    size_t count = 0;
    for (dctx_message_t *each = list->first; each != NULL; each = next_of(each), count++)
        dctx_count_(system, runner, DCTX_TALLY_DEAD);
    return count;
}

void dctx_stash_end_(dctx_runner_t *runner, dctx_actor_t *actor)
{
    dctx_system_t *system = actor->system;
    dctx_stash_t *stash = &actor->extra->stash;
    /* Counted first, so that it adds up even if a callback below never returns. */
    for (size_t kept = count_dead(system, runner, &stash->list); kept > 0; kept--)
        dctx_count_(system, runner, DCTX_TALLY_POSTED);
    (void)count_dead(system, runner, &stash->ready);
    actor->unstashed = false;
    stash->mark = NULL;
    atomic_store_explicit(&stash->kept, 0, memory_order_relaxed);
    atomic_store_explicit(&stash->waiting, 0, memory_order_relaxed);
    dctx_message_t *message;
    while ((message = take_first(&stash->list)) != NULL ||
           (message = take_first(&stash->ready)) != NULL) {
        dctx_message_die_with_(system, actor->scope + DCTX_NAME_AT, message, actor->death,
                               dctx_life_why_(actor, &message->node), "");
        if (runner != NULL && dctx_runner_is_given_up(runner))
            return;
        dctx_message_finish_(system, runner, message, actor->death);
    }
}

void dctx_stash_lose_(dctx_actor_t *actor)
{
    dctx_stash_t *stash = &actor->extra->stash;
    long kept = atomic_load_explicit(&stash->kept, memory_order_relaxed);
    long waiting = atomic_load_explicit(&stash->waiting, memory_order_relaxed);
    dctx_tallies_t *tallies = dctx_outside_(actor->system);
    dctx_tally_shared(tallies, DCTX_TALLY_POSTED, (uint64_t)kept);
    dctx_tally_shared(tallies, DCTX_TALLY_DEAD, (uint64_t)(kept + waiting));
}
