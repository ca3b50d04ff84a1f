#include "future.h"

#include <sys/poll.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "fixture.h"

/* ---- helpers -------------------------------------------------------------------------------- */

static dctx_promise_t *promise_of(dctx_future_t **ret_future)
{
    dctx_promise_t *promise = NULL;
    cr_assert_eq(dctx_promise_new(&promise, ret_future), DCTX_OK);
    return promise;
}

static void complete(dctx_promise_t **promise_p, uint64_t value)
{
    cr_assert_eq(dctx_promise_complete(promise_p, DCTX_TYPE_UINT64, &value), DCTX_OK);
    cr_assert_null(*promise_p);
}

static dctx_result_t result_of(const dctx_future_t *future)
{
    dctx_result_t result;
    cr_assert_eq(dctx_future_result(future, &result), DCTX_OK);
    return result;
}

static uint64_t value_of(const dctx_future_t *future)
{
    dctx_result_t result = result_of(future);
    cr_assert_eq(result.error, DCTX_OK, "%s: %s", dctx_error_name(result.error), result.reason);
    const uint64_t *value = dctx_result_get(&result, DCTX_TYPE_UINT64);
    cr_assert_not_null(value);
    return *value;
}

static void cr_failed(dctx_future_t *future, dctx_error_t error)
{
    dctx_result_t result = result_of(future);
    cr_assert_eq(result.error, error, "%s", dctx_error_name(result.error));
    cr_assert_null(result.value);
}

static dctx_error_t add_one(const dctx_result_t *result, dctx_promise_t **promise_p, void *arg)
{
    const uint64_t *value = dctx_result_get(result, DCTX_TYPE_UINT64);
    if (arg != NULL)
        ++*(int *)arg;
    if (value == NULL)
        return DCTX_ERR_TYPE;
    uint64_t more = *value + 1;
    return dctx_promise_complete(promise_p, DCTX_TYPE_UINT64, &more);
}

static dctx_error_t note(const dctx_result_t *result, dctx_promise_t **promise_p, void *arg)
{
    (void)promise_p;
    *(dctx_result_t *)arg = *result;
    return DCTX_OK;
}

static dctx_error_t make_seven(const dctx_result_t *result, dctx_promise_t **promise_p, void *arg)
{
    uint64_t seven = 7;
    (void)arg;
    cr_assert_neq(result->error, DCTX_OK);
    return dctx_promise_complete(promise_p, DCTX_TYPE_UINT64, &seven);
}

static dctx_error_t refuse(const dctx_result_t *result, dctx_promise_t **promise_p, void *arg)
{
    (void)result;
    (void)promise_p;
    (void)arg;
    return DCTX_ERR_REJECTED;
}

/* ---- promises ------------------------------------------------------------------------------- */

Test(future, a_promise_gives_its_value_to_many, .init = fixture_init)
{
    dctx_future_t *future = NULL;
    dctx_promise_t *promise = promise_of(&future);
    dctx_result_t result;
    cr_assert(!dctx_future_is_done(future));
    cr_assert_eq(dctx_future_result(future, &result), DCTX_ERR_AGAIN);
    cr_assert_eq(dctx_future_wait(future, 0, &result), DCTX_ERR_TIMEOUT);
    complete(&promise, 42);
    cr_assert(dctx_future_is_done(future));
    dctx_future_t *other = dctx_future_ref(future);
    cr_assert_eq(value_of(future), 42);
    dctx_future_unref(&future);
    cr_assert_null(future);
    cr_assert_eq(value_of(other), 42);
    cr_assert_eq(dctx_future_wait(other, 0, &result), DCTX_OK);
    cr_assert_eq(result.type, DCTX_TYPE_UINT64);
    cr_assert_null(dctx_result_get(&result, DCTX_TYPE_INT64));
    dctx_future_unref(&other);
}

