/* The pipeline: order, verdicts, and what the counters say of them. */
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "fixture.h"

/* One stage; all write into one book. */
typedef struct book {
    pthread_mutex_t lock;
    char text[512];
} book_t;

typedef struct stage {
    const char *name;
    book_t *book;
    dctx_verdict_t outbound, inbound;
    dctx_error_t outcome;
} stage_t;

static void enter(stage_t *stage, char mark)
{
    char entry[64];
    snprintf(entry, sizeof entry, "%s%c ", stage->name, mark);
    pthread_mutex_lock(&stage->book->lock);
    strcat(stage->book->text, entry);
    pthread_mutex_unlock(&stage->book->lock);
}

static dctx_verdict_t outbound(const dctx_passage_t *passage, void *arg)
{
    stage_t *stage = arg;
    cr_assert_str_eq(passage->target, "target");
    cr_assert_str_eq(tenant_get_or(""), "acme", "the sender's context");
    cr_assert_str_eq(dctx_snapshot_get(passage->snapshot, tenant_key()), "acme");
    enter(stage, '<');
    return stage->outbound;
}

static dctx_verdict_t inbound(const dctx_passage_t *passage, void *arg)
{
    stage_t *stage = arg;
    cr_assert_str_eq(passage->target, "target");
    cr_assert_str_eq(passage->type, DCTX_TYPE_UINT64->name);
    cr_assert(!passage->remote);
    cr_assert_str_eq(tenant_get_or(""), "acme", "the message's context");
    cr_assert_str_eq(chain(), "actor:target");
    enter(stage, '>');
    return stage->inbound;
}

static void handled(const dctx_passage_t *passage, dctx_error_t outcome, void *arg)
{
    stage_t *stage = arg;
    (void)passage;
    stage->outcome = outcome;
    enter(stage, '.');
}

static dctx_error_t handle(dctx_actor_t *self, const dctx_message_t *message, void *state)
{
    (void)self;
    stage_t *stage = state;
    enter(stage, '!');
    if (dctx_message_is_ask(message))
        return dctx_reply(message, NULL, NULL);
    return stage->outcome;
}

typedef struct setup {
    book_t book;
    stage_t stages[3];
    stage_t handler;
    dctx_interceptor_t interceptors[3];
    gate_t dead;
    dctx_error_t reason;
    dctx_system_t *system;
    dctx_ref_t ref;
} setup_t;

static void on_dead_letter(const dctx_dead_letter_t *letter, void *arg)
{
    setup_t *setup = arg;
    setup->reason = letter->reason;
    cr_assert_str_eq(letter->target, "target");
    gate_pass(&setup->dead);
}

static void set_up(setup_t *setup)
{
    static const char *const names[] = {"b", "a", "c"};
    static const int orders[] = {0, -5, 0};
    *setup = (setup_t){.book = {.lock = PTHREAD_MUTEX_INITIALIZER}, .dead = GATE_INIT};
    for (int i = 0; i < 3; i++) {
        setup->stages[i] = (stage_t){.name = names[i], .book = &setup->book};
        setup->interceptors[i] = (dctx_interceptor_t){.name = names[i],
                                                      .order = orders[i],
                                                      .outbound = outbound,
                                                      .inbound = inbound,
                                                      .handled = handled,
                                                      .arg = &setup->stages[i]};
    }
    setup->handler = (stage_t){.name = "handler", .book = &setup->book};
    setup->system = start(&(dctx_system_options_t){.workers = 1,
                                                   .interceptors = setup->interceptors,
                                                   .interceptor_count = 3,
                                                   .on_dead_letter = on_dead_letter,
                                                   .arg = setup});
    setup->ref = spawn(setup->system, "target", handle, &setup->handler);
    cr_assert_eq(tenant_set("acme"), DCTX_OK);
}

