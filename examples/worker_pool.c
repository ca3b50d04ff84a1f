/*
 * worker_pool.c - a pool of threads and a queue whose jobs carry the context of who submitted them.
 *
 * The pool knows nothing of contexts: a job is a function and its argument. Submitting a
 * dctx_task_t makes the difference.
 */
#include <pthread.h>
#include <stdio.h>

#include <dcontext/dcontext.h>

#include "must.h"

DCTX_KEY_STRING(tenant, "tenant", DCTX_BROADCAST)
DCTX_KEY_INT64(page, "page", DCTX_LOCAL)

/* ---- a pool ---- */

#define WORKERS 3
#define JOBS    6

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct {
        void (*call)(void *);
        void *arg;
    } jobs[JOBS];
    size_t begin, end;
    bool closed;
    pthread_t workers[WORKERS];
};

static void *work(void *arg)
{
    struct pool *pool = arg;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (pool->begin == pool->end && !pool->closed)
            pthread_cond_wait(&pool->changed, &pool->lock);
        if (pool->begin == pool->end)
            break;
        size_t job = pool->begin++;
        pthread_mutex_unlock(&pool->lock);
        pool->jobs[job].call(pool->jobs[job].arg);
        pthread_mutex_lock(&pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

static void pool_start(struct pool *pool)
{
    for (int i = 0; i < WORKERS; i++)
        if (pthread_create(&pool->workers[i], NULL, work, pool) != 0)
            exit(EXIT_FAILURE);
}

static void pool_submit(struct pool *pool, void (*call)(void *), void *arg)
{
    pthread_mutex_lock(&pool->lock);
    if (pool->end == JOBS)
        exit(EXIT_FAILURE);
    pool->jobs[pool->end].call = call;
    pool->jobs[pool->end].arg = arg;
    pool->end++;
    pthread_cond_signal(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
}

static void pool_finish(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->closed = true;
    pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < WORKERS; i++)
        pthread_join(pool->workers[i], NULL);
}

/* ---- its use ---- */

struct report {
    char text[128];
};

static void render(void *arg)
{
    struct report *report = arg;
    char chain[64];
    dctx_chain_format(chain, sizeof(chain));
    snprintf(report->text, sizeof(report->text), "page %lld for %s, chain %s",
             (long long)page_get_or(0), tenant_get_or("?"), chain);
}

int main(void)
{
    must(DCTX_REGISTER_KEYS(NULL, &tenant, &page));
    must(dctx_registry_freeze(NULL));

    static struct pool pool = {.lock = PTHREAD_MUTEX_INITIALIZER,
                               .changed = PTHREAD_COND_INITIALIZER};
    pool_start(&pool);

    struct report reports[JOBS];
    static const char *const tenants[] = {"acme", "globex"};
    for (int i = 0; i < JOBS; i++) {
        DCTX_SCOPE("report");
        must(tenant_set(tenants[i % 2]));
        must(page_set(1 + i / 2));

        dctx_task_t *task;
        must(dctx_task_new(render, &reports[i], "render", &task));
        pool_submit(&pool, dctx_task_run_once, task);
    }
    pool_finish(&pool);

    for (int i = 0; i < JOBS; i++)
        printf("%s\n", reports[i].text);
    return 0;
}
