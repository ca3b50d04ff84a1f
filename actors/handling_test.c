/* Become, forward, delegate and stash, with the context that each handler then sees. */
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "fixture.h"

static uint64_t number(const dctx_message_t *message)
{
    const uint64_t *value = dctx_message_get(message, DCTX_TYPE_UINT64);
    return value != NULL ? *value : 0;
}

/* What an actor saw of the message it handled last. */
typedef struct seen {
    gate_t gate;
    char chain[256], tenant[32], secret[32], text[128];
    dctx_ref_t sender;
    bool ask, remote;
    const void *value;
} seen_t;

static void look(seen_t *seen, const dctx_message_t *message)
{
    const char *text = dctx_message_get(message, DCTX_TYPE_STRING);
    strcpy(seen->chain, chain());
    strcpy(seen->tenant, tenant_get_or(""));
    strcpy(seen->secret, secret_get_or(""));
    strcpy(seen->text, text != NULL ? text : "");
    seen->sender = dctx_message_sender(message);
    seen->ask = dctx_message_is_ask(message);
    seen->remote = dctx_message_is_remote(message);
}

/* Answers asks with the text that came, or with an error if that is "error". */
static dctx_error_t serve(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    seen_t *seen = state;
    (void)self;
    look(seen, message);
    dctx_error_t error = DCTX_OK;
    if (seen->ask && strcmp(seen->text, "error") == 0)
        error = dctx_reply_error(message, DCTX_ERR_REJECTED, "out of stock");
    else if (seen->ask && strcmp(seen->text, "silent") != 0)
        error = dctx_reply(message, DCTX_TYPE_STRING, seen->text);
    gate_pass(&seen->gate);
    return error;
}

static dctx_error_t ask_text(dctx_ref_t to, const char *text, char answer[128])
{
    dctx_message_t *reply = NULL;
    dctx_error_t error = dctx_ask_wait(to, DCTX_TYPE_STRING, text, WAIT_MS, &reply);
    const char *got =
        error == DCTX_OK ? dctx_message_get(reply, DCTX_TYPE_STRING) : dctx_message_reason(reply);
    strcpy(answer, got != NULL ? got : "");
    dctx_message_destroy(&reply);
    return error;
}

/* ---- become ---------------------------------------------------------------------------------- */

typedef struct moods {
    gate_t gate;
    char log[64];
    dctx_error_t error;
} moods_t;

static dctx_error_t note(moods_t *moods, const char *word)
{
    strcat(moods->log, word);
    strcat(moods->log, tenant_get_or("-"));
    gate_pass(&moods->gate);
    return DCTX_OK;
}

static dctx_error_t happy(dctx_actor_t *self, const dctx_message_t *message, void *state);

static dctx_error_t angry(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    if (number(message) == 0)
        cr_assert_eq(dctx_unbecome(self), DCTX_OK);
    else
        cr_assert_eq(dctx_become(self, happy), DCTX_OK);
    return note(state, "a");
}

static dctx_error_t happy(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    if (number(message) == 0)
        cr_assert_eq(dctx_become_push(self, angry), DCTX_OK);
    else if (number(message) == 2)
        cr_assert_eq(dctx_unbecome(self), DCTX_ERR_INVALID);
    return note(state, "h");
}

Test(become, the_next_message_meets_another_handler, .init = fixture_init, .timeout = 30)
{
    moods_t moods = {.gate = GATE_INIT};
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref = spawn(system, "moody", happy, &moods);
    static const uint64_t numbers[] = {1, 0, 0, 2, 0, 1, 1, 0, 0, 0};
    static const char *const tenants[] = {"1", "2", "3", "4", "5", "6", "7", "8", "9", "0"};
    for (int i = 0; i < 10; i++) {
        DCTX_SCOPE("edge");
        cr_assert_eq(tenant_set(tenants[i]), DCTX_OK);
        tell_uint(ref, numbers[i]);
    }
    cr_assert(gate_wait(&moods.gate, 10));
    /* The sixth has put a happy one on top of the happy one. */
    cr_assert_str_eq(moods.log, "h1h2a3h4h5a6h7h8a9h0");
    finish(&system);
}

