/* An actor that keeps what it is sent, for a test to look at. */
#include <string.h>

#include <dcontext/internal.h>

#include "message.h"
#include "system.h"

typedef struct letter {
    struct letter *next;
    dctx_test_letter_t open; /* as the test gets it */
} letter_t;

struct dctx_test_probe {
    dctx_system_t *system;
    dctx_ref_t ref;
    letter_t *first, *last;
    bool kept;  /* by the test */
    bool alive; /* the actor is */
};

void dctx_test_letter_clear(dctx_test_letter_t *letter)
{
    if (letter == NULL)
        return;
    dctx_message_destroy(&letter->message);
    dctx_snapshot_unref(&letter->context);
    dctx_reply_to_destroy(&letter->reply_to);
    *letter = (dctx_test_letter_t){0};
}

static letter_t *take(dctx_test_probe_t *probe)
{
    letter_t *letter = probe->first;
    if (letter != NULL)
        probe->first = letter->next;
    return letter;
}

static void release(dctx_test_probe_t *probe)
{
    if (probe->kept || probe->alive)
        return;
    for (letter_t *letter; (letter = take(probe)) != NULL;) {
        dctx_test_letter_clear(&letter->open);
        dctx_release_(letter);
    }
    dctx_release_(probe);
}

static void on_end(void *state)
{
    dctx_test_probe_t *probe = state;
    probe->alive = false;
    release(probe);
}

/* Moves a message into a letter. What cannot be kept for want of memory is an error of the
 * handler's. */
static dctx_error_t keep(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    dctx_test_probe_t *probe = state;
    (void)self;
    letter_t *letter = dctx_calloc_(1, sizeof *letter);
    dctx_message_t *own = dctx_calloc_(1, sizeof *own);
    if (letter == NULL || own == NULL) {
        dctx_release_(letter);
        dctx_release_(own);
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory to keep a message for the test");
    }
    own->node.flags = DCTX_MESSAGE_OWN;
    letter->open.message = own;
    letter->open.sender = dctx_message_sender(message);
    dctx_error_t error = dctx_fork(&letter->open.context);
    if (error == DCTX_OK && dctx_message_is_ask(message))
        error = dctx_reply_defer(message, &letter->open.reply_to);
    if (error != DCTX_OK) {
        dctx_test_letter_clear(&letter->open);
        dctx_release_(letter);
        return error;
    }
    dctx_message_take_content_(own, dctx_message_own(message));
    if (probe->first == NULL)
        probe->first = letter;
    else
        probe->last->next = letter;
    probe->last = letter;
    return DCTX_OK;
}

dctx_error_t dctx_test_probe_new(dctx_system_t *system, const char *name,
                                 dctx_test_probe_t **ret_probe)
{
    if (system == NULL || ret_probe == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no system, or no place for the probe");
    if (system->stage.world == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "a probe needs a system in a test world");
    dctx_test_probe_t *probe = dctx_calloc_(1, sizeof *probe);
    if (probe == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a probe");
    *probe = (dctx_test_probe_t){.system = system, .kept = true, .alive = true};
    dctx_actor_options_t options = {
        .name = name, .handler = keep, .state = probe, .destroy_state = on_end};
    dctx_error_t error = dctx_spawn(system, &options, &probe->ref);
    if (error != DCTX_OK) {
        dctx_release_(probe);
        return error;
    }
    *ret_probe = probe;
    return DCTX_OK;
}

void dctx_test_probe_destroy(dctx_test_probe_t **probe_p)
{
    if (probe_p == NULL || *probe_p == NULL)
        return;
    dctx_test_probe_t *probe = *probe_p;
    *probe_p = NULL;
    probe->kept = false;
    /* If it has just ended, it is released here; else when the stop gets to it. */
    if (probe->alive)
        (void)!dctx_stop(probe->ref);
    else
        release(probe);
}

dctx_ref_t dctx_test_probe_ref(const dctx_test_probe_t *probe)
{
    return probe != NULL ? probe->ref : DCTX_REF_NONE;
}

static bool has_letter(void *arg)
{
    return ((const dctx_test_probe_t *)arg)->first != NULL;
}

dctx_error_t dctx_test_probe_await(dctx_test_probe_t *probe, int64_t timeout_ns,
                                   dctx_test_letter_t *ret_letter)
{
    if (probe == NULL || ret_letter == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no probe, or no place for the letter");
    if (!has_letter(probe) && probe->alive &&
        !dctx_test_await(probe->system->stage.world, has_letter, probe, timeout_ns))
        return dctx_fail_(DCTX_ERR_TIMEOUT, "no message came in %lld ns", (long long)timeout_ns);
    letter_t *letter = take(probe);
    if (letter == NULL)
        return dctx_fail_(DCTX_ERR_NO_ACTOR, "the probe has been stopped");
    *ret_letter = letter->open;
    dctx_release_(letter);
    return DCTX_OK;
}
