#include "io.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include <dcontext/internal.h>

#include "ask.h"
#include "io_command.h"
#include "io_send.h"
#include "message.h"
#include "outgoing.h"
#include "remote_monitor.h"
#include "system.h"

enum {
    BATCH = 1024, /* sends between two looks at the sockets */
    NS_PER_MS = 1000000
};

static dctx_system_t *system_of(dctx_io_t *io)
{
    return io->runner.system;
}

/* ---- from other threads ---------------------------------------------------------------------- */

dctx_error_t dctx_io_init(dctx_io_t *io, dctx_system_t *system)
{
    *io = (dctx_io_t){.event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    if (io->event < 0)
        return dctx_fail_(DCTX_ERR_IO, "no eventfd: %s", strerror(errno));
    dctx_watch_init(&io->watch, &system->options);
    io->item_capacity = 4;
    io->items = dctx_calloc_(io->item_capacity, sizeof *io->items);
    if (io->items == NULL) {
        close(io->event);
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for the I/O actor");
    }
    dctx_runner_init(&io->runner, system, DCTX_RUNNER_IO);
    dctx_mailbox_init(&io->in, &io->out);
    io->ready = true;
    return DCTX_OK;
}

void dctx_io_wake_(dctx_io_t *io)
{
    uint64_t one = 1;
    /* It can only fail when the count is full, and then it is awake. */
    ssize_t written = write(io->event, &one, sizeof one);
    (void)written;
}

void dctx_io_post_(dctx_io_t *io, dctx_node_t *node)
{
    if (dctx_mailbox_push(&io->in, node))
        dctx_io_wake_(io);
}

void dctx_io_call_off_(dctx_io_t *io, const dctx_peer_t *peer, uint64_t ask, dctx_error_t why,
                       const char *reason, const char *chain)
{
    dctx_outgoing_t *outgoing = dctx_outgoing_cancel_(peer->name, ask, why, reason, chain);
    if (outgoing != NULL)
        dctx_io_post_(io, &outgoing->node);
}

void dctx_io_quit_(dctx_io_t *io)
{
    atomic_store(&io->quit, true);
    dctx_io_wake_(io);
}

/* ---- user code ------------------------------------------------------------------------------- */

void dctx_io_begin_(dctx_io_t *io)
{
    dctx_runner_begin(&io->runner, &system_of(io)->self, NULL, NULL, NULL);
}

void dctx_io_end_(dctx_io_t *io)
{
    if (!dctx_runner_end(&io->runner))
        io->abandoned = true;
}

/* ---- the loop -------------------------------------------------------------------------------- */

static void take_node(dctx_io_t *io, dctx_node_t *node)
{
    switch ((dctx_node_kind_t)node->kind) {
    case DCTX_NODE_OUTGOING:
        dctx_io_send_outgoing_(io, (dctx_outgoing_t *)(void *)node);
        break;
    case DCTX_NODE_REFUSAL:
        dctx_io_send_refusal_(io, dctx_message_of(node));
        break;
    case DCTX_NODE_COMMAND:
        dctx_io_take_command_(io, node);
        break;
    case DCTX_NODE_SIGNAL:
        dctx_far_take_(io, dctx_signal_of(node));
        if (!io->abandoned) {
            dctx_signal_release_(dctx_signal_of(node));
            dctx_tally_own(&io->runner.tallies, DCTX_TALLY_CONSUMED);
        }
        break;
    default:
        break;
    }
}

/* Takes what is in the mailbox; true if there may be more. */
static bool drain(dctx_io_t *io)
{
    for (int i = 0; i < BATCH && !io->abandoned; i++) {
        if (atomic_load(&io->in.head) & DCTX_MAILBOX_IDLE)
            return false;
        dctx_node_t *node = dctx_mailbox_peek(&io->out);
        if (node == NULL)
            return true;
        /* Out of the mailbox first: what becomes of the node is not ours to know. */
        dctx_advance_t next = dctx_mailbox_advance(&io->in, &io->out, node);
        if (next == DCTX_ADVANCE_BUSY)
            return true;
        take_node(io, node);
        if (next == DCTX_ADVANCE_IDLE)
            return false;
    }
    return true;
}

/* Fills in what to wait for: the eventfd, then the link's sockets. */
static size_t poll_items(dctx_io_t *io)
{
    io->items[0] = (zmq_pollitem_t){.fd = io->event, .events = ZMQ_POLLIN};
    if (io->wire == NULL)
        return 1;
    size_t count = dctx_link_poll_items(io->wire->link, io->items + 1, io->item_capacity - 1);
    if (count < io->item_capacity)
        return 1 + count;
    zmq_pollitem_t *items = dctx_calloc_(count * 2 + 1, sizeof *items);
    if (items == NULL)
        return io
            ->item_capacity; /* those that fit; the link's own timeout brings us to the others */
    dctx_release_(io->items);
    io->items = items;
    io->item_capacity = count * 2 + 1;
    return poll_items(io);
}

static long sooner(long a, long b)
{
    return a < 0 ? b : b < 0 || a < b ? a : b;
}

/* Looks for handlers that do not return. */
static long watch(dctx_io_t *io)
{
    dctx_io_begin_(io);
    long timeout = dctx_watch_look_(&io->watch, &io->runner);
    dctx_io_end_(io);
    return timeout;
}

static void wait_for_work(dctx_io_t *io, bool more, int64_t due, long timeout)
{
    if (due != INT64_MAX) {
        int64_t left = (due - dctx_now_(system_of(io)) + NS_PER_MS - 1) / NS_PER_MS;
        timeout = sooner(timeout, left <= 0 ? 0 : left > 1000000 ? 1000000 : (long)left);
    }
    if (io->wire != NULL)
        timeout = sooner(timeout, dctx_link_timeout_ms(io->wire->link));
    size_t count = poll_items(io);
    (void)zmq_poll(io->items, (int)count, more ? 0 : timeout);
    uint64_t bell;
    if (io->items[0].revents & ZMQ_POLLIN) {
        ssize_t got = read(io->event, &bell, sizeof bell);
        (void)got;
    }
}

void dctx_io_unplug_(dctx_io_t *io)
{
    dctx_far_close_(io);
    if (io->wire != NULL)
        io->wire->class->destroy(io->wire);
    io->wire = NULL;
}

bool dctx_io_round_(dctx_io_t *io, int64_t *ret_due)
{
    bool more = drain(io);
    int64_t due = dctx_asks_expire_(system_of(io), &io->runner);
    int64_t rings = dctx_alarms_ring_(system_of(io), &io->runner);
    io->abandoned = io->abandoned || dctx_runner_is_given_up(&io->runner);
    if (io->wire != NULL && io->wire->class->process(io->wire))
        more = true;
    dctx_system_stirred_(system_of(io));
    *ret_due = rings < due ? rings : due;
    return more;
}

void dctx_io_run(zsock_t *pipe, void *arg)
{
    dctx_io_t *io = arg;
    dctx_runner_here = &io->runner;
    zsock_signal(pipe, 0);
    while (!io->abandoned) {
        bool quit = atomic_load(&io->quit);
        int64_t due = INT64_MAX;
        bool more = dctx_io_round_(io, &due);
        if (quit && !more)
            break;
        long timeout = watch(io);
        if (!io->abandoned)
            wait_for_work(io, more, due, timeout);
    }
    dctx_io_unplug_(io);
    if (io->abandoned)
        dctx_runner_park();
    dctx_runner_here = NULL;
    if (!dctx_runner_leave_(&io->runner, &io->left))
        dctx_runner_park();
}

void dctx_io_finish(dctx_io_t *io)
{
    if (!io->ready)
        return;
    /* What came after it had left. Nobody may still be sending. */
    while (!(atomic_load(&io->in.head) & DCTX_MAILBOX_IDLE)) {
        dctx_node_t *node = dctx_mailbox_peek(&io->out);
        if (node == NULL || dctx_mailbox_advance(&io->in, &io->out, node) == DCTX_ADVANCE_BUSY)
            continue;
        if (node->kind == DCTX_NODE_OUTGOING)
            dctx_outgoing_destroy_((dctx_outgoing_t *)(void *)node);
        else if (node->kind == DCTX_NODE_REFUSAL)
            dctx_message_release_(system_of(io), NULL, dctx_message_of(node));
        else if (node->kind == DCTX_NODE_SIGNAL)
            dctx_far_discard_(io, dctx_signal_of(node));
        else
            dctx_io_refuse_command_(node);
    }
    dctx_inflight_finish(&io->inflight);
    dctx_far_table_finish(&io->watching);
    dctx_far_table_finish(&io->watched);
    dctx_runner_finish(&io->runner);
    dctx_release_(io->items);
    close(io->event);
}