static dctx_error_t pile_up(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)message;
    int count = 0;
    while (dctx_become_push(self, pile_up) == DCTX_OK)
        count++;
    cr_assert_eq(count, 256);
    cr_assert_eq(dctx_become_push(self, pile_up), DCTX_ERR_LIMIT);
    cr_assert_eq(dctx_become(self, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_become_push(self, NULL), DCTX_ERR_INVALID);
    for (; count > 0; count--)
        cr_assert_eq(dctx_unbecome(self), DCTX_OK);
    cr_assert_eq(dctx_unbecome(self), DCTX_ERR_INVALID);
    *(dctx_actor_t **)state = self;
    return dctx_message_is_ask(message) ? dctx_reply(message, NULL, NULL) : DCTX_OK;
}

Test(become, has_a_limit_and_is_for_the_actor_itself, .init = fixture_init, .timeout = 30)
{
    dctx_actor_t *actor = NULL;
    dctx_message_t *reply = NULL;
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref = spawn(system, "pile", pile_up, &actor);
    cr_assert_eq(dctx_ask_wait(ref, NULL, NULL, 0, &reply), DCTX_OK);
    dctx_message_destroy(&reply);
    cr_assert_eq(dctx_become(actor, pile_up), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_become_push(actor, pile_up), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_unbecome(actor), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_unstash_all(actor), 0);
    cr_assert(!dctx_unstash_one(NULL));
    finish(&system);
}

/* ---- forward --------------------------------------------------------------------------------- */

/* Sends on, after having made the context its own. */
typedef struct front {
    dctx_ref_t to;
    seen_t seen;
    dctx_error_t error;
    bool tell_before;
} front_t;

static dctx_error_t send_on(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    front_t *front = state;
    look(&front->seen, message);
    if (front->tell_before)
        cr_assert_eq(dctx_tell(front->to, DCTX_TYPE_STRING, "before"), DCTX_OK);
    DCTX_SCOPE("mine");
    cr_assert_eq(tenant_set("mine"), DCTX_OK);
    front->error = dctx_forward(self, message, front->to);
    if (front->error == DCTX_OK) {
        cr_assert_null(dctx_message_get(message, DCTX_TYPE_STRING));
        cr_assert_str_eq(dctx_message_type(message), "");
        cr_assert_eq(dctx_forward(self, message, front->to), DCTX_ERR_INVALID);
        cr_assert_eq(dctx_stash(self, message), DCTX_ERR_INVALID);
        cr_assert_eq(dctx_reply(message, NULL, NULL), DCTX_ERR_INVALID);
    } else {
        const char *text = dctx_message_get(message, DCTX_TYPE_STRING);
        cr_assert_str_eq(text != NULL ? text : "", front->seen.text, "it is as before");
    }
    gate_pass(&front->seen.gate);
    return front->error;
}

static dctx_error_t send_text(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    const char *text = dctx_message_get(message, DCTX_TYPE_STRING);
    return dctx_tell(*(dctx_ref_t *)state, DCTX_TYPE_STRING, text);
}

