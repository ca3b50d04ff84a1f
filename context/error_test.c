#include <criterion/criterion.h>

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "fail.h"

#define LAST DCTX_ERR_DEADLINE

Test(error, every_value_has_a_sentence_and_a_name_of_its_own)
{
    for (int i = 0; i <= LAST; i++) {
        const char *sentence = dctx_strerror((dctx_error_t)i);
        const char *name = dctx_error_name((dctx_error_t)i);
        cr_assert_str_neq(sentence, "unknown error", "no sentence for %d", i);
        cr_assert_gt(strlen(sentence), 5);
        cr_assert_eq(strncmp(name, i == 0 ? "DCTX_OK" : "DCTX_ERR_", i == 0 ? 8 : 9), 0);
        cr_assert_str_neq(name, "DCTX_ERR_?", "no name for %d", i);
        for (int j = 0; j < i; j++) {
            cr_assert_str_neq(sentence, dctx_strerror((dctx_error_t)j));
            cr_assert_str_neq(name, dctx_error_name((dctx_error_t)j));
        }
    }
    cr_assert_str_eq(dctx_error_name(DCTX_ERR_LIMIT), "DCTX_ERR_LIMIT");
    cr_assert_str_eq(dctx_error_name(DCTX_ERR_NO_REPLY), "DCTX_ERR_NO_REPLY");
}

Test(error, an_unknown_value_has_a_sentence_too)
{
    /* Through an int: a peer's error reply may carry a number of a later version. */
    int unknown[] = {LAST + 1, -1, 100000};
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        dctx_error_t error;
        memcpy(&error, &unknown[i], sizeof(error));
        cr_assert_str_eq(dctx_strerror(error), "unknown error");
        cr_assert_str_eq(dctx_error_name(error), "DCTX_ERR_?");
    }
}

Test(error, the_numbers_are_the_abi)
{
    cr_assert_eq(DCTX_OK, 0);
    cr_assert_eq(DCTX_ERR_LIMIT, 8);
    cr_assert_eq(DCTX_ERR_REGISTRY, 16);
    cr_assert_eq(DCTX_ERR_DEADLINE, 27);
}

Test(error, a_detail_stays_until_the_next_failure)
{
    cr_assert_eq(dctx_fail_(DCTX_ERR_LIMIT, "key '%s' has %d bytes", "tenant", 5000),
                 DCTX_ERR_LIMIT);
    cr_assert_str_eq(dctx_error_detail(), "key 'tenant' has 5000 bytes");
    cr_assert_eq(dctx_fail_(DCTX_ERR_TYPE, "other"), DCTX_ERR_TYPE);
    cr_assert_str_eq(dctx_error_detail(), "other");
    cr_assert_eq(dctx_fail_(DCTX_ERR_TYPE, NULL), DCTX_ERR_TYPE);
    cr_assert_str_eq(dctx_error_detail(), "");
}

Test(error, a_detail_can_be_wrapped)
{
    (void)dctx_fail_(DCTX_ERR_CODEC, "inner");
    (void)dctx_fail_(DCTX_ERR_CODEC, "outer: %s", dctx_error_detail());
    cr_assert_str_eq(dctx_error_detail(), "outer: inner");
}

Test(error, long_text_is_cut_at_255_bytes)
{
    char text[1000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    (void)dctx_fail_(DCTX_ERR_LIMIT, "%s", text);
    cr_assert_eq(strlen(dctx_error_detail()), 255);
    text[255] = '\0';
    (void)dctx_fail_(DCTX_ERR_LIMIT, "%s", text);
    cr_assert_str_eq(dctx_error_detail(), text);
}

Test(error, a_detail_is_one_printable_line)
{
    (void)dctx_fail_(DCTX_ERR_INVALID, "a\nb\x1b[31m\x7f %s", "gr\xc3\xbc");
    cr_assert_str_eq(dctx_error_detail(), "a?b?[31m? gr\xc3\xbc");
}

Test(error, errno_is_kept)
{
    /* A wide character that the C locale cannot show: printf fails and sets errno. */
    errno = EAGAIN;
    (void)dctx_fail_(DCTX_ERR_IO, "%ls", L"\u20ac");
    cr_assert_eq(errno, EAGAIN);
    cr_assert_str_eq(dctx_error_detail(), "");
}

static void *other_thread(void *arg)
{
    (void)arg;
    cr_assert_str_eq(dctx_error_detail(), "");
    (void)dctx_fail_(DCTX_ERR_IO, "theirs");
    return NULL;
}

Test(error, each_thread_has_its_own_detail)
{
    pthread_t thread;
    (void)dctx_fail_(DCTX_ERR_IO, "ours");
    cr_assert_eq(pthread_create(&thread, NULL, other_thread, NULL), 0);
    cr_assert_eq(pthread_join(thread, NULL), 0);
    cr_assert_str_eq(dctx_error_detail(), "ours");
}
