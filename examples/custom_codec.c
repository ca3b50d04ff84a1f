/*
 * custom_codec.c - a key whose values travel as JSON instead of msgpack.
 *
 * A codec replaces how one key's values are encoded; the type stays as it is. Needs jansson.
 */
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include <dcontext/dcontext.h>

#include "must.h"

typedef struct customer {
    char name[32];
    int64_t loyalty_points;
} customer_t;

/* ---- the codec ---- */

static dctx_error_t customer_to_json(const void *value, dctx_writer_t *writer)
{
    const customer_t *customer = value;
    json_t *json = json_pack("{s:s, s:I}", "name", customer->name, "points",
                             (json_int_t)customer->loyalty_points);
    char *text = json != NULL ? json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    if (text != NULL)
        dctx_writer_put(writer, text, strlen(text));
    else
        dctx_writer_fail(writer, json != NULL ? DCTX_ERR_NOMEM : DCTX_ERR_CODEC);
    free(text);
    json_decref(json);
    return dctx_writer_error(writer);
}

/* What arrives was written by somebody else: check everything. */
static dctx_error_t customer_from_json(void *dst, const void *data, size_t size)
{
    customer_t customer = {0};
    const char *name;
    json_int_t points;
    dctx_error_t error = DCTX_ERR_CODEC;
    json_t *json = json_loadb(data, size, JSON_REJECT_DUPLICATES, NULL);
    if (json != NULL && json_unpack(json, "{s:s, s:I}", "name", &name, "points", &points) == 0 &&
        strlen(name) < sizeof(customer.name)) {
        strcpy(customer.name, name);
        customer.loyalty_points = points;
        *(customer_t *)dst = customer;
        error = DCTX_OK;
    }
    json_decref(json);
    return error;
}

static const dctx_type_t customer_type = {.name = "customer", .size = sizeof(customer_t)};
static const dctx_codec_t json_codec = {customer_to_json, customer_from_json};

DCTX_DECLARE_KEY_STRUCT(customer, customer_t)
DCTX_DEFINE_KEY_OPTIONS(customer,
                        {.name = "customer", .type = &customer_type, .codec = &json_codec});

/* ---- its use ---- */

static void show(const char *where)
{
    const customer_t *now = customer_get();
    if (now != NULL)
        printf("%s: %s has %lld points\n", where, now->name, (long long)now->loyalty_points);
    else
        printf("%s: no customer\n", where);
}

/* Decode a stamp as a peer does, and look at what is in it. */
static void receive(const char *where, dctx_bytes_t stamp)
{
    dctx_snapshot_t *received;
    must(dctx_snapshot_decode(NULL, stamp.data, stamp.size, &received));
    DCTX_WITH_SNAPSHOT(received) {
        show(where);
    }
    dctx_snapshot_unref(&received);
}

int main(void)
{
    must(DCTX_REGISTER_KEYS(NULL, &customer));
    must(dctx_registry_freeze(NULL));

    must(customer_set(&(customer_t){"Grace \"Amazing\" Hopper", 1906}));
    show("here");

    dctx_snapshot_t *snapshot;
    dctx_bytes_t stamp;
    must(dctx_capture(&snapshot));
    must(dctx_snapshot_encode(snapshot, &stamp));
    const char *json = memchr(stamp.data, '{', stamp.size);
    if (json == NULL)
        return EXIT_FAILURE;
    printf("on the wire: %.*s\n", (int)(stamp.size - (size_t)(json - (const char *)stamp.data)),
           json);
    receive("there", stamp);

    /* A value that the codec refuses reads as absent; the rest of the stamp would be unharmed. */
    char forged[256];
    if (stamp.size > sizeof(forged))
        return EXIT_FAILURE;
    memcpy(forged, stamp.data, stamp.size);
    forged[stamp.size - 1] = ']';
    receive("from a liar", (dctx_bytes_t){forged, stamp.size});
    dctx_snapshot_unref(&snapshot);
    return 0;
}
