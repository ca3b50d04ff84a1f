#include "registry.h"

#include <stdlib.h>
#include <string.h>

#include <dcontext/internal.h>

#include "alloc.h"
#include "fail.h"
#include "fold.h"
#include "msgpack_head.h"
#include "name.h"
#include "type.h"

/* Past these, sizes no longer fit where the wire form keeps them, and nobody means it. */
#define STAMP_BYTES_MAX ((size_t)1 << 30)
#define ENTRIES_MAX     ((size_t)1 << 24)
#define SCOPE_DEPTH_MAX ((size_t)1 << 24)

static const dctx_limits_t default_limits = {
    .stamp_bytes = 8192,
    .entries = 64,
    .key_bytes = DCTX_KEY_BYTES_MAX,
    .value_bytes = 4096,
    .chain_names = 32,
    .name_bytes = DCTX_NAME_BYTES_MAX,
    .scope_depth = 1024,
};

/* ---- making and freeing ---------------------------------------------------------------------- */

/* The process-wide registry. Written once, from NULL, by whoever is first: release, so that those
 * who load it with acquire see it initialised. */
static dctx_registry_t *global;

static uint64_t last_serial;

static dctx_registry_t *make(bool immortal)
{
    dctx_registry_t *registry = dctx_calloc_(1, sizeof(*registry));
    if (registry == NULL)
        return NULL;
    dctx_refcount_init(&registry->refs, 1);
    registry->serial = __atomic_add_fetch(&last_serial, 1, __ATOMIC_RELAXED);
    registry->immortal = immortal;
    registry->limits = default_limits;
    return registry;
}

void dctx_registry_free_(dctx_registry_t *registry)
{
    for (uint32_t i = 0; i < registry->count; i++)
        dctx_release_(registry->keys[i]);
    dctx_release_(registry->keys);
    dctx_release_(registry->sorted);
    dctx_release_(registry->index);
    dctx_release_(registry->claims);
    dctx_release_(registry);
}

dctx_registry_t *dctx_registry_global(void)
{
    dctx_registry_t *registry = __atomic_load_n(&global, __ATOMIC_ACQUIRE);
    if (__builtin_expect(registry != NULL, 1))
        return registry;
    dctx_registry_t *made = make(true);
    if (made == NULL) {
        (void)dctx_fail_(DCTX_ERR_NOMEM, "no memory for the process-wide registry");
        return NULL;
    }
    if (__atomic_compare_exchange_n(&global, &registry, made, false, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE))
        return made;
    dctx_registry_free_(made);
    return registry;
}

