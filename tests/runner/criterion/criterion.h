/*
 * criterion/criterion.h - a small stand-in for the part of Criterion that the tests use.
 *
 * Sanitized and valgrind builds compile the same test sources against this header and runner.c
 * instead of the real thing: Criterion 2.4 aborts under ThreadSanitizer, and under AddressSanitizer
 * a leak does not fail a test. What is not here must not be used in a test either.
 */
#ifndef DCTX_TESTS_CRITERION_H
#define DCTX_TESTS_CRITERION_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct cr_test_ {
    const char *suite;
    const char *name;
    void (*run)(void);
    void (*init)(void);
    void (*fini)(void);
    double timeout; /* seconds; 0: the runner's default */
    bool disabled;
    const char *description;
    int sentinel_;
    struct cr_test_ *next;
};

void cr_register_(struct cr_test_ *test);
void cr_report_(const char *file, int line, const char *what, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void cr_report_strings_(const char *file, int line, const char *what, const char *actual,
                        const char *expected, const char *format, ...)
    __attribute__((format(printf, 6, 7)));
void cr_abort_(void) __attribute__((noreturn));

/* The sentinel gives the options at least one initialiser, so that Test(suite, name) needs none. */
#define Test(...) CR_TEST_(__VA_ARGS__, .sentinel_ = 0)
#define CR_TEST_(suite_, name_, ...)                                                               \
    static void suite_##_##name_##_impl(void);                                                     \
    static struct cr_test_ suite_##_##name_##_test = {                                             \
        .suite = #suite_, .name = #name_, .run = suite_##_##name_##_impl, __VA_ARGS__};            \
    __attribute__((constructor)) static void suite_##_##name_##_register(void)                     \
    {                                                                                              \
        cr_register_(&suite_##_##name_##_test);                                                    \
    }                                                                                              \
    static void suite_##_##name_##_impl(void)

/* The "x" lets a message be left out without an empty format; cr_report_() skips it. */
#define CR_CHECK_(fatal, passed, what, ...)                                                        \
    do {                                                                                           \
        if (!(passed)) {                                                                           \
            cr_report_(__FILE__, __LINE__, what, "x" __VA_ARGS__);                                 \
            if (fatal)                                                                             \
                cr_abort_();                                                                       \
        }                                                                                          \
    } while (0)
#define CR_CHECK_OP_(fatal, op, a, b, ...)                                                         \
    CR_CHECK_(fatal, (a)op(b), "(" #a ") " #op " (" #b ") is false", __VA_ARGS__)
#define CR_CHECK_STR_(fatal, op, a, b, ...)                                                        \
    do {                                                                                           \
        const char *cr_actual_ = (a);                                                              \
        const char *cr_expected_ = (b);                                                            \
        if (cr_actual_ == NULL || cr_expected_ == NULL ||                                          \
            !(strcmp(cr_actual_, cr_expected_) op 0)) {                                            \
            cr_report_strings_(__FILE__, __LINE__, "(" #a ") " #op " (" #b ") is false",           \
                               cr_actual_, cr_expected_, "x" __VA_ARGS__);                         \
            if (fatal)                                                                             \
                cr_abort_();                                                                       \
        }                                                                                          \
    } while (0)
#define CR_CHECK_ARR_(fatal, op, a, b, size, ...)                                                  \
    CR_CHECK_(fatal, memcmp((a), (b), (size)) op 0,                                                \
              "(" #a ") " #op " (" #b ") is false over " #size " bytes", __VA_ARGS__)
#define CR_FLOAT_EQ_(a, b, epsilon) ((b) - (a) <= (epsilon) && (a) - (b) <= (epsilon))

#define cr_assert(condition, ...)   CR_CHECK_(1, condition, #condition " is false", __VA_ARGS__)
#define cr_assert_not(condition, ...)                                                              \
    CR_CHECK_(1, !(condition), "!(" #condition ") is false", __VA_ARGS__)
#define cr_assert_fail(...)                CR_CHECK_(1, 0, "it always fails", __VA_ARGS__)
#define cr_assert_eq(a, b, ...)            CR_CHECK_OP_(1, ==, a, b, __VA_ARGS__)
#define cr_assert_neq(a, b, ...)           CR_CHECK_OP_(1, !=, a, b, __VA_ARGS__)
#define cr_assert_lt(a, b, ...)            CR_CHECK_OP_(1, <, a, b, __VA_ARGS__)
#define cr_assert_leq(a, b, ...)           CR_CHECK_OP_(1, <=, a, b, __VA_ARGS__)
#define cr_assert_gt(a, b, ...)            CR_CHECK_OP_(1, >, a, b, __VA_ARGS__)
#define cr_assert_geq(a, b, ...)           CR_CHECK_OP_(1, >=, a, b, __VA_ARGS__)
#define cr_assert_null(value, ...)         CR_CHECK_(1, (value) == NULL, #value " is not null", __VA_ARGS__)
#define cr_assert_not_null(value, ...)     CR_CHECK_(1, (value) != NULL, #value " is null", __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...)        CR_CHECK_STR_(1, ==, a, b, __VA_ARGS__)
#define cr_assert_str_neq(a, b, ...)       CR_CHECK_STR_(1, !=, a, b, __VA_ARGS__)
#define cr_assert_arr_eq(a, b, size, ...)  CR_CHECK_ARR_(1, ==, a, b, size, __VA_ARGS__)
#define cr_assert_arr_neq(a, b, size, ...) CR_CHECK_ARR_(1, !=, a, b, size, __VA_ARGS__)
#define cr_assert_float_eq(a, b, epsilon, ...)                                                     \
    CR_CHECK_(1, CR_FLOAT_EQ_(a, b, epsilon), "(" #a ") == (" #b ") +- " #epsilon " is false",     \
              __VA_ARGS__)
#define cr_assert_float_neq(a, b, epsilon, ...)                                                    \
    CR_CHECK_(1, !CR_FLOAT_EQ_(a, b, epsilon), "(" #a ") != (" #b ") +- " #epsilon " is false",    \
              __VA_ARGS__)

#define cr_expect(condition, ...) CR_CHECK_(0, condition, #condition " is false", __VA_ARGS__)
#define cr_expect_not(condition, ...)                                                              \
    CR_CHECK_(0, !(condition), "!(" #condition ") is false", __VA_ARGS__)
#define cr_expect_fail(...)                CR_CHECK_(0, 0, "it always fails", __VA_ARGS__)
#define cr_expect_eq(a, b, ...)            CR_CHECK_OP_(0, ==, a, b, __VA_ARGS__)
#define cr_expect_neq(a, b, ...)           CR_CHECK_OP_(0, !=, a, b, __VA_ARGS__)
#define cr_expect_lt(a, b, ...)            CR_CHECK_OP_(0, <, a, b, __VA_ARGS__)
#define cr_expect_leq(a, b, ...)           CR_CHECK_OP_(0, <=, a, b, __VA_ARGS__)
#define cr_expect_gt(a, b, ...)            CR_CHECK_OP_(0, >, a, b, __VA_ARGS__)
#define cr_expect_geq(a, b, ...)           CR_CHECK_OP_(0, >=, a, b, __VA_ARGS__)
#define cr_expect_null(value, ...)         CR_CHECK_(0, (value) == NULL, #value " is not null", __VA_ARGS__)
#define cr_expect_not_null(value, ...)     CR_CHECK_(0, (value) != NULL, #value " is null", __VA_ARGS__)
#define cr_expect_str_eq(a, b, ...)        CR_CHECK_STR_(0, ==, a, b, __VA_ARGS__)
#define cr_expect_str_neq(a, b, ...)       CR_CHECK_STR_(0, !=, a, b, __VA_ARGS__)
#define cr_expect_arr_eq(a, b, size, ...)  CR_CHECK_ARR_(0, ==, a, b, size, __VA_ARGS__)
#define cr_expect_arr_neq(a, b, size, ...) CR_CHECK_ARR_(0, !=, a, b, size, __VA_ARGS__)
#define cr_expect_float_eq(a, b, epsilon, ...)                                                     \
    CR_CHECK_(0, CR_FLOAT_EQ_(a, b, epsilon), "(" #a ") == (" #b ") +- " #epsilon " is false",     \
              __VA_ARGS__)
#define cr_expect_float_neq(a, b, epsilon, ...)                                                    \
    CR_CHECK_(0, !CR_FLOAT_EQ_(a, b, epsilon), "(" #a ") != (" #b ") +- " #epsilon " is false",    \
              __VA_ARGS__)

#endif
