/* Cancel scopes: what belongs to what, who is told, and that nothing else is. */
#include "fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#include <dcontext/internal.h>

#include "cancel.h"

static dctx_cancel_t *new_under(dctx_cancel_t *parent)
{
    dctx_cancel_t *cancel = NULL;
    OK(dctx_cancel_new_under(parent, &cancel));
    return cancel;
}

static bool is_readable(int fd)
{
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    return poll(&poll_fd, 1, 0) == 1;
}

static void count(dctx_cancel_t *cancel, void *arg)
{
    cr_assert_neq(dctx_cancel_status(cancel), DCTX_OK);
    (*(int *)arg)++;
}

/* ---- one scope ---- */

Test(cancel, a_scope_is_cancelled_once_with_reason_and_chain, .init = set_up)
{
    dctx_cancel_t *cancel = new_under(NULL);
    cr_assert_eq(dctx_cancel_status(cancel), DCTX_OK);
    cr_assert_str_eq(dctx_cancel_reason(cancel), "");
    cr_assert_str_eq(dctx_cancel_chain(cancel), "");
    DCTX_WITH_SCOPE("front") {
        DCTX_WITH_SCOPE("checkout") {
            cr_assert(dctx_cancel(cancel, "the client has gone"));
        }
    }
    cr_assert_eq(dctx_cancel_status(cancel), DCTX_ERR_CANCELLED);
    cr_assert_str_eq(dctx_cancel_reason(cancel), "the client has gone");
    cr_assert_str_eq(dctx_cancel_chain(cancel), "front > checkout");
    cr_assert(!dctx_cancel(cancel, "again"), "late and repeated cancels change nothing");
    cr_assert_str_eq(dctx_cancel_reason(cancel), "the client has gone");
    dctx_cancel_unref(&cancel);
    cr_assert_null(cancel);
    dctx_cancel_unref(&cancel);
    dctx_cancel_unref(NULL);
}

Test(cancel, no_scope_is_one_that_is_never_cancelled, .init = set_up)
{
    dctx_cancel_watch_t watch = {0};
    int calls = 0;
    cr_assert(!dctx_cancel(NULL, "nothing"));
    cr_assert_eq(dctx_cancel_status(NULL), DCTX_OK);
    cr_assert_str_eq(dctx_cancel_reason(NULL), "");
    cr_assert_str_eq(dctx_cancel_chain(NULL), "");
    cr_assert_null(dctx_cancel_ref(NULL));
    cr_assert(dctx_cancel_watch(NULL, &watch, count, &calls));
    dctx_cancel_unwatch(&watch);
    dctx_cancel_unwatch(NULL);
    int fd = 0;
    FAILS(dctx_cancel_fd(NULL, &fd), DCTX_ERR_INVALID);
    FAILS(dctx_cancel_enter(NULL), DCTX_ERR_INVALID);
    FAILS(dctx_cancel_new(NULL), DCTX_ERR_INVALID);
    FAILS(dctx_cancel_new_under(NULL, NULL), DCTX_ERR_INVALID);
    cr_assert_null(dctx_snapshot_cancel(NULL));
    cr_assert_eq(dctx_snapshot_over(NULL), DCTX_OK);
}

Test(cancel, what_nobody_could_call_does_not_watch, .init = set_up)
{
    dctx_cancel_t *scope = NULL;
    dctx_cancel_watch_t watch;
    memset(&watch, 0xff, sizeof(watch));
    OK(dctx_cancel_new_under(NULL, &scope));
    cr_assert(dctx_cancel_watch(scope, &watch, NULL, NULL));
    cr_assert(dctx_cancel_watch(scope, NULL, count, NULL));
    cr_assert(dctx_cancel(scope, NULL));
    cr_assert(dctx_cancel_watch(scope, &watch, NULL, NULL));
    dctx_cancel_unwatch(&watch);
    dctx_cancel_unref(&scope);
}

Test(cancel, long_words_are_cut_at_whole_characters, .init = set_up)
{
    char reason[400];
    memset(reason, 'a', sizeof(reason));
    memcpy(reason + 254, "\xc3\xa9", 2); /* the limit is in its middle */
    reason[399] = '\0';
    dctx_cancel_t *cancel = new_under(NULL);
    cr_assert(dctx_cancel(cancel, reason));
    cr_assert_eq(strlen(dctx_cancel_reason(cancel)), 254);
    dctx_cancel_unref(&cancel);
}

