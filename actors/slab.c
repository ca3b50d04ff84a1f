#include "slab.h"

#include <stdbool.h>
#include <sys/mman.h>

#include "aligned.h"

/* Where there are many slots they are used all over the place, and most of the time goes into
 * finding out where a page is. So once there are so many chunks, more come in blocks that lie in
 * huge pages, if the machine has such. */
enum {
    FEW_CHUNKS = 32,
    HUGE_PAGE = 2 << 20,
    BLOCK =
        4 * HUGE_PAGE /* allocated with one more to align it; what is not touched costs no memory */
};

void dctx_slab_init(dctx_slab_t *slab, size_t slot_size, void (*init)(void *slot))
{
    slab->slot_size = slot_size;
    slab->init = init;
    slab->blocks = NULL;
    slab->rest_chunks = 0;
    atomic_init(&slab->free, 0);
    atomic_init(&slab->count, 0);
    for (int i = 0; i < DCTX_SLAB_PAGES; i++)
        atomic_init(&slab->pages[i], NULL);
    pthread_mutex_init(&slab->grow_lock, NULL);
}

void dctx_slab_finish(dctx_slab_t *slab)
{
    for (int i = 0; i < DCTX_SLAB_PAGES; i++)
        dctx_release_(atomic_load(&slab->pages[i]));
    for (dctx_slab_block_t *block = slab->blocks; block != NULL; block = slab->blocks) {
        slab->blocks = block->next;
        dctx_release_(block->memory);
        dctx_release_(block);
    }
    pthread_mutex_destroy(&slab->grow_lock);
}

static dctx_slab_slot_t *slot_at(dctx_slab_t *slab, uint32_t index)
{
    return dctx_slab_at(slab, index);
}

/* Puts a chain of free slots, linked by next_free from first to last, on the stack. */
static void push_chain(dctx_slab_t *slab, dctx_slab_slot_t *first, dctx_slab_slot_t *last)
{
    uint64_t head = atomic_load_explicit(&slab->free, memory_order_relaxed);
    uint64_t changed;
    do {
        atomic_store_explicit(&last->next_free, (uint32_t)head, memory_order_relaxed);
        changed = ((head >> 32) + 1) << 32 | (first->index + 1);
        /* Release: the next taker sees what we did to the slots. */
    } while (!atomic_compare_exchange_weak_explicit(&slab->free, &head, changed,
                                                    memory_order_release, memory_order_relaxed));
}

static dctx_slab_slot_t *pop(dctx_slab_t *slab)
{
    uint64_t head = atomic_load_explicit(&slab->free, memory_order_acquire);
    while ((uint32_t)head != 0) {
        dctx_slab_slot_t *slot = slot_at(slab, (uint32_t)head - 1);
        /* Another may take the slot right now and change next_free;
         * then the tag has moved on and our swap fails. */
        uint32_t next = atomic_load_explicit(&slot->next_free, memory_order_relaxed);
        uint64_t changed = ((head >> 32) + 1) << 32 | next;
        if (atomic_compare_exchange_weak_explicit(&slab->free, &head, changed, memory_order_acq_rel,
                                                  memory_order_acquire))
            return slot;
    }
    return NULL;
}

/* Zeroed memory for chunks, from an address that is a multiple of `alignment`.
 * False: there is none. */
static bool add_block(dctx_slab_t *slab, size_t size, size_t alignment)
{
    dctx_slab_block_t *block = dctx_alloc_(sizeof *block);
    unsigned char *memory = block != NULL ? dctx_calloc_(1, size + alignment) : NULL;
    if (memory == NULL) {
        dctx_release_(block);
        return false;
    }
    *block = (dctx_slab_block_t){.next = slab->blocks, .memory = memory};
    slab->blocks = block;
    slab->rest = memory + (-(uintptr_t)memory & (alignment - 1));
    slab->rest_chunks = (unsigned)(size / (DCTX_SLAB_CHUNK * slab->slot_size));
    return true;
}

/* Memory for the next chunk; NULL without memory. */
static unsigned char *new_chunk(dctx_slab_t *slab, uint32_t chunk)
{
    size_t size = DCTX_SLAB_CHUNK * slab->slot_size;
    if (slab->rest_chunks == 0 && chunk >= FEW_CHUNKS && size <= BLOCK &&
        add_block(slab, BLOCK, HUGE_PAGE))
        (void)madvise(slab->rest, BLOCK, MADV_HUGEPAGE); /* if not, it is slower */
    if (slab->rest_chunks == 0 && !add_block(slab, size, DCTX_CACHE_LINE))
        return NULL;
    unsigned char *slots = slab->rest;
    slab->rest += size;
    slab->rest_chunks--;
    return slots;
}

static bool grow(dctx_slab_t *slab)
{
    uint32_t count = atomic_load_explicit(&slab->count, memory_order_relaxed);
    uint32_t chunk = count >> DCTX_SLAB_CHUNK_BITS;
    if (chunk >> DCTX_SLAB_PAGE_BITS >= DCTX_SLAB_PAGES)
        return false;
    _Atomic(dctx_slab_page_t *) *place = &slab->pages[chunk >> DCTX_SLAB_PAGE_BITS];
    dctx_slab_page_t *page = atomic_load_explicit(place, memory_order_relaxed);
    if (page == NULL) {
        page = dctx_calloc_(1, sizeof *page);
        if (page == NULL)
            return false;
        atomic_store_explicit(place, page, memory_order_release);
    }
    unsigned char *slots = new_chunk(slab, chunk);
    if (slots == NULL)
        return false;
    for (uint32_t i = 0; i < DCTX_SLAB_CHUNK; i++) {
        dctx_slab_slot_t *slot = (dctx_slab_slot_t *)(void *)(slots + i * slab->slot_size);
        slot->index = count + i;
        atomic_init(&slot->next_free, count + i + 2);
        slab->init(slot);
    }
    atomic_store_explicit(&page->chunks[chunk & (DCTX_SLAB_PAGE - 1)], slots, memory_order_release);
    atomic_store_explicit(&slab->count, count + DCTX_SLAB_CHUNK, memory_order_release);
    push_chain(slab, slot_at(slab, count), slot_at(slab, count + DCTX_SLAB_CHUNK - 1));
    return true;
}

void *dctx_slab_take(dctx_slab_t *slab)
{
    dctx_slab_slot_t *slot = pop(slab);
    while (slot == NULL) {
        pthread_mutex_lock(&slab->grow_lock);
        /* Another may have grown it while we waited, and others have taken it all: then again. */
        slot = pop(slab);
        bool grown = slot != NULL || grow(slab);
        pthread_mutex_unlock(&slab->grow_lock);
        if (slot == NULL)
            slot = pop(slab);
        if (!grown)
            break;
    }
    return slot;
}

void dctx_slab_give(dctx_slab_t *slab, void *slot)
{
    push_chain(slab, slot, slot);
}
