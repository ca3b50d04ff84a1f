#include "slab.h"

#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include <dcontext/runtime.h>

typedef struct thing {
    _Alignas(64) dctx_slab_slot_t slot;
    int made;
    _Atomic(int) taken;
} thing_t;

static void make_thing(void *slot)
{
    ((thing_t *)slot)->made++;
}

Test(slab, slots_have_numbers_and_keep_their_place)
{
    enum { COUNT = 3 * DCTX_SLAB_CHUNK + 5 };
    static thing_t *things[COUNT];
    dctx_slab_t slab;
    dctx_slab_init(&slab, sizeof(thing_t), make_thing);
    cr_assert_null(dctx_slab_at(&slab, 0));
    for (int i = 0; i < COUNT; i++) {
        things[i] = dctx_slab_take(&slab);
        cr_assert_not_null(things[i]);
        cr_assert_eq((uintptr_t)things[i] % 64, 0);
        cr_assert_eq(things[i]->made, 1);
        cr_assert_eq(dctx_slab_at(&slab, things[i]->slot.index), things[i]);
        things[i]->made = 100 + i;
    }
    for (int i = 0; i < COUNT; i++)
        cr_assert_eq(things[i]->made, 100 + i, "slots overlap");
    uint32_t count = dctx_slab_count(&slab);
    cr_assert_eq(count, 4 * DCTX_SLAB_CHUNK);
    cr_assert_null(dctx_slab_at(&slab, count));
    cr_assert_null(dctx_slab_at(&slab, UINT32_MAX));
    dctx_slab_give(&slab, things[7]);
    cr_assert_eq(dctx_slab_take(&slab), things[7], "the last one given comes first");
    cr_assert_eq(dctx_slab_count(&slab), count);
    dctx_slab_finish(&slab);
}

static void *churn(void *arg)
{
    dctx_slab_t *slab = arg;
    thing_t *mine[16] = {NULL};
    for (unsigned i = 0; i < 30000; i++) {
        thing_t **place = &mine[i * 7 % 16];
        if (*place != NULL) {
            cr_assert_eq(atomic_exchange(&(*place)->taken, 0), 1);
            dctx_slab_give(slab, *place);
        }
        *place = dctx_slab_take(slab);
        cr_assert_not_null(*place);
        cr_assert_eq(atomic_exchange(&(*place)->taken, 1), 0, "two have the same slot");
    }
    return NULL;
}

Test(slab, no_two_threads_get_the_same_slot, .timeout = 60)
{
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    dctx_slab_t slab;
    dctx_slab_init(&slab, sizeof(thing_t), make_thing);
    for (int i = 0; i < THREADS; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, churn, &slab), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(dctx_slab_count(&slab), DCTX_SLAB_CHUNK);
    dctx_slab_finish(&slab);
}

static int allocations_left;

static void *scarce(size_t size)
{
    return allocations_left-- > 0 ? malloc(size) : NULL;
}

Test(slab, without_memory_there_is_no_slot_and_then_there_is)
{
    static const dctx_allocator_t allocator = {.allocate = scarce, .release = free};
    dctx_slab_t slab;
    dctx_set_allocator(&allocator);
    for (int most = 0; most < 2; most++) {
        dctx_slab_init(&slab, sizeof(thing_t), make_thing);
        allocations_left = most;
        cr_assert_null(dctx_slab_take(&slab));
        allocations_left = 10;
        cr_assert_not_null(dctx_slab_take(&slab));
        dctx_slab_finish(&slab);
    }
    dctx_set_allocator(NULL);
}

enum { LARGE = 1 << 20 };

static void *no_large(size_t size)
{
    return size < LARGE ? malloc(size) : NULL;
}

/* Where there are many slots they come in large blocks, if there are such. */
Test(slab, very_many_slots_do_with_small_blocks_too)
{
    enum { COUNT = 40 * DCTX_SLAB_CHUNK };
    static const dctx_allocator_t small = {.allocate = no_large, .release = free};
    static thing_t *things[COUNT];
    for (int round = 0; round < 2; round++) {
        dctx_slab_t slab;
        dctx_set_allocator(round == 0 ? NULL : &small);
        dctx_slab_init(&slab, sizeof(thing_t), make_thing);
        for (int i = 0; i < COUNT; i++) {
            things[i] = dctx_slab_take(&slab);
            cr_assert_not_null(things[i]);
            cr_assert_eq((uintptr_t)things[i] % 64, 0);
            cr_assert_eq(things[i]->made, 1, "new, and nobody else's");
            things[i]->made = 100 + i;
        }
        for (int i = 0; i < COUNT; i++)
            cr_assert_eq(things[i]->made, 100 + i, "slots overlap");
        cr_assert_eq(dctx_slab_at(&slab, things[COUNT - 1]->slot.index), things[COUNT - 1]);
        dctx_slab_finish(&slab);
    }
    dctx_set_allocator(NULL);
}
