/*
 * macros.c - the macros, all of them: keys, registration of many at once, guards.
 */
#include <stdio.h>

#include <dcontext/dcontext.h>

#include "must.h"

/* Keys that several files share: this in a header ... */
DCTX_DECLARE_KEY_STRING(request_id)
DCTX_DECLARE_KEY_INT64(budget_ms)

/* ... and this in one .c file. */
DCTX_DEFINE_KEY(request_id, "request-id", DCTX_TYPE_STRING, DCTX_BROADCAST);
DCTX_DEFINE_KEY_OPTIONS(budget_ms, {.name = "budget-ms",
                                    .type = DCTX_TYPE_INT64,
                                    .flags = DCTX_BROADCAST,
                                    .reach = DCTX_REACH_ANY});

/* A key that only this file uses. */
DCTX_KEY_BOOL(dry_run, "dry-run", DCTX_LOCAL)

static void show(const char *what)
{
    char chain[128];
    dctx_chain_format(chain, sizeof(chain));
    printf("%-22s %s %lld %d  chain=%s\n", what, request_id_get_or("-"),
           (long long)budget_ms_get_or(0), dry_run_get_or(false), chain);
}

/* DCTX_SCOPE: until the end of the enclosing block, whichever way it is left. */
static int checked(int amount)
{
    DCTX_SCOPE("checked");
    if (amount < 0) {
        show("DCTX_SCOPE");
        return -1;
    }
    return amount;
}

int main(void)
{
    /* All of them or, on an error, none. */
    must(DCTX_REGISTER_KEYS(NULL, &request_id, &budget_ms, &dry_run));
    must(dctx_registry_freeze(NULL));

    dctx_snapshot_t *snapshot = NULL;

    /* DCTX_WITH_SCOPE: for one block; it can be left with break, continue, return, goto. */
    DCTX_WITH_SCOPE("with") {
        must(request_id_set("r-1"));
        must(budget_ms_set(250));
        must(dry_run_set(true));
        must(dctx_fork(&snapshot));
        if (checked(-5) < 0)
            break;
        show("not reached");
    }
    show("after break");

    /* DCTX_WITH_SNAPSHOT: attach for one block. */
    DCTX_WITH_SNAPSHOT(snapshot) {
        show("DCTX_WITH_SNAPSHOT");
    }

    /* DCTX_ATTACH: attach until the end of the enclosing block. */
    {
        DCTX_ATTACH(snapshot);
        show("DCTX_ATTACH");
    }

    /* DCTX_ATTACH_SCOPE: attach and open a scope in one step; they end in the right order. */
    {
        DCTX_ATTACH_SCOPE(snapshot, "job");
        show("DCTX_ATTACH_SCOPE");
    }
    show("at the end");
    dctx_snapshot_unref(&snapshot);
    return 0;
}
