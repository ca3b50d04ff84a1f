#include "fixture.h"

typedef struct seen {
    char user[32];
    char secret[32];
    char chain[4096];
    size_t depth;
    int runs;
    dctx_task_t *task;
} seen_t;

static void look(seen_t *seen)
{
    (void)snprintf(seen->user, sizeof(seen->user), "%s", text_of(user));
    (void)snprintf(seen->secret, sizeof(seen->secret), "%s", text_of(secret));
    (void)snprintf(seen->chain, sizeof(seen->chain), "%s", chain());
    seen->depth = dctx_scope_depth();
    seen->runs++;
}

/* ---- threads ---- */

static void *look_around(void *arg)
{
    look(arg);
    OK(dctx_set(user, "changed there"));
    return arg;
}

Test(task, a_thread_begins_with_a_fork_of_its_makers_context, .init = set_up)
{
    seen_t seen = {.runs = 0};
    OK(dctx_set(user, "u"));
    OK(dctx_set(secret, "s"));
    dctx_scope_t scope = push("maker");
    pthread_t thread;
    OK(dctx_thread_create(&thread, NULL, look_around, &seen));
    OK(dctx_set(user, "later"));
    void *result = NULL;
    cr_assert_eq(pthread_join(thread, &result), 0);
    cr_assert_eq(result, (void *)&seen);
    cr_assert_str_eq(seen.user, "u");
    cr_assert_str_eq(seen.secret, "s");
    cr_assert_str_eq(seen.chain, "maker");
    cr_assert_str_eq(text_of(user), "later");
    OK(dctx_scope_pop(&scope));
    FAILS(dctx_thread_create(NULL, NULL, look_around, NULL), DCTX_ERR_INVALID);
    FAILS(dctx_thread_create(&thread, NULL, NULL, NULL), DCTX_ERR_INVALID);
}

static void *exit_early(void *arg)
{
    (void)push("left open");
    OK(set_note(note, "left"));
    pthread_exit(arg);
}

Test(task, such_a_thread_may_end_in_any_way, .init = set_up)
{
    OK(set_note(memo, "inherited"));
    pthread_t thread;
    OK(dctx_thread_create(&thread, NULL, exit_early, NULL));
    OK(dctx_clear());
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_eq(notes_alive, 0);
}

static void *do_nothing(void *arg)
{
    return arg;
}

Test(task, a_thread_that_cannot_be_made_leaves_nothing, .init = set_up)
{
    OK(set_note(memo, "mine"));
    pthread_t thread;
    count_allocations();
    dctx_error_t error = DCTX_ERR_NOMEM;
    size_t round = 0;
    while (error != DCTX_OK) {
        fail_at = allocations + ++round;
        error = dctx_thread_create(&thread, NULL, do_nothing, NULL);
        fail_at = 0;
        cr_assert(error == DCTX_OK || error == DCTX_ERR_NOMEM);
        if (error == DCTX_OK)
            cr_assert_eq(pthread_join(thread, NULL), 0);
    }
    cr_assert_geq(round, 4);
    pthread_attr_t attributes;
    cr_assert_eq(pthread_attr_init(&attributes), 0);
    cr_assert_eq(pthread_attr_setstacksize(&attributes, (size_t)1 << 50), 0);
    FAILS_SAYING(dctx_thread_create(&thread, &attributes, look_around, NULL), DCTX_ERR_IO,
                 "pthread_create");
    cr_assert_eq(pthread_attr_destroy(&attributes), 0);
    OK(dctx_clear());
    cr_assert_eq(notes_alive, 0);
}

/* ---- tasks ---- */

static void look_and_change(void *arg)
{
    look(arg);
    OK(dctx_set(user, "changed in the task"));
    OK(dctx_unset(secret));
}