Test(forward, keeps_the_asker_and_the_sender_and_the_context, .init = fixture_init, .timeout = 30)
{
    seen_t back = {.gate = GATE_INIT};
    front_t front = {.seen = {.gate = GATE_INIT}, .tell_before = true};
    char answer[128];
    dctx_system_t *system = start(NULL);
    front.to = spawn(system, "back", serve, &back);
    dctx_ref_t ref = spawn(system, "front", send_on, &front);
    dctx_ref_t teller = spawn(system, "teller", send_text, &ref);
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        cr_assert_eq(secret_set("s3"), DCTX_OK);
        cr_assert_eq(ask_text(ref, "hello", answer), DCTX_OK, "%s", dctx_error_detail());
        cr_assert_str_eq(answer, "hello");
        cr_assert_str_eq(back.chain, "edge > actor:front > actor:back");
        cr_assert_str_eq(back.tenant, "acme", "what the handler set stays with it");
        cr_assert_str_eq(back.secret, "s3");
        cr_assert(back.ask);
        cr_assert(dctx_ref_is_none(back.sender));
        cr_assert_eq(ask_text(ref, "error", answer), DCTX_ERR_REJECTED);
        cr_assert_str_eq(answer, "out of stock");
        cr_assert_eq(ask_text(ref, "silent", answer), DCTX_ERR_NO_REPLY);
        /* Longer than fits a message's cell. */
        char text[100];
        memset(text, 'x', 99);
        text[99] = '\0';
        cr_assert_eq(ask_text(ref, text, answer), DCTX_OK);
        cr_assert_str_eq(answer, text);
        cr_assert_eq(dctx_tell(teller, DCTX_TYPE_STRING, "tell"), DCTX_OK);
    }
    cr_assert(gate_wait(&back.gate, 10));
    cr_assert_str_eq(back.text, "tell");
    cr_assert(dctx_ref_equal(back.sender, teller));
    cr_assert_str_eq(back.chain, "edge > actor:teller > actor:front > actor:back");
    cr_assert_eq(dctx_tell(ref, DCTX_TYPE_STRING, "bare"), DCTX_OK);
    cr_assert(gate_wait(&back.gate, 12));
    cr_assert_str_eq(back.chain, "actor:front > actor:back");
    cr_assert_str_eq(back.tenant, "");
    finish(&system);
}

/* A value that owns something: not copied, not encoded. */
static _Atomic(int) copies, destroyed;

static dctx_error_t copy_text(void *dst, const void *src)
{
    *(char **)dst = strdup(*(char *const *)src);
    copies++;
    return DCTX_OK;
}

static void destroy_text(void *value)
{
    free(*(char **)value);
    destroyed++;
}

static const dctx_type_t text_type = {
    .name = "text", .size = sizeof(char *), .copy = copy_text, .destroy = destroy_text};

static dctx_error_t take_text(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    char *const *text = dctx_message_get(message, &text_type);
    const dctx_bytes_t *bytes = dctx_message_get(message, DCTX_TYPE_BYTES);
    seen_t *seen = state;
    seen->value = text != NULL ? *text : NULL;
    if (bytes != NULL) {
        cr_assert_eq(bytes->size, 3);
        cr_assert_eq(memcmp(bytes->data, "abc", 3), 0);
    }
    gate_pass(&seen->gate);
    return DCTX_OK;
}

Test(forward, moves_what_the_message_holds, .init = fixture_init, .timeout = 30)
{
    seen_t back = {.gate = GATE_INIT};
    front_t fronts[2] = {{.seen = {.gate = GATE_INIT}}, {.seen = {.gate = GATE_INIT}}};
    dctx_system_t *system = start(NULL);
    fronts[1].to = spawn(system, "back", take_text, &back);
    fronts[0].to = spawn(system, "second", send_on, &fronts[1]);
    dctx_ref_t ref = spawn(system, "first", send_on, &fronts[0]);
    char *text = strdup("text");
    const void *before = text;
    cr_assert_eq(dctx_tell_take(ref, &text_type, &text), DCTX_OK);
    cr_assert(gate_wait(&back.gate, 1));
    cr_assert_eq(back.value, before);
    cr_assert_eq(dctx_tell(ref, DCTX_TYPE_BYTES, &(dctx_bytes_t){"abc", 3}), DCTX_OK);
    cr_assert(gate_wait(&back.gate, 2));
    finish(&system);
    cr_assert_eq(copies, 0);
    cr_assert_eq(destroyed, 1);
}