/* ---- in a context ---- */

Test(cancel, what_is_forked_belongs_and_what_is_captured_does_not, .init = set_up)
{
    dctx_cancel_t *cancel = NULL;
    dctx_snapshot_t *fork = NULL, *capture = NULL, *before = NULL;
    OK(dctx_set(user, "ada"));
    OK(dctx_fork(&before));
    cr_assert_null(dctx_cancel_get());
    cr_assert(!dctx_cancelled());
    OK(dctx_cancel_check());
    OK(dctx_cancel_new(&cancel));
    DCTX_WITH_SCOPE(NULL) {
        OK(dctx_cancel_enter(cancel));
        cr_assert_eq(dctx_cancel_get(), cancel);
        OK(dctx_fork(&fork));
        OK(dctx_capture(&capture));
        cr_assert(!dctx_cancelled());
        cr_assert_eq(dctx_snapshot_over(fork), DCTX_OK);
        DCTX_WITH_SCOPE("work") {
            cr_assert(dctx_cancel(cancel, "enough"));
        }
        cr_assert(dctx_cancelled());
        FAILS_SAYING(dctx_cancel_check(), DCTX_ERR_CANCELLED, "enough (cancelled in work)");
    }
    cr_assert_null(dctx_cancel_get());
    cr_assert(!dctx_cancelled(), "the scope ends with the context's");
    cr_assert_eq(dctx_snapshot_cancel(fork), cancel);
    cr_assert_null(dctx_snapshot_cancel(capture));
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(dctx_snapshot_over(fork), DCTX_ERR_CANCELLED);
        cr_assert_eq(dctx_snapshot_over(fork), DCTX_ERR_CANCELLED);
        cr_assert_eq(dctx_snapshot_over(capture), DCTX_OK);
        cr_assert_eq(dctx_snapshot_over(before), DCTX_OK);
    }
    DCTX_WITH_SNAPSHOT(fork) {
        cr_assert(dctx_cancelled());
    }
    dctx_snapshot_unref(&fork);
    dctx_snapshot_unref(&capture);
    dctx_snapshot_unref(&before);
    dctx_cancel_unref(&cancel);
}

Test(cancel, a_scope_made_in_a_scope_is_its_child_and_not_the_other_way, .init = set_up)
{
    dctx_cancel_t *outer = NULL, *inner = NULL, *beside = NULL;
    OK(dctx_cancel_new(&outer));
    OK(dctx_cancel_enter(outer));
    OK(dctx_cancel_new(&inner));
    OK(dctx_cancel_new(&beside));
    cr_assert(dctx_cancel(inner, "only this"));
    cr_assert_eq(dctx_cancel_status(outer), DCTX_OK);
    cr_assert_eq(dctx_cancel_status(beside), DCTX_OK);
    cr_assert(dctx_cancel(outer, "all"));
    cr_assert_str_eq(dctx_cancel_reason(beside), "all");
    cr_assert_str_eq(dctx_cancel_reason(inner), "only this");
    dctx_cancel_t *late = NULL;
    OK(dctx_cancel_new(&late));
    cr_assert_str_eq(dctx_cancel_reason(late), "all", "a child of a cancelled scope is cancelled");
    dctx_cancel_unref(&late);
    dctx_cancel_unref(&outer);
    dctx_cancel_unref(&inner);
    dctx_cancel_unref(&beside);
}

Test(cancel, work_of_its_own_leaves_the_scope, .init = set_up)
{
    dctx_cancel_t *cancel = NULL, *own = NULL;
    OK(dctx_cancel_new(&cancel));
    OK(dctx_cancel_enter(cancel));
    dctx_snapshot_t *independent = NULL;
    DCTX_WITH_SCOPE("accounting") {
        OK(dctx_cancel_detach());
        cr_assert_null(dctx_cancel_get());
        OK(dctx_fork(&independent));
        OK(dctx_cancel_new(&own));
        (void)dctx_cancel(cancel, NULL);
        cr_assert(!dctx_cancelled());
    }
    cr_assert(dctx_cancelled());
    FAILS_SAYING(dctx_cancel_check(), DCTX_ERR_CANCELLED, "the request was cancelled");
    cr_assert_eq(dctx_cancel_status(own), DCTX_OK);
    cr_assert_eq(dctx_snapshot_over(independent), DCTX_OK);
    dctx_snapshot_unref(&independent);
    dctx_cancel_unref(&own);
    dctx_cancel_unref(&cancel);
}