dctx_error_t dctx_registry_new(dctx_registry_t **ret_registry)
{
    dctx_registry_t *registry = make(false);
    if (registry == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a registry");
    *ret_registry = registry;
    return DCTX_OK;
}

void dctx_registry_destroy(dctx_registry_t **registry_p)
{
    if (registry_p == NULL || *registry_p == NULL)
        return;
    dctx_registry_t *registry = *registry_p;
    *registry_p = NULL;
    dctx_registry_unref_(registry);
}

/* ---- look-up --------------------------------------------------------------------------------- */

const dctx_key_t *dctx_registry_lookup_(const dctx_registry_t *registry, const char *name,
                                        size_t size)
{
    if (registry->count == 0)
        return NULL;
    uint32_t hash = dctx_fold_hash_(name, size);
    for (uint32_t at = hash & registry->index_mask;; at = (at + 1) & registry->index_mask) {
        const dctx_key_t *key = registry->index[at];
        if (key == NULL)
            return NULL;
        if (key->hash == hash && key->name_size == size && dctx_fold_equal_(key->name, name, size))
            return key;
    }
}

const dctx_key_t *dctx_registry_find(const dctx_registry_t *registry, const char *name)
{
    if (registry == NULL)
        registry = dctx_registry_global();
    if (registry == NULL || name == NULL)
        return NULL;
    return dctx_registry_lookup_(registry, name, strlen(name));
}

static void index_put(dctx_key_t **index, uint32_t mask, dctx_key_t *key)
{
    uint32_t at = key->hash & mask;
    while (index[at] != NULL)
        at = (at + 1) & mask;
    index[at] = key;
}

static void index_fill(dctx_registry_t *registry)
{
    memset(registry->index, 0, ((size_t)registry->index_mask + 1) * sizeof(*registry->index));
    for (uint32_t i = 0; i < registry->count; i++)
        index_put(registry->index, registry->index_mask, registry->keys[i]);
}

/* Room for one more key. Place and index grow together; at most half of the index is ever taken. */
static dctx_error_t reserve(dctx_registry_t *registry)
{
    if (registry->count < registry->capacity)
        return DCTX_OK;
    uint32_t capacity = registry->capacity == 0 ? 16 : registry->capacity * 2;
    dctx_key_t **keys = dctx_alloc_(capacity * sizeof(*keys));
    dctx_key_t **index = dctx_alloc_((size_t)capacity * 2 * sizeof(*index));
    if (keys == NULL || index == NULL) {
        dctx_release_(keys);
        dctx_release_(index);
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for %u keys", capacity);
    }
    if (registry->count > 0)
        memcpy(keys, registry->keys, registry->count * sizeof(*keys));
    dctx_release_(registry->keys);
    dctx_release_(registry->index);
    registry->keys = keys;
    registry->index = index;
    registry->capacity = capacity;
    registry->index_mask = capacity * 2 - 1;
    index_fill(registry);
    return DCTX_OK;
}

/* ---- registering ----------------------------------------------------------------------------- */

static bool is_local(const dctx_key_options_t *options)
{
    return (options->flags & DCTX_LOCAL) != 0 || options->reach == DCTX_REACH_LOCAL;
}

static uint32_t version_of(const dctx_key_options_t *options)
{
    return options->version != 0 ? options->version : 1;
}

/* Each step goes up, and from where it ends the key's version is reached by the same rules; so a
 * decode that takes the longest step each time never runs into a dead end. */
static bool migrations_are_sound(const dctx_key_options_t *options)
{
    for (size_t i = 0; i < options->migration_count; i++) {
        const dctx_migration_t *step = &options->migrations[i];
        if (step->migrate == NULL || step->from >= step->to || step->to > version_of(options))
            return false;
        bool goes_on = step->to == version_of(options);
        for (size_t j = 0; j < options->migration_count && !goes_on; j++)
            goes_on = options->migrations[j].from == step->to;
        if (!goes_on)
            return false;
    }
    return true;
}

static dctx_error_t check_options(const dctx_registry_t *registry,
                                  const dctx_key_options_t *options)
{
    char shown[DCTX_NAME_SHOWN_SIZE];
    if (options == NULL || options->name == NULL || options->name[0] == '\0')
        return dctx_fail_(DCTX_ERR_INVALID, "a key needs a name");
    size_t size = strnlen(options->name, DCTX_KEY_BYTES_MAX + 1);
    const char *name = dctx_name_show_(options->name, size, shown);
    if (size > registry->limits.key_bytes)
        return dctx_fail_(DCTX_ERR_LIMIT, "key '%s': the name is %zu bytes; key_bytes is %zu", name,
                          strlen(options->name), registry->limits.key_bytes);
    if (!dctx_name_is_clean_(options->name, size))
        return dctx_fail_(DCTX_ERR_INVALID, "key '%s': control characters in the name", name);
    if (options->type == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "key '%s': no type", name);
    if (options->type->size > DCTX_TYPE_SIZE_MAX)
        return dctx_fail_(DCTX_ERR_INVALID,
                          "key '%s': the type's size is %zu; at most %zu is allowed", name,
                          options->type->size, DCTX_TYPE_SIZE_MAX);
    if ((options->flags & ~(unsigned)(DCTX_LOCAL | DCTX_CACHED)) != 0)
        return dctx_fail_(DCTX_ERR_INVALID, "key '%s': unknown flags %#x", name, options->flags);
    if ((unsigned)options->reach > DCTX_REACH_LOCAL)
        return dctx_fail_(DCTX_ERR_INVALID, "key '%s': unknown reach %d", name,
                          (int)options->reach);
    if (options->codec != NULL &&
        (options->codec->encode == NULL || options->codec->decode == NULL))
        return dctx_fail_(DCTX_ERR_INVALID, "key '%s': a codec needs encode and decode", name);
    if (options->codec != NULL && dctx_type_is_variable_(options->type))
        return dctx_fail_(DCTX_ERR_INVALID,
                          "key '%s': strings and bytes have no size for a codec to decode into",
                          name);
    if (!is_local(options) && options->codec == NULL &&
        (options->type->encode == NULL || options->type->decode == NULL))
        return dctx_fail_(DCTX_ERR_INVALID,
                          "key '%s': a broadcast key's type needs encode and decode", name);
    if ((options->migration_count > 0 && options->migrations == NULL) ||
        (options->metadata_count > 0 && options->metadata == NULL))
        return dctx_fail_(DCTX_ERR_INVALID, "key '%s': a count without its array", name);
    if (options->migration_count > UINT16_MAX || options->metadata_count > UINT16_MAX)
        return dctx_fail_(DCTX_ERR_INVALID, "key '%s': too many migrations or metadata", name);
    if (!migrations_are_sound(options))
        return dctx_fail_(DCTX_ERR_INVALID,
                          "key '%s': a migration does not go up, or does not end at version %u",
                          name, version_of(options));
    return DCTX_OK;
}

static bool same(const dctx_key_t *key, const dctx_key_options_t *options)
{
    return key->type == options->type && key->flags == options->flags &&
           key->version == version_of(options) && key->codec == options->codec &&
           key->reach == options->reach;
}

static dctx_key_t *make_key(dctx_registry_t *registry, const dctx_key_options_t *options)
{
    size_t name_size = strlen(options->name);
    size_t migrations = options->migration_count * sizeof(*options->migrations);
    size_t metadata = options->metadata_count * sizeof(*options->metadata);
    /* The arrays come first: they need the alignment. */
    dctx_key_t *key =
        dctx_calloc_(1, sizeof(*key) + migrations + metadata + name_size + 1 + 1 + DCTX_HEAD_MAX +
                            name_size + DCTX_HEAD_MAX + DCTX_PREFIX_PIECE);
    if (key == NULL)
        return NULL;
    uint8_t *at = (uint8_t *)(key + 1);
    if (metadata > 0)
        key->metadata = memcpy(at, options->metadata, metadata);
    at += metadata;
    if (migrations > 0)
        key->migrations = memcpy(at, options->migrations, migrations);
    at += migrations;
    key->name = memcpy(at, options->name, name_size + 1);
    at += name_size + 1;
    key->prefix = at;
    at += dctx_head_array_(at, 3);
    at += dctx_head_str_(at, name_size);
    at = (uint8_t *)memcpy(at, options->name, name_size) + name_size;
    at += dctx_head_uint_(at, version_of(options));
    key->prefix_size = (uint32_t)(at - key->prefix);

    key->registry = registry;
    key->kind = is_local(options) ? DCTX_KIND_LOCAL : DCTX_KIND_BROADCAST;
    key->type = options->type;
    key->codec = options->codec;
    key->encode = options->codec != NULL ? options->codec->encode : options->type->encode;
    key->decode = options->codec != NULL ? options->codec->decode : options->type->decode;
    key->name_size = (uint32_t)name_size;
    key->version = version_of(options);
    key->hash = dctx_fold_hash_(key->name, name_size);
    key->flags = options->flags;
    key->reach = options->reach;
    key->sequence = registry->count;
    key->migration_count = (uint32_t)options->migration_count;
    key->metadata_count = (uint32_t)options->metadata_count;
    return key;
}

static dctx_error_t no_registry(void)
{
    return dctx_fail_(DCTX_ERR_NOMEM, "no memory for the process-wide registry");
}

static dctx_error_t put_key(dctx_registry_t *registry, const dctx_key_options_t *options,
                            dctx_key_t **ret_key)
{
    dctx_error_t error = reserve(registry);
    if (error != DCTX_OK)
        return error;
    dctx_key_t *key = make_key(registry, options);
    if (key == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for key '%s'", options->name);
    registry->keys[registry->count++] = key;
    registry->unsorted = true;
    index_put(registry->index, registry->index_mask, key);
    *ret_key = key;
    return DCTX_OK;
}

static dctx_error_t add(dctx_registry_t *registry, const dctx_key_options_t *options, bool reserved,
                        const dctx_key_t **ret_key)
{
    registry = dctx_registry_or_global_(registry);
    if (registry == NULL)
        return no_registry();
    if (dctx_registry_frozen_(registry))
        return dctx_fail_(DCTX_ERR_FROZEN, "the registry is frozen: register keys before");
    dctx_error_t error = check_options(registry, options);
    if (error == DCTX_OK && !reserved)
        error = dctx_known_check_(options);
    if (error != DCTX_OK)
        return error;
    const dctx_key_t *known = dctx_registry_find(registry, options->name);
    if (known != NULL) {
        if (!same(known, options))
            return dctx_fail_(DCTX_ERR_CONFLICT,
                              "key '%s' is registered already with another type, flags, version, "
                              "codec or reach",
                              known->name);
        if (ret_key != NULL)
            *ret_key = known;
        return DCTX_OK;
    }
    if (registry->count == DCTX_KEYS_MAX)
        return dctx_fail_(DCTX_ERR_LIMIT, "key '%s': %d keys are registered, which is the limit",
                          options->name, DCTX_KEYS_MAX);
    dctx_key_t *key = NULL;
    error = put_key(registry, options, &key);
    if (error == DCTX_OK && ret_key != NULL)
        *ret_key = key;
    return error;
}

dctx_error_t dctx_registry_add(dctx_registry_t *registry, const dctx_key_options_t *options,
                               const dctx_key_t **ret_key)
{
    return add(registry, options, false, ret_key);
}

dctx_error_t dctx_registry_add_reserved_(dctx_registry_t *registry,
                                         const dctx_key_options_t *options,
                                         const dctx_key_t **ret_key)
{
    return add(registry, options, true, ret_key);
}

dctx_error_t dctx_registry_add_known_(dctx_registry_t *registry, const dctx_key_options_t *options,
                                      enum dctx_known known)
{
    dctx_key_t *key = NULL;
    dctx_error_t error = put_key(registry, options, &key);
    if (error != DCTX_OK)
        return error;
    key->known = known;
    registry->known[known] = key;
    return DCTX_OK;
}

void dctx_registry_truncate_(dctx_registry_t *registry, uint32_t count)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < registry->count; i++) {
        dctx_key_t *key = registry->keys[i];
        if (key->sequence < count)
            registry->keys[kept++] = key;
        else
            dctx_release_(key);
    }
    registry->count = kept;
    if (registry->index != NULL)
        index_fill(registry);
}

