#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dcontext/runtime.h>

#include "chain.h"
#include "writer.h"

static const dctx_limits_t limits = {8192, 64, 128, 4096, 32, 64, 1024};
static const dctx_limits_t narrow = {8192, 64, 128, 4096, 6, 64, 1024};

static bool is_equal(const dctx_chain_t *a, const dctx_chain_t *b)
{
    dctx_bytes_t x = dctx_chain_wire_(a), y = dctx_chain_wire_(b);
    return x.size == y.size && memcmp(x.data, y.data, x.size) == 0;
}

static dctx_bytes_t text(const char *string)
{
    return (dctx_bytes_t){string, strlen(string)};
}

/* `count` names, numbered on from `from`: n0, n1, ... */
static char numbered_text[2048][8];
static dctx_bytes_t numbered[2048];

static const dctx_bytes_t *names(size_t from, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(numbered_text[i], sizeof(numbered_text[i]), "n%zu", from + i);
        numbered[i] = text(numbered_text[i]);
    }
    return numbered;
}

static dctx_chain_t *build(dctx_chain_t *parent, const dctx_bytes_t *more, size_t count,
                           const dctx_limits_t *with)
{
    dctx_chain_t *chain = NULL;
    cr_assert_eq(dctx_chain_build_(parent, more, count, with, &chain), DCTX_OK);
    return chain;
}

static void shows(const dctx_chain_t *chain, const char *expected)
{
    char line[4096];
    cr_assert_eq(dctx_chain_format_(chain, NULL, 0, &limits, line, sizeof(line)), strlen(expected));
    cr_assert_str_eq(line, expected);
}

/* The blob as bytes, scanned and made again, must be the same; and its fields must agree with
 * them. */
static void check(const dctx_chain_t *chain, const dctx_limits_t *with)
{
    dctx_writer_t *writer;
    dctx_envelope_t envelope;
    dctx_bytes_t wire = dctx_chain_wire_(chain);
    cr_assert_eq(dctx_writer_new(8192, &writer), DCTX_OK);
    dctx_writer_put(writer, "\x93\x01", 2);
    dctx_writer_put(writer, wire.data, wire.size);
    dctx_writer_put(writer, "\x90", 1);
    dctx_bytes_t stamp = dctx_writer_bytes(writer);
    cr_assert_eq(dctx_envelope_open_(&envelope, with, stamp.data, stamp.size), DCTX_OK);
    cr_assert_eq(dctx_envelope_close_(&envelope), DCTX_OK);
    cr_assert(envelope.chain_canonical);
    dctx_chain_t *again = NULL;
    cr_assert_eq(dctx_chain_from_envelope_(&envelope, &again), DCTX_OK);
    cr_assert(is_equal(chain, again));
    if (chain != NULL) {
        cr_assert_eq(again->count, chain->count);
        cr_assert_eq(again->mark, chain->mark);
        cr_assert_eq(again->elided, chain->elided);
    }
    dctx_chain_unref_(again);
    dctx_writer_destroy(&writer);
}

static dctx_chain_t *from_wire(const char *wire, size_t size)
{
    dctx_writer_t *writer;
    dctx_envelope_t envelope;
    cr_assert_eq(dctx_writer_new(0, &writer), DCTX_OK);
    dctx_writer_put(writer, "\x93\x01", 2);
    dctx_writer_put(writer, wire, size);
    dctx_writer_put(writer, "\x90", 1);
    dctx_bytes_t stamp = dctx_writer_bytes(writer);
    cr_assert_eq(dctx_envelope_open_(&envelope, &limits, stamp.data, stamp.size), DCTX_OK);
    dctx_chain_t *chain = NULL;
    cr_assert_eq(dctx_chain_from_envelope_(&envelope, &chain), DCTX_OK);
    dctx_writer_destroy(&writer);
    return chain;
}

#define FROM_WIRE(literal) from_wire(literal, sizeof(literal) - 1)

