#include "watch.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dcontext/runtime.h>

#define LIVE UINT64_C(0x6c6976656c697665)
#define DEAD UINT64_C(0x6465616464656164)

typedef struct head {
    uint64_t mark;
    size_t size;
} head_t;

_Static_assert(sizeof(head_t) == 16, "blocks stay aligned as malloc aligns them");

/* Relaxed everywhere: figures, read when the threads that made them have been joined or are this
 * one. */
static size_t live_blocks, live_bytes, base_bytes, peak_bytes, total_bytes, total_count;

static _Thread_local unsigned countdown; /* 0: none fails */
static _Thread_local bool fails_later;
static _Thread_local unsigned refused;

static size_t load(const size_t *figure)
{
    return __atomic_load_n(figure, __ATOMIC_RELAXED);
}

static size_t add(size_t *figure, size_t more)
{
    return __atomic_add_fetch(figure, more, __ATOMIC_RELAXED);
}

static bool refuses(void)
{
    if (countdown == 0)
        return false;
    if (countdown > 1) {
        countdown--;
        return false;
    }
    if (!fails_later)
        countdown = 0;
    refused++;
    return true;
}

static void *watched_allocate(size_t size)
{
    if (refuses())
        return NULL;
    head_t *head = malloc(sizeof(*head) + size);
    if (head == NULL)
        return NULL;
    *head = (head_t){LIVE, size};
    memset(head + 1, 0xa5, size);
    add(&live_blocks, 1);
    add(&total_bytes, size);
    add(&total_count, 1);
    size_t now = add(&live_bytes, size);
    size_t peak = load(&peak_bytes);
    while (now > peak && !__atomic_compare_exchange_n(&peak_bytes, &peak, now, true,
                                                      __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        continue;
    return head + 1;
}

static void watched_release(void *block)
{
    if (block == NULL)
        return;
    head_t *head = (head_t *)block - 1;
    if (head->mark != LIVE) {
        fprintf(stderr, "watch: released %s\n", head->mark == DEAD ? "twice" : "what is no block");
        abort();
    }
    head->mark = DEAD;
    add(&live_blocks, (size_t)-1);
    add(&live_bytes, -head->size);
    memset(block, 0xdd, head->size);
    free(head);
}

void watch_install(void)
{
    dctx_set_allocator(&(dctx_allocator_t){watched_allocate, watched_release});
}

size_t watch_live_blocks(void)
{
    return load(&live_blocks);
}

size_t watch_live_bytes(void)
{
    return load(&live_bytes);
}

void watch_begin(void)
{
    base_bytes = load(&live_bytes);
    peak_bytes = base_bytes;
    total_bytes = 0;
    total_count = 0;
}

size_t watch_peak(void)
{
    return load(&peak_bytes) - base_bytes;
}

size_t watch_total(void)
{
    return load(&total_bytes);
}

size_t watch_count(void)
{
    return load(&total_count);
}

void watch_fail(unsigned nth, bool later)
{
    countdown = nth;
    fails_later = later;
    refused = 0;
}

unsigned watch_relent(void)
{
    countdown = 0;
    return refused;
}
