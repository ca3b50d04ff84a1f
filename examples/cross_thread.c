/*
 * cross_thread.c - context on other threads.
 *
 * A thread starts with an empty context. Hand it a snapshot: a fork has everything and is for work
 * in the same process; a capture leaves local values out. Snapshots never change, so what a thread
 * sets after attaching one stays with that thread.
 */
#include <stdio.h>

#include <dcontext/dcontext.h>

#include "must.h"

DCTX_KEY_STRING(request_id, "request-id", DCTX_BROADCAST)
DCTX_KEY_STRING(scratch, "scratch-dir", DCTX_LOCAL)

static void show(const char *where)
{
    char chain[128];
    dctx_chain_format(chain, sizeof(chain));
    printf("%-17s request-id=%-6s scratch-dir=%-7s chain=%s\n", where, request_id_get_or("-"),
           scratch_get_or("-"), chain);
}

static void *bare(void *arg)
{
    (void)arg;
    show("bare thread");
    return NULL;
}

static void *inherits(void *arg)
{
    (void)arg;
    show("inherits");
    must(request_id_set("r-1/b")); /* of no concern to the thread that created this one */
    return NULL;
}

static void *attaches(void *arg)
{
    dctx_snapshot_t *snapshot = arg;
    DCTX_ATTACH_SCOPE(snapshot, "thumbnails");
    show("attaches");

    /* Take a result's context home. A snapshot outlives the thread that made it. */
    must(request_id_set("r-1/c"));
    dctx_snapshot_t *result;
    must(dctx_fork(&result));
    return result;
}

static void *run(void *(*start)(void *), void *arg)
{
    pthread_t thread;
    void *result;
    if (pthread_create(&thread, NULL, start, arg) != 0 || pthread_join(thread, &result) != 0)
        exit(EXIT_FAILURE);
    return result;
}

int main(void)
{
    must(DCTX_REGISTER_KEYS(NULL, &request_id, &scratch));
    must(dctx_registry_freeze(NULL));

    DCTX_SCOPE("upload");
    must(request_id_set("r-1"));
    must(scratch_set("/tmp/u1"));
    show("main");

    run(bare, NULL);

    /* pthread_create(), but the thread begins with a fork of this thread's context. */
    pthread_t thread;
    must(dctx_thread_create(&thread, NULL, inherits, NULL));
    if (pthread_join(thread, NULL) != 0)
        return EXIT_FAILURE;

    dctx_snapshot_t *snapshot;
    must(dctx_capture(&snapshot));
    dctx_snapshot_t *result = run(attaches, snapshot);
    show("main, unchanged");

    DCTX_WITH_SNAPSHOT(result) {
        show("main, attached");
    }
    dctx_snapshot_unref(&result);
    dctx_snapshot_unref(&snapshot);
    return 0;
}