Test(cancel, a_passed_deadline_counts, .init = set_up)
{
    OK(dctx_deadline_set_timeout(INT64_C(3600000000000)));
    cr_assert(!dctx_cancelled());
    OK(dctx_deadline_set_timeout(-1000));
    cr_assert(dctx_cancelled());
    FAILS_SAYING(dctx_cancel_check(), DCTX_ERR_DEADLINE, "the deadline passed");
    dctx_snapshot_t *fork = NULL;
    OK(dctx_fork(&fork));
    cr_assert_eq(dctx_snapshot_over(fork), DCTX_ERR_DEADLINE);
    dctx_snapshot_unref(&fork);
    dctx_cancel_t *cancel = new_under(NULL);
    cr_assert(dctx_cancel_with_(cancel, DCTX_ERR_DEADLINE, NULL, "elsewhere"));
    cr_assert_eq(dctx_cancel_status(cancel), DCTX_ERR_DEADLINE);
    cr_assert_str_eq(dctx_cancel_chain(cancel), "elsewhere");
    dctx_cancel_unref(&cancel);
}

/* ---- what a thread is asked for ---- */

static dctx_cancel_t *asked_scope;
static int asked_made;
static dctx_error_t asked_status;

static dctx_error_t status_of_asked(void)
{
    return asked_status;
}

static dctx_error_t scope_of_asked(dctx_cancel_t **ret_scope)
{
    asked_made++;
    *ret_scope = asked_scope;
    return DCTX_OK;
}

Test(cancel, the_scope_of_an_ask_is_made_when_something_is_forked, .init = set_up)
{
    dctx_asked_t asked = {.status = status_of_asked, .scope = scope_of_asked};
    asked_scope = new_under(NULL);
    dctx_snapshot_t *other = NULL, *mine = NULL, *fork = NULL;
    OK(dctx_fork(&other));
    OK(dctx_set(user, "ada"));
    OK(dctx_fork(&mine));
    DCTX_WITH_SNAPSHOT(mine) {
        dctx_cancel_begin_(&asked);
        cr_assert(!dctx_cancelled());
        asked_status = DCTX_ERR_CANCELLED;
        cr_assert(dctx_cancelled());
        FAILS_SAYING(dctx_cancel_check(), DCTX_ERR_CANCELLED, "nobody waits");
        DCTX_WITH_SCOPE("apart") {
            OK(dctx_cancel_detach());
            cr_assert(!dctx_cancelled(), "who has left hears nothing");
            OK(dctx_fork(&fork));
            cr_assert_null(dctx_snapshot_cancel(fork));
            dctx_snapshot_unref(&fork);
        }
        DCTX_WITH_SNAPSHOT(other) {
            cr_assert(!dctx_cancelled(), "another context is other work");
            OK(dctx_fork(&fork));
            cr_assert_null(dctx_snapshot_cancel(fork));
            dctx_snapshot_unref(&fork);
        }
        cr_assert_eq(asked_made, 0);
        DCTX_WITH_SCOPE("deep") {
            OK(dctx_set(tenant, "t"));
            OK(dctx_fork(&fork));
            cr_assert_eq(dctx_snapshot_cancel(fork), asked_scope);
            dctx_snapshot_unref(&fork);
        }
        OK(dctx_fork(&fork));
        cr_assert_eq(dctx_snapshot_cancel(fork), asked_scope);
        dctx_snapshot_unref(&fork);
        cr_assert_eq(dctx_cancel_get(), asked_scope);
        int made = asked_made;
        dctx_cancel_t *child = NULL;
        OK(dctx_cancel_new(&child));
        cr_assert_eq(asked_made, made, "it is entered already");
        (void)dctx_cancel(asked_scope, NULL);
        cr_assert_eq(dctx_cancel_status(child), DCTX_ERR_CANCELLED);
        dctx_cancel_unref(&child);
        dctx_cancel_end_();
    }
    cr_assert(!dctx_cancelled());
    dctx_snapshot_unref(&other);
    dctx_snapshot_unref(&mine);
    dctx_cancel_unref(&asked_scope);
}

