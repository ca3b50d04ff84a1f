/*
 * typed_keys.c - each key has functions of its own, with its C type.
 *
 * A value of the wrong type does not compile: retries_set("three") is an error where it is written.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <dcontext/dcontext.h>

#include "must.h"

/* ---- a type of our own: it says how its values are copied, released and written to the wire ---- */

typedef struct route {
    char *host; /* owned */
    int64_t port;
} route_t;

static void route_destroy(void *value)
{
    free(((route_t *)value)->host);
}

static dctx_error_t route_copy(void *dst, const void *src)
{
    const route_t *from = src;
    route_t *to = dst;
    *to = *from;
    to->host = strdup(from->host);
    return to->host != NULL ? DCTX_OK : DCTX_ERR_NOMEM;
}

static dctx_error_t route_encode(const void *value, dctx_writer_t *writer)
{
    const route_t *route = value;
    dctx_write_array(writer, 2);
    dctx_write_cstr(writer, route->host);
    dctx_write_int(writer, route->port);
    return dctx_writer_error(writer);
}

static dctx_error_t route_decode(void *dst, const void *data, size_t size)
{
    dctx_reader_t reader;
    dctx_reader_init(&reader, data, size);
    if (dctx_read_array(&reader) != 2)
        dctx_reader_fail(&reader, DCTX_ERR_MALFORMED);
    dctx_bytes_t host = dctx_read_str(&reader);
    int64_t port = dctx_read_int(&reader);
    dctx_error_t error = dctx_reader_end(&reader); /* one check for all of the above */
    if (error != DCTX_OK)
        return error;

    route_t *route = dst;
    route->port = port;
    route->host = strndup(host.data, host.size);
    return route->host != NULL ? DCTX_OK : DCTX_ERR_NOMEM;
}

static const dctx_type_t route_type = {.name = "route",
                                       .size = sizeof(route_t),
                                       .copy = route_copy,
                                       .destroy = route_destroy,
                                       .encode = route_encode,
                                       .decode = route_decode};

/* ---- the keys ---- */

DCTX_KEY_STRING(tenant, "tenant", DCTX_BROADCAST)
DCTX_KEY_BOOL(debug, "debug", DCTX_BROADCAST)
DCTX_KEY_INT64(retries, "retries", DCTX_BROADCAST)
DCTX_KEY_UINT64(account, "account", DCTX_BROADCAST)
DCTX_KEY_DOUBLE(sample_rate, "sample-rate", DCTX_BROADCAST)
DCTX_KEY_BYTES(signature, "signature", DCTX_BROADCAST)
DCTX_KEY_STRUCT(next_hop, "next-hop", route_t, &route_type, DCTX_BROADCAST)

static void show(void)
{
    printf("tenant=%s debug=%s retries=%" PRId64 " account=%" PRIu64 " sample-rate=%.2f",
           tenant_get_or("-"), debug_get_or(false) ? "yes" : "no", retries_get_or(-1),
           account_get_or(0), sample_rate_get_or(1.0));
    const dctx_bytes_t *bytes = signature_get();
    printf(" signature=%zu bytes", bytes != NULL ? bytes->size : 0);
    const route_t *route = next_hop_get(); /* borrowed: no copy is made to read it */
    if (route != NULL)
        printf(" next-hop=%s:%" PRId64, route->host, route->port);
    printf("\n");
}

static dctx_error_t one_more(int64_t *value, bool present, void *arg)
{
    (void)arg;
    *value = present ? *value + 1 : 1;
    return DCTX_OK;
}

int main(void)
{
    must(DCTX_REGISTER_KEYS(NULL, &tenant, &debug, &retries, &account, &sample_rate, &signature,
                            &next_hop));
    must(dctx_registry_freeze(NULL));
    show();

    DCTX_SCOPE("request");
    char inn[] = "inn.example";
    must(tenant_set("acme"));
    must(debug_set(true));
    must(retries_set(2));
    must(account_set(UINT64_MAX));
    must(sample_rate_set(0.25));
    must(signature_set("\x01\x02\x03", 3));
    must(next_hop_set(&(route_t){inn, 8080})); /* copied */
    show();

    must(retries_update(one_more, NULL));
    must(debug_unset());

    /* Hand a value over instead of having it copied. */
    route_t route = {strdup("barn.example"), 9090};
    if (route.host == NULL)
        return EXIT_FAILURE;
    must(next_hop_take(&route));
    show();

    /* The same values after a trip over the wire. */
    dctx_snapshot_t *sent, *received;
    dctx_bytes_t stamp;
    must(dctx_capture(&sent));
    must(dctx_snapshot_encode(sent, &stamp));
    must(dctx_snapshot_decode(NULL, stamp.data, stamp.size, &received));
    dctx_snapshot_unref(&sent);
    DCTX_WITH_SNAPSHOT(received) {
        show();
    }
    dctx_snapshot_unref(&received);

    /* By name, for code that does not know the key at compile time, types are checked at run
     * time. */
    const dctx_key_t *by_name = dctx_registry_find(NULL, "Retries");
    dctx_error_t error = dctx_set_typed(by_name, DCTX_TYPE_STRING, "three");
    printf("%s: %s\n", dctx_key_name(by_name), dctx_error_name(error));
    return 0;
}
