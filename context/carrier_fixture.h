/* What the carriers' unit tests share: headers in, a context attached, headers out. */
#ifndef DCTX_CARRIER_FIXTURE_H
#define DCTX_CARRIER_FIXTURE_H

#include "fixture.h"

static dctx_headers_t *headers_in, *headers_out;
static dctx_carrier_report_t report __attribute__((unused));
static dctx_snapshot_t *extracted;
static dctx_scope_t extracted_scope;

static inline void set_up_headers(void)
{
    OK(dctx_headers_new(&headers_in));
    OK(dctx_headers_new(&headers_out));
    if (!dctx_registry_is_frozen(NULL))
        OK(dctx_registry_freeze(NULL));
}

static inline void tear_down_headers(void)
{
    OK(dctx_scope_pop(&extracted_scope));
    dctx_snapshot_unref(&extracted);
    dctx_headers_destroy(&headers_in);
    dctx_headers_destroy(&headers_out);
}

static inline void header(const char *name, const char *value)
{
    OK(dctx_headers_add(headers_in, name, value, strlen(value)));
}

/* Extracts the headers in with those propagators, and attaches what they say. */
static inline void extract_headers(const char *names)
{
    dctx_propagators_t *propagators = NULL;
    dctx_carrier_t carrier = dctx_headers_carrier(headers_in);
    OK(dctx_scope_pop(&extracted_scope));
    dctx_snapshot_unref(&extracted);
    if (names != NULL)
        OK(dctx_propagators_new(names, &propagators));
    OK(dctx_extract(propagators, NULL, &carrier, &extracted, &report));
    dctx_propagators_destroy(&propagators);
    OK(dctx_attach(extracted, &extracted_scope));
}

/* The same of one header alone. */
static inline void extract_one(const char *names, const char *name, const char *value)
{
    dctx_headers_clear(headers_in);
    header(name, value);
    extract_headers(names);
}

/* Injects the thread's context. */
static inline void inject_headers(const char *names)
{
    dctx_propagators_t *propagators = NULL;
    dctx_carrier_t carrier = dctx_headers_carrier(headers_out);
    dctx_headers_clear(headers_out);
    if (names != NULL)
        OK(dctx_propagators_new(names, &propagators));
    OK(dctx_inject(propagators, NULL, &carrier));
    dctx_propagators_destroy(&propagators);
}

static inline const char *injected(const char *name)
{
    return dctx_headers_get(headers_out, name);
}

#endif
