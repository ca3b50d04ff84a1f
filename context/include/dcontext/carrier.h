/*
 * dcontext/carrier.h - context in other systems' headers: W3C traceparent, tracestate and baggage,
 * B3, Finagle, and a whole stamp as one header. docs/carriers.md tells each format's rules.
 *
 *     dctx_snapshot_t *snapshot = NULL;
 *     dctx_extract(NULL, NULL, &request_headers, &snapshot, NULL);   // an HTTP request came
 *     DCTX_ATTACH_SCOPE(snapshot, "http");
 *     ...
 *     dctx_inject(NULL, NULL, &call_headers);                        // a call goes out
 *
 * Extracting does not fail a message: what is malformed or over a limit is left out, whole, and
 * counted.
 */
#ifndef DCONTEXT_CARRIER_H
#define DCONTEXT_CARRIER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dcontext/registry.h>
#include <dcontext/snapshot.h>
#include <dcontext/type.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- header containers ----------------------------------------------------------------------- */

/* Called with one header, borrowed until the container is changed.
 * Returns false to end the walk. */
typedef bool (*dctx_header_fn)(dctx_bytes_t name, dctx_bytes_t value, void *arg);

/*
 * What a header container must be able to do, whatever it is made of. Names compare without regard
 * to ASCII case; one name may stand several times.
 */
typedef struct dctx_carrier {
    void *headers; /* the container: first argument of the functions */
    /* Calls `visit` with each header of that name (NULL: with each at all), in order. */
    void (*each)(void *headers, const char *name, dctx_header_fn visit, void *arg);
    /* Makes this the one header of that name. NULL: the container is for extracting only.
     * The strings are borrowed. */
    dctx_error_t (*set)(void *headers, const char *name, const char *value, size_t size);
} dctx_carrier_t;

/*
 * A ready-made container, for programs whose HTTP library has none, and for tests. Values may hold
 * any bytes.
 *
 * Ownership: the caller owns it; names and values are copied. What it gives out is borrowed until
 *   the next change. Destroy takes NULL.
 * Errors: DCTX_ERR_INVALID (NULL or empty name); DCTX_ERR_LIMIT (65536 bytes or 1024 headers);
 *   DCTX_ERR_NOMEM. Nothing changed then.
 * Thread-safety: one thread at a time.
 * Limits and units: bytes, without NUL.
 */
typedef struct dctx_headers dctx_headers_t;
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_headers_new(dctx_headers_t **ret_headers);
DCTX_EXPORT void dctx_headers_destroy(dctx_headers_t **headers_p);

/* Append a header; make it the one of its name; take all of a name out
 * (true: there were some); take all out. */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_headers_add(dctx_headers_t *headers, const char *name,
                                                          const void *value, size_t size);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_headers_set(dctx_headers_t *headers, const char *name,
                                                          const void *value, size_t size);
DCTX_EXPORT bool dctx_headers_remove(dctx_headers_t *headers, const char *name);
DCTX_EXPORT void dctx_headers_clear(dctx_headers_t *headers);

/* The first value of a name, with a NUL behind it, or NULL; how many headers there are; the header
 * at a place, false past the end. */
DCTX_EXPORT const char *dctx_headers_get(const dctx_headers_t *headers, const char *name);
DCTX_EXPORT size_t dctx_headers_count(const dctx_headers_t *headers);
DCTX_EXPORT bool dctx_headers_at(const dctx_headers_t *headers, size_t index,
                                 dctx_bytes_t *ret_name, dctx_bytes_t *ret_value);

/* The container as a carrier. Borrows it. */
DCTX_EXPORT dctx_carrier_t dctx_headers_carrier(dctx_headers_t *headers);

/* ---- propagators ----------------------------------------------------------------------------- */

/* One extraction or injection at work; what a propagator of one's own is given. */
typedef struct dctx_extraction dctx_extraction_t;

/*
 * A header format. Make it `static const` and keep it for the life of the program.
 *
 * `extract` runs in a context of its own, which is to become the snapshot: it sets there what it
 * finds, with dctx_extraction_set(), or with any function that sets. `inject` runs in the context
 * to be injected: it reads with dctx_get() and writes with carrier->set. An error of inject is
 * reported, and the others run all the same.
 */
typedef struct dctx_propagator {
    const char *name;
    void (*extract)(const dctx_carrier_t *carrier, dctx_extraction_t *extraction);
    dctx_error_t (*inject)(const dctx_carrier_t *carrier);
    const char *const *fields; /* names of the headers it may set, NULL at the end; may be NULL */
} dctx_propagator_t;

/*
 * For extract functions: set a value, unless it or all so far would not fit a stamp (then it is
 * left out and counted); count something malformed that was left out; the registry that is
 * extracted for.
 *
 * Ownership: *value is copied. Errors: none here; dctx_extract() reports memory that ran out.
 * Thread-safety: from within extract. Limits and units: dctx_limits_t of the registry.
 */
DCTX_EXPORT void dctx_extraction_set(dctx_extraction_t *extraction, const dctx_key_t *key,
                                     const void *value);
DCTX_EXPORT void dctx_extraction_malformed(dctx_extraction_t *extraction);
DCTX_EXPORT dctx_registry_t *dctx_extraction_registry(const dctx_extraction_t *extraction);