Test(chain, null_is_the_empty_chain)
{
    cr_assert_null(build(NULL, NULL, 0, &limits));
    cr_assert_null(FROM_WIRE("\x90"));
    cr_assert_null(FROM_WIRE("\xdc\0\0"));
    cr_assert_eq(dctx_chain_wire_(NULL).size, 1);
    cr_assert_null(dctx_chain_name_(NULL, 0).data);
    cr_assert(is_equal(NULL, NULL));
    cr_assert_null(dctx_chain_ref_(NULL));
    dctx_chain_unref_(NULL);
    shows(NULL, "");
    check(NULL, &limits);
}

Test(chain, names_root_first)
{
    dctx_bytes_t two[] = {text("api-gateway"), text("remote:orders")};
    dctx_bytes_t third = text("a name of more than 31 bytes: remote:inventory");
    dctx_chain_t *first = build(NULL, two, 2, &limits);
    dctx_chain_t *second = build(first, &third, 1, &limits);
    shows(first, "api-gateway > remote:orders");
    shows(second, "api-gateway > remote:orders > a name of more than 31 bytes: remote:inventory");
    cr_assert_eq(second->count, 3);
    cr_assert_eq(second->elided, 0);
    for (size_t i = 0; i < 3; i++) {
        dctx_bytes_t name = dctx_chain_name_(second, i);
        cr_assert_eq(name.size, i < 2 ? two[i].size : third.size);
        cr_assert_eq(memcmp(name.data, i < 2 ? two[i].data : third.data, name.size), 0);
    }
    cr_assert_null(dctx_chain_name_(second, 3).data);
    check(first, &limits);
    check(second, &limits);
    cr_assert(!is_equal(first, second));
    cr_assert(!is_equal(first, NULL));
    dctx_chain_unref_(first);
    dctx_chain_unref_(second);
}

Test(chain, without_new_names_it_is_the_parent)
{
    dctx_chain_t *parent = build(NULL, names(0, 3), 3, &limits);
    dctx_chain_t *same = build(parent, NULL, 0, &limits);
    cr_assert_eq(same, parent);
    cr_assert(!dctx_refcount_is_unique(&parent->refs));
    dctx_chain_unref_(same);
    cr_assert(dctx_refcount_is_unique(&parent->refs));
    dctx_chain_unref_(parent);
}

Test(chain, the_first_four_and_the_newest_are_kept)
{
    dctx_chain_t *chain = build(NULL, names(0, 6), 6, &narrow);
    shows(chain, "n0 > n1 > n2 > n3 > n4 > n5");
    dctx_chain_unref_(chain);
    chain = build(NULL, names(0, 7), 7, &narrow);
    shows(chain, "n0 > n1 > n2 > n3 > [1 more] > n5 > n6");
    cr_assert_eq(chain->count, 6);
    cr_assert_eq(chain->elided, 1);
    cr_assert_arr_eq(dctx_chain_name_(chain, 4).data, "n5", 2);
    check(chain, &narrow);
    dctx_chain_unref_(chain);
    chain = build(NULL, names(0, 1024), 1024, &narrow);
    shows(chain, "n0 > n1 > n2 > n3 > [1018 more] > n1022 > n1023");
    check(chain, &narrow);
    dctx_chain_unref_(chain);
    chain = build(NULL, names(0, 1024), 1024, &limits);
    cr_assert_eq(chain->count, 32);
    cr_assert_eq(chain->elided, 1024 - 32);
    check(chain, &limits);
    dctx_chain_unref_(chain);
}

Test(chain, one_by_one_is_as_all_at_once)
{
    const dctx_limits_t *const both[] = {&narrow, &limits};
    for (int which = 0; which < 2; which++)
        for (size_t total = 0; total < 45; total++)
            for (size_t step = 1; step < 12; step += 3) {
                dctx_chain_t *grown = NULL;
                for (size_t done = 0; done < total;) {
                    size_t count = total - done < step ? total - done : step;
                    dctx_chain_t *next = build(grown, names(done, count), count, both[which]);
                    dctx_chain_unref_(grown);
                    grown = next;
                    done += count;
                }
                dctx_chain_t *whole = build(NULL, names(0, total), total, both[which]);
                cr_assert(is_equal(grown, whole), "%zu by %zu", total, step);
                cr_assert(total == 0 ||
                          (grown->elided == whole->elided && grown->mark == whole->mark));
                check(grown, both[which]);
                dctx_chain_unref_(grown);
                dctx_chain_unref_(whole);
            }
}

