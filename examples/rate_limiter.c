/*
 * rate_limiter.c - an interceptor that keeps each tenant to a rate: a burst at once, then one
 * request every so often; who would have to wait for too long is refused, with words.
 *
 * The actor knows nothing of it, nor do those who ask it: the tenant is read from the context that
 * came with the message. It runs in virtual time, so that it prints the same at every run; with
 * threads and real time nothing but the making of the system would change.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <dcontext/actors.h>

#include "must.h"

DCTX_KEY_STRING(tenant, "tenant", DCTX_BROADCAST)

#define MS 1000000

/* ---- the limiter ---- */

#define TENANTS 8

struct bucket {
    char tenant[32];
    int64_t next; /* when the next token is there, had none been saved up */
};

struct limiter {
    pthread_mutex_t lock; /* interceptors run on many threads */
    dctx_clock_t clock;
    int64_t period;  /* one token every so often */
    int64_t burst;   /* tokens that may be saved up */
    int64_t longest; /* nobody waits for longer than this */
    struct bucket buckets[TENANTS];
};

static struct bucket *bucket_of(struct limiter *limiter, const char *name)
{
    for (int i = 0; i < TENANTS; i++) {
        struct bucket *bucket = &limiter->buckets[i];
        if (bucket->tenant[0] == '\0')
            snprintf(bucket->tenant, sizeof bucket->tenant, "%s", name);
        if (strcmp(bucket->tenant, name) == 0)
            return bucket;
    }
    return NULL;
}

/* How long until there is a token; it is taken, unless that is too long: then -1. */
static int64_t take_token(struct limiter *limiter, const char *name)
{
    pthread_mutex_lock(&limiter->lock);
    int64_t wait = -1;
    struct bucket *bucket = bucket_of(limiter, name);
    if (bucket != NULL) {
        int64_t now = limiter->clock.now_ns(limiter->clock.arg);
        int64_t saved = now - limiter->burst * limiter->period;
        int64_t next = (bucket->next > saved ? bucket->next : saved) + limiter->period;
        wait = next > now ? next - now : 0;
        if (wait <= limiter->longest)
            bucket->next = next;
        else
            wait = -1;
    }
    pthread_mutex_unlock(&limiter->lock);
    return wait;
}

static dctx_verdict_t limit(const dctx_passage_t *passage, void *arg)
{
    char reason[96];
    const char *name = tenant_get_or("nobody");
    if (passage->delays > 0) /* it has waited for its token */
        return DCTX_CONTINUE;
    int64_t wait = take_token(arg, name);
    if (wait == 0)
        return DCTX_CONTINUE;
    if (wait > 0)
        return dctx_passage_delay(passage, wait);
    snprintf(reason, sizeof reason, "%s asks too often", name);
    return dctx_passage_reject(passage, reason);
}

/* ---- an actor, and who asks it ---- */

static dctx_test_world_t *world;
static int64_t began;

static long now_ms(void)
{
    return (long)((dctx_test_now(world) - began) / MS);
}

static dctx_error_t on_order(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    (void)state;
    const uint64_t *number = dctx_message_get(message, DCTX_TYPE_UINT64);
    printf("%4ld ms: order %lu of %s\n", now_ms(), (unsigned long)*number, tenant_get_or("nobody"));
    return dctx_reply(message, NULL, NULL);
}

static void on_reply(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    (void)arg;
    if (status != DCTX_OK)
        printf("%4ld ms: refused: %s\n", now_ms(), dctx_message_reason(reply));
}

static void order(dctx_ref_t orders, const char *name, uint64_t count)
{
    DCTX_WITH_SCOPE("edge") {
        must(tenant_set(name));
        for (uint64_t i = 1; i <= count; i++)
            must(dctx_ask_call(orders, DCTX_TYPE_UINT64, &i, 0, on_reply, NULL));
    }
}

static int64_t virtual_now(void *arg)
{
    return dctx_test_now(arg);
}

static void pass(int64_t ms)
{
    if (!dctx_test_advance(world, ms * MS))
        exit(EXIT_FAILURE);
}

int main(void)
{
    must(DCTX_REGISTER_KEYS(NULL, &tenant));
    must(dctx_registry_freeze(NULL));
    must(dctx_test_world_new(1, &world));
    began = dctx_test_now(world);

    struct limiter limiter = {.lock = PTHREAD_MUTEX_INITIALIZER,
                              .clock = {.now_ns = virtual_now, .arg = world},
                              .period = 100 * MS,
                              .burst = 2,
                              .longest = 200 * MS};
    dctx_interceptor_t interceptor = {.name = "rate", .inbound = limit, .arg = &limiter};
    dctx_system_t *system;
    dctx_ref_t orders;
    must(dctx_system_new(&(dctx_system_options_t){.name = "shop", .world = world}, &system));
    must(dctx_spawn(system,
                    &(dctx_actor_options_t){.name = "orders",
                                            .handler = on_order,
                                            .interceptors = &interceptor,
                                            .interceptor_count = 1},
                    &orders));

    puts("a burst of two, two that wait, one too many; the other tenant is not held up");
    order(orders, "acme", 5);
    order(orders, "tiny", 1);
    pass(1000);
    puts("a second later two are saved up again, not ten");
    order(orders, "acme", 3);
    pass(1000);

    must(dctx_system_stop(system, 1000, NULL));
    dctx_system_destroy(&system);
    dctx_test_world_destroy(&world);
    return 0;
}