Test(future, values_are_of_any_type_and_size, .init = fixture_init)
{
    static char long_text[1000];
    memset(long_text, 'x', sizeof long_text - 1);
    static const char *const texts[] = {"", "short", long_text};
    for (size_t i = 0; i < 3; i++) {
        dctx_future_t *future = NULL;
        dctx_promise_t *promise = promise_of(&future);
        cr_assert_eq(dctx_promise_complete(&promise, DCTX_TYPE_STRING, texts[i]), DCTX_OK);
        cr_assert_str_eq(result_of(future).value, texts[i]);
        dctx_future_unref(&future);

        promise = promise_of(&future);
        dctx_bytes_t bytes = {.data = texts[i], .size = strlen(texts[i])};
        cr_assert_eq(dctx_promise_complete(&promise, DCTX_TYPE_BYTES, &bytes), DCTX_OK);
        const dctx_bytes_t *got = result_of(future).value;
        cr_assert_eq(got->size, bytes.size);
        cr_assert(memcmp(got->data, bytes.data, bytes.size) == 0);
        dctx_future_unref(&future);
    }
    dctx_future_t *future = NULL;
    dctx_promise_t *promise = promise_of(&future);
    cr_assert_eq(dctx_promise_complete(&promise, NULL, NULL), DCTX_OK);
    cr_assert_null(result_of(future).type);
    dctx_future_unref(&future);
}

Test(future, a_promise_that_is_dropped_is_an_error, .init = fixture_init)
{
    dctx_future_t *future = NULL;
    dctx_promise_t *promise = promise_of(&future);
    dctx_promise_destroy(&promise);
    cr_assert_null(promise);
    dctx_promise_destroy(&promise);
    cr_failed(future, DCTX_ERR_NO_REPLY);
    cr_assert_str_eq(result_of(future).reason, "the promise was dropped without a result");
    dctx_future_unref(&future);
}

Test(future, an_error_has_a_reason, .init = fixture_init)
{
    dctx_future_t *future = NULL;
    char long_reason[400];
    memset(long_reason, 'r', sizeof long_reason);
    /* The cut falls into the middle of a character. */
    memcpy(long_reason + 254, "\xc3\xa9", 2);
    long_reason[399] = '\0';
    dctx_promise_t *promise = promise_of(&future);
    cr_assert_eq(dctx_promise_fail(&promise, DCTX_ERR_REJECTED, "not today"), DCTX_OK);
    cr_failed(future, DCTX_ERR_REJECTED);
    cr_assert_str_eq(result_of(future).reason, "not today");
    dctx_future_unref(&future);
    promise = promise_of(&future);
    cr_assert_eq(dctx_promise_fail(&promise, DCTX_ERR_REJECTED, long_reason), DCTX_OK);
    cr_assert_eq(strlen(result_of(future).reason), 254);
    dctx_future_unref(&future);
    promise = promise_of(&future);
    cr_assert_eq(dctx_promise_fail(&promise, DCTX_OK, NULL), DCTX_ERR_INVALID);
    cr_assert_not_null(promise);
    cr_assert_eq(dctx_promise_fail(&promise, DCTX_ERR_IO, NULL), DCTX_OK);
    cr_assert_str_eq(result_of(future).reason, "");
    dctx_future_unref(&future);
}

