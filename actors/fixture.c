#include "fixture.h"

#include <string.h>
#include <time.h>

#include <criterion/criterion.h>

DCTX_DEFINE_KEY(tenant, "tenant", DCTX_TYPE_STRING, DCTX_BROADCAST);
DCTX_DEFINE_KEY(secret, "secret", DCTX_TYPE_STRING, DCTX_LOCAL);
DCTX_DEFINE_KEY(request, "request", DCTX_TYPE_UINT64, DCTX_BROADCAST);

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char log_text[64 * 1024];

void gate_pass(gate_t *gate)
{
    pthread_mutex_lock(&gate->lock);
    gate->count++;
    pthread_cond_broadcast(&gate->changed);
    pthread_mutex_unlock(&gate->lock);
}

long gate_count(gate_t *gate)
{
    pthread_mutex_lock(&gate->lock);
    long count = gate->count;
    pthread_mutex_unlock(&gate->lock);
    return count;
}

bool gate_wait(gate_t *gate, long count)
{
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += WAIT_MS / 1000;
    int error = 0;
    pthread_mutex_lock(&gate->lock);
    while (gate->count < count && error == 0)
        error = pthread_cond_timedwait(&gate->changed, &gate->lock, &end);
    bool there = gate->count >= count;
    pthread_mutex_unlock(&gate->lock);
    return there;
}

static void keep_log(dctx_log_level_t level, const char *line, void *arg)
{
    (void)level;
    (void)arg;
    pthread_mutex_lock(&log_lock);
    size_t before = strlen(log_text), size = strlen(line);
    if (before + size + 2 < sizeof log_text) {
        memcpy(log_text + before, line, size);
        memcpy(log_text + before + size, "\n", 2);
    }
    pthread_mutex_unlock(&log_lock);
}

bool logged(const char *part)
{
    pthread_mutex_lock(&log_lock);
    bool found = strstr(log_text, part) != NULL;
    pthread_mutex_unlock(&log_lock);
    return found;
}

void fixture_init(void)
{
    dctx_set_log(keep_log, NULL);
    cr_assert_eq(DCTX_REGISTER_KEYS(NULL, &tenant, &secret, &request), DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(NULL), DCTX_OK);
}

dctx_registry_t *fixture_registry(void)
{
    dctx_registry_t *registry = NULL;
    cr_assert_eq(dctx_registry_new(&registry), DCTX_OK);
    cr_assert_eq(DCTX_REGISTER_KEYS(registry, &tenant, &secret, &request), DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(registry), DCTX_OK);
    return registry;
}

dctx_system_t *start(const dctx_system_options_t *options)
{
    static const dctx_system_options_t two = {.workers = 2};
    dctx_system_t *system = NULL;
    dctx_error_t error = dctx_system_new(options != NULL ? options : &two, &system);
    cr_assert_eq(error, DCTX_OK, "%s: %s", dctx_error_name(error), dctx_error_detail());
    return system;
}

dctx_system_counters_t counters(const dctx_system_t *system)
{
    dctx_system_counters_t c;
    dctx_system_counters_read(system, &c);
    return c;
}

void finish(dctx_system_t **system_p)
{
    char *report = NULL;
    dctx_error_t error = dctx_system_stop(*system_p, WAIT_MS, &report);
    cr_assert_eq(error, DCTX_OK, "%s: %s", dctx_error_name(error), report);
    cr_assert_str_eq(report, "");
    dctx_free(report);
    dctx_system_counters_t c = counters(*system_p);
    cr_assert_eq(c.accepted, c.handled + c.dead_lettered, "%lu accepted, %lu handled, %lu dead",
                 (unsigned long)c.accepted, (unsigned long)c.handled,
                 (unsigned long)c.dead_lettered);
    cr_assert_eq(c.asks, c.replies + c.asks_failed, "%lu asks, %lu replies, %lu failed",
                 (unsigned long)c.asks, (unsigned long)c.replies, (unsigned long)c.asks_failed);
    cr_assert_eq(c.actors, 0, "%lu actors are left", (unsigned long)c.actors);
    dctx_system_destroy(system_p);
    cr_assert_null(*system_p);
}

dctx_ref_t spawn(dctx_system_t *system, const char *name, dctx_handler_fn handler, void *state)
{
    dctx_ref_t ref = DCTX_REF_NONE;
    dctx_actor_options_t options = {.name = name, .handler = handler, .state = state};
    dctx_error_t error = dctx_spawn(system, &options, &ref);
    cr_assert_eq(error, DCTX_OK, "%s: %s", dctx_error_name(error), dctx_error_detail());
    return ref;
}

void tell_uint(dctx_ref_t to, uint64_t value)
{
    dctx_error_t error = dctx_tell(to, DCTX_TYPE_UINT64, &value);
    cr_assert_eq(error, DCTX_OK, "%s: %s", dctx_error_name(error), dctx_error_detail());
}

const char *chain(void)
{
    static _Thread_local char text[4096];
    (void)dctx_chain_format(text, sizeof text);
    return text;
}
