#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "tally.h"
#include "text.h"

Test(histogram, keeps_every_value_to_two_per_cent)
{
    static histogram_t one;
    for (int64_t value = 1; value < INT64_MAX / 3; value += value / 5 + 1) {
        memset(&one, 0, sizeof one);
        histogram_add(&one, value);
        one.most = INT64_MAX;
        int64_t kept = histogram_quantile(&one, 0.5);
        int64_t off = kept > value ? kept - value : value - kept;
        cr_assert_leq(off, value / 50, "%lld is kept as %lld", (long long)value, (long long)kept);
    }
    histogram_add(&one, -5);
    histogram_add(&one, INT64_MAX);
}

Test(histogram, finds_median_and_percentile)
{
    static histogram_t times;
    cr_assert_eq(histogram_quantile(&times, 0.5), 0);
    for (int64_t i = 1; i <= 10000; i++)
        histogram_add(&times, i * 1000);
    cr_assert_float_eq((double)histogram_quantile(&times, 0.5), 5e6, 1e5);
    cr_assert_float_eq((double)histogram_quantile(&times, 0.99), 9.9e6, 2e5);
    cr_assert_eq(histogram_quantile(&times, 1.0) <= times.most, true);
    cr_assert_eq(times.most, 10000000);
}

Test(tally, keeps_the_lowest_numbered_remarks_in_order)
{
    tally_t tally;
    cr_assert(tally_init(&tally));
    for (uint64_t i = 0; i < 100; i++) {
        char why[32];
        uint64_t line = (i * 37) % 100 + 1;
        snprintf(why, sizeof why, "line %d", (int)line);
        tally_refused(&tally, line, why);
    }
    cr_assert_eq(tally.refused.count, 100);
    cr_assert_eq(tally.refused.kept, REMARKS_KEPT);
    for (size_t i = 0; i < REMARKS_KEPT; i++) {
        char why[32];
        snprintf(why, sizeof why, "line %d", (int)i + 1);
        cr_assert_eq(tally.refused.lowest[i].number, i + 1);
        cr_assert_str_eq(tally.refused.lowest[i].text, why);
    }
    tally_finish(&tally);
}

Test(text, is_clean_when_it_is_utf8_without_controls)
{
    static const char *const clean[] = {"",           "A-1", "Zoë", "東京", "\xf0\x9f\x93\xa6",
                                        "a\xc2\xa0 b"};
    static const char *const unclean[] = {
        "\x1b[2J",          "\x7f",     "a\nb", "\xc2\x9b", "\xc0\x80",        "\xed\xa0\x80",
        "\xf4\x90\x80\x80", "\xe2\x82", "\xff", "\x80",     "\xf0\x80\x80\x80"};
    for (size_t i = 0; i < sizeof clean / sizeof *clean; i++)
        cr_assert(text_is_clean(clean[i], strlen(clean[i])), "%zu", i);
    for (size_t i = 0; i < sizeof unclean / sizeof *unclean; i++)
        cr_assert(!text_is_clean(unclean[i], strlen(unclean[i])), "%zu", i);
    cr_assert(!text_is_clean("a\0b", 3));
}

Test(text, is_put_whole_or_not_and_cut_between_characters)
{
    char field[6] = "old";
    cr_assert(!text_put(field, sizeof field, "123456", 6));
    cr_assert_str_eq(field, "old");
    cr_assert(text_put(field, sizeof field, "12345", 5));
    cr_assert_str_eq(field, "12345");
    text_cut(field, sizeof field, "1234\xc3\xab");
    cr_assert_str_eq(field, "1234");
    text_cut(field, sizeof field, "123\xc3\xab");
    cr_assert_str_eq(field, "123\xc3\xab");
}

Test(text, writes_counts_and_money)
{
    char count[TEXT_COUNT_SIZE], money[TEXT_MONEY_SIZE];
    cr_assert_str_eq(text_count(count, 0), "0");
    cr_assert_str_eq(text_count(count, 999), "999");
    cr_assert_str_eq(text_count(count, 1234567), "1,234,567");
    cr_assert_str_eq(text_count(count, UINT64_MAX), "18,446,744,073,709,551,615");
    cr_assert_str_eq(text_money(money, "EUR", 12905), "EUR 129.05");
}
