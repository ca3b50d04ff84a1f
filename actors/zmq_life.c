#include "zmq_life.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include <dcontext/internal.h>

#include "runner.h"

static void start(void)
{
    struct sigaction interrupt, terminate;
    sigaction(SIGINT, NULL, &interrupt);
    sigaction(SIGTERM, NULL, &terminate);
    (void)zsys_init();
    sigaction(SIGINT, &interrupt, NULL);
    sigaction(SIGTERM, &terminate, NULL);
    (void)dctx_runner_barrier_init();
}

dctx_error_t dctx_zmq_start_(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start);
    if (zsys_init() == NULL)
        return dctx_fail_(DCTX_ERR_IO, "CZMQ does not start");
    return DCTX_OK;
}

/* Closed sockets count until ZeroMQ's own thread has cleared them away:
 * so twice as many as are needed. */
static dctx_error_t check_sockets(unsigned count)
{
    enum { MOST = 512 };
    void *sockets[MOST];
    unsigned wanted = count < MOST ? count : MOST, got = 0;
    while (got < wanted && (sockets[got] = zmq_socket(zsys_init(), ZMQ_PAIR)) != NULL)
        got++;
    int error = errno;
    for (unsigned i = 0; i < got; i++)
        zmq_close(sockets[i]);
    if (got < wanted)
        return dctx_fail_(DCTX_ERR_IO, "no sockets left for a system's threads, of at most %zu: %s",
                          zsys_socket_limit(), zmq_strerror(error));
    return DCTX_OK;
}

static void *wait_for_gate(void *gate)
{
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}

static dctx_error_t check_threads(unsigned count)
{
    enum { MOST = 128 };
    pthread_t threads[MOST];
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    unsigned wanted = count < MOST ? count : MOST, got = 0;
    int error = 0;
    pthread_mutex_lock(&gate);
    while (got < wanted && error == 0) {
        error = pthread_create(&threads[got], NULL, wait_for_gate, &gate);
        got += error == 0;
    }
    pthread_mutex_unlock(&gate);
    for (unsigned i = 0; i < got; i++)
        pthread_join(threads[i], NULL);
    if (error != 0)
        return dctx_fail_(DCTX_ERR_IO, "no threads left for a system: %s", strerror(error));
    return DCTX_OK;
}

static void block_signals(sigset_t *ret_before)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, ret_before);
}

dctx_error_t dctx_zactors_check_(unsigned count)
{
    sigset_t before;
    block_signals(&before);
    dctx_error_t error = check_sockets(4 * count);
    if (error == DCTX_OK)
        error = check_threads(count);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

zactor_t *dctx_zactor_new_(zactor_fn *run, void *arg)
{
    sigset_t before;
    block_signals(&before);
    zactor_t *actor = zactor_new(run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return actor;
}