/*
 * The registry of propagators. The library's own:
 *
 *     dctx           dctx-context: the stamp in base64
 *     finagle-http   Finagle-Ctx-...: deadline, retries, backup request, others passing through
 *     finagle-mux    the same and more in Mux's binary pairs; see dctx_mux_extract()
 *     b3, b3multi    one b3 header; X-B3-... headers. Either extracts both
 *     tracecontext   traceparent, tracestate
 *     baggage        baggage
 *
 * Ownership: kept by address.
 * Errors: DCTX_ERR_INVALID (no name, a comma in it, a function missing); DCTX_ERR_CONFLICT (another
 *   of that name); DCTX_ERR_LIMIT (32 of them).
 * Thread-safety: any thread.
 * Limits and units: names compare exactly.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_propagator_add(const dctx_propagator_t *propagator);
DCTX_EXPORT const dctx_propagator_t *dctx_propagator_find(const char *name); /* NULL: none */

/*
 * A composite: propagators by their names, "tracecontext,baggage,b3". Each extracts in this order,
 * so a later one's word counts; deadlines combine. "dctx" comes first wherever it stands. A NULL
 * composite stands for "finagle-http,b3,tracecontext,baggage" to extract with, and for
 * "tracecontext,baggage" to inject with. "dctx" is for peers that are trusted with every key.
 *
 * Ownership: the caller owns it. Destroy takes NULL.
 * Errors: DCTX_ERR_ABSENT (no propagator of a name; the detail says which); DCTX_ERR_INVALID (none
 *   at all, or one twice); DCTX_ERR_NOMEM.
 * Thread-safety: a composite never changes; any thread uses it.
 * Limits and units: none.
 */
typedef struct dctx_propagators dctx_propagators_t;
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_propagators_new(const char *names,
                                                              dctx_propagators_t **ret_propagators);
DCTX_EXPORT void dctx_propagators_destroy(dctx_propagators_t **propagators_p);

/* The header at a place of all that the composite may set, for CORS lists and the like;
 * NULL past the end. */
DCTX_EXPORT const char *dctx_propagators_field(const dctx_propagators_t *propagators, size_t index);

/* What one extraction left out. */
typedef struct dctx_carrier_report {
    uint32_t malformed;  /* headers, members, pairs that are not what their format allows */
    uint32_t over_limit; /* well-formed ones that were one too many, or too big */
} dctx_carrier_report_t;

/*
 * Make a snapshot of what a carrier has. NULL registry: the process-wide one.
 *
 * Ownership: the caller owns the snapshot. ret_report may be NULL.
 * Errors: DCTX_ERR_NOMEM, DCTX_ERR_NOT_FROZEN, DCTX_ERR_INVALID (NULL carrier); DCTX_ERR_LIMIT when
 *   the thread's scopes are as deep as they may be. Never for what the carrier holds.
 * Thread-safety: any thread; the thread's own context is as before afterwards.
 * Limits and units: what is extracted takes at most three quarters of stamp_bytes, so that the
 *   snapshot and a chain can be sent on. Baggage beyond that, up to 64 members and 8192 bytes,
 *   stays in this process.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_extract(const dctx_propagators_t *propagators,
                                                      dctx_registry_t *registry,
                                                      const dctx_carrier_t *carrier,
                                                      dctx_snapshot_t **ret_snapshot,
                                                      dctx_carrier_report_t *ret_report);

/*
 * Write a snapshot, or with NULL the thread's context, into a carrier. Headers for which there is
 * nothing to say are not touched.
 *
 * Ownership: everything is borrowed.
 * Errors: DCTX_ERR_INVALID (no carrier, or one without `set`); the first that setting or a
 *   propagator reports. All other headers are written nevertheless.
 * Thread-safety: any thread.
 * Limits and units: baggage 64 members and 8192 bytes, tracestate 512 bytes: what does not fit is
 *   left out whole and counted.
 */
DCTX_EXPORT dctx_error_t dctx_inject(const dctx_propagators_t *propagators,
                                     const dctx_snapshot_t *snapshot,
                                     const dctx_carrier_t *carrier);

/*
 * Finagle's Mux carries contexts as one run of bytes: uint16 length and id, uint16 length and
 * value, repeated. Extracting takes it; what cannot be told apart at the end of it is left out.
 * Injecting appends to a writer.
 *
 * Ownership: `data` is borrowed; the caller owns the snapshot; ret_report may be NULL.
 * Errors: as dctx_extract() and dctx_inject(); what the writer reports.
 * Thread-safety: any thread.
 * Limits and units: as dctx_extract(); an id or value 65535 bytes.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_mux_extract(dctx_registry_t *registry,
                                                          const void *data, size_t size,
                                                          dctx_snapshot_t **ret_snapshot,
                                                          dctx_carrier_report_t *ret_report);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_mux_inject(const dctx_snapshot_t *snapshot,
                                                         dctx_writer_t *writer);

/*
 * Metadata tag that says under which baggage member a key appears:
 *
 *     static const dctx_metadata_t in_baggage = {&dctx_baggage_name, "tenant"};
 *     dctx_key_options_t options = {.name = "tenant", .type = DCTX_TYPE_STRING,
 *                                   .metadata = &in_baggage, .metadata_count = 1};
 *
 * For strings, bools and numbers. A member that no key claims travels on as it is. Registering
 * refuses, with DCTX_ERR_INVALID, a name that is no token, a type that has no text, and a local
 * key.
 */
DCTX_EXPORT extern const char dctx_baggage_name;

/* What all extractions and injections left out since the process began, and deadlines that came
 * with clocks too far apart to take the time on the way off. Monotonic; any thread. */
typedef struct dctx_carrier_counters {
    uint64_t malformed;
    uint64_t over_limit;
    uint64_t deadlines_implausible;
} dctx_carrier_counters_t;
DCTX_EXPORT void dctx_carrier_counters_read(dctx_carrier_counters_t *ret_counters);

#ifdef __cplusplus
}
#endif
#endif
