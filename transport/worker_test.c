/* A thread in the manner of a zactor: it inherits the context, may fail to start, and always stops.
 */
#include <criterion/criterion.h>

#include <string.h>

#include <czmq.h>

#include <dcontext/transport.h>

static const dctx_key_t *tenant;

static void init(void)
{
    const dctx_key_options_t options = {
        .name = "tenant", .type = DCTX_TYPE_STRING, .flags = DCTX_LOCAL};
    cr_assert_eq(dctx_registry_add(NULL, &options, &tenant), DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(NULL), DCTX_OK);
}

static void wait_for_term(zsock_t *pipe)
{
    for (bool more = true; more;) {
        char *word = zstr_recv(pipe);
        more = word != NULL && strcmp(word, "$TERM") != 0;
        zstr_free(&word);
    }
}

static void tell_context(zsock_t *pipe, void *arg)
{
    char chain[64];
    (void)arg;
    zsock_signal(pipe, 0);
    dctx_chain_format(chain, sizeof(chain));
    zstr_sendx(pipe, dctx_get(tenant), chain, NULL);
    wait_for_term(pipe);
}

Test(worker, inherits_the_context, .init = init)
{
    dctx_worker_t *worker = NULL;
    char *value, *chain;
    DCTX_WITH_SCOPE("main") {
        cr_assert_eq(dctx_set(tenant, "acme"), DCTX_OK);
        cr_assert_eq(dctx_worker_start(tell_context, NULL, "helper", 10000, NULL, &worker), DCTX_OK,
                     "%s", dctx_error_detail());
    }
    cr_assert_eq(zstr_recvx(dctx_worker_pipe(worker), &value, &chain, NULL), 2);
    cr_assert_str_eq(value, "acme");
    cr_assert_str_eq(chain, "main > helper");
    zstr_free(&value);
    zstr_free(&chain);
    cr_assert_eq(dctx_worker_stop(&worker, 10000), DCTX_OK);
    cr_assert_null(worker);
    cr_assert_eq(dctx_worker_stop(&worker, 0), DCTX_OK);
    cr_assert_eq(dctx_worker_stop(NULL, 0), DCTX_OK);
}

static void fail_to_start(zsock_t *pipe, void *arg)
{
    zsock_signal(pipe, *(byte *)arg);
}

static void say_nothing(zsock_t *pipe, void *arg)
{
    (void)pipe;
    (void)arg;
}

Test(worker, a_start_that_fails_has_a_status, .init = init)
{
    byte code = 42;
    int status = 0;
    dctx_worker_t *worker = NULL;
    cr_assert_eq(dctx_worker_start(fail_to_start, &code, NULL, 10000, &status, &worker),
                 DCTX_ERR_REJECTED);
    cr_assert_eq(status, 42);
    cr_assert_null(worker);
    cr_assert_eq(dctx_worker_start(say_nothing, NULL, NULL, 10000, NULL, &worker),
                 DCTX_ERR_STOPPED);
    cr_assert_null(worker);
    cr_assert_eq(dctx_worker_start(NULL, NULL, NULL, 1, NULL, &worker), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_worker_start(say_nothing, NULL, "two\nlines", 1, NULL, &worker),
                 DCTX_ERR_INVALID);
}

/* Does not read its pipe until it is told to through another socket. */
static void be_stubborn(zsock_t *pipe, void *arg)
{
    zsock_signal(pipe, 0);
    char *word = zstr_recv(arg);
    zstr_free(&word);
    wait_for_term(pipe);
}

Test(worker, a_full_pipe_and_a_busy_thread_do_not_stop_the_stop, .init = init)
{
    dctx_worker_t *worker = NULL;
    zsock_t *release = zsock_new_pair("@inproc://stubborn"),
            *wait = zsock_new_pair(">inproc://stubborn");
    cr_assert_eq(dctx_worker_start(be_stubborn, wait, "stubborn", 10000, NULL, &worker), DCTX_OK);
    /* More than a zactor's pipe takes. */
    for (int i = 0; i < 5000; i++)
        cr_assert_eq(zstr_send(dctx_worker_pipe(worker), "work"), 0);
    cr_assert_eq(dctx_worker_stop(&worker, 10), DCTX_ERR_TIMEOUT);
    cr_assert_not_null(worker, "still the caller's");
    zstr_send(release, "go");
    cr_assert_eq(dctx_worker_stop(&worker, 10000), DCTX_OK);
    zsock_destroy(&release);
    zsock_destroy(&wait);
}

static void start_late(zsock_t *pipe, void *arg)
{
    char *word = zstr_recv(arg);
    zstr_free(&word);
    zsock_signal(pipe, 0);
    wait_for_term(pipe);
}

Test(worker, a_start_takes_a_bounded_time, .init = init)
{
    dctx_worker_t *worker = NULL;
    zsock_t *release = zsock_new_pair("@inproc://late"), *wait = zsock_new_pair(">inproc://late");
    cr_assert_eq(dctx_worker_start(start_late, wait, "late", 10, NULL, &worker), DCTX_ERR_TIMEOUT);
    cr_assert_not_null(worker);
    zstr_send(release, "go");
    cr_assert_eq(dctx_worker_stop(&worker, 10000), DCTX_OK);
    zsock_destroy(&release);
    zsock_destroy(&wait);
}
