#include <string.h>

#include <dcontext/adapters.h>
#include <dcontext/internal.h>
#include <dcontext/stamp.h>

typedef enum loop_kind { READER, TIMER, TICKET } loop_kind_t;

struct dctx_loop_entry {
    struct dctx_loop_entry *next;
    dctx_loop_t *loop;
    loop_kind_t kind;
    char *name;
    void *arg;
    bool running; /* its handler is on the stack: whoever ends it leaves the freeing to that */
    bool ended;
    zsock_t *socket; /* a reader's */
    void *port;
    dctx_loop_reader_fn read;
    dctx_snapshot_t *context; /* a timer's and a ticket's */
    dctx_loop_timer_fn fire;
    size_t left; /* times; 0: for ever */
    int id;
    void *ticket;
};

struct dctx_loop {
    zloop_t *zloop;
    dctx_loop_entry_t *entries;
    bool spans;
    dctx_id_source_t ids; /* `next` NULL: the thread's own */
};

dctx_error_t dctx_loop_new(zloop_t *loop, dctx_loop_t **ret_loop)
{
    if (loop == NULL || ret_loop == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no loop");
    dctx_loop_t *made = dctx_calloc_(1, sizeof(*made));
    if (made == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a loop");
    made->zloop = loop;
    *ret_loop = made;
    return DCTX_OK;
}

static void release(dctx_loop_entry_t *entry)
{
    dctx_loop_entry_t **at = &entry->loop->entries;
    while (*at != NULL && *at != entry)
        at = &(*at)->next;
    if (*at != NULL)
        *at = entry->next;
    dctx_snapshot_unref(&entry->context);
    dctx_release_(entry->name);
    dctx_release_(entry);
}

/*
 * Ends an entry. A timer that zloop_timer_end() ends may still fire once: the zloop looks at what
 * ended only after it ran what is due. So a timer's entry stays, without its context, until it
 * fires for the last time, or the loop goes. One whose handler is on the stack is left to that.
 */
static void end(dctx_loop_entry_t *entry)
{
    zloop_t *zloop = entry->loop->zloop;
    entry->ended = true;
    if (entry->kind == READER)
        zloop_reader_end(zloop, entry->socket);
    if (entry->running)
        return;
    dctx_snapshot_unref(&entry->context);
    if (entry->kind == TICKET)
        zloop_ticket_delete(zloop, entry->ticket);
    if (entry->kind != TIMER)
        release(entry);
}

void dctx_loop_end(dctx_loop_t *loop, dctx_loop_entry_t **entry_p)
{
    if (loop == NULL || entry_p == NULL || *entry_p == NULL)
        return;
    dctx_loop_entry_t *entry = loop->entries;
    while (entry != NULL && entry != *entry_p)
        entry = entry->next;
    *entry_p = NULL;
    if (entry != NULL && !entry->ended)
        end(entry);
}

void dctx_loop_destroy(dctx_loop_t **loop_p)
{
    if (loop_p == NULL || *loop_p == NULL)
        return;
    dctx_loop_t *loop = *loop_p;
    *loop_p = NULL;
    while (loop->entries != NULL) {
        dctx_loop_entry_t *entry = loop->entries;
        if (entry->kind != TIMER) {
            end(entry);
            continue;
        }
        zloop_timer_end(loop->zloop, entry->id);
        release(entry);
    }
    dctx_release_(loop);
}

static dctx_error_t new_entry(dctx_loop_t *loop, loop_kind_t kind, const char *name, void *arg,
                              dctx_loop_entry_t **ret_entry)
{
    dctx_scope_t scope;
    if (loop == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no loop");
    dctx_error_t error = dctx_scope_push(name, &scope); /* whether the name can be one */
    (void)dctx_scope_pop(&scope);
    if (error != DCTX_OK)
        return error;
    dctx_loop_entry_t *entry = dctx_calloc_(1, sizeof(*entry));
    if (entry == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for an entry of a loop");
    entry->loop = loop;
    entry->kind = kind;
    entry->arg = arg;
    entry->name = dctx_strndup_(name != NULL ? name : "", name != NULL ? strlen(name) : 0);
    error = entry->name == NULL ? dctx_fail_(DCTX_ERR_NOMEM, "no memory for an entry of a loop")
            : kind == READER    ? DCTX_OK
                                : dctx_fork(&entry->context);
    if (error != DCTX_OK) {
        release(entry);
        return error;
    }
    *ret_entry = entry;
    return DCTX_OK;
}

static void list(dctx_loop_entry_t *entry, dctx_loop_entry_t **ret_entry)
{
    entry->next = entry->loop->entries;
    entry->loop->entries = entry;
    if (ret_entry != NULL)
        *ret_entry = entry;
}

void dctx_loop_set_spans(dctx_loop_t *loop, bool spans, const dctx_id_source_t *ids)
{
    if (loop == NULL)
        return;
    loop->spans = spans;
    loop->ids = ids != NULL ? *ids : (dctx_id_source_t){.next = NULL};
}

static void begin_span(const dctx_loop_t *loop)
{
    const dctx_id_source_t *ids = loop->ids.next != NULL ? &loop->ids : NULL;
    if (dctx_trace_is_valid(dctx_trace_get()) && dctx_trace_begin(ids) != DCTX_OK)
        dctx_log(DCTX_LOG_WARNING, "a message is handled in its sender's span: %s",
                 dctx_error_detail());
}

/* ---- readers --------------------------------------------------------------------------------- */

static int on_readable(zloop_t *zloop, zsock_t *socket, void *arg)
{
    dctx_loop_entry_t *entry = arg;
    zmsg_t *message;
    dctx_scope_t scope;
    (void)zloop;
    (void)socket;
    /* One message a turn; what could not be received was counted, logged and buried. */
    if (dctx_recv_attach(entry->port != NULL ? entry->port : entry->socket, entry->name, &message,
                         &scope) != DCTX_OK)
        return 0;
    if (entry->loop->spans)
        begin_span(entry->loop);
    entry->running = true;
    int result = entry->read(entry->loop, entry->socket, &message, entry->arg);
    entry->running = false;
    (void)dctx_scope_pop(&scope);
    zmsg_destroy(&message);
    if (entry->ended)
        release(entry);
    return result;
}

dctx_error_t dctx_loop_reader(dctx_loop_t *loop, zsock_t *socket, void *port, const char *name,
                              dctx_loop_reader_fn handle, void *arg, dctx_loop_entry_t **ret_entry)
{
    dctx_loop_entry_t *entry = NULL;
    if (socket == NULL || handle == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no socket, or no handler");
    dctx_error_t error = new_entry(loop, READER, name, arg, &entry);
    if (error != DCTX_OK)
        return error;
    entry->socket = socket;
    entry->port = port;
    entry->read = handle;
    if (zloop_reader(loop->zloop, socket, on_readable, entry) != 0) {
        release(entry);
        return dctx_fail_(DCTX_ERR_NOMEM, "the loop does not take the reader");
    }
    list(entry, ret_entry);
    return DCTX_OK;
}

/* ---- timers and tickets ---------------------------------------------------------------------- */

/* After the handler: a zloop that is told to end leaves the entry in, as it would one that has more
 * times to go. */
static void settle(dctx_loop_entry_t *entry, bool last, int result)
{
    zloop_t *zloop = entry->loop->zloop;
    entry->ended = entry->ended || last;
    if (!entry->ended)
        return;
    dctx_snapshot_unref(&entry->context);
    if (entry->kind == TICKET && result == -1)
        zloop_ticket_delete(zloop, entry->ticket);
    if (entry->kind == TIMER && result == -1)
        return; /* it may fire again when the loop is started again */
    if (entry->kind == TIMER && !last)
        zloop_timer_end(zloop, entry->id);
    release(entry);
}

static int on_due(zloop_t *zloop, int id, void *arg)
{
    dctx_loop_entry_t *entry = arg;
    dctx_scope_t scope;
    (void)zloop;
    (void)id;
    if (entry->ended) {
        settle(entry, false, 0);
        return 0;
    }
    bool last = entry->kind == TICKET || entry->left == 1;
    if (entry->left > 1)
        entry->left--;
    if (dctx_attach_scope(entry->context, entry->name, &scope) != DCTX_OK)
        dctx_log(DCTX_LOG_ERROR, "timer '%s' runs without its context: %s", entry->name,
                 dctx_error_detail());
    entry->running = true;
    int result = entry->fire(entry->loop, entry->arg);
    entry->running = false;
    (void)dctx_scope_pop(&scope);
    settle(entry, last, result);
    return result;
}

dctx_error_t dctx_loop_timer(dctx_loop_t *loop, size_t delay, size_t times, const char *name,
                             dctx_loop_timer_fn handle, void *arg, dctx_loop_entry_t **ret_entry)
{
    dctx_loop_entry_t *entry = NULL;
    if (handle == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no handler");
    dctx_error_t error = new_entry(loop, TIMER, name, arg, &entry);
    if (error != DCTX_OK)
        return error;
    entry->fire = handle;
    entry->left = times;
    entry->id = zloop_timer(loop->zloop, delay, times, on_due, entry);
    if (entry->id == -1) {
        release(entry);
        return dctx_fail_(DCTX_ERR_NOMEM, "the loop does not take the timer");
    }
    list(entry, ret_entry);
    return DCTX_OK;
}

dctx_error_t dctx_loop_ticket(dctx_loop_t *loop, const char *name, dctx_loop_timer_fn handle,
                              void *arg, dctx_loop_entry_t **ret_entry)
{
    dctx_loop_entry_t *entry = NULL;
    if (handle == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no handler");
    dctx_error_t error = new_entry(loop, TICKET, name, arg, &entry);
    if (error != DCTX_OK)
        return error;
    entry->fire = handle;
    entry->ticket = zloop_ticket(loop->zloop, on_due, entry);
    if (entry->ticket == NULL) {
        release(entry);
        return dctx_fail_(DCTX_ERR_NOMEM, "the loop does not take the ticket");
    }
    list(entry, ret_entry);
    return DCTX_OK;
}
