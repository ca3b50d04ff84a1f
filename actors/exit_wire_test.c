/* Exits on their way to another node. */
#include <string.h>

#include <criterion/criterion.h>

#include "exit.h"
#include "exit_wire.h"

static dctx_writer_t *write_exit(const dctx_exit_t *exit, size_t most)
{
    dctx_writer_t *writer = NULL;
    cr_assert_eq(dctx_writer_new(1 << 20, &writer), DCTX_OK);
    dctx_exit_write_(exit, most, writer);
    cr_assert_eq(dctx_writer_error(writer), DCTX_OK);
    return writer;
}

static dctx_exit_t *there_and_back(const dctx_exit_t *exit, size_t most)
{
    dctx_writer_t *writer = write_exit(exit, most);
    dctx_exit_t *read = dctx_exit_read_(dctx_writer_bytes(writer), "who", "node");
    dctx_writer_destroy(&writer);
    return read;
}

static dctx_exit_t *chain_of(unsigned count)
{
    dctx_exit_t *exit = NULL;
    while (count-- > 0) {
        dctx_exit_words_t words = {.who = "orders", .reason = "r", .where = "w", .chain = "c > d"};
        dctx_exit_t *cause = exit;
        exit = dctx_exit_new_(DCTX_EXIT_TIED, DCTX_ERR_STOPPED, &words, cause);
        dctx_exit_unref(&cause);
    }
    return exit;
}

Test(exit_wire, comes_over_as_it_was)
{
    dctx_exit_words_t words = {.who = "disk", .reason = "full", .where = "on_reply", .chain = "a"};
    dctx_exit_words_t far = {.who = "orders@third"};
    dctx_exit_t *cause = dctx_exit_new_(DCTX_EXIT_FAILED, DCTX_ERR_IO, &far, NULL);
    dctx_exit_t *exit = dctx_exit_new_(DCTX_EXIT_ESCALATED, DCTX_ERR_LIMIT, &words, cause);
    dctx_exit_t *read = there_and_back(exit, DCTX_EXIT_TEXT_MAX);
    cr_assert_eq(dctx_exit_kind(read), DCTX_EXIT_ESCALATED);
    cr_assert_eq(dctx_exit_error(read), DCTX_ERR_LIMIT);
    cr_assert_str_eq(dctx_exit_who(read), "disk@node");
    cr_assert_str_eq(dctx_exit_reason(read), "full");
    cr_assert_str_eq(dctx_exit_where(read), "on_reply");
    cr_assert_str_eq(dctx_exit_chain(read), "a");
    const dctx_exit_t *of = dctx_exit_cause(read);
    cr_assert_eq(dctx_exit_kind(of), DCTX_EXIT_FAILED);
    cr_assert_str_eq(dctx_exit_who(of), "orders@third", "it was on another node already");
    cr_assert_null(dctx_exit_cause(of));
    dctx_exit_unref(&read);
    dctx_exit_unref(&exit);
    dctx_exit_unref(&cause);
}

Test(exit_wire, a_long_chain_comes_over_whole)
{
    dctx_exit_t *exit = chain_of(33), *read = there_and_back(exit, DCTX_EXIT_TEXT_MAX);
    unsigned count = 0;
    for (const dctx_exit_t *each = read; each != NULL; each = dctx_exit_cause(each))
        count++;
    cr_assert_eq(count, 33);
    dctx_exit_unref(&read);
    dctx_exit_unref(&exit);
}

Test(exit_wire, texts_are_cut_between_characters)
{
    dctx_exit_words_t words = {.who = "", .reason = "caf\xc3\xa9s", .where = "0123456789"};
    dctx_exit_t *exit = dctx_exit_new_(DCTX_EXIT_FAILED, DCTX_ERR_IO, &words, NULL);
    dctx_exit_t *read = there_and_back(exit, 4);
    cr_assert_str_eq(dctx_exit_reason(read), "caf");
    cr_assert_str_eq(dctx_exit_where(read), "0123");
    cr_assert_str_eq(dctx_exit_who(read), "");
    dctx_exit_unref(&read);
    read = there_and_back(exit, 0);
    cr_assert_str_eq(dctx_exit_reason(read), "");
    cr_assert_eq(dctx_exit_error(read), DCTX_ERR_IO);
    dctx_exit_unref(&read);
    dctx_exit_unref(&exit);
}

Test(exit_wire, what_is_cut_short_or_odd_is_a_failure_that_says_so)
{
    dctx_exit_t *exit = chain_of(3);
    dctx_writer_t *writer = write_exit(exit, 100);
    dctx_bytes_t whole = dctx_writer_bytes(writer);
    for (size_t size = 0; size < whole.size; size++) {
        dctx_exit_t *read = dctx_exit_read_((dctx_bytes_t){whole.data, size}, "a@b", "b");
        cr_assert_eq(dctx_exit_kind(read), DCTX_EXIT_FAILED);
        cr_assert_eq(dctx_exit_error(read), DCTX_ERR_MALFORMED);
        cr_assert_str_eq(dctx_exit_who(read), "a@b");
        dctx_exit_unref(&read);
    }
    dctx_writer_destroy(&writer);
    dctx_exit_unref(&exit);
    /* What would spoil a log, and a text that is longer than any. */
    unsigned char bytes[6000] = "\x91\x96\x05\x06\xa1\n\xda\x13\x88";
    memset(bytes + 9, 'r', 5000);
    memcpy(bytes + 9 + 5000, "\xa1\x7f\xa0", 3);
    exit = dctx_exit_read_((dctx_bytes_t){bytes, 9 + 5000 + 3}, "a@b", "b");
    cr_assert_str_eq(dctx_exit_who(exit), "?@b");
    cr_assert_str_eq(dctx_exit_where(exit), "?");
    cr_assert_eq(strlen(dctx_exit_reason(exit)), DCTX_EXIT_TEXT_MAX);
    dctx_exit_unref(&exit);
}
