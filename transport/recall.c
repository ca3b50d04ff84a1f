#include "recall.h"

#include <stdbool.h>
#include <string.h>

#include <dcontext/internal.h>

#define PLACES 4

typedef struct memory {
    dctx_recalled_t places[PLACES];
    dctx_snapshot_t *empty; /* with a reference; NULL: none yet */
    unsigned held;          /* how many have it at hand, so that it must stay */
} memory_t;

/* The calling thread's; NULL: none yet, or no more, as the thread ends. */
static _Thread_local memory_t *memory __attribute__((tls_model("initial-exec")));
static _Thread_local bool ended __attribute__((tls_model("initial-exec")));

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t at_end;
static bool has_key; /* written under `once` */

static void forget(void *arg)
{
    memory_t *mine = arg;
    memory = NULL;
    ended = true;
    for (size_t i = 0; i < PLACES; i++) {
        dctx_snapshot_unref(&mine->places[i].snapshot);
        dctx_release_(mine->places[i].bytes);
    }
    dctx_snapshot_unref(&mine->empty);
    dctx_release_(mine);
}

static void make_key(void)
{
    has_key = pthread_key_create(&at_end, forget) == 0;
}

static memory_t *own_memory(void)
{
    if (memory != NULL || ended)
        return memory;
    pthread_once(&once, make_key);
    memory_t *made = has_key ? dctx_calloc_(1, sizeof(*made)) : NULL;
    if (made != NULL && pthread_setspecific(at_end, made) != 0) {
        dctx_release_(made);
        made = NULL;
    }
    memory = made;
    return made;
}

/* Any function does; the bytes are compared. Stamps of one peer differ in their first entries, and
 * more often in size. */
static size_t place_of(const uint8_t *data, size_t size)
{
    uint32_t word = 0;
    if (size >= sizeof(word))
        memcpy(&word, data + size - sizeof(word), sizeof(word));
    uint32_t middle = size > 0 ? data[size / 2] : 0;
    return (word * 2654435761u + (uint32_t)size + middle) >> 7 & (PLACES - 1);
}

#define VAIN_MOST  4
#define VAIN_EVERY 16

const dctx_recalled_t *dctx_recall_(const dctx_registry_t *registry, const dctx_policy_t *policy,
                                    dctx_class_t peer, const void *data, size_t size,
                                    bool *ret_keep)
{
    *ret_keep = true;
    if (memory == NULL)
        return NULL;
    dctx_recalled_t *place = &memory->places[place_of(data, size)];
    /* Of so many one is looked for, and kept instead. */
    if (place->in_vain >= VAIN_MOST && ++place->passed % VAIN_EVERY != 0) {
        *ret_keep = false;
        return NULL;
    }
    if (place->snapshot == NULL || place->size != size || place->policy != policy->serial ||
        place->peer != peer || memcmp(place->bytes, data, size) != 0 ||
        dctx_snapshot_registry(place->snapshot) != registry)
        return NULL;
    place->found = true;
    place->in_vain = 0;
    return place;
}

void dctx_recall_keep_(dctx_snapshot_t *snapshot, const dctx_policy_t *policy, dctx_class_t peer,
                       const dctx_stripped_t *stripped, const void *data, size_t size)
{
    if (size > DCTX_RECALL_BYTES || stripped->count > DCTX_STRIPPED_MAX || own_memory() == NULL)
        return;
    dctx_recalled_t *place = &memory->places[place_of(data, size)];
    place->in_vain = place->found ? 0 : place->in_vain + (place->in_vain < VAIN_MOST);
    if (place->capacity < size) {
        size_t capacity = size < 512 ? 512 : size < 2048 ? 2048 : DCTX_RECALL_BYTES;
        uint8_t *bytes = dctx_alloc_(capacity);
        if (bytes == NULL)
            return;
        dctx_release_(place->bytes);
        place->bytes = bytes;
        place->capacity = capacity;
    }
    dctx_snapshot_t *gone = place->snapshot;
    place->found = false;
    memcpy(place->bytes, data, size);
    place->size = size;
    place->policy = policy->serial;
    place->peer = peer;
    place->stripped.count = stripped->count;
    memcpy(place->stripped.tallies, stripped->tallies,
           stripped->count * sizeof(stripped->tallies[0]));
    place->snapshot = dctx_snapshot_ref(snapshot);
    dctx_snapshot_unref(&gone);
}

static __attribute__((noinline)) dctx_error_t hold_new(dctx_registry_t *registry,
                                                       dctx_at_hand_t *ret_hand)
{
    dctx_snapshot_t *made;
    dctx_error_t error = dctx_snapshot_empty(registry, &made);
    if (error != DCTX_OK)
        return error;
    *ret_hand = (dctx_at_hand_t){made, true};
    if (own_memory() == NULL || memory->held > 0)
        return DCTX_OK;
    dctx_snapshot_t *gone = memory->empty;
    memory->empty = dctx_snapshot_ref(made);
    dctx_snapshot_unref(&gone);
    return DCTX_OK;
}

dctx_error_t dctx_recall_hold_(dctx_registry_t *registry, dctx_at_hand_t *ret_hand)
{
    if (memory == NULL || dctx_snapshot_registry(memory->empty) != registry)
        return hold_new(registry, ret_hand);
    memory->held++;
    *ret_hand = (dctx_at_hand_t){memory->empty, false};
    return DCTX_OK;
}

void dctx_recall_let_go_(dctx_at_hand_t *hand)
{
    if (hand->counted)
        dctx_snapshot_unref(&hand->snapshot);
    else
        memory->held--;
}