Test(forward, that_fails_leaves_the_message_as_it_was, .init = fixture_init, .timeout = 30)
{
    front_t front = {.seen = {.gate = GATE_INIT}};
    char answer[128];
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref = spawn(system, "front", send_on, &front);
    cr_assert_eq(ask_text(ref, "x", answer), DCTX_ERR_INVALID, "nobody to send to");
    seen_t gone = {.gate = GATE_INIT};
    front.to = spawn(system, "gone", serve, &gone);
    cr_assert_eq(dctx_stop(front.to), DCTX_OK);
    dctx_ref_t found;
    while (dctx_system_find(system, "gone", &found) == DCTX_OK)
        sched_yield();
    cr_assert_eq(ask_text(ref, "x", answer), DCTX_ERR_NO_ACTOR);
    cr_assert_eq(counters(system).failed, 2);
    finish(&system);
}

Test(forward, into_another_system_of_the_process, .init = fixture_init, .timeout = 30)
{
    seen_t back = {.gate = GATE_INIT};
    front_t fronts[2] = {{.seen = {.gate = GATE_INIT}}, {.seen = {.gate = GATE_INIT}}};
    char answer[128];
    dctx_system_t *here = start(NULL), *there = start(NULL);
    /* There and back again: the second leg ends in the asker's own system. */
    fronts[0].to = spawn(there, "second", send_on, &fronts[1]);
    fronts[1].to = spawn(here, "back", serve, &back);
    dctx_ref_t ref = spawn(here, "first", send_on, &fronts[0]);
    DCTX_WITH_SCOPE("edge") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        cr_assert_eq(ask_text(ref, "hello", answer), DCTX_OK, "%s", dctx_error_detail());
        cr_assert_str_eq(answer, "hello");
        cr_assert_str_eq(back.chain, "edge > actor:first > actor:second > actor:back");
        cr_assert_str_eq(back.tenant, "acme");
        fronts[0].to = spawn(there, "back", serve, &back);
        cr_assert_eq(ask_text(ref, "error", answer), DCTX_ERR_REJECTED);
        cr_assert_str_eq(answer, "out of stock");
        cr_assert(dctx_ref_is_none(back.sender));
    }
    finish(&there);
    finish(&here);
}

/* ---- delegate -------------------------------------------------------------------------------- */

static dctx_error_t pass_to_other(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    front_t *front = state;
    look(&front->seen, message);
    DCTX_SCOPE("mine");
    cr_assert_eq(tenant_set("mine"), DCTX_OK);
    front->error = dctx_delegate(self, message, front->to, DCTX_TYPE_STRING, front->seen.text, 0);
    if (front->error == DCTX_OK) {
        cr_assert_eq(dctx_delegate(self, message, front->to, NULL, NULL, 0), DCTX_ERR_INVALID);
        if (strcmp(front->seen.text, "die") == 0)
            dctx_self_stop(self);
    }
    return front->error;
}

Test(delegate, the_end_of_the_ask_is_the_askers, .init = fixture_init, .timeout = 30)
{
    seen_t back = {.gate = GATE_INIT};
    front_t front = {.seen = {.gate = GATE_INIT}};
    char answer[128];
    dctx_system_t *here = start(NULL), *there = start(NULL);
    dctx_ref_t ref = spawn(here, "front", pass_to_other, &front);
    dctx_system_t *homes[2] = {here, there};
    for (int i = 0; i < 2; i++) {
        front.to = spawn(homes[i], "back", serve, &back);
        DCTX_SCOPE("edge");
        cr_assert_eq(ask_text(ref, "hello", answer), DCTX_OK);
        cr_assert_str_eq(answer, "hello");
        cr_assert_str_eq(back.chain, "edge > actor:front > mine > actor:back");
        cr_assert_str_eq(back.tenant, "mine", "an ask of one's own");
        cr_assert(dctx_ref_equal(back.sender, ref));
        cr_assert_eq(ask_text(ref, "error", answer), DCTX_ERR_REJECTED);
        cr_assert_str_eq(answer, "out of stock");
        cr_assert_eq(ask_text(ref, "silent", answer), DCTX_ERR_NO_REPLY);
    }
    cr_assert_eq(ask_text(ref, "die", answer), DCTX_OK, "it need not live to see it");
    front.to = DCTX_REF_NONE;
    ref = spawn(here, NULL, pass_to_other, &front);
    cr_assert_eq(ask_text(ref, "x", answer), DCTX_ERR_INVALID, "what the handler returned");
    cr_assert_eq(dctx_tell(ref, NULL, NULL), DCTX_OK, "nobody asked: an error, no more");
    finish(&here);
    finish(&there);
}

