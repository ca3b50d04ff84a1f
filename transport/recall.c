#include "recall.h"

#include <stdbool.h>
#include <string.h>

#include <dcontext/internal.h>

#define PLACES 4

typedef struct memory {
    dctx_recalled_t places[PLACES];
    dctx_snapshot_t *empty; /* with a reference; NULL: none yet */
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

/* Whether a stamp is worth keeping here. */
static inline bool is_worth_it(dctx_recalled_t *place)
{
    if (place->in_vain >= VAIN_MOST && ++place->passed % VAIN_EVERY != 0)
        return false;
    place->in_vain = place->found ? 0 : place->in_vain + (place->in_vain < VAIN_MOST);
    return true;
}

const dctx_recalled_t *dctx_recall_(const dctx_registry_t *registry, const dctx_policy_t *policy,
                                    dctx_class_t peer, const void *data, size_t size)
{
    if (memory == NULL)
        return NULL;
    dctx_recalled_t *place = &memory->places[place_of(data, size)];
    if (place->snapshot == NULL || place->size != size || place->policy != policy->serial ||
        place->peer != peer || memcmp(place->bytes, data, size) != 0 ||
        dctx_snapshot_registry(place->snapshot) != registry)
        return NULL;
    place->found = true;
    return place;
}

void dctx_recall_keep_(dctx_snapshot_t *snapshot, const dctx_policy_t *policy, dctx_class_t peer,
                       const dctx_stripped_t *stripped, const void *data, size_t size)
{
    if (size > DCTX_RECALL_BYTES || stripped->count > DCTX_STRIPPED_MAX || own_memory() == NULL)
        return;
    dctx_recalled_t *place = &memory->places[place_of(data, size)];
    if (!is_worth_it(place))
        return;
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

dctx_error_t dctx_recall_empty_(dctx_registry_t *registry, dctx_snapshot_t **ret_snapshot)
{
    if (memory == NULL || dctx_snapshot_registry(memory->empty) != registry) {
        dctx_snapshot_t *made;
        dctx_error_t error = dctx_snapshot_empty(registry, &made);
        if (error != DCTX_OK)
            return error;
        if (own_memory() == NULL) {
            *ret_snapshot = made;
            return DCTX_OK;
        }
        dctx_snapshot_t *gone = memory->empty;
        memory->empty = made;
        dctx_snapshot_unref(&gone);
    }
    *ret_snapshot = dctx_snapshot_ref(memory->empty);
    return DCTX_OK;
}
