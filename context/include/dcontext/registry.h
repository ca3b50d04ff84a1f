/*
 * dcontext/registry.h - which keys there are.
 *
 * A registry is built by one thread, then frozen; from then on it never changes and any thread
 * reads it without a lock. The process-wide registry, dctx_registry_global(), is what most programs
 * use; isolated ones can stand beside it, for tests and for libraries that keep to themselves.
 */
#ifndef DCONTEXT_REGISTRY_H
#define DCONTEXT_REGISTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dcontext/error.h>
#include <dcontext/type.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct dctx_registry dctx_registry_t;
typedef struct dctx_key dctx_key_t; /* lives as long as its registry */

/* Key flags. */
enum {
    DCTX_BROADCAST = 0, /* travels in every stamp: the default */
    DCTX_LOCAL = 1,     /* never leaves the process */
    DCTX_CACHED = 2     /* accepted for dcontext's sake; reads are O(1) regardless */
};

/* How far a broadcast key may go; policies on sockets and links enforce it. */
typedef enum dctx_reach {
    DCTX_REACH_DOMAIN = 0, /* authenticated peers of the same domain: the default */
    DCTX_REACH_ANY = 1,    /* any peer */
    DCTX_REACH_HOST = 2,   /* peers on this host: ipc, inproc, loopback */
    DCTX_REACH_LOCAL = 3   /* nobody; the same as DCTX_LOCAL for the wire */
} dctx_reach_t;

/* A codec that stands in for the own encode and decode of a type of fixed size. See dctx_type_t for
 * the contracts. */
typedef struct dctx_codec {
    dctx_error_t (*encode)(const void *value, dctx_writer_t *writer);
    dctx_error_t (*decode)(void *dst, const void *data, size_t size);
} dctx_codec_t;

/* One step of a key's history: turns the encoding of `from` into the encoding of `to` (from < to).
 * Steps are chained until the key's own version is reached; the longest step is taken first. */
typedef struct dctx_migration {
    uint32_t from;
    uint32_t to;
    dctx_error_t (*migrate)(const void *data, size_t size, dctx_writer_t *writer);
} dctx_migration_t;

/* A datum tied to a key. `tag` is the address that names the metadata's type; `data` is yours
 * and must outlive the registry. */
typedef struct dctx_metadata {
    const void *tag;
    const void *data;
} dctx_metadata_t;

/* What a key is. `name` and `type` are required. All arrays are copied; `type`, `codec` and
 * metadata data are kept by address. */
typedef struct dctx_key_options {
    const char *name; /* 1..128 bytes, no control characters; wire spelling */
    const dctx_type_t *type;
    unsigned flags;            /* DCTX_LOCAL | DCTX_CACHED */
    uint32_t version;          /* of the value's encoding; 0 stands for 1 */
    const dctx_codec_t *codec; /* NULL: the type's own */
    const dctx_migration_t *migrations;
    size_t migration_count;
    const dctx_metadata_t *metadata;
    size_t metadata_count;
    dctx_reach_t reach;
} dctx_key_options_t;

/* Limits for encoding and for decoding. Zero fields of a struct given to
 * dctx_registry_set_limits() keep their default; there is no "unlimited". */
typedef struct dctx_limits {
    size_t stamp_bytes; /* 8192; at most 2^30 */
    size_t entries;     /* 64; at most 2^24 */
    size_t key_bytes;   /* 128; at most 128 */
    size_t value_bytes; /* 4096; at most 2^30 */
    size_t chain_names; /* 32: the first 4 and the newest are kept, the rest counted; 5..255 */
    size_t name_bytes;  /* 64; at most 64 */
    size_t scope_depth; /* 1024; at most 2^24 */
} dctx_limits_t;

/*
 * The process-wide registry. Register at start-up, freeze, then use from any thread. It is never
 * destroyed.
 *
 * Ownership: the library's; NULL only when memory ran out at the very first call.
 * Errors: none.
 * Thread-safety: any thread.
 * Limits and units: none.
 */
DCTX_EXPORT dctx_registry_t *dctx_registry_global(void);

