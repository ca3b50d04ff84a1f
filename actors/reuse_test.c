/* A system whose memory another one gets: what was on its way to the first does not come to the
 * second. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "fixture.h"

/* Gives a large block that was freed to who next wants one of that size: a system's, and its
 * tables'. */
enum { LARGE = 4096, KEPT = 64 };

static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER;
static void *kept[KEPT];

typedef struct head {
    _Alignas(16) size_t size;
} head_t;

static void *allocate(size_t size)
{
    head_t *block = NULL;
    pthread_mutex_lock(&kept_lock);
    for (int i = 0; i < KEPT && size >= LARGE && block == NULL; i++) {
        if (kept[i] != NULL && ((head_t *)kept[i])->size == size) {
            block = kept[i];
            kept[i] = NULL;
        }
    }
    pthread_mutex_unlock(&kept_lock);
    if (block == NULL)
        block = malloc(sizeof *block + size);
    if (block == NULL)
        return NULL;
    block->size = size;
    return block + 1;
}

static void release(void *memory)
{
    head_t *block = memory == NULL ? NULL : (head_t *)memory - 1;
    pthread_mutex_lock(&kept_lock);
    for (int i = 0; i < KEPT && block != NULL && block->size >= LARGE; i++) {
        if (kept[i] == NULL) {
            kept[i] = block;
            block = NULL;
        }
    }
    pthread_mutex_unlock(&kept_lock);
    free(block);
}

static void set_up(void)
{
    static const dctx_allocator_t allocator = {.allocate = allocate, .release = release};
    dctx_set_allocator(&allocator);
    fixture_init();
}

static void tear_down(void)
{
    for (int i = 0; i < KEPT; i++) {
        free(kept[i]);
        kept[i] = NULL;
    }
}

/* Puts a system into the place of another. */
static void replace(dctx_system_t **system_p)
{
    dctx_system_t *old = *system_p;
    finish(system_p);
    *system_p = start(&(dctx_system_options_t){.workers = 1});
    cr_assert_eq(*system_p, old, "it is at the same address");
}

/* ---- an answer ------------------------------------------------------------------------------- */

typedef struct desk {
    gate_t asked, answered;
    dctx_reply_to_t *owed[2];
    dctx_ref_t self;
    _Atomic(uint64_t) answer;
} desk_t;

static dctx_error_t owe(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    desk_t *desk = state;
    (void)self;
    dctx_error_t error = dctx_reply_defer(message, &desk->owed[gate_count(&desk->asked)]);
    gate_pass(&desk->asked);
    return error;
}

static void on_reply(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply,
                     void *state, void *arg)
{
    desk_t *desk = arg;
    const uint64_t *answer = dctx_message_get(reply, DCTX_TYPE_UINT64);
    (void)self;
    (void)state;
    if (status != DCTX_OK)
        return; /* its system stopped */
    desk->answer = *answer;
    gate_pass(&desk->answered);
}

static dctx_error_t ask(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    desk_t *desk = state;
    (void)message;
    return dctx_ask(self, desk->self, NULL, NULL, 60000, on_reply, desk);
}

Test(reuse, an_answer_to_the_first_is_none_to_the_second, .init = set_up, .fini = tear_down,
     .timeout = 60)
{
    desk_t desk = {.asked = GATE_INIT, .answered = GATE_INIT};
    uint64_t first = 1, second = 2;
    dctx_system_t *there = start(&(dctx_system_options_t){.workers = 1});
    dctx_system_t *here = start(&(dctx_system_options_t){.workers = 1});
    desk.self = spawn(there, "desk", owe, &desk);
    tell_uint(spawn(here, "asker", ask, &desk), 0);
    cr_assert(gate_wait(&desk.asked, 1));
    replace(&here);
    desk.answer = 0;
    tell_uint(spawn(here, "asker", ask, &desk), 0);
    cr_assert(gate_wait(&desk.asked, 2));
    cr_assert_eq(dctx_reply_to_send(&desk.owed[0], DCTX_TYPE_UINT64, &first), DCTX_OK);
    cr_assert_eq(counters(here).late_replies, 1);
    cr_assert_eq(dctx_reply_to_send(&desk.owed[1], DCTX_TYPE_UINT64, &second), DCTX_OK);
    cr_assert(gate_wait(&desk.answered, 1));
    cr_assert_eq(desk.answer, 2);
    finish(&here);
    finish(&there);
}

/* ---- an end ---------------------------------------------------------------------------------- */

typedef struct scene {
    gate_t held, go, handled;
} scene_t;

/* Keeps its worker until it may go, then fails: so what is urgent for it comes too late. */
static dctx_error_t hold_on(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    scene_t *scene = state;
    (void)message;
    gate_pass(&scene->held);
    cr_assert(gate_wait(&scene->go, 1));
    dctx_self_fail(self, DCTX_ERR_IO, NULL);
    return DCTX_OK;
}

static dctx_error_t count(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)message;
    gate_pass(state);
    return DCTX_OK;
}

Test(reuse, whom_the_first_was_tied_to_does_not_end_the_second, .init = set_up, .fini = tear_down,
     .timeout = 60)
{
    scene_t scene = {.held = GATE_INIT, .go = GATE_INIT, .handled = GATE_INIT};
    dctx_system_t *there = start(&(dctx_system_options_t){.workers = 1});
    dctx_system_t *here = start(&(dctx_system_options_t){.workers = 1});
    dctx_ref_t first = spawn(here, "tied", count, &scene.handled);
    dctx_ref_t target = spawn(there, "target", hold_on, &scene);
    cr_assert_eq(dctx_tie(first, target, 0), DCTX_OK);
    tell_uint(target, 0);
    cr_assert(gate_wait(&scene.held, 1));
    replace(&here);
    dctx_ref_t second = spawn(here, "tied", count, &scene.handled);
    cr_assert(dctx_ref_equal(first, second), "nobody can tell them apart");
    gate_pass(&scene.go);
    finish(&there);
    tell_uint(second, 0);
    cr_assert(gate_wait(&scene.handled, 1), "it is as alive as before");
    finish(&here);
}