/* ---- being told ---- */

Test(cancel, a_watch_is_called_once_and_on_the_cancellers_thread, .init = set_up)
{
    dctx_cancel_t *cancel = new_under(NULL), *child = new_under(cancel);
    dctx_cancel_watch_t watch = {0}, below = {0}, gone = {0}, late = {0};
    int calls = 0, calls_below = 0, calls_gone = 0;
    cr_assert(dctx_cancel_watch(cancel, &watch, count, &calls));
    cr_assert(dctx_cancel_watch(child, &below, count, &calls_below));
    cr_assert(dctx_cancel_watch(child, &gone, count, &calls_gone));
    dctx_cancel_unwatch(&gone);
    dctx_cancel_unwatch(&gone);
    (void)dctx_cancel(cancel, NULL);
    (void)dctx_cancel(child, NULL);
    cr_assert_eq(calls, 1);
    cr_assert_eq(calls_below, 1);
    cr_assert_eq(calls_gone, 0);
    cr_assert(!dctx_cancel_watch(cancel, &late, count, &calls), "it is called at once");
    cr_assert_eq(calls, 2);
    dctx_cancel_unwatch(&watch);
    dctx_cancel_unwatch(&below);
    dctx_cancel_unwatch(&late);
    dctx_cancel_unref(&cancel);
    dctx_cancel_unref(&child);
}

/* Frees itself, the other watch, and the scope, in its call. */
typedef struct self_made {
    dctx_cancel_watch_t watch;
    struct self_made *other;
    dctx_cancel_t *cancel;
} self_made_t;

static int self_made_calls;

static void undo_all(dctx_cancel_t *cancel, void *arg)
{
    self_made_t *self = arg;
    self_made_calls++;
    (void)dctx_cancel(cancel, "from within");
    dctx_cancel_unwatch(&self->watch);
    dctx_cancel_unwatch(&self->other->watch);
    dctx_cancel_unref(&self->cancel);
    free(self->other);
    free(self);
}

Test(cancel, a_watch_may_undo_everything_in_its_call, .init = set_up)
{
    self_made_t *a = calloc(1, sizeof(*a)), *b = calloc(1, sizeof(*b));
    a->other = b;
    b->other = a;
    dctx_cancel_t *cancel = new_under(NULL);
    a->cancel = b->cancel = cancel;
    cr_assert(dctx_cancel_watch(cancel, &a->watch, undo_all, a));
    cr_assert(dctx_cancel_watch(cancel, &b->watch, undo_all, b));
    cr_assert(dctx_cancel(cancel, NULL));
    cr_assert_eq(self_made_calls, 1);
}

Test(cancel, a_descriptor_becomes_readable_and_is_closed_with_the_scope, .init = set_up)
{
    dctx_cancel_t *cancel = new_under(NULL), *child = new_under(cancel);
    int fd = -1, same = -1, late = -1;
    OK(dctx_cancel_fd(child, &fd));
    OK(dctx_cancel_fd(child, &same));
    cr_assert_eq(fd, same);
    cr_assert(!is_readable(fd));
    (void)dctx_cancel(cancel, NULL);
    cr_assert(is_readable(fd));
    OK(dctx_cancel_fd(cancel, &late));
    cr_assert(is_readable(late), "made after the cancel");
    dctx_cancel_unref(&cancel);
    dctx_cancel_unref(&child);
    cr_assert_eq(fcntl(fd, F_GETFD), -1);
    cr_assert_eq(fcntl(late, F_GETFD), -1);
}

/* ---- without memory ---- */

static size_t allowed;

static void *allocate(size_t size)
{
    return allowed > 0 && allowed-- > 0 ? malloc(size) : NULL;
}

static void release(void *block)
{
    free(block);
}

