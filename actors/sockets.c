#include "sockets.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <czmq.h>

#include <dcontext/internal.h>

#include "extra.h"
#include "life.h"
#include "pinned.h"
#include "turn.h"

enum { CAPACITY_FIRST = 4 };

/* ---- watching -------------------------------------------------------------------------------- */

static dctx_error_t check(const dctx_actor_t *self)
{
    dctx_runner_t *here = dctx_runner_here;
    if (self == NULL || here == NULL || here->actor != self || here->kind != DCTX_RUNNER_PINNED)
        return dctx_fail_(DCTX_ERR_INVALID, "only a pinned actor waits for sockets: spawn it with "
                                            "DCTX_PINNED, and watch in its own "
                                            "callbacks");
    return DCTX_OK;
}

static dctx_poll_entry_t *find(const dctx_actor_t *self, const void *given, int fd)
{
    dctx_poll_t *poll = self->extra != NULL ? &self->extra->poll : NULL;
    for (size_t i = 0; poll != NULL && i < poll->count; i++) {
        dctx_poll_entry_t *entry = &poll->entries[i];
        if (entry->given == given && (given != NULL || entry->fd == fd))
            return entry;
    }
    return NULL;
}

static dctx_error_t grow(dctx_poll_t *poll)
{
    size_t capacity = poll->capacity == 0 ? CAPACITY_FIRST : poll->capacity * 2;
    dctx_poll_entry_t *entries = dctx_calloc_(capacity, sizeof *entries);
    zmq_pollitem_t *items = dctx_calloc_(capacity + 1, sizeof *items);
    if (entries == NULL || items == NULL) {
        dctx_release_(entries);
        dctx_release_(items);
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory to watch another socket");
    }
    if (poll->count > 0)
        memcpy(entries, poll->entries, poll->count * sizeof *entries);
    dctx_poll_finish_(poll);
    poll->entries = entries;
    poll->items = items;
    poll->capacity = capacity;
    return DCTX_OK;
}

static dctx_error_t add(dctx_actor_t *self, const dctx_poll_entry_t *entry)
{
    dctx_poll_entry_t *known = find(self, entry->given, entry->fd);
    if (known != NULL) {
        *known = *entry;
        return DCTX_OK;
    }
    dctx_extra_t *extra = dctx_extra_get_(self);
    if (extra == NULL)
        return DCTX_ERR_NOMEM;
    dctx_poll_t *poll = &extra->poll;
    dctx_error_t error = poll->count == poll->capacity ? grow(poll) : DCTX_OK;
    if (error != DCTX_OK)
        return error;
    dctx_pinned_t *pinned = atomic_load_explicit(&self->pinned, memory_order_relaxed);
    if (pinned->event == 0) {
        int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (event < 0)
            return dctx_fail_(DCTX_ERR_IO, "no eventfd for a pinned actor: %s", strerror(errno));
        pinned->event = event + 1;
    }
    poll->entries[poll->count++] = *entry;
    poll->changes++;
    return DCTX_OK;
}

static dctx_error_t drop(dctx_actor_t *self, const void *given, int fd)
{
    dctx_error_t error = check(self);
    dctx_poll_entry_t *entry = error == DCTX_OK ? find(self, given, fd) : NULL;
    if (entry == NULL)
        return error != DCTX_OK ? error : dctx_fail_(DCTX_ERR_INVALID, "nobody watches that");
    dctx_poll_t *poll = &self->extra->poll;
    *entry = poll->entries[--poll->count];
    poll->changes++;
    return DCTX_OK;
}

