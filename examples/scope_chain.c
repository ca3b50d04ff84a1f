/*
 * scope_chain.c - how did the request get here? The names of the open scopes say it, root first,
 * across functions, threads and processes.
 */
#include <stdio.h>

#include <dcontext/dcontext.h>

#include "must.h"

static void show(const char *where)
{
    char chain[256];
    dctx_chain_format(chain, sizeof(chain));
    printf("%-14s %s\n", where, chain[0] != '\0' ? chain : "(empty)");
}

static void *on_thread(void *arg)
{
    (void)arg;
    DCTX_SCOPE("audit");
    show("other thread");
    return NULL;
}

static void query(void)
{
    DCTX_SCOPE("query");
    show("function");
}

/* As in another process: all that arrives is bytes. */
static void receive(const void *data, size_t size)
{
    dctx_snapshot_t *snapshot;
    must(dctx_snapshot_decode(NULL, data, size, &snapshot));
    DCTX_ATTACH_SCOPE(snapshot, "remote:inventory");
    dctx_snapshot_unref(&snapshot);
    show("other process");
}

static void descend(int level)
{
    char name[32];
    snprintf(name, sizeof(name), "level-%d", level);
    DCTX_SCOPE(name);
    if (level < 40)
        descend(level + 1);
    else
        printf("%zu names held, %llu left out\n", dctx_chain_length(),
               (unsigned long long)dctx_chain_elided());
}

int main(void)
{
    must(dctx_registry_freeze(NULL)); /* a registry without keys will do */
    show("start");

    DCTX_SCOPE("api-gateway");
    query();
    DCTX_WITH_SCOPE(NULL) {
        show("unnamed scope");
    }

    pthread_t thread;
    must(dctx_thread_create(&thread, NULL, on_thread, NULL));
    if (pthread_join(thread, NULL) != 0)
        return EXIT_FAILURE;

    DCTX_WITH_SCOPE("orders") {
        dctx_snapshot_t *snapshot;
        dctx_bytes_t stamp;
        must(dctx_capture(&snapshot));
        must(dctx_snapshot_encode(snapshot, &stamp));
        receive(stamp.data, stamp.size);

        /* A name at a time, for a program that wants more than the line. */
        for (size_t i = 0; i < dctx_snapshot_chain_length(snapshot); i++) {
            dctx_bytes_t name = dctx_snapshot_chain_name(snapshot, i);
            printf("name %zu: %.*s\n", i, (int)name.size, (const char *)name.data);
        }
        dctx_snapshot_unref(&snapshot);
    }

    /* A chain keeps the first 4 names and the newest 28, and counts the others. */
    descend(1);
    show("end");
    return 0;
}