/*
 * An isolated registry. Attach dctx_snapshot_empty() of it to work with its keys on a thread.
 *
 * Ownership: the caller owns it; snapshots hold a reference of their own, so destroy may come
 *   first. Its keys live until the last of these references goes.
 * Errors: DCTX_ERR_NOMEM.
 * Thread-safety: any thread; one registry is built by one thread at a time.
 * Limits and units: none.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_registry_new(dctx_registry_t **ret_registry);
DCTX_EXPORT void dctx_registry_destroy(dctx_registry_t **registry_p);

/*
 * Register a key. The same registration twice gives the same key. A NULL registry stands for the
 * process-wide one, here and below.
 *
 * Ownership: the key lives as long as its registry. ret_key may be NULL.
 * Errors: DCTX_ERR_FROZEN; DCTX_ERR_CONFLICT (the name, ignoring ASCII case, stands for another
 *   type, other flags, version, codec or reach); DCTX_ERR_INVALID (no name, no type, a name
 *   that begins with "dctx.", control
 *   characters, a broadcast key whose type has no encode or decode, a codec for strings or bytes,
 *   which have no fixed size, a migration that does not go up or does not end at the version);
 *   DCTX_ERR_LIMIT (name length, or 65535 keys); DCTX_ERR_NOMEM.
 * Thread-safety: one thread at a time per registry.
 * Limits and units: name 128 bytes.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_registry_add(dctx_registry_t *registry,
                                                           const dctx_key_options_t *options,
                                                           const dctx_key_t **ret_key);

/*
 * Set the limits, before the freeze.
 *
 * Ownership: *limits is copied.
 * Errors: DCTX_ERR_FROZEN; DCTX_ERR_INVALID (a field outside the range given at dctx_limits_t).
 * Thread-safety: one thread at a time per registry.
 * Limits and units: as dctx_limits_t.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_registry_set_limits(dctx_registry_t *registry,
                                                                  const dctx_limits_t *limits);
/* What they are; NULL: of the process-wide registry. `ret_limits` NULL: nothing happens. */
DCTX_EXPORT void dctx_registry_limits(const dctx_registry_t *registry, dctx_limits_t *ret_limits);

/*
 * Freeze: from here on the registry is read-only and usable.
 *
 * Ownership: none.
 * Errors: DCTX_ERR_FROZEN the second time; DCTX_ERR_NOMEM (nothing changed).
 * Thread-safety: the thread that built it; every thread that uses it must start, or be told, after.
 * Limits and units: none.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_registry_freeze(dctx_registry_t *registry);
DCTX_EXPORT bool dctx_registry_is_frozen(const dctx_registry_t *registry);

/*
 * Look a key up by name, ignoring ASCII case.
 *
 * Ownership: the key lives as long as its registry; NULL if there is none of that name.
 * Errors: none.
 * Thread-safety: any thread once frozen; before that, the building thread.
 * Limits and units: none.
 */
DCTX_EXPORT const dctx_key_t *dctx_registry_find(const dctx_registry_t *registry, const char *name);

/*
 * The keys, in the order of their names (ASCII case ignored); and those that carry metadata `tag`.
 * Those that every registry has (contexts.h) are not among them.
 *
 * Ownership: ret_keys is the caller's array of `capacity` pointers; NULL with capacity 0 just
 *   counts.
 * Errors: none; returns how many there are, which may be more than capacity.
 * Thread-safety: as dctx_registry_find().
 * Limits and units: none.
 */
DCTX_EXPORT size_t dctx_registry_keys(const dctx_registry_t *registry, const dctx_key_t **ret_keys,
                                      size_t capacity);
DCTX_EXPORT size_t dctx_registry_keys_with(const dctx_registry_t *registry, const void *tag,
                                           const dctx_key_t **ret_keys, size_t capacity);

/* What a key is. Borrowed for the life of the registry; any thread once frozen. */
DCTX_EXPORT const char *dctx_key_name(const dctx_key_t *key);
DCTX_EXPORT const dctx_type_t *dctx_key_type(const dctx_key_t *key);
DCTX_EXPORT bool dctx_key_is_local(const dctx_key_t *key);
DCTX_EXPORT uint32_t dctx_key_version(const dctx_key_t *key);
DCTX_EXPORT dctx_reach_t dctx_key_reach(const dctx_key_t *key);
DCTX_EXPORT const void *dctx_key_metadata(const dctx_key_t *key, const void *tag); /* NULL: none */

#ifdef __cplusplus
}
#endif
#endif
