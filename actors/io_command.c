#include "io_command.h"

#include <string.h>

#include <dcontext/internal.h>

#include "io_receive.h"
#include "system.h"

enum {
    COMMAND_WAIT_MS =
        10000, /* longer than the I/O actor is ever away, unless a callback keeps it */
    NS_PER_MS = 1000000
};

/* A command, shared by who waits and the I/O actor; the last of the two frees it. */
typedef struct command {
    dctx_node_t node; /* the first */
    dctx_command_kind_t kind;
    dctx_error_t error;
    char *first;
    char *second;
    char *third;
    char *text;
    char detail[256];
    dctx_futex_t done;    /* release by the I/O actor */
    _Atomic(int) holders; /* acq_rel */
} command_t;

static dctx_system_t *system_of(dctx_io_t *io)
{
    return io->runner.system;
}

/* ---- who waits ------------------------------------------------------------------------------- */

static void let_go(command_t *command)
{
    if (atomic_fetch_sub(&command->holders, 1) > 1)
        return;
    dctx_release_(command->first);
    dctx_release_(command->second);
    dctx_release_(command->third);
    dctx_release_(command->text);
    dctx_release_(command);
}

/* False: no memory. */
static bool take_text(char **to, const char *text)
{
    *to = text == NULL ? NULL : dctx_strndup_(text, strlen(text));
    return text == NULL || *to != NULL;
}

static command_t *new_command(dctx_command_kind_t kind, const char *first, const char *second,
                              const char *third)
{
    command_t *command = dctx_calloc_(1, sizeof *command);
    if (command == NULL)
        return NULL;
    command->node.kind = DCTX_NODE_COMMAND;
    command->kind = kind;
    atomic_store(&command->holders, 1);
    if (!take_text(&command->first, first) || !take_text(&command->second, second) ||
        !take_text(&command->third, third)) {
        let_go(command);
        return NULL;
    }
    return command;
}

dctx_error_t dctx_io_command_(dctx_io_t *io, dctx_command_kind_t kind, const char *first,
                              const char *second, const char *third, char **ret_text)
{
    dctx_system_t *system = system_of(io);
    if (dctx_runner_of(system) == &io->runner)
        return dctx_fail_(DCTX_ERR_INVALID, "not from the I/O actor's own callbacks");
    if (dctx_phase_(system) >= DCTX_PHASE_STOPPING)
        return dctx_fail_(DCTX_ERR_STOPPED, "system %s is stopping", system->name);
    command_t *command = new_command(kind, first, second, third);
    if (command == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a command");
    atomic_store(&command->holders, 2);
    dctx_io_post_(io, &command->node);
    if (system->stage.world != NULL)
        dctx_world_settle_(system->stage.world);
    for (int ms = 0; ms < COMMAND_WAIT_MS && atomic_load(&command->done) == 0; ms += 100)
        dctx_futex_wait(&command->done, 0, (int64_t)100 * NS_PER_MS);
    dctx_error_t error = DCTX_ERR_TIMEOUT;
    if (atomic_load_explicit(&command->done, memory_order_acquire) != 0) {
        error = command->error;
        if (error != DCTX_OK)
            (void)dctx_fail_(error, "%s", command->detail);
        if (error == DCTX_OK && ret_text != NULL) {
            *ret_text = command->text;
            command->text = NULL;
        }
    } else {
        (void)dctx_fail_(error, "the I/O actor does not come back from a callback");
    }
    let_go(command);
    return error;
}

/* ---- who does it ----------------------------------------------------------------------------- */

static dctx_error_t execute(dctx_io_t *io, command_t *command)
{
    dctx_system_t *system = system_of(io);
    dctx_error_t error = dctx_io_need_wire_(io);
    if (error != DCTX_OK)
        return error;
    switch (command->kind) {
    case DCTX_COMMAND_BIND: {
        const char *endpoint = NULL;
        error = io->wire->class->bind(io->wire, command->first, &endpoint);
        if (error != DCTX_OK)
            return error;
        command->text = dctx_strndup_(endpoint, strlen(endpoint));
        return command->text != NULL ? DCTX_OK
                                     : dctx_fail_(DCTX_ERR_NOMEM, "no memory for an endpoint");
    }
    case DCTX_COMMAND_CONNECT:
        return io->wire->class->connect(io->wire, command->first, command->second, command->third);
    case DCTX_COMMAND_IS_UP: {
        const dctx_peer_t *peer = dctx_peers_find(&system->peers, command->first);
        if (peer != NULL)
            dctx_peers_set_up(&system->peers, peer,
                              io->wire->class->is_up(io->wire, command->first));
        return DCTX_OK;
    }
    default:
        return DCTX_ERR_INVALID;
    }
}

static void finish(command_t *command, dctx_error_t error)
{
    command->error = error;
    if (error != DCTX_OK)
        strncpy(command->detail, dctx_error_detail(), sizeof command->detail - 1);
    atomic_store_explicit(&command->done, 1, memory_order_release);
    dctx_futex_wake_all(&command->done);
    let_go(command);
}

void dctx_io_take_command_(dctx_io_t *io, dctx_node_t *node)
{
    command_t *command = (command_t *)(void *)node;
    finish(command, execute(io, command));
}

void dctx_io_refuse_command_(dctx_node_t *node)
{
    finish((command_t *)(void *)node, dctx_fail_(DCTX_ERR_STOPPED, "the system is stopped"));
}
