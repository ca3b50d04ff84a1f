/* One test for each way a test can end; selftest.py runs them one by one and looks at what the
 * runner says. */
#include <criterion/criterion.h>

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

static void *volatile held;

static void note_init(void)
{
    fputs("init ran\n", stderr);
}

static void note_fini(void)
{
    fputs("fini ran\n", stderr);
}

Test(selftest, passes, .init = note_init, .fini = note_fini, .description = "every check holds")
{
    const char *text = "abc";
    cr_assert(1 + 1 == 2);
    cr_assert_eq(1, 1, "with a message and %d", 2);
    cr_assert_neq(1, 2);
    cr_assert_lt(1, 2);
    cr_assert_leq(2, 2);
    cr_assert_gt(2, 1);
    cr_assert_geq(2, 2);
    cr_assert_str_eq(text, "abc");
    cr_assert_str_neq(text, "abd");
    cr_assert_arr_eq(text, "abc", 3);
    cr_assert_float_eq(1.0, 1.05, 0.1);
    cr_assert_null(NULL);
    cr_assert_not_null(text);
    cr_expect(true);
}

Test(selftest, assert_ends_the_test, .fini = note_fini)
{
    cr_assert_eq(1, 2, "the message %d", 42);
    fputs("went on\n", stderr);
}

Test(selftest, expect_goes_on)
{
    cr_expect_str_eq("actual", "wanted");
    fputs("went on\n", stderr);
}

Test(selftest, null_string_fails)
{
    const char *none = NULL;
    cr_assert_str_eq(none, "wanted");
}

static void *fail_here(void *arg)
{
    cr_assert_fail();
    return arg;
}

Test(selftest, assert_in_a_thread)
{
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, fail_here, NULL), 0);
    pthread_join(thread, NULL);
}

Test(selftest, crashes)
{
    raise(SIGKILL);
}

Test(selftest, hangs, .timeout = 0.02)
{
    for (;;)
        pause();
}

Test(selftest, exits_early)
{
    exit(0);
}

Test(selftest, disabled, .disabled = true)
{
    cr_assert_fail();
}

Test(selftest, leaks)
{
    held = malloc(10);
    cr_assert_not_null(held);
    held = NULL;
}

static int unguarded;

static void *count_up(void *arg)
{
    unguarded++;
    return arg;
}

Test(selftest, races)
{
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, count_up, NULL), 0);
    unguarded++;
    pthread_join(thread, NULL);
}
