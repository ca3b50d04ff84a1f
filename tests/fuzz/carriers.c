#include "carriers.h"

#include "watch.h"

static void add_claim(dctx_registry_t *registry, const char *name, const dctx_type_t *type)
{
    dctx_metadata_t metadata = {&dctx_baggage_name, name};
    dctx_key_options_t options = {
        .name = name, .type = type, .metadata = &metadata, .metadata_count = 1};
    MUST(dctx_registry_add(registry, &options, NULL) == DCTX_OK);
}

dctx_registry_t *fuzz_carrier_registry(void)
{
    static dctx_registry_t *registry;
    if (registry != NULL)
        return registry;
    watch_install();
    MUST(dctx_registry_new(&registry) == DCTX_OK);
    MUST(dctx_registry_set_clocks(registry, fuzz_clocks()) == DCTX_OK);
    add_claim(registry, "tenant", DCTX_TYPE_STRING);
    add_claim(registry, "count", DCTX_TYPE_UINT64);
    add_claim(registry, "delta", DCTX_TYPE_INT64);
    add_claim(registry, "beta", DCTX_TYPE_BOOL);
    MUST(dctx_registry_freeze(registry) == DCTX_OK);
    return registry;
}

/* As many lines as the container takes. */
static void fill(dctx_headers_t *headers, const uint8_t *data, size_t size)
{
    const char *at = (const char *)data, *end = at + size;
    while (at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (stop == NULL)
            stop = end;
        const char *colon = memchr(at, ':', (size_t)(stop - at));
        char name[256];
        if (colon != NULL && (size_t)(colon - at) < sizeof(name)) {
            memcpy(name, at, (size_t)(colon - at));
            name[colon - at] = '\0';
            dctx_error_t error =
                dctx_headers_add(headers, name, colon + 1, (size_t)(stop - colon - 1));
            MUST(error == DCTX_OK || error == DCTX_ERR_LIMIT || error == DCTX_ERR_INVALID);
        }
        at = stop + 1;
    }
}

static dctx_snapshot_t *extract(const dctx_propagators_t *propagators, dctx_headers_t *headers)
{
    dctx_carrier_t carrier = dctx_headers_carrier(headers);
    dctx_snapshot_t *snapshot = NULL, *broadcast = NULL;
    dctx_bytes_t bytes;
    MUST(dctx_extract(propagators, fuzz_carrier_registry(), &carrier, &snapshot, NULL) == DCTX_OK);
    MUST(dctx_snapshot_broadcast(snapshot, &broadcast) == DCTX_OK);
    MUST(dctx_snapshot_encode(broadcast, &bytes) == DCTX_OK);
    MUST(bytes.size <= 8192);
    dctx_snapshot_unref(&broadcast);
    return snapshot;
}

/* Injects into fresh headers. Nothing in them ends a line. */
static dctx_headers_t *inject(const dctx_propagators_t *propagators,
                              const dctx_snapshot_t *snapshot)
{
    dctx_headers_t *headers = NULL;
    dctx_bytes_t name, value;
    MUST(dctx_headers_new(&headers) == DCTX_OK);
    dctx_carrier_t carrier = dctx_headers_carrier(headers);
    MUST(dctx_inject(propagators, snapshot, &carrier) == DCTX_OK);
    for (size_t i = 0; dctx_headers_at(headers, i, &name, &value); i++) {
        MUST(memchr(name.data, '\r', name.size) == NULL &&
             memchr(name.data, '\n', name.size) == NULL);
        MUST(value.size == 0 || (memchr(value.data, '\r', value.size) == NULL &&
                                 memchr(value.data, '\n', value.size) == NULL &&
                                 memchr(value.data, '\0', value.size) == NULL));
    }
    return headers;
}

static void same(const dctx_headers_t *a, const dctx_headers_t *b)
{
    dctx_bytes_t name, value;
    MUST(dctx_headers_count(a) == dctx_headers_count(b));
    for (size_t i = 0; dctx_headers_at(a, i, &name, &value); i++) {
        const char *other = dctx_headers_get(b, name.data);
        MUST(other != NULL && strcmp(other, value.data) == 0);
    }
}

enum { MOULDS = 4, KEPT_BLOCKS = 2 * MOULDS };

void fuzz_carrier(const char *names, const uint8_t *data, size_t size)
{
    dctx_registry_t *registry = fuzz_carrier_registry();
    dctx_propagators_t *propagators = NULL;
    dctx_headers_t *headers[4] = {NULL};
    (void)registry;
    MUST(dctx_propagators_new(names, &propagators) == DCTX_OK);
    MUST(dctx_headers_new(&headers[0]) == DCTX_OK);
    fill(headers[0], data, size);
    /* The first time formats learn from each other, the second is the form that stays. */
    for (int i = 0; i < 3; i++) {
        watch_begin();
        dctx_snapshot_t *snapshot = extract(propagators, headers[i]);
        headers[i + 1] = inject(propagators, snapshot);
        MUST(watch_peak() <= 262144);
        dctx_snapshot_unref(&snapshot);
    }
    same(headers[2], headers[3]);
    for (int i = 0; i < 4; i++)
        dctx_headers_destroy(&headers[i]);
    dctx_propagators_destroy(&propagators);
    MUST(dctx_is_empty());
    /* The first run leaves the thread's own memory; later ones no more than a chain and a spare
     * stamp for each of the few shapes that the thread keeps. */
    static size_t own;
    if (own == 0)
        own = watch_live_blocks();
    MUST(watch_live_blocks() <= own + KEPT_BLOCKS);
}