static void expect(setup_t *setup, dctx_error_t sent, uint64_t handled_count, uint64_t dead_count,
                   const char *text)
{
    uint64_t one = 1;
    cr_assert_eq(dctx_tell(setup->ref, DCTX_TYPE_UINT64, &one), sent);
    cr_assert_eq(dctx_system_stop(setup->system, WAIT_MS, NULL), DCTX_OK);
    dctx_system_counters_t c = counters(setup->system);
    cr_assert_str_eq(setup->book.text, text);
    cr_assert_eq(c.accepted, sent == DCTX_OK);
    cr_assert_eq(c.handled, handled_count);
    cr_assert_eq(c.dead_lettered, dead_count);
    cr_assert_eq(c.refused, sent != DCTX_OK);
    cr_assert_eq(gate_count(&setup->dead), (long)dead_count);
    if (dead_count > 0)
        cr_assert_eq(setup->reason, DCTX_ERR_REJECTED);
    finish(&setup->system);
}

Test(interceptor, run_in_order_around_the_handler, .init = fixture_init, .timeout = 30)
{
    setup_t setup;
    set_up(&setup);
    expect(&setup, DCTX_OK, 1, 0, "c< b< a< a> b> c> handler! c. b. a. ");
    cr_assert_eq(setup.stages[0].outcome, DCTX_OK);
}

Test(interceptor, see_the_outcome, .init = fixture_init, .timeout = 30)
{
    setup_t setup;
    set_up(&setup);
    setup.handler.outcome = DCTX_ERR_ABSENT;
    expect(&setup, DCTX_OK, 1, 0, "c< b< a< a> b> c> handler! c. b. a. ");
    cr_assert_eq(setup.stages[0].outcome, DCTX_ERR_ABSENT);
}

Test(interceptor, outbound_rejects, .init = fixture_init, .timeout = 30)
{
    setup_t setup;
    set_up(&setup);
    setup.stages[0].outbound = DCTX_REJECT;
    expect(&setup, DCTX_ERR_REJECTED, 0, 0, "c< b< ");
}

Test(interceptor, outbound_drops, .init = fixture_init, .timeout = 30)
{
    setup_t setup;
    set_up(&setup);
    setup.stages[0].outbound = DCTX_DROP;
    expect(&setup, DCTX_OK, 0, 1, "c< b< ");
}

Test(interceptor, inbound_rejects, .init = fixture_init, .timeout = 30)
{
    setup_t setup;
    set_up(&setup);
    setup.stages[0].inbound = DCTX_REJECT;
    expect(&setup, DCTX_OK, 0, 1, "c< b< a< a> b> a. ");
    cr_assert_eq(setup.stages[1].outcome, DCTX_ERR_REJECTED);
}

Test(interceptor, an_asker_hears_of_it, .init = fixture_init, .timeout = 30)
{
    static const dctx_verdict_t verdicts[] = {DCTX_DROP, DCTX_REJECT};
    for (int i = 0; i < 2; i++) {
        for (int out = 0; out < 2; out++) {
            setup_t setup;
            dctx_message_t *reply = NULL;
            uint64_t one = 1;
            set_up(&setup);
            if (out)
                setup.stages[0].outbound = verdicts[i];
            else
                setup.stages[0].inbound = verdicts[i];
            cr_assert_eq(dctx_ask_wait(setup.ref, DCTX_TYPE_UINT64, &one, 0, &reply),
                         DCTX_ERR_REJECTED);
            cr_assert_null(reply);
            finish(&setup.system);
        }
    }
}

Test(interceptor, are_checked, .init = fixture_init, .timeout = 30)
{
    dctx_system_t *system = NULL;
    dctx_interceptor_t two[2] = {{.name = "x"}, {.name = "x"}};
    dctx_system_options_t options = {.interceptors = two, .interceptor_count = 2, .workers = 1};
    cr_assert_eq(dctx_system_new(&options, &system), DCTX_ERR_INVALID);
    two[1].name = NULL;
    cr_assert_eq(dctx_system_new(&options, &system), DCTX_ERR_INVALID);
    two[1].name = "context";
    cr_assert_eq(dctx_system_new(&options, &system), DCTX_ERR_INVALID);
    two[1].name = "y";
    cr_assert_eq(dctx_system_new(&options, &system), DCTX_OK);
    finish(&system);
}