/* ---- stash ----------------------------------------------------------------------------------- */

/* Keeps what is even until 1 comes, then handles all of it. */
typedef struct keeper {
    gate_t gate;
    bool open, one_by_one;
    char log[512];
    dctx_error_t error;
    size_t size;
    int pipe[2];
    gate_t outside;
} keeper_t;

static dctx_error_t keep_even(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    keeper_t *keeper = state;
    uint64_t value = number(message);
    dctx_error_t error = DCTX_OK;
    if (value % 2 == 0 && !keeper->open) {
        error = keeper->error = dctx_stash(self, message);
        if (error == DCTX_OK) {
            cr_assert_null(dctx_message_get(message, DCTX_TYPE_UINT64));
            cr_assert_eq(dctx_stash(self, message), DCTX_ERR_INVALID);
        }
    } else {
        char line[64];
        snprintf(line, sizeof line, "%d%s ", (int)value, tenant_get_or(""));
        strcat(keeper->log, line);
        if (value == 1) {
            keeper->open = true;
            if (!keeper->one_by_one)
                cr_assert_eq(dctx_unstash_all(self), keeper->size);
            else
                while (dctx_unstash_one(self))
                    cr_assert_leq(dctx_stash_size(self), keeper->size);
        }
        cr_assert_str_eq(chain() + strlen(chain()) - 12, "actor:keeper");
        if (dctx_message_is_ask(message))
            error = dctx_reply(message, DCTX_TYPE_UINT64, &value);
    }
    keeper->size = dctx_stash_size(self);
    gate_pass(&keeper->gate);
    return error;
}

static void check_order(bool one_by_one, unsigned quantum)
{
    keeper_t keeper = {.gate = GATE_INIT, .one_by_one = one_by_one};
    static const uint64_t numbers[] = {2, 4, 3, 6, 8, 1, 5, 10, 7};
    dctx_system_t *system = start(&(dctx_system_options_t){.workers = 1, .quantum = quantum});
    dctx_ref_t ref = spawn(system, "keeper", keep_even, &keeper);
    for (int i = 0; i < 9; i++) {
        DCTX_SCOPE("edge");
        cr_assert_eq(tenant_set(i < 4 ? "a" : "b"), DCTX_OK);
        tell_uint(ref, numbers[i]);
    }
    cr_assert(gate_wait(&keeper.gate, 13));
    /* As it came, before what came after it: and each in its own context. */
    cr_assert_str_eq(keeper.log, "3a 1b 2a 4a 6a 8b 5b 10b 7b ");
    finish(&system);
}

Test(stash, comes_back_in_order_before_the_rest, .init = fixture_init, .timeout = 30)
{
    check_order(false, 0);
    check_order(true, 0);
    check_order(false, 1);
    check_order(true, 1);
}

static void on_answer(dctx_error_t status, const dctx_message_t *reply, void *arg)
{
    keeper_t *asker = arg;
    asker->error = status;
    asker->size = number(reply);
    gate_pass(&asker->gate);
}

