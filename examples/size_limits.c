/*
 * size_limits.c - what is too big is an error that names the limit; nothing is ever cut short.
 *
 * Limits are on by default and belong to a registry. They hold for what is sent and for what is
 * received.
 */
#include <stdio.h>
#include <string.h>

#include <dcontext/dcontext.h>

#include "must.h"

DCTX_KEY_STRING(note, "note", DCTX_BROADCAST)

static void say(const char *what, dctx_error_t error)
{
    printf("%s: %s", what, dctx_error_name(error));
    if (error != DCTX_OK)
        printf(" (%s)", dctx_error_detail());
    printf("\n");
}

static dctx_error_t stamp_of_this_context(dctx_snapshot_t **ret_snapshot, dctx_bytes_t *ret_stamp)
{
    must(dctx_capture(ret_snapshot));
    return dctx_snapshot_encode(*ret_snapshot, ret_stamp);
}

int main(void)
{
    must(DCTX_REGISTER_KEYS(NULL, &note));
    must(dctx_registry_freeze(NULL));

    dctx_limits_t limits;
    dctx_registry_limits(NULL, &limits);
    printf("by default: stamp %zu, value %zu, %zu entries, %zu scopes deep\n", limits.stamp_bytes,
           limits.value_bytes, limits.entries, limits.scope_depth);

    /* A value over the limit can be used here, but not sent. */
    char long_text[5001];
    memset(long_text, 'x', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = '\0';
    dctx_snapshot_t *snapshot;
    dctx_bytes_t stamp;
    DCTX_WITH_SCOPE("big") {
        say("set", note_set(long_text));
        printf("read back: %zu bytes\n", strlen(note_get()));
        say("encode", stamp_of_this_context(&snapshot, &stamp));
        dctx_snapshot_unref(&snapshot);
    }

    /* The same text when a peer with wider limits sent it: an isolated registry stands for the
     * peer. */
    dctx_registry_t *peer;
    must(dctx_registry_new(&peer));
    must(note_register(peer));
    must(dctx_registry_set_limits(peer,
                                  &(dctx_limits_t){.value_bytes = 65536, .stamp_bytes = 65536}));
    must(dctx_registry_freeze(peer));
    dctx_snapshot_t *empty, *received;
    must(dctx_snapshot_empty(peer, &empty));
    DCTX_WITH_SNAPSHOT(empty) {
        must(note_set(long_text));
        say("encode at the peer", stamp_of_this_context(&snapshot, &stamp));
    }
    say("decode here", dctx_snapshot_decode(NULL, stamp.data, stamp.size, &received));
    dctx_snapshot_unref(&snapshot);
    dctx_snapshot_unref(&empty);
    dctx_registry_destroy(&peer);

    /* Scopes: the one too many does nothing, and is safe to pop. */
    static dctx_scope_t scopes[1025];
    dctx_error_t error = DCTX_OK;
    for (size_t i = 0; i < 1025; i++)
        error = dctx_scope_push(NULL, &scopes[i]);
    say("scope 1025", error);
    for (size_t i = 1025; i-- > 0;)
        must(dctx_scope_pop(&scopes[i]));
    printf("open scopes: %zu\n", dctx_scope_depth());
    return 0;
}
