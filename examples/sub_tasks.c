/*
 * sub_tasks.c - a request that is split into sub-tasks on a pool.
 *
 * The request's context is taken out once, with dctx_fork(). Every sub-task works in it: with a value
 * of its own, which neither the others nor the request see, or just as it is. What follows once all
 * are done goes on in it too, though the scope that it was taken from has ended long since.
 */
#include <stdio.h>

#include <dcontext/actors.h>
#include <dcontext/dcontext.h>

#include "must.h"

DCTX_KEY_STRING(tenant, "tenant", DCTX_BROADCAST)
DCTX_KEY_UINT64(chapter, "chapter", DCTX_LOCAL)

#define CHAPTERS 3

struct job {
    char text[128];
};

static void translate(void *arg)
{
    struct job *job = arg;
    char chain[64];
    dctx_chain_format(chain, sizeof(chain));
    snprintf(job->text, sizeof(job->text), "chapter %d for %s, chain %s", (int)chapter_get_or(0),
             tenant_get_or("?"), chain);
}

int main(void)
{
    must(DCTX_REGISTER_KEYS(NULL, &tenant, &chapter));
    must(dctx_registry_freeze(NULL));

    dctx_executor_t *pool;
    must(dctx_taskpool_new(&(dctx_taskpool_options_t){.threads = 2}, &pool));

    dctx_snapshot_t *request;
    {
        DCTX_SCOPE("request");
        must(tenant_set("acme"));
        must(dctx_fork(&request));
    } /* the scope ends here; the snapshot keeps what was in it */

    struct job chapters[CHAPTERS], title;
    for (int i = 0; i < CHAPTERS; i++) {
        DCTX_WITH_SNAPSHOT(request) {
            must(chapter_set((uint64_t)i + 1)); /* this sub-task's, and nobody else's */
            dctx_work_t work = {.run = translate, .arg = &chapters[i], .scope = "translate"};
            must(dctx_executor_submit(pool, &work, NULL));
        }
    }
    dctx_work_t work = {.run = translate, .arg = &title, .scope = "title", .snapshot = request};
    must(dctx_executor_submit(pool, &work, NULL));

    must(dctx_executor_wait_idle(pool, 10000));
    DCTX_WITH_SNAPSHOT(request) {
        for (int i = 0; i < CHAPTERS; i++)
            printf("%s\n", chapters[i].text);
        printf("%s\n", title.text);
        printf("all is done for %s, chapter %d\n", tenant_get(), (int)chapter_get_or(0));
    }
    printf("outside the context is %s\n", dctx_is_empty() ? "empty" : "not empty");

    dctx_snapshot_unref(&request);
    dctx_executor_destroy(&pool);
    return 0;
}