dctx_error_t dctx_socket_watch(dctx_actor_t *self, void *socket, dctx_socket_fn on_ready)
{
    dctx_error_t error = check(self);
    if (error != DCTX_OK)
        return error;
    if (socket == NULL || on_ready == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no socket to watch, or nothing to call");
    dctx_poll_entry_t entry = {
        .given = socket, .handle = zsock_resolve(socket), .fd = -1, .on_socket = on_ready};
    return add(self, &entry);
}

dctx_error_t dctx_socket_unwatch(dctx_actor_t *self, void *socket)
{
    return drop(self, socket, -1);
}

dctx_error_t dctx_fd_watch(dctx_actor_t *self, int fd, dctx_fd_fn on_ready)
{
    dctx_error_t error = check(self);
    if (error != DCTX_OK)
        return error;
    if (fd < 0 || on_ready == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no descriptor to watch, or nothing to call");
    return add(self, &(dctx_poll_entry_t){.fd = fd, .on_fd = on_ready});
}

dctx_error_t dctx_fd_unwatch(dctx_actor_t *self, int fd)
{
    return drop(self, NULL, fd);
}

void dctx_poll_finish_(dctx_poll_t *poll)
{
    dctx_release_(poll->entries);
    dctx_release_(poll->items);
    poll->entries = NULL;
    poll->items = NULL;
}

/* ---- waiting --------------------------------------------------------------------------------- */

static void call_ready(dctx_actor_t *actor, void *arg)
{
    const dctx_poll_entry_t *entry = arg;
    if (entry->given != NULL)
        entry->on_socket(actor, entry->given, actor->state);
    else
        entry->on_fd(actor, entry->fd, actor->state);
}

/* Runs what is ready, each once, until one changes what there is. False: given up. */
static bool run_ready(dctx_pinned_t *pinned, dctx_poll_t *poll)
{
    size_t changes = poll->changes, count = poll->count;
    for (size_t i = 0; i < count; i++) {
        size_t place = (poll->first + i) % count;
        if (poll->items[place + 1].revents == 0)
            continue;
        dctx_poll_entry_t entry = poll->entries[place];
        poll->items[place + 1].revents = 0;
        if (!dctx_turn_outside_(&pinned->runner, pinned->actor, call_ready, &entry))
            return false;
        /* The actor may have come to its end. */
        if (pinned->actor->extra == NULL)
            return true;
        if (poll->changes != changes) {
            poll->first = place + 1;
            return true;
        }
    }
    poll->first++;
    return true;
}

/* Somebody closed what we watch: what cannot be waited for is left out, so that the rest can. */
static void drop_broken(dctx_pinned_t *pinned, dctx_poll_t *poll)
{
    for (size_t i = 0; poll != NULL && i < poll->count;) {
        zmq_pollitem_t item = poll->items[i + 1];
        if (zmq_poll(&item, 1, 0) >= 0 || errno == EINTR) {
            i++;
            continue;
        }
        dctx_log(DCTX_LOG_ERROR, "%s watches a socket that is closed; unwatch it before",
                 dctx_self_name(pinned->actor));
        poll->entries[i] = poll->entries[--poll->count];
        poll->items[i + 1] = poll->items[poll->count + 1];
        poll->changes++;
    }
}

bool dctx_poll_wait_(dctx_pinned_t *pinned, bool *ret_mail)
{
    dctx_poll_t *poll = pinned->actor->extra != NULL ? &pinned->actor->extra->poll : NULL;
    /* One that failed leaves its sockets alone, as its mailbox. */
    if (!dctx_life_serves_(pinned->actor))
        poll = NULL;
    zmq_pollitem_t alone;
    zmq_pollitem_t *items = poll != NULL && poll->items != NULL ? poll->items : &alone;
    size_t count = items != &alone ? poll->count : 0;
    *ret_mail = false;
    items[0] = (zmq_pollitem_t){.fd = pinned->event - 1, .events = ZMQ_POLLIN};
    for (size_t i = 0; i < count; i++)
        items[i + 1] = (zmq_pollitem_t){
            .socket = poll->entries[i].handle, .fd = poll->entries[i].fd, .events = ZMQ_POLLIN};
    int ready = zmq_poll(items, (int)count + 1, -1);
    if (ready < 0) {
        if (errno != EINTR)
            drop_broken(pinned, poll);
        return true;
    }
    if (items[0].revents & ZMQ_POLLIN) {
        uint64_t bell;
        *ret_mail = read(pinned->event - 1, &bell, sizeof bell) == (ssize_t)sizeof bell;
    }
    return count == 0 || run_ready(pinned, poll);
}