Test(chain, elision_adds_to_what_was_elided_before)
{
    dctx_chain_t *parent = FROM_WIRE("\x97\xa1"
                                     "a\xa1"
                                     "b\xa1"
                                     "c\xa1"
                                     "d\x0a\xa1y\xa1z");
    shows(parent, "a > b > c > d > [10 more] > y > z");
    dctx_bytes_t more = text("+");
    dctx_chain_t *chain = build(parent, &more, 1, &limits);
    shows(chain, "a > b > c > d > [10 more] > y > z > +");
    check(chain, &limits);
    dctx_chain_unref_(chain);
    chain = build(parent, &more, 1, &narrow);
    shows(chain, "a > b > c > d > [11 more] > z > +");
    check(chain, &narrow);
    dctx_chain_unref_(chain);
    dctx_chain_unref_(parent);
}

Test(chain, the_count_of_elided_names_saturates)
{
    dctx_chain_t *parent = FROM_WIRE("\x97\xa1"
                                     "a\xa1"
                                     "b\xa1"
                                     "c\xa1"
                                     "d\xcf\xff\xff\xff\xff\xff\xff\xff\xfe\xa1y\xa1z");
    dctx_chain_t *chain = build(parent, names(0, 2), 2, &narrow);
    cr_assert_eq(chain->elided, UINT64_MAX);
    shows(chain, "a > b > c > d > [18446744073709551615 more] > n0 > n1");
    check(chain, &narrow);
    dctx_chain_unref_(chain);
    dctx_chain_unref_(parent);
}

Test(chain, a_mark_elsewhere_stays_true)
{
    /* Before the fourth: what follows it goes. */
    dctx_chain_t *parent = FROM_WIRE("\x95\xa1"
                                     "a\x02\xa1"
                                     "b\xa1"
                                     "c\xa1"
                                     "d");
    dctx_chain_t *chain = build(parent, names(0, 3), 3, &narrow);
    shows(parent, "a > [2 more] > b > c > d");
    shows(chain, "a > [3 more] > c > d > n0 > n1 > n2");
    check(chain, &narrow);
    dctx_chain_unref_(chain);
    chain = build(parent, names(0, 10), 10, &narrow);
    shows(chain, "a > [10 more] > n5 > n6 > n7 > n8 > n9");
    check(chain, &narrow);
    dctx_chain_unref_(chain);
    dctx_chain_unref_(parent);
    /* At the very beginning. */
    parent = FROM_WIRE("\x92\x02\xa1"
                       "a");
    chain = build(parent, names(0, 6), 6, &narrow);
    shows(parent, "[2 more] > a");
    shows(chain, "[3 more] > n0 > n1 > n2 > n3 > n4 > n5");
    check(chain, &narrow);
    dctx_chain_unref_(chain);
    dctx_chain_unref_(parent);
    /* Past the fourth: what is before it goes first, down to the fourth. */
    parent = FROM_WIRE("\x97\xa1"
                       "a\xa1"
                       "b\xa1"
                       "c\xa1"
                       "d\xa1"
                       "e\xa1"
                       "f\x05");
    shows(parent, "a > b > c > d > e > f > [5 more]");
    chain = build(parent, names(0, 1), 1, &narrow);
    shows(chain, "a > b > c > d > e > [6 more] > n0");
    check(chain, &narrow);
    dctx_chain_unref_(chain);
    chain = build(parent, names(0, 4), 4, &narrow);
    shows(chain, "a > b > c > d > [9 more] > n2 > n3");
    check(chain, &narrow);
    dctx_chain_unref_(chain);
    dctx_chain_unref_(parent);
    /* Nothing but a mark. */
    parent = FROM_WIRE("\x91\x05");
    shows(parent, "[5 more]");
    cr_assert_eq(parent->count, 0);
    check(parent, &narrow);
    dctx_chain_unref_(parent);
}