Test(stash, keeps_the_asker, .init = fixture_init, .timeout = 30)
{
    keeper_t keeper = {.gate = GATE_INIT}, asker = {.gate = GATE_INIT};
    uint64_t value = 42;
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref = spawn(system, "keeper", keep_even, &keeper);
    cr_assert_eq(dctx_ask_call(ref, DCTX_TYPE_UINT64, &value, 0, on_answer, &asker), DCTX_OK);
    cr_assert(gate_wait(&keeper.gate, 1));
    dctx_system_counters_t c = counters(system);
    cr_assert_eq(c.accepted, 1);
    cr_assert_eq(c.handled + c.dead_lettered, 0, "it is still to be handled");
    tell_uint(ref, 1);
    cr_assert(gate_wait(&asker.gate, 1));
    cr_assert_eq(asker.error, DCTX_OK);
    cr_assert_eq(asker.size, 42);
    finish(&system);
}

typedef struct losses {
    _Atomic(int) count;
    dctx_error_t reason;
    char chain[64];
} losses_t;

static void on_dead_letter(const dctx_dead_letter_t *letter, void *arg)
{
    losses_t *losses = arg;
    losses->reason = letter->reason;
    strcpy(losses->chain, letter->chain);
    losses->count++;
}

Test(stash, ends_with_the_actor_and_holds_no_stop, .init = fixture_init, .timeout = 15)
{
    losses_t losses = {0};
    keeper_t keeper = {.gate = GATE_INIT}, asker = {.gate = GATE_INIT};
    uint64_t value = 2;
    dctx_system_t *system = start(
        &(dctx_system_options_t){.workers = 2, .on_dead_letter = on_dead_letter, .arg = &losses});
    dctx_actor_options_t options = {
        .name = "keeper", .handler = keep_even, .state = &keeper, .stash_limit = 3};
    dctx_ref_t ref;
    for (int round = 1; round <= 2; round++) {
        cr_assert_eq(dctx_spawn(system, &options, &ref), DCTX_OK);
        DCTX_WITH_SCOPE("edge") {
            cr_assert_eq(dctx_ask_call(ref, DCTX_TYPE_UINT64, &value, 0, on_answer, &asker),
                         DCTX_OK);
            for (int i = 0; i < 3; i++)
                tell_uint(ref, 2);
        }
        cr_assert(gate_wait(&keeper.gate, 4 * round));
        cr_assert_eq(keeper.error, DCTX_ERR_FULL);
        cr_assert_eq(keeper.size, 3);
        if (round == 1) {
            cr_assert_eq(dctx_stop(ref), DCTX_OK);
            cr_assert(gate_wait(&asker.gate, 1));
        } else {
            finish(&system);
            cr_assert(gate_wait(&asker.gate, 2));
        }
        cr_assert_eq(asker.error, DCTX_ERR_STOPPED);
    }
    cr_assert_eq(losses.count, 6);
    cr_assert_eq(losses.reason, DCTX_ERR_STOPPED);
    cr_assert_str_eq(losses.chain, "edge");
}

static dctx_error_t keep_then_block(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    keeper_t *keeper = state;
    char byte;
    if (number(message) == 3)
        (void)dctx_unstash_one(self);
    else if (!keeper->open)
        cr_assert_eq(dctx_stash(self, message), DCTX_OK);
    keeper->open = number(message) == 3;
    gate_pass(&keeper->gate);
    if (number(message) == 3 && keeper->one_by_one)
        return DCTX_OK;
    if (number(message) == 3 || gate_count(&keeper->gate) == 5) {
        ssize_t got = read(keeper->pipe[0], &byte, 1);
        (void)got;
        gate_pass(&keeper->outside);
    }
    return DCTX_OK;
}

/* The thread is lost in the handler that put some back, or in that of one that was put back. */
static void check_lost(bool in_replay)
{
    keeper_t keeper = {.gate = GATE_INIT, .outside = GATE_INIT, .one_by_one = in_replay};
    cr_assert_eq(pipe(keeper.pipe), 0);
    dctx_system_t *system = start(NULL);
    dctx_ref_t ref = spawn(system, "keeper", keep_then_block, &keeper);
    for (int i = 0; i < 3; i++)
        tell_uint(ref, 2);
    tell_uint(ref, 3);
    tell_uint(ref, 2);
    cr_assert(gate_wait(&keeper.gate, in_replay ? 5 : 4));
    cr_assert_eq(dctx_system_stop(system, 50, NULL), DCTX_ERR_TIMEOUT);
    dctx_system_counters_t c = counters(system);
    cr_assert_eq(c.accepted, 5);
    cr_assert_eq(c.accepted, c.handled + c.dead_lettered, "%lu handled, %lu dead",
                 (unsigned long)c.handled, (unsigned long)c.dead_lettered);
    dctx_system_destroy(&system);
    close(keeper.pipe[1]);
    cr_assert(gate_wait(&keeper.outside, 1));
}