Test(cancel, cancelling_needs_no_memory, .init = set_up)
{
    static const dctx_allocator_t scarce = {.allocate = allocate, .release = release};
    dctx_cancel_t *cancel = new_under(NULL), *child = NULL;
    dctx_cancel_watch_t watch = {0};
    int calls = 0, fd = -1;
    dctx_scope_t scope = push("here");
    dctx_set_allocator(&scarce);
    FAILS(dctx_cancel_new(&child), DCTX_ERR_NOMEM);
    cr_assert_null(child);
    cr_assert(dctx_cancel_watch(cancel, &watch, count, &calls));
    OK(dctx_cancel_fd(cancel, &fd));
    cr_assert(dctx_cancel(cancel, "no room for this"));
    cr_assert_eq(calls, 1);
    cr_assert(is_readable(fd));
    cr_assert_eq(dctx_cancel_status(cancel), DCTX_ERR_CANCELLED);
    cr_assert_str_eq(dctx_cancel_reason(cancel), "");
    allowed = 1;
    OK(dctx_cancel_new_under(cancel, &child));
    cr_assert_eq(dctx_cancel_status(child), DCTX_ERR_CANCELLED);
    dctx_cancel_unref(&child);
    dctx_cancel_unref(&cancel);
    dctx_set_allocator(NULL);
    OK(dctx_scope_pop(&scope));
}

Test(cancel, entering_without_memory_changes_nothing, .init = set_up)
{
    static const dctx_allocator_t scarce = {.allocate = allocate, .release = release};
    dctx_cancel_t *cancel = new_under(NULL);
    for (size_t n = 0;; n++) {
        allowed = n;
        dctx_set_allocator(&scarce);
        dctx_scope_t scope;
        dctx_error_t error = dctx_scope_push(NULL, &scope);
        if (error == DCTX_OK)
            error = dctx_cancel_enter(cancel);
        cr_assert_eq(dctx_cancel_get(), error == DCTX_OK ? cancel : NULL);
        (void)dctx_scope_pop(&scope);
        dctx_set_allocator(NULL);
        cr_assert_null(dctx_cancel_get());
        if (error == DCTX_OK)
            break;
        cr_assert_eq(error, DCTX_ERR_NOMEM);
        cr_assert_lt(n, 100);
    }
    dctx_cancel_unref(&cancel);
}

/* ---- against a model ---- */

enum { NODES = 64, STEPS = 20000, NONE = -1 };

typedef struct node {
    dctx_cancel_t *cancel; /* NULL: not there */
    int parent;
    int reason; /* the number of the cancel that reached it; 0: none */
    dctx_cancel_watch_t watch;
    bool watched;
    int calls, expected;
} node_t;

static node_t nodes[NODES];
static uint64_t seed = 88172645463325252u;

static unsigned chance(unsigned bound)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed >> 33) % bound;
}

static bool descends(int node, int from)
{
    while (node != NONE && node != from)
        node = nodes[node].parent;
    return node == from;
}

/* A node that is only kept by its children has no reference of ours; so whether it may be used
 * again is whether somebody names it as a parent. */
static bool is_named(int node)
{
    for (int i = 0; i < NODES; i++)
        if (nodes[i].cancel != NULL && nodes[i].parent == node)
            return true;
    return false;
}

static void check_nodes(void)
{
    for (int i = 0; i < NODES; i++) {
        node_t *node = &nodes[i];
        if (node->cancel == NULL)
            continue;
        char reason[16] = "";
        if (node->reason != 0)
            (void)snprintf(reason, sizeof(reason), "%d", node->reason);
        cr_assert_str_eq(dctx_cancel_reason(node->cancel), reason, "node %d", i);
        cr_assert_eq(node->calls, node->expected, "node %d", i);
    }
}