/* ---- limits ---------------------------------------------------------------------------------- */

static dctx_error_t pick(size_t *field, size_t given, size_t least, size_t most, const char *name)
{
    if (given == 0)
        return DCTX_OK;
    if (given < least || given > most)
        return dctx_fail_(DCTX_ERR_INVALID, "limit %s is %zu; %zu to %zu is allowed", name, given,
                          least, most);
    *field = given;
    return DCTX_OK;
}

dctx_error_t dctx_registry_set_limits(dctx_registry_t *registry, const dctx_limits_t *limits)
{
    registry = dctx_registry_or_global_(registry);
    if (registry == NULL)
        return no_registry();
    if (dctx_registry_frozen_(registry))
        return dctx_fail_(DCTX_ERR_FROZEN, "the registry is frozen: set limits before");
    if (limits == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no limits given");
    dctx_limits_t next = default_limits;
    const struct {
        size_t *field;
        size_t given, least, most;
        const char *name;
    } fields[] = {
        {&next.stamp_bytes, limits->stamp_bytes, 1, STAMP_BYTES_MAX, "stamp_bytes"},
        {&next.entries, limits->entries, 1, ENTRIES_MAX, "entries"},
        {&next.key_bytes, limits->key_bytes, 1, DCTX_KEY_BYTES_MAX, "key_bytes"},
        {&next.value_bytes, limits->value_bytes, 1, STAMP_BYTES_MAX, "value_bytes"},
        {&next.chain_names, limits->chain_names, 5, 255, "chain_names"},
        {&next.name_bytes, limits->name_bytes, 1, DCTX_NAME_BYTES_MAX, "name_bytes"},
        {&next.scope_depth, limits->scope_depth, 1, SCOPE_DEPTH_MAX, "scope_depth"},
    };
    for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) {
        dctx_error_t error =
            pick(fields[i].field, fields[i].given, fields[i].least, fields[i].most, fields[i].name);
        if (error != DCTX_OK)
            return error;
    }
    for (uint32_t i = 0; i < registry->count; i++)
        if (registry->keys[i]->name_size > next.key_bytes)
            return dctx_fail_(DCTX_ERR_INVALID, "key '%s' is registered and longer than key_bytes",
                              registry->keys[i]->name);
    registry->limits = next;
    return DCTX_OK;
}