Test(stash, of_a_thread_that_never_came_back_is_counted, .init = fixture_init, .timeout = 30)
{
    check_lost(false);
    check_lost(true);
}

/* ---- the stash against a model of it --------------------------------------------------------- */

enum { MODEL_MAX = 4096 };

/* Each message is kept, or handled and followed by a step, as a random number says; the model says
 * which must be next. All of it is the actor's. */
typedef struct model {
    gate_t done;
    unsigned seed;
    uint64_t queue[MODEL_MAX]; /* what must come, in order: put back, then the mailbox */
    size_t first, count;
    uint64_t stash[MODEL_MAX];
    size_t kept;
    uint64_t handled, total;
    bool wrong;
} model_t;

static unsigned chance(model_t *model, unsigned below)
{
    model->seed = model->seed * 1664525u + 1013904223u;
    return (model->seed >> 16) % below;
}

static void model_put_back(model_t *model, size_t count)
{
    memmove(model->queue + count, model->queue + model->first,
            (model->count - model->first) * sizeof *model->queue);
    memcpy(model->queue, model->stash, count * sizeof *model->queue);
    model->count = model->count - model->first + count;
    model->first = 0;
    memmove(model->stash, model->stash + count, (model->kept - count) * sizeof *model->stash);
    model->kept -= count;
}

static dctx_error_t follow_model(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    model_t *model = state;
    uint64_t value = number(message);
    if (model->first == model->count || model->queue[model->first++] != value)
        model->wrong = true;
    if (request_get_or(0) != value)
        model->wrong = true;
    bool last = model->first == model->count;
    if (!last && chance(model, 3) != 0) {
        cr_assert_eq(dctx_stash(self, message), DCTX_OK);
        model->stash[model->kept++] = value;
    } else {
        model->handled++;
    }
    if (chance(model, 5) == 0 || last) {
        bool all = last || chance(model, 2) == 0;
        size_t count = all ? model->kept : model->kept < 2 ? model->kept : 2;
        if (all)
            cr_assert_eq(dctx_unstash_all(self), count);
        for (size_t i = 0; !all && i < count; i++)
            cr_assert(dctx_unstash_one(self));
        model_put_back(model, count);
    }
    cr_assert_eq(dctx_stash_size(self), model->kept);
    if (model->handled == model->total)
        gate_pass(&model->done);
    return DCTX_OK;
}

Test(stash, does_as_a_simple_model_of_it, .init = fixture_init, .timeout = 60)
{
    static model_t model;
    for (unsigned seed = 1; seed <= 40; seed++) {
        enum { TOTAL = 200 };
        model = (model_t){.done = GATE_INIT, .seed = seed, .count = TOTAL, .total = TOTAL};
        dctx_system_t *system =
            start(&(dctx_system_options_t){.workers = 1, .quantum = 1 + seed % 7});
        dctx_ref_t ref = spawn(system, NULL, follow_model, &model);
        for (uint64_t i = 0; i < TOTAL; i++)
            model.queue[i] = i;
        for (uint64_t i = 0; i < TOTAL; i++) {
            DCTX_SCOPE("edge");
            cr_assert_eq(request_set(i), DCTX_OK);
            tell_uint(ref, i);
        }
        cr_assert(gate_wait(&model.done, 1), "seed %u", seed);
        cr_assert(!model.wrong, "seed %u", seed);
        finish(&system);
    }
}