Test(task, a_task_sees_the_context_in_which_it_was_made, .init = set_up)
{
    seen_t seen = {.runs = 0};
    OK(dctx_set(user, "then"));
    OK(dctx_set(secret, "then"));
    dctx_scope_t scope = push("maker");
    dctx_task_t *task = NULL;
    OK(dctx_task_new(look_and_change, &seen, "job", &task));
    OK(dctx_scope_pop(&scope));
    OK(dctx_set(user, "now"));
    for (int i = 1; i <= 3; i++) {
        OK(dctx_task_run(task));
        cr_assert_eq(seen.runs, i);
        cr_assert_str_eq(seen.user, "then");
        cr_assert_str_eq(seen.secret, "then");
        cr_assert_str_eq(seen.chain, "maker > job");
        cr_assert_eq(seen.depth, 1);
        cr_assert_str_eq(text_of(user), "now");
    }
    dctx_task_destroy(&task);
    cr_assert_null(task);
    dctx_task_destroy(&task);
    dctx_task_destroy(NULL);
    OK(dctx_task_new(look_and_change, &seen, NULL, &task));
    dctx_task_run_once(task);
    cr_assert_eq(seen.runs, 4);
    cr_assert_str_eq(seen.chain, "");
    dctx_task_run_once(NULL);
}

static void destroy_itself(void *arg)
{
    seen_t *seen = arg;
    dctx_task_destroy(&seen->task);
    look(seen);
}

Test(task, a_task_may_destroy_itself_while_it_runs, .init = set_up)
{
    seen_t seen = {.runs = 0};
    OK(dctx_set(user, "u"));
    OK(dctx_task_new(destroy_itself, &seen, "last words", &seen.task));
    OK(dctx_clear());
    OK(dctx_task_run(seen.task));
    cr_assert_str_eq(seen.user, "u");
    cr_assert_str_eq(seen.chain, "last words");
    cr_assert(dctx_is_empty());
}

static void *run_task(void *task)
{
    return (void *)(uintptr_t)(dctx_task_run(task) == DCTX_OK && dctx_is_empty());
}

static void count_up(void *arg)
{
    cr_assert_str_eq(text_of(user), "u");
    (void)__atomic_add_fetch((int *)arg, 1, __ATOMIC_RELAXED);
}

Test(task, it_runs_on_any_thread_and_on_several_at_once, .init = set_up)
{
    int runs = 0;
    OK(dctx_set(user, "u"));
    dctx_task_t *task = NULL;
    OK(dctx_task_new(count_up, &runs, "job", &task));
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, run_task, task), 0);
    for (int i = 0; i < 4; i++) {
        void *result = NULL;
        cr_assert_eq(pthread_join(threads[i], &result), 0);
        cr_assert_not_null(result);
    }
    cr_assert_eq(runs, 4);
    dctx_task_destroy(&task);
}

Test(task, what_cannot_be_attached_is_not_called, .init = set_up)
{
    int runs = 0;
    dctx_task_t *task = NULL;
    OK(dctx_task_new(count_up, &runs, "job", &task));
    static dctx_scope_t scopes[1024];
    for (int i = 0; i < 1024; i++)
        scopes[i] = push(NULL);
    FAILS(dctx_task_run(task), DCTX_ERR_LIMIT);
    dctx_set_log(log_sink, NULL);
    dctx_task_run_once(task);
    dctx_set_log(NULL, NULL);
    cr_assert_eq(log_lines, 1);
    cr_assert_eq(runs, 0);
    for (int i = 1024; i-- > 0;)
        OK(dctx_scope_pop(&scopes[i]));
}

Test(task, what_cannot_be_made_is_refused, .init = set_up)
{
    dctx_task_t *task = NULL;
    FAILS(dctx_task_new(NULL, NULL, NULL, &task), DCTX_ERR_INVALID);
    FAILS(dctx_task_new(count_up, NULL, "a\n", &task), DCTX_ERR_INVALID);
    char name[66];
    memset(name, 'x', sizeof(name));
    name[65] = '\0';
    FAILS(dctx_task_new(count_up, NULL, name, &task), DCTX_ERR_LIMIT);
    FAILS(dctx_task_run(NULL), DCTX_ERR_INVALID);
    OK(set_note(memo, "mine"));
    count_allocations();
    for (size_t round = 1; task == NULL; round++) {
        fail_at = allocations + round;
        dctx_error_t error = dctx_task_new(count_up, NULL, "job", &task);
        cr_assert(error == DCTX_OK || error == DCTX_ERR_NOMEM);
    }
    fail_at = 0;
    dctx_task_destroy(&task);
    OK(dctx_clear());
    cr_assert_eq(notes_alive, 0);
}