Test(chain, received_heads_become_the_shortest)
{
    dctx_chain_t *longer = FROM_WIRE("\xdd\0\0\0\x03\xd9\x01x\xce\0\0\0\x07\xdb\0\0\0\x02yz");
    dctx_chain_t *shorter = FROM_WIRE("\x93\xa1x\x07\xa2yz");
    cr_assert(is_equal(longer, shorter));
    cr_assert_eq(longer->mark, 1);
    check(longer, &limits);
    dctx_chain_unref_(longer);
    longer = FROM_WIRE("\xdc\0\x02\xcc\x07\xd9\x01x");
    shows(longer, "[7 more] > x");
    check(longer, &limits);
    dctx_chain_unref_(longer);
    longer = FROM_WIRE("\xdc\0\x02\xd9\x01x\xcc\x07");
    shows(longer, "x > [7 more]");
    check(longer, &limits);
    dctx_chain_unref_(longer);
    dctx_chain_unref_(shorter);
}

Test(chain, format_is_cut_to_fit)
{
    dctx_chain_t *chain = build(NULL, names(0, 7), 7, &narrow);
    const char *whole = "n0 > n1 > n2 > n3 > [1 more] > n5 > n6";
    for (size_t size = 0; size < 50; size++) {
        char *line = malloc(size > 0 ? size : 1);
        cr_assert_eq(dctx_chain_format_(chain, NULL, 0, &narrow, line, size), strlen(whole));
        if (size > 0) {
            size_t shown = size - 1 < strlen(whole) ? size - 1 : strlen(whole);
            cr_assert_eq(strlen(line), shown);
            cr_assert_eq(strncmp(line, whole, shown), 0);
        }
        free(line);
    }
    cr_assert_eq(dctx_chain_format_(chain, NULL, 0, &narrow, NULL, 0), strlen(whole));
    dctx_chain_unref_(chain);
}

Test(chain, plan_and_format_say_what_build_makes)
{
    for (size_t held = 0; held < 12; held++)
        for (size_t count = 0; count < 12; count++) {
            char planned[512];
            dctx_chain_t *parent = build(NULL, names(0, held), held, &narrow);
            const dctx_bytes_t *more = names(held, count);
            dctx_chain_plan_t plan = dctx_chain_plan_(parent, count, &narrow);
            (void)dctx_chain_format_(parent, more, count, &narrow, planned, sizeof(planned));
            dctx_chain_t *chain = build(parent, more, count, &narrow);
            shows(chain, planned);
            cr_assert_eq(dctx_chain_plan_count_(&plan), chain != NULL ? chain->count : 0);
            cr_assert_eq(plan.elided, chain != NULL ? chain->elided : 0);
            dctx_chain_unref_(chain);
            dctx_chain_unref_(parent);
        }
}

static void *no_memory(size_t size)
{
    (void)size;
    return NULL;
}

static void back_to_malloc(void)
{
    dctx_set_allocator(NULL);
}

Test(chain, no_memory, .fini = back_to_malloc)
{
    static const dctx_allocator_t none = {no_memory, free};
    dctx_chain_t *parent = build(NULL, names(0, 3), 3, &limits);
    dctx_chain_t *chain = parent;
    dctx_envelope_t envelope;
    dctx_set_allocator(&none);
    cr_assert_eq(dctx_chain_build_(parent, names(3, 1), 1, &limits, &chain), DCTX_ERR_NOMEM);
    cr_assert_eq(chain, parent);
    cr_assert_eq(dctx_envelope_open_(&envelope, &limits, "\x93\x01\x91\xa1x\x90", 6), DCTX_OK);
    cr_assert_eq(dctx_chain_from_envelope_(&envelope, &chain), DCTX_ERR_NOMEM);
    cr_assert_eq(chain, parent);
    dctx_set_allocator(NULL);
    dctx_chain_unref_(parent);
}
