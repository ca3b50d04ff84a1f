/* Scope guards, both forms: however a block is left, its scope ends. */
#include <criterion/criterion.h>

#include <dcontext/dcontext.h>

#include <string.h>

DCTX_KEY_INT64(number, "number", DCTX_BROADCAST)

static void init(void)
{
    cr_assert_eq(DCTX_REGISTER_KEYS(NULL, &number), DCTX_OK);
    cr_assert_eq(dctx_registry_freeze(NULL), DCTX_OK);
}

static void done(void)
{
    cr_assert(dctx_is_empty());
}

static void chain_is(const char *expected)
{
    char chain[128];
    (void)dctx_chain_format(chain, sizeof(chain));
    cr_assert_str_eq(chain, expected);
}

static void set(int64_t value)
{
    cr_assert_eq(number_set(value), DCTX_OK);
}

Test(guards, rest_of_the_block, .init = init)
{
    {
        DCTX_SCOPE("a");
        DCTX_SCOPE("b");
        chain_is("a > b");
        set(1);
        {
            DCTX_SCOPE(NULL);
            DCTX_SCOPE("c");
            set(2);
            chain_is("a > b > c");
            cr_assert_eq(dctx_scope_depth(), 4);
        }
        cr_assert_eq(number_get_or(0), 1);
        chain_is("a > b");
    }
    chain_is("");
    cr_assert_null(number_get());
    done();
}

Test(guards, block, .init = init)
{
    int runs = 0;
    DCTX_WITH_SCOPE("a") {
        runs++;
        set(1);
        DCTX_WITH_SCOPE("b")
            chain_is("a > b");
        chain_is("a");
    }
    cr_assert_eq(runs, 1);
    chain_is("");
    /* The macro is one statement. */
    if (runs == 1)
        DCTX_WITH_SCOPE("only")
            runs++;
    else
        cr_assert_fail();
    cr_assert_eq(runs, 2);
    done();
}

Test(guards, nested_on_one_line, .init = init)
{
    int runs = 0;
    // clang-format off
    DCTX_WITH_SCOPE("a") DCTX_WITH_SCOPE("b") DCTX_WITH_SCOPE("c") { chain_is("a > b > c"); runs++; }
    { DCTX_SCOPE("a"); DCTX_SCOPE("b"); DCTX_WITH_SCOPE("c") DCTX_WITH_SCOPE("d") { chain_is("a > b > c > d"); runs++; } chain_is("a > b"); }
    // clang-format on
    cr_assert_eq(runs, 2);
    chain_is("");
    done();
}

Test(guards, break_and_continue, .init = init)
{
    int runs = 0;
    DCTX_WITH_SCOPE("a") {
        set(1);
        runs++;
        if (runs > 0)
            break; /* leaves the block */
        cr_assert_fail();
    }
    cr_assert_eq(dctx_scope_depth(), 0);
    DCTX_WITH_SCOPE("a") {
        runs++;
        if (runs > 0)
            continue; /* ends it as well: it runs once */
        cr_assert_fail();
    }
    cr_assert_eq(runs, 2);
    cr_assert_eq(dctx_scope_depth(), 0);
    for (int i = 0; i < 5; i++) {
        DCTX_SCOPE("turn");
        set(i);
        runs++;
        if (i == 1)
            continue;
        if (i == 3)
            break;
        cr_assert_eq(dctx_scope_depth(), 1);
    }
    cr_assert_eq(runs, 6);
    cr_assert_eq(dctx_scope_depth(), 0);
    while (true) {
        DCTX_SCOPE("once");
        DCTX_WITH_SCOPE("inner") {
            break; /* of the inner block */
        }
        chain_is("once");
        break;
    }
    chain_is("");
    done();
}

static int return_from(int how)
{
    DCTX_SCOPE("function");
    set(how);
    if (how == 1)
        return (int)number_get_or(0);
    DCTX_WITH_SCOPE("block") {
        set(how * 10);
        if (how == 2)
            return (int)number_get_or(0); /* read before the scopes end */
        DCTX_WITH_SCOPE("inner") {
            set(how * 100);
            for (;;)
                return (int)number_get_or(0);
        }
    }
    return -1;
}

Test(guards, return_from_anywhere, .init = init)
{
    set(7);
    cr_assert_eq(return_from(1), 1);
    cr_assert_eq(return_from(2), 20);
    cr_assert_eq(return_from(3), 300);
    cr_assert_eq(dctx_scope_depth(), 0);
    cr_assert_eq(number_get_or(0), 7);
    cr_assert_eq(number_unset(), DCTX_OK);
    done();
}

Test(guards, goto_out, .init = init)
{
    {
        DCTX_SCOPE("a");
        DCTX_WITH_SCOPE("b") {
            goto out;
        }
        cr_assert_fail();
    }
out:
    cr_assert_eq(dctx_scope_depth(), 0);
    done();
}

Test(guards, snapshots, .init = init)
{
    dctx_snapshot_t *snapshot = NULL;
    DCTX_WITH_SCOPE("then") {
        set(1);
        cr_assert_eq(dctx_fork(&snapshot), DCTX_OK);
    }
    {
        DCTX_SCOPE("now");
        DCTX_ATTACH(snapshot);
        chain_is("then");
        cr_assert_eq(number_get_or(0), 1);
        set(2);
        {
            DCTX_ATTACH_SCOPE(snapshot, "job");
            chain_is("then > job");
            cr_assert_eq(number_get_or(0), 1);
        }
        cr_assert_eq(number_get_or(0), 2);
    }
    DCTX_WITH_SNAPSHOT(snapshot) {
        chain_is("then");
        DCTX_WITH_SNAPSHOT(snapshot)
            DCTX_WITH_SCOPE("more")
                chain_is("then > more");
        if (number_get_or(0) == 1)
            break;
        cr_assert_fail();
    }
    chain_is("");
    dctx_snapshot_unref(&snapshot);
    done();
}

/* A guard whose push failed guards nothing, and its block runs. */
Test(guards, that_failed, .init = init)
{
    int runs = 0;
    char name[200];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    DCTX_WITH_SCOPE(name) {
        cr_assert_eq(dctx_scope_depth(), 0);
        runs++;
    }
    DCTX_WITH_SNAPSHOT(NULL)
        runs++;
    DCTX_WITH_SCOPE("outer") {
        DCTX_SCOPE(name);
        DCTX_ATTACH(NULL);
        DCTX_ATTACH_SCOPE(NULL, "x");
        cr_assert_eq(dctx_scope_depth(), 1);
        runs++;
    }
    cr_assert_eq(runs, 3);
    done();
}
