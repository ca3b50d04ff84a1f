/*
 * async_tasks.c - callbacks on an event loop, each in the context of the request that it works for.
 *
 * The loop below knows descriptors and `void (*)(void *)` callbacks and nothing of dcontext, like
 * any event loop. A dctx_task_t fits into such a slot: it remembers the context in which it was
 * made.
 */
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include <dcontext/dcontext.h>

#include "must.h"

DCTX_KEY_STRING(request_id, "request-id", DCTX_BROADCAST)

/* ---- an event loop ---- */

#define SLOTS 8

static struct pollfd slot_fd[SLOTS];
static void (*slot_call[SLOTS])(void *);
static void *slot_arg[SLOTS];
static nfds_t slots;

static void loop_when_readable(int fd, void (*call)(void *), void *arg)
{
    if (slots == SLOTS)
        exit(EXIT_FAILURE);
    slot_fd[slots] = (struct pollfd){.fd = fd, .events = POLLIN};
    slot_call[slots] = call;
    slot_arg[slots] = arg;
    slots++;
}

/* Wait for one descriptor, forget it, call back. */
static void loop_once(void)
{
    if (poll(slot_fd, slots, -1) <= 0)
        exit(EXIT_FAILURE);
    for (nfds_t i = 0; i < slots; i++) {
        if (slot_fd[i].revents == 0)
            continue;
        void (*call)(void *) = slot_call[i];
        void *arg = slot_arg[i];
        slots--;
        slot_fd[i] = slot_fd[slots];
        slot_call[i] = slot_call[slots];
        slot_arg[i] = slot_arg[slots];
        call(arg);
        return;
    }
}

/* ---- a service on it ---- */

struct query {
    int fd[2]; /* a pipe that stands for the connection to a database */
};

static void on_answer(void *arg)
{
    struct query *query = arg;
    char answer[32];
    ssize_t size = read(query->fd[0], answer, sizeof(answer) - 1);
    answer[size > 0 ? size : 0] = '\0';

    char chain[128];
    dctx_chain_format(chain, sizeof(chain));
    printf("answer \"%s\" for request %s, chain %s\n", answer, request_id_get_or("?"), chain);
    close(query->fd[0]);
}

static void handle(const char *id, struct query *query)
{
    DCTX_SCOPE("handle");
    must(request_id_set(id));
    printf("asking for request %s\n", request_id_get());

    dctx_task_t *task;
    must(dctx_task_new(on_answer, query, "on-answer", &task));
    if (pipe(query->fd) != 0)
        exit(EXIT_FAILURE);
    loop_when_readable(query->fd[0], dctx_task_run_once, task);
} /* the scope ends here; the task keeps what it needs */

static void answer(struct query *query, const char *text, size_t size)
{
    if (write(query->fd[1], text, size) != (ssize_t)size)
        exit(EXIT_FAILURE);
    close(query->fd[1]);
}

int main(void)
{
    must(DCTX_REGISTER_KEYS(NULL, &request_id));
    must(dctx_registry_freeze(NULL));

    struct query queries[3];
    handle("r-1", &queries[0]);
    handle("r-2", &queries[1]);
    handle("r-3", &queries[2]);

    /* Answers come in an order of their own. */
    answer(&queries[1], "two rows", 8);
    loop_once();
    answer(&queries[2], "no rows", 7);
    loop_once();
    answer(&queries[0], "one row", 7);
    loop_once();

    printf("between callbacks the loop's context is %s\n", dctx_is_empty() ? "empty" : "not empty");
    return 0;
}