Test(future, mistakes_are_said, .init = fixture_init)
{
    dctx_future_t *future = NULL, *other = NULL;
    dctx_promise_t *promise = NULL, *none = NULL;
    uint64_t one = 1;
    cr_assert_eq(dctx_promise_new(NULL, &future), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_promise_new(&promise, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_promise_complete(&none, NULL, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_promise_fail(NULL, DCTX_ERR_IO, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_promise_on_cancel(NULL, NULL, NULL), DCTX_ERR_INVALID);
    promise = promise_of(&future);
    cr_assert_eq(dctx_promise_complete(&promise, NULL, &one), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_promise_complete(&promise, DCTX_TYPE_UINT64, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_promise_complete_take(&promise, NULL, &one), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_promise_complete_take(&promise, DCTX_TYPE_STRING, &one), DCTX_ERR_TYPE);
    cr_assert_eq(dctx_promise_follow(&promise, future), DCTX_ERR_INVALID, "its own");
    cr_assert_eq(dctx_promise_follow(&promise, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_future_then(NULL, NULL, add_one, NULL, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_future_then(future, NULL, NULL, NULL, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_future_timeout(future, NULL, 1, &other), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_future_all(NULL, 1, &other), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_future_all(&other, 1, &other), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_future_any(&future, 1, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_future_wait(NULL, 1, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_future_fd(future, NULL), DCTX_ERR_INVALID);
    cr_assert_eq(dctx_future_then_actor(NULL, future, NULL, NULL), DCTX_ERR_INVALID);
    cr_assert_null(other);
    cr_assert_not_null(promise, "it is still ours");
    dctx_future_cancel(NULL, NULL);
    dctx_future_unref(NULL);
    cr_assert_null(dctx_future_ref(NULL));
    cr_assert(!dctx_future_is_done(future));
    dctx_promise_destroy(&promise);
    dctx_future_unref(&future);
}

/* ---- a type that owns something -------------------------------------------------------------- */

typedef struct thing {
    int *alive;
    char filling[100]; /* larger than what a future has room for */
} thing_t;

static dctx_error_t copy_thing(void *dst, const void *src)
{
    *(thing_t *)dst = *(const thing_t *)src;
    ++*((thing_t *)dst)->alive;
    return DCTX_OK;
}

static void destroy_thing(void *value)
{
    if (((thing_t *)value)->alive != NULL)
        --*((thing_t *)value)->alive;
}

static const dctx_type_t thing_type = {
    .name = "thing", .size = sizeof(thing_t), .copy = copy_thing, .destroy = destroy_thing};

Test(future, a_value_dies_with_the_last_reference, .init = fixture_init)
{
    int alive = 1;
    thing_t thing = {.alive = &alive};
    dctx_future_t *future = NULL, *mapped = NULL;
    dctx_promise_t *promise = promise_of(&future);
    cr_assert_eq(dctx_promise_complete(&promise, &thing_type, &thing), DCTX_OK);
    cr_assert_eq(alive, 2);
    /* Goes on as it is: the same value. */
    cr_assert_eq(dctx_future_recover(future, NULL, make_seven, NULL, &mapped), DCTX_OK);
    cr_assert_eq(result_of(mapped).value, result_of(future).value);
    dctx_future_unref(&future);
    cr_assert_eq(alive, 2);
    dctx_future_unref(&mapped);
    cr_assert_eq(alive, 1);

    promise = promise_of(&future);
    cr_assert_eq(dctx_promise_complete_take(&promise, &thing_type, &thing), DCTX_OK);
    cr_assert_null(thing.alive, "taken over");
    cr_assert_eq(alive, 1);
    dctx_future_unref(&future);
    cr_assert_eq(alive, 0);

    /* Of no use to a future that was cancelled, and destroyed. */
    promise = promise_of(&future);
    alive = 1;
    thing.alive = &alive;
    dctx_future_cancel(future, NULL);
    cr_assert(dctx_promise_is_cancelled(promise));
    cr_assert_eq(dctx_promise_complete_take(&promise, &thing_type, &thing), DCTX_OK);
    cr_assert_eq(alive, 0);
    cr_failed(future, DCTX_ERR_CANCELLED);
    dctx_future_unref(&future);
}

/* ---- then, map, recover ---------------------------------------------------------------------- */

Test(future, then_runs_whatever_happened, .init = fixture_init)
{
    dctx_future_t *future = NULL, *after = NULL;
    dctx_result_t seen = {0};
    dctx_promise_t *promise = promise_of(&future);
    cr_assert_eq(dctx_future_then(future, NULL, note, &seen, &after), DCTX_OK);
    cr_assert(!dctx_future_is_done(after));
    cr_assert_eq(dctx_promise_fail(&promise, DCTX_ERR_IO, "broken"), DCTX_OK);
    cr_assert_eq(seen.error, DCTX_ERR_IO);
    cr_assert_str_eq(seen.reason, "broken");
    cr_assert_eq(result_of(after).error, DCTX_OK, "it has dealt with it");
    dctx_future_unref(&after);
    /* And on a future that is complete, at once; nobody has to want to know. */
    seen.error = DCTX_OK;
    cr_assert_eq(dctx_future_then(future, NULL, note, &seen, NULL), DCTX_OK);
    cr_assert_eq(seen.error, DCTX_ERR_IO);
    dctx_future_unref(&future);
}

Test(future, map_is_for_values_and_recover_for_errors, .init = fixture_init)
{
    dctx_future_t *future = NULL, *mapped = NULL, *saved = NULL, *again = NULL, *refused = NULL;
    dctx_promise_t *promise = promise_of(&future);
    cr_assert_eq(dctx_future_map(future, NULL, add_one, NULL, &mapped), DCTX_OK);
    cr_assert_eq(dctx_future_map(mapped, NULL, refuse, NULL, &refused), DCTX_OK);
    cr_assert_eq(dctx_future_map(refused, NULL, add_one, NULL, &again), DCTX_OK);
    cr_assert_eq(dctx_future_recover(again, NULL, make_seven, NULL, &saved), DCTX_OK);
    complete(&promise, 1);
    cr_assert_eq(value_of(future), 1);
    cr_assert_eq(value_of(mapped), 2);
    cr_failed(refused, DCTX_ERR_REJECTED);
    cr_failed(again, DCTX_ERR_REJECTED);
    cr_assert_eq(value_of(saved), 7);
    dctx_future_unref(&again);
    cr_assert_eq(dctx_future_recover(saved, NULL, refuse, NULL, &again), DCTX_OK);
    cr_assert_eq(value_of(again), 7);
    dctx_future_unref(&future);
    dctx_future_unref(&mapped);
    dctx_future_unref(&saved);
    dctx_future_unref(&again);
    dctx_future_unref(&refused);
}

/* Keeps the promise for later. */
static dctx_error_t keep(const dctx_result_t *result, dctx_promise_t **promise_p, void *arg)
{
    (void)result;
    *(dctx_promise_t **)arg = *promise_p;
    *promise_p = NULL;
    return DCTX_OK;
}

static dctx_error_t follow(const dctx_result_t *result, dctx_promise_t **promise_p, void *arg)
{
    (void)result;
    return dctx_promise_follow(promise_p, arg);
}

Test(future, what_is_attached_may_answer_later, .init = fixture_init)
{
    dctx_future_t *future = NULL, *other = NULL, *later = NULL, *following = NULL;
    dctx_promise_t *promise = promise_of(&future), *kept = NULL, *more = promise_of(&other);
    cr_assert_eq(dctx_future_map(future, NULL, keep, &kept, &later), DCTX_OK);
    cr_assert_eq(dctx_future_map(future, NULL, follow, other, &following), DCTX_OK);
    complete(&promise, 1);
    cr_assert(!dctx_future_is_done(later));
    cr_assert(!dctx_future_is_done(following));
    complete(&kept, 5);
    cr_assert_eq(value_of(later), 5);
    complete(&more, 6);
    cr_assert_eq(value_of(following), 6);
    dctx_future_unref(&future);
    dctx_future_unref(&other);
    dctx_future_unref(&later);
    cr_assert_eq(value_of(following), 6);
    dctx_future_unref(&following);
}

static dctx_error_t check_context(const dctx_result_t *result, dctx_promise_t **promise_p,
                                  void *arg)
{
    (void)result;
    (void)promise_p;
    cr_assert_str_eq(tenant_get_or("nobody"), arg);
    cr_assert_str_eq(chain(), strcmp(arg, "nobody") == 0 ? "" : "attaching");
    return tenant_set("left behind");
}

Test(future, what_is_attached_sees_the_context_it_was_attached_in, .init = fixture_init)
{
    dctx_future_t *future = NULL, *one = NULL, *two = NULL;
    dctx_promise_t *promise = promise_of(&future);
    static char acme[] = "acme", nobody[] = "nobody";
    DCTX_WITH_SCOPE("attaching") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        cr_assert_eq(dctx_future_then(future, NULL, check_context, acme, &one), DCTX_OK);
    }
    cr_assert_eq(dctx_future_then(future, NULL, check_context, nobody, &two), DCTX_OK);
    DCTX_WITH_SCOPE("completing") {
        cr_assert_eq(tenant_set("umbrella"), DCTX_OK);
        complete(&promise, 1);
        cr_assert_str_eq(tenant_get_or("nobody"), "umbrella");
        cr_assert_str_eq(chain(), "completing");
    }
    cr_assert_eq(result_of(one).error, DCTX_OK);
    cr_assert_eq(result_of(two).error, DCTX_OK);
    dctx_future_unref(&future);
    dctx_future_unref(&one);
    dctx_future_unref(&two);
}

Test(future, a_chain_of_a_hundred_thousand_does_not_grow_the_stack, .init = fixture_init,
     .timeout = 60)
{
    enum { LONG = 100000 };
    dctx_future_t *future = NULL;
    int calls = 0;
    dctx_promise_t *promise = promise_of(&future);
    for (int i = 0; i < LONG; i++) {
        dctx_future_t *next = NULL;
        cr_assert_eq(i % 2 == 0 ? dctx_future_map(future, NULL, add_one, &calls, &next)
                                : dctx_future_recover(future, NULL, make_seven, NULL, &next),
                     DCTX_OK);
        dctx_future_unref(&future);
        future = next;
    }
    complete(&promise, 0);
    cr_assert_eq(calls, LONG / 2);
    cr_assert_eq(value_of(future), LONG / 2);
    dctx_future_unref(&future);
}

Test(future, a_long_chain_is_cancelled_to_its_beginning, .init = fixture_init, .timeout = 60)
{
    enum { LONG = 100000 };
    dctx_future_t *future = NULL;
    dctx_promise_t *promise = promise_of(&future);
    for (int i = 0; i < LONG; i++) {
        dctx_future_t *next = NULL;
        cr_assert_eq(dctx_future_map(future, NULL, add_one, NULL, &next), DCTX_OK);
        dctx_future_unref(&future);
        future = next;
    }
    dctx_future_cancel(future, "no more");
    cr_failed(future, DCTX_ERR_CANCELLED);
    cr_assert_str_eq(result_of(future).reason, "no more");
    cr_assert(dctx_promise_is_cancelled(promise));
    dctx_promise_destroy(&promise);
    dctx_future_unref(&future);
}

/* A future whose value refers to another, and so on. */
static void destroy_link(void *value)
{
    dctx_future_unref((dctx_future_t **)value);
}

static const dctx_type_t link_type = {
    .name = "link", .size = sizeof(dctx_future_t *), .destroy = destroy_link};

Test(future, a_list_of_futures_is_freed_without_recursion, .init = fixture_init, .timeout = 60)
{
    dctx_future_t *last = NULL;
    for (int i = 0; i < 100000; i++) {
        dctx_future_t *future = NULL;
        dctx_promise_t *promise = promise_of(&future);
        cr_assert_eq(dctx_promise_complete_take(&promise, &link_type, &last), DCTX_OK);
        last = future;
    }
    dctx_future_unref(&last);
    cr_assert_null(last);
}

/* ---- cancelling ------------------------------------------------------------------------------ */

static void count(void *arg)
{
    ++*(int *)arg;
}

Test(future, cancelling_tells_the_promise_once, .init = fixture_init)
{
    dctx_future_t *future = NULL, *mapped = NULL;
    int told = 0, calls = 0;
    dctx_promise_t *promise = promise_of(&future);
    cr_assert_eq(dctx_promise_on_cancel(promise, count, &told), DCTX_OK);
    cr_assert_eq(dctx_future_map(future, NULL, add_one, &calls, &mapped), DCTX_OK);
    dctx_future_cancel(mapped, "bored");
    dctx_future_cancel(mapped, "again");
    dctx_future_cancel(future, "again");
    cr_assert_eq(told, 1);
    cr_failed(mapped, DCTX_ERR_CANCELLED);
    cr_assert_str_eq(result_of(mapped).reason, "bored");
    cr_failed(future, DCTX_ERR_CANCELLED);
    cr_assert_str_eq(result_of(future).reason, "nobody waits for it any more");
    complete(&promise, 3);
    cr_failed(future, DCTX_ERR_CANCELLED);
    cr_assert_eq(calls, 0);
    dctx_future_unref(&future);
    dctx_future_unref(&mapped);
}

Test(future, cancelling_after_the_end_does_nothing, .init = fixture_init)
{
    dctx_future_t *future = NULL;
    int told = 0;
    dctx_promise_t *promise = promise_of(&future);
    cr_assert_eq(dctx_promise_on_cancel(promise, count, &told), DCTX_OK);
    complete(&promise, 3);
    dctx_future_cancel(future, "late");
    cr_assert_eq(told, 0);
    cr_assert_eq(value_of(future), 3);
    dctx_future_unref(&future);
}

Test(future, on_cancel_can_be_set_late_replaced_and_taken_back, .init = fixture_init)
{
    dctx_future_t *future = NULL;
    int one = 0, two = 0;
    dctx_promise_t *promise = promise_of(&future);
    cr_assert_eq(dctx_promise_on_cancel(promise, count, &one), DCTX_OK);
    cr_assert_eq(dctx_promise_on_cancel(promise, count, &two), DCTX_OK);
    cr_assert_eq(dctx_promise_on_cancel(promise, NULL, NULL), DCTX_OK);
    dctx_future_cancel(future, NULL);
    cr_assert_eq(one + two, 0);
    cr_assert_eq(dctx_promise_on_cancel(promise, count, &two), DCTX_OK);
    cr_assert_eq(two, 1, "at once");
    dctx_promise_destroy(&promise);
    dctx_future_unref(&future);
}

Test(future, cancelling_stops_where_somebody_else_waits, .init = fixture_init)
{
    dctx_future_t *future = NULL, *one = NULL, *two = NULL, *three = NULL;
    int told = 0, fd = -1;
    dctx_promise_t *promise = promise_of(&future);
    cr_assert_eq(dctx_promise_on_cancel(promise, count, &told), DCTX_OK);
    cr_assert_eq(dctx_future_map(future, NULL, add_one, NULL, &one), DCTX_OK);
    cr_assert_eq(dctx_future_map(future, NULL, add_one, NULL, &two), DCTX_OK);
    dctx_future_cancel(one, NULL);
    cr_assert_eq(told, 0);
    cr_assert(!dctx_future_is_done(future));
    cr_assert_eq(dctx_future_fd(future, &fd), DCTX_OK);
    dctx_future_cancel(two, NULL);
    cr_assert_eq(told, 0, "the descriptor is polled");
    cr_assert_eq(dctx_future_map(future, NULL, add_one, NULL, &three), DCTX_OK);
    complete(&promise, 1);
    cr_assert_eq(value_of(three), 2);
    cr_failed(one, DCTX_ERR_CANCELLED);
    cr_failed(two, DCTX_ERR_CANCELLED);
    dctx_future_unref(&future);
    dctx_future_unref(&one);
    dctx_future_unref(&two);
    dctx_future_unref(&three);
}

Test(future, then_hears_of_its_own_cancelling, .init = fixture_init)
{
    dctx_future_t *future = NULL, *after = NULL;
    dctx_result_t seen = {0};
    dctx_promise_t *promise = promise_of(&future);
    cr_assert_eq(dctx_future_then(future, NULL, note, &seen, &after), DCTX_OK);
    dctx_future_cancel(after, "enough");
    cr_assert_eq(seen.error, DCTX_ERR_CANCELLED);
    cr_assert_str_eq(seen.reason, "enough");
    cr_assert(dctx_future_is_done(future));
    dctx_promise_destroy(&promise);
    dctx_future_unref(&future);
    dctx_future_unref(&after);
}

static void drop_promise(void *arg)
{
    dctx_promise_destroy(arg);
}

static void check_hook_context(void *arg)
{
    *(bool *)arg = strcmp(tenant_get_or("nobody"), "acme") == 0;
}

Test(future, on_cancel_may_drop_the_promise_and_has_its_own_context, .init = fixture_init)
{
    dctx_future_t *future = NULL;
    bool right = false;
    dctx_promise_t *promise = promise_of(&future);
    cr_assert_eq(dctx_promise_on_cancel(promise, drop_promise, &promise), DCTX_OK);
    dctx_future_cancel(future, NULL);
    cr_assert_null(promise);
    dctx_future_unref(&future);
    promise = promise_of(&future);
    DCTX_WITH_SCOPE("producer") {
        cr_assert_eq(tenant_set("acme"), DCTX_OK);
        cr_assert_eq(dctx_promise_on_cancel(promise, check_hook_context, &right), DCTX_OK);
    }
    dctx_future_cancel(future, NULL);
    cr_assert(right);
    dctx_promise_destroy(&promise);
    dctx_future_unref(&future);
}

Test(future, cancelling_reaches_what_is_followed, .init = fixture_init)
{
    dctx_future_t *source = NULL, *future = NULL;
    int told = 0;
    dctx_promise_t *origin = promise_of(&source), *promise = promise_of(&future);
    cr_assert_eq(dctx_promise_on_cancel(origin, count, &told), DCTX_OK);
    cr_assert_eq(dctx_promise_follow(&promise, source), DCTX_OK);
    cr_assert_null(promise);
    dctx_future_cancel(future, NULL);
    cr_assert_eq(told, 1);
    dctx_promise_destroy(&origin);
    dctx_future_unref(&source);
    dctx_future_unref(&future);

    /* The same when it is cancelled before it follows. */
    origin = promise_of(&source);
    promise = promise_of(&future);
    cr_assert_eq(dctx_promise_on_cancel(origin, count, &told), DCTX_OK);
    dctx_future_cancel(future, NULL);
    cr_assert_eq(dctx_promise_follow(&promise, source), DCTX_OK);
    cr_assert_eq(told, 2);
    dctx_promise_destroy(&origin);
    dctx_future_unref(&source);
    dctx_future_unref(&future);
}

/* ---- all and any ----------------------------------------------------------------------------- */

enum { FEW = 3 };

typedef struct few {
    dctx_promise_t *promises[FEW];
    dctx_future_t *futures[FEW];
    dctx_future_t *one;
    int told[FEW];
} few_t;

static void begin_few(few_t *few)
{
    for (int i = 0; i < FEW; i++) {
        few->told[i] = 0;
        few->promises[i] = promise_of(&few->futures[i]);
        cr_assert_eq(dctx_promise_on_cancel(few->promises[i], count, &few->told[i]), DCTX_OK);
    }
}

static void end_few(few_t *few)
{
    for (int i = 0; i < FEW; i++) {
        dctx_promise_destroy(&few->promises[i]);
        dctx_future_unref(&few->futures[i]);
    }
    dctx_future_unref(&few->one);
}

Test(future, all_has_all_results_in_order, .init = fixture_init)
{
    few_t few;
    begin_few(&few);
    cr_assert_eq(dctx_future_all(few.futures, FEW, &few.one), DCTX_OK);
    complete(&few.promises[2], 2);
    complete(&few.promises[0], 0);
    cr_assert(!dctx_future_is_done(few.one));
    complete(&few.promises[1], 1);
    dctx_result_t result = result_of(few.one);
    const dctx_results_t *results = dctx_result_get(&result, DCTX_TYPE_RESULTS);
    cr_assert_not_null(results);
    cr_assert_eq(results->count, FEW);
    /* They stay, whoever lets go of the parts. */
    for (int i = 0; i < FEW; i++)
        dctx_future_unref(&few.futures[i]);
    for (uint64_t i = 0; i < FEW; i++)
        cr_assert_eq(*(const uint64_t *)results->results[i].value, i);
    dctx_promise_t *promise = promise_of(&few.futures[0]);
    cr_assert_eq(dctx_promise_complete(&promise, DCTX_TYPE_RESULTS, results), DCTX_ERR_TYPE);
    dctx_promise_destroy(&promise);
    end_few(&few);
}

Test(future, all_ends_with_the_first_error, .init = fixture_init)
{
    few_t few;
    begin_few(&few);
    cr_assert_eq(dctx_future_all(few.futures, FEW, &few.one), DCTX_OK);
    complete(&few.promises[0], 1);
    cr_assert_eq(dctx_promise_fail(&few.promises[1], DCTX_ERR_IO, "one of them"), DCTX_OK);
    cr_failed(few.one, DCTX_ERR_IO);
    cr_assert_str_eq(result_of(few.one).reason, "one of them");
    cr_assert_eq(few.told[2], 1, "the others are of no use");
    cr_failed(few.futures[2], DCTX_ERR_CANCELLED);
    end_few(&few);
}

Test(future, any_is_the_first_that_went_well, .init = fixture_init)
{
    few_t few;
    begin_few(&few);
    cr_assert_eq(dctx_future_any(few.futures, FEW, &few.one), DCTX_OK);
    cr_assert_eq(dctx_promise_fail(&few.promises[0], DCTX_ERR_IO, NULL), DCTX_OK);
    cr_assert(!dctx_future_is_done(few.one));
    complete(&few.promises[1], 11);
    cr_assert_eq(value_of(few.one), 11);
    cr_assert_eq(few.told[2], 1);
    end_few(&few);

    begin_few(&few);
    cr_assert_eq(dctx_future_any(few.futures, FEW, &few.one), DCTX_OK);
    for (int i = 0; i < FEW; i++)
        cr_assert_eq(
            dctx_promise_fail(&few.promises[i], i == FEW - 1 ? DCTX_ERR_FULL : DCTX_ERR_IO, NULL),
            DCTX_OK);
    cr_failed(few.one, DCTX_ERR_FULL);
    end_few(&few);
}

Test(future, all_and_any_of_what_has_ended_and_of_nothing, .init = fixture_init)
{
    few_t few;
    dctx_future_t *one = NULL;
    cr_assert_eq(dctx_future_all(NULL, 0, &one), DCTX_OK);
    cr_assert_eq(((const dctx_results_t *)result_of(one).value)->count, 0);
    dctx_future_unref(&one);
    cr_assert_eq(dctx_future_any(NULL, 0, &one), DCTX_OK);
    cr_failed(one, DCTX_ERR_ABSENT);
    dctx_future_unref(&one);
    begin_few(&few);
    for (uint64_t i = 0; i < FEW; i++)
        complete(&few.promises[i], i);
    cr_assert_eq(dctx_future_all(few.futures, FEW, &few.one), DCTX_OK);
    cr_assert_eq(result_of(few.one).error, DCTX_OK);
    cr_assert_eq(dctx_future_any(few.futures, FEW, &one), DCTX_OK);
    cr_assert_eq(value_of(one), 0);
    dctx_future_unref(&one);
    end_few(&few);
    /* One that has failed already ends what is made of it and of others. */
    begin_few(&few);
    cr_assert_eq(dctx_promise_fail(&few.promises[1], DCTX_ERR_IO, NULL), DCTX_OK);
    cr_assert_eq(dctx_future_all(few.futures, FEW, &few.one), DCTX_OK);
    cr_failed(few.one, DCTX_ERR_IO);
    cr_assert_eq(few.told[0] + few.told[2], 2);
    end_few(&few);
}

Test(future, cancelling_all_cancels_each_that_is_no_one_elses, .init = fixture_init)
{
    few_t few;
    dctx_future_t *other = NULL, *twice[2];
    begin_few(&few);
    cr_assert_eq(dctx_future_map(few.futures[1], NULL, add_one, NULL, &other), DCTX_OK);
    cr_assert_eq(dctx_future_all(few.futures, FEW, &few.one), DCTX_OK);
    dctx_future_cancel(few.one, NULL);
    cr_assert_eq(few.told[0], 1);
    cr_assert_eq(few.told[1], 0);
    cr_assert_eq(few.told[2], 1);
    dctx_future_unref(&other);
    dctx_future_unref(&few.one);
    twice[0] = twice[1] = few.futures[1];
    cr_assert_eq(dctx_future_all(twice, 2, &few.one), DCTX_OK);
    complete(&few.promises[1], 4);
    cr_assert_eq(result_of(few.one).error, DCTX_OK);
    end_few(&few);
}

/* ---- descriptors ----------------------------------------------------------------------------- */

static bool is_readable(int fd)
{
    struct pollfd item = {.fd = fd, .events = POLLIN};
    return poll(&item, 1, 0) == 1;
}

Test(future, a_descriptor_is_readable_from_the_end_on, .init = fixture_init)
{
    dctx_future_t *future = NULL;
    int fd = -1, again = -1;
    dctx_promise_t *promise = promise_of(&future);
    cr_assert_eq(dctx_future_fd(future, &fd), DCTX_OK);
    cr_assert(!is_readable(fd));
    complete(&promise, 1);
    cr_assert(is_readable(fd));
    cr_assert_eq(dctx_future_fd(future, &again), DCTX_OK);
    cr_assert_eq(again, fd);
    dctx_future_unref(&future);
    promise = promise_of(&future);
    complete(&promise, 1);
    cr_assert_eq(dctx_future_fd(future, &fd), DCTX_OK);
    cr_assert(is_readable(fd));
    dctx_future_unref(&future);
}

/* ---- waiting inside -------------------------------------------------------------------------- */

/* Waits for what comes of the same end, which this thread itself has yet to run. */
static dctx_error_t wait_inside(const dctx_result_t *result, dctx_promise_t **promise_p, void *arg)
{
    dctx_future_t *future = *(dctx_future_t **)arg;
    (void)result;
    (void)promise_p;
    return dctx_future_wait(future, WAIT_MS, NULL);
}

Test(future, waiting_inside_does_not_wait_for_itself, .init = fixture_init, .timeout = 60)
{
    dctx_future_t *future = NULL, *waits = NULL, *mapped = NULL;
    dctx_promise_t *promise = promise_of(&future);
    cr_assert_eq(dctx_future_then(future, NULL, wait_inside, &mapped, &waits), DCTX_OK);
    cr_assert_eq(dctx_future_map(future, NULL, add_one, NULL, &mapped), DCTX_OK);
    complete(&promise, 1);
    cr_assert_eq(result_of(waits).error, DCTX_OK);
    cr_assert_eq(value_of(mapped), 2);
    dctx_future_unref(&future);
    dctx_future_unref(&waits);
    dctx_future_unref(&mapped);
}