void dctx_registry_limits(const dctx_registry_t *registry, dctx_limits_t *ret_limits)
{
    if (ret_limits == NULL)
        return;
    if (registry == NULL)
        registry = dctx_registry_global();
    *ret_limits = registry != NULL ? registry->limits : default_limits;
}

/* ---- freezing -------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    const dctx_key_t *x = *(dctx_key_t *const *)a;
    const dctx_key_t *y = *(dctx_key_t *const *)b;
    return dctx_fold_compare_(x->name, x->name_size, y->name, y->name_size);
}

/* Entries mostly come in the order of their names, and mostly for users' keys: decoding tries the
 * next of them before it looks for a name. */
static void link_user_keys(dctx_registry_t *registry)
{
    uint32_t next = registry->kind_count[DCTX_KIND_BROADCAST];
    for (uint32_t i = next; i-- > 0;) {
        dctx_key_t *key = registry->keys[i];
        key->next = next;
        if (key->known == DCTX_KNOWN_NONE)
            next = i;
    }
    registry->first_user = next;
}

dctx_error_t dctx_registry_freeze(dctx_registry_t *registry)
{
    registry = dctx_registry_or_global_(registry);
    if (registry == NULL)
        return no_registry();
    if (dctx_registry_frozen_(registry))
        return dctx_fail_(DCTX_ERR_FROZEN, "the registry is frozen already");
    uint32_t users = registry->count;
    dctx_error_t error = dctx_known_add_(registry);
    if (error == DCTX_OK)
        error = dctx_known_claims_(registry, &registry->claims, &registry->claim_count);
    dctx_key_t **sorted = NULL;
    if (error == DCTX_OK) {
        sorted = dctx_alloc_((size_t)registry->count * sizeof(*sorted));
        if (sorted == NULL)
            error = dctx_fail_(DCTX_ERR_NOMEM, "no memory to freeze %u keys", registry->count);
    }
    if (error != DCTX_OK) {
        dctx_release_(registry->claims);
        registry->claims = NULL;
        dctx_registry_truncate_(registry, users);
        return error;
    }
    if (registry->count > 0) {
        memcpy(sorted, registry->keys, registry->count * sizeof(*sorted));
        qsort(sorted, registry->count, sizeof(*sorted), by_name);
    }
    for (uint32_t i = 0; i < registry->count; i++)
        sorted[i]->index = registry->kind_count[sorted[i]->kind]++;
    for (uint32_t i = 0; i < registry->count; i++) {
        dctx_key_t *key = sorted[i];
        registry->keys[key->index + (key->kind == DCTX_KIND_LOCAL ? registry->kind_count[0] : 0)] =
            key;
    }
    link_user_keys(registry);
    registry->sorted = sorted;
    registry->deadline_index = registry->known[DCTX_KNOWN_DEADLINE]->index;
    __atomic_store_n(&registry->frozen, true, __ATOMIC_RELEASE);
    return DCTX_OK;
}