static void step(int number)
{
    int i = (int)chance(NODES);
    node_t *node = &nodes[i];
    switch (chance(5)) {
    case 0:
    case 1:
        if (node->cancel == NULL) {
            int parent = (int)chance(NODES);
            *node = (node_t){.parent = NONE};
            if (nodes[parent].cancel != NULL && chance(8) != 0) {
                node->parent = parent;
                node->reason = nodes[parent].reason;
            }
            node->cancel = new_under(node->parent == NONE ? NULL : nodes[parent].cancel);
        }
        break;
    case 2:
        if (node->cancel != NULL && !is_named(i)) {
            dctx_cancel_unwatch(&node->watch);
            dctx_cancel_unref(&node->cancel);
        }
        break;
    case 3:
        if (node->cancel != NULL && !node->watched) {
            node->watched = true;
            bool waits = dctx_cancel_watch(node->cancel, &node->watch, count, &node->calls);
            cr_assert_eq(waits, node->reason == 0);
            node->expected += node->reason != 0;
        } else if (node->cancel != NULL) {
            dctx_cancel_unwatch(&node->watch);
            node->watched = false;
        }
        break;
    default:
        if (node->cancel != NULL && chance(8) == 0) {
            char reason[16];
            (void)snprintf(reason, sizeof(reason), "%d", number);
            bool first = dctx_cancel(node->cancel, reason);
            cr_assert_eq(first, node->reason == 0);
            for (int j = 0; j < NODES; j++) {
                if (nodes[j].cancel == NULL || nodes[j].reason != 0 || !descends(j, i))
                    continue;
                nodes[j].reason = number;
                nodes[j].expected += nodes[j].watched;
            }
        }
        break;
    }
}

Test(cancel, a_tree_does_what_its_model_does, .init = set_up)
{
    for (int number = 1; number <= STEPS; number++) {
        step(number);
        if (number % 16 == 0)
            check_nodes();
    }
    for (int i = 0; i < NODES; i++) {
        dctx_cancel_unwatch(&nodes[i].watch);
        dctx_cancel_unref(&nodes[i].cancel);
    }
}

Test(cancel, a_deep_tree_needs_no_deep_stack, .init = set_up)
{
    enum { DEPTH = 200000 };
    dctx_cancel_t *root = new_under(NULL), *last = dctx_cancel_ref(root);
    for (int i = 0; i < DEPTH; i++) {
        dctx_cancel_t *next = new_under(last);
        dctx_cancel_unref(&last);
        last = next;
    }
    (void)dctx_cancel(root, "all of it");
    cr_assert_eq(dctx_cancel_status(last), DCTX_ERR_CANCELLED);
    dctx_cancel_unref(&root);
    dctx_cancel_unref(&last);
}

/* ---- threads ---- */

enum { THREADS = 4, ROUNDS = 400 };

static dctx_cancel_t *shared;
static _Atomic(int) shared_calls;
static pthread_barrier_t start;

typedef struct owned {
    dctx_cancel_watch_t watch;
    bool running; /* only the barrier of unwatch keeps this from being a race */
    bool dead;
} owned_t;

static void touch(dctx_cancel_t *cancel, void *arg)
{
    owned_t *owned = arg;
    (void)cancel;
    cr_assert(!owned->dead);
    owned->running = true;
    (void)atomic_fetch_add(&shared_calls, 1);
    owned->running = false;
}

static void *come_and_go(void *arg)
{
    bool cancels = arg != NULL;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&start);
        dctx_cancel_t *child = NULL;
        owned_t mine[4] = {{.dead = false}};
        OK(dctx_cancel_new_under(shared, &child));
        for (int i = 0; i < 4; i++)
            (void)dctx_cancel_watch(i % 2 ? shared : child, &mine[i].watch, touch, &mine[i]);
        if (cancels)
            (void)dctx_cancel(shared, "now");
        for (int i = 0; i < 4; i++) {
            dctx_cancel_unwatch(&mine[i].watch);
            cr_assert(!mine[i].running);
            mine[i].dead = true;
        }
        (void)dctx_cancelled();
        dctx_cancel_unref(&child);
        pthread_barrier_wait(&start);
    }
    return NULL;
}

Test(cancel, threads_may_watch_cancel_and_unwatch_at_once, .init = set_up, .timeout = 120)
{
    pthread_t threads[THREADS];
    pthread_barrier_init(&start, NULL, THREADS + 1);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, come_and_go, i < 2 ? &start : NULL);
    for (int round = 0; round < ROUNDS; round++) {
        shared = new_under(NULL);
        pthread_barrier_wait(&start);
        pthread_barrier_wait(&start);
        cr_assert_eq(dctx_cancel_status(shared), DCTX_ERR_CANCELLED);
        dctx_cancel_unref(&shared);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&start);
}
