/* hello.c - set once, read anywhere: in any function, on any thread, with no parameter passed. */
#include <stdio.h>

#include <dcontext/dcontext.h>

DCTX_KEY_STRING(request_id, "request-id", DCTX_BROADCAST)
DCTX_KEY_STRING(tenant, "tenant", DCTX_BROADCAST)

static void charge(void)
{
    char chain[128];
    dctx_chain_format(chain, sizeof chain);
    printf("%s: request %s of %s\n", chain, request_id_get_or("?"), tenant_get_or("?"));
}

static void *run(void *arg)
{
    dctx_snapshot_t *snapshot = arg;
    DCTX_ATTACH_SCOPE(snapshot, "billing-thread");
    dctx_snapshot_unref(&snapshot);
    charge();
    return NULL;
}

int main(void)
{
    if (DCTX_REGISTER_KEYS(NULL, &request_id, &tenant) || dctx_registry_freeze(NULL))
        return 1;

    DCTX_SCOPE("checkout");
    if (request_id_set("req-7f3a") || tenant_set("acme"))
        return 1;
    charge();

    dctx_snapshot_t *snapshot;
    pthread_t thread;
    if (dctx_capture(&snapshot) || pthread_create(&thread, NULL, run, snapshot))
        return 1;
    return pthread_join(thread, NULL);
}