bool dctx_registry_is_frozen(const dctx_registry_t *registry)
{
    if (registry == NULL)
        registry = dctx_registry_global();
    return registry != NULL && dctx_registry_frozen_(registry);
}

/* ---- looking inside -------------------------------------------------------------------------- */

/* Before the freeze the building thread may ask as well, and only it; so the array can be put in
 * order where it is. */
static dctx_key_t *const *keys_by_name(const dctx_registry_t *registry)
{
    if (dctx_registry_frozen_(registry))
        return registry->sorted;
    if (registry->unsorted) {
        qsort(registry->keys, registry->count, sizeof(*registry->keys), by_name);
        ((dctx_registry_t *)(uintptr_t)registry)->unsorted = false;
    }
    return registry->keys;
}

static const void *metadata_of(const dctx_key_t *key, const void *tag, bool *ret_found)
{
    for (uint32_t i = 0; i < key->metadata_count; i++)
        if (key->metadata[i].tag == tag) {
            *ret_found = true;
            return key->metadata[i].data;
        }
    *ret_found = false;
    return NULL;
}

static size_t list(const dctx_registry_t *registry, bool all, const void *tag,
                   const dctx_key_t **ret_keys, size_t capacity)
{
    if (registry == NULL)
        registry = dctx_registry_global();
    if (registry == NULL)
        return 0;
    dctx_key_t *const *keys = keys_by_name(registry);
    size_t found = 0;
    for (uint32_t i = 0; i < registry->count; i++) {
        if (keys[i]->known != DCTX_KNOWN_NONE)
            continue;
        bool carries = all;
        if (!all)
            (void)metadata_of(keys[i], tag, &carries);
        if (!carries)
            continue;
        if (found < capacity)
            ret_keys[found] = keys[i];
        found++;
    }
    return found;
}

size_t dctx_registry_keys(const dctx_registry_t *registry, const dctx_key_t **ret_keys,
                          size_t capacity)
{
    return list(registry, true, NULL, ret_keys, capacity);
}

size_t dctx_registry_keys_with(const dctx_registry_t *registry, const void *tag,
                               const dctx_key_t **ret_keys, size_t capacity)
{
    return list(registry, false, tag, ret_keys, capacity);
}

const char *dctx_key_name(const dctx_key_t *key)
{
    return key->name;
}

const dctx_type_t *dctx_key_type(const dctx_key_t *key)
{
    return key->type;
}

bool dctx_key_is_local(const dctx_key_t *key)
{
    return key->kind == DCTX_KIND_LOCAL;
}

uint32_t dctx_key_version(const dctx_key_t *key)
{
    return key->version;
}

dctx_reach_t dctx_key_reach(const dctx_key_t *key)
{
    return key->kind == DCTX_KIND_LOCAL ? DCTX_REACH_LOCAL : key->reach;
}

const void *dctx_key_metadata(const dctx_key_t *key, const void *tag)
{
    bool found;
    return metadata_of(key, tag, &found);
}
