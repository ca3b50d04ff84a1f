/*
 * A node of the tree of asks in cancel_tree_test.c: NAME ENDPOINT TARGET WIDTH [NODE ITS_ENDPOINT].
 *
 * "fan" asks TARGET WIDTH times for each ask it gets, or once if it is to probe the way, and
 * answers when all of these have ended. "leaf" answers probes; what else it is asked it tells the
 * node "root" and keeps, until it is called off. "report" answers with the system's counters. Says
 * its endpoint, and serves until its standard input ends.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <dcontext/actors.h>

enum { PROBE = 1 };

/* ---- fan ------------------------------------------------------------------------------------- */

static dctx_ref_t target;
static int width;

typedef struct branch {
    dctx_reply_to_t *reply_to;
    int open;
    dctx_error_t status;
} branch_t;

static void on_end(dctx_actor_t *self, dctx_error_t status, const dctx_message_t *reply,
                   void *state, void *arg)
{
    branch_t *branch = arg;
    (void)self;
    (void)reply;
    (void)state;
    branch->status = status != DCTX_OK ? status : branch->status;
    if (--branch->open > 0)
        return;
    if (branch->status != DCTX_OK)
        (void)!dctx_reply_to_error(&branch->reply_to, branch->status, NULL);
    else
        (void)!dctx_reply_to_send(&branch->reply_to, NULL, NULL);
    dctx_reply_to_destroy(&branch->reply_to);
    free(branch);
}

static dctx_error_t fan(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    const uint64_t *what = dctx_message_get(message, DCTX_TYPE_UINT64);
    branch_t *branch = calloc(1, sizeof *branch);
    (void)state;
    if (what == NULL || branch == NULL || dctx_reply_defer(message, &branch->reply_to) != DCTX_OK) {
        free(branch);
        return DCTX_ERR_INVALID;
    }
    int asks = *what == PROBE ? 1 : width;
    for (int i = 0; i < asks; i++) {
        dctx_error_t error = dctx_ask(self, target, DCTX_TYPE_UINT64, what, 60000, on_end, branch);
        branch->open += error == DCTX_OK;
        branch->status = error != DCTX_OK ? error : branch->status;
    }
    if (branch->open == 0) {
        branch->open = 1;
        on_end(self, branch->status, NULL, NULL, branch);
    }
    return DCTX_OK;
}

/* ---- leaf ------------------------------------------------------------------------------------ */

typedef struct leaf {
    dctx_cancel_watch_t watch;
    dctx_cancel_t *cancel;
    dctx_reply_to_t *reply_to;
} leaf_t;

/* On the I/O actor's thread. */
static void on_cancel(dctx_cancel_t *cancel, void *arg)
{
    leaf_t *leaf = arg;
    bool right = strcmp(dctx_cancel_reason(cancel), "enough of it") == 0 &&
                 strcmp(dctx_cancel_chain(cancel), "user") == 0;
    (void)!dctx_reply_to_error(&leaf->reply_to, right ? DCTX_ERR_CANCELLED : DCTX_ERR_REJECTED,
                               NULL);
    dctx_cancel_unwatch(&leaf->watch);
    dctx_cancel_unref(&leaf->cancel);
    free(leaf);
}

static dctx_error_t leaf(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    dctx_ref_t root;
    const uint64_t *what = dctx_message_get(message, DCTX_TYPE_UINT64);
    (void)state;
    if (what != NULL && *what == PROBE)
        return dctx_reply(message, NULL, NULL);
    leaf_t *leaf = calloc(1, sizeof *leaf);
    if (leaf == NULL || dctx_reply_defer(message, &leaf->reply_to) != DCTX_OK) {
        free(leaf);
        return DCTX_ERR_NOMEM;
    }
    leaf->cancel = dctx_cancel_ref(dctx_cancel_get());
    dctx_error_t error = dctx_system_find(dctx_self_system(self), "counter@root", &root);
    if (error == DCTX_OK)
        error = dctx_tell(root, NULL, NULL);
    (void)dctx_cancel_watch(leaf->cancel, &leaf->watch, on_cancel, leaf);
    return error;
}

/* ---- report ---------------------------------------------------------------------------------- */

static dctx_error_t report(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    dctx_system_counters_t counters;
    (void)state;
    dctx_system_counters_read(dctx_self_system(self), &counters);
    dctx_bytes_t bytes = {.data = &counters, .size = sizeof counters};
    return dctx_reply(message, DCTX_TYPE_BYTES, &bytes);
}

int main(int argc, char **argv)
{
    dctx_system_t *system = NULL;
    char *endpoint = NULL, byte;
    dctx_ref_t ref;
    if (argc < 5 || dctx_registry_freeze(NULL) != DCTX_OK)
        return 1;
    dctx_system_options_t options = {.name = argv[1], .workers = 2, .dead_after_ms = 60000};
    width = (int)strtol(argv[4], NULL, 10);
    dctx_error_t error = dctx_system_new(&options, &system);
    if (error == DCTX_OK)
        error = dctx_system_find(system, argv[3], &target);
    if (error == DCTX_OK)
        error = dctx_spawn(system, &(dctx_actor_options_t){.name = "fan", .handler = fan}, &ref);
    if (error == DCTX_OK)
        error = dctx_spawn(system, &(dctx_actor_options_t){.name = "leaf", .handler = leaf}, &ref);
    if (error == DCTX_OK)
        error =
            dctx_spawn(system, &(dctx_actor_options_t){.name = "report", .handler = report}, &ref);
    if (error == DCTX_OK)
        error = dctx_system_bind(system, argv[2], &endpoint);
    if (error == DCTX_OK && argc > 6) {
        error = dctx_system_connect(system, argv[5], argv[6]);
        if (error == DCTX_OK)
            error = dctx_system_wait_node(system, argv[5], 20000);
    }
    if (error != DCTX_OK) {
        fprintf(stderr, "cancel_peer: %s\n", dctx_error_detail());
        return 1;
    }
    printf("%s\n", endpoint);
    fflush(stdout);
    while (read(0, &byte, 1) > 0) {
    }
    dctx_free(endpoint);
    error = dctx_system_stop(system, 2000, NULL);
    dctx_system_destroy(&system);
    return error == DCTX_OK ? 0 : 2;
}
