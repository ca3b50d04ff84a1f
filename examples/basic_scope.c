/*
 * basic_scope.c - what is set in a scope is undone when the scope ends.
 *
 * Shows both guard forms, the plain push and pop beneath them, a scope without a name, and unset.
 */
#include <inttypes.h>
#include <stdio.h>

#include <dcontext/dcontext.h>

#include "must.h"

DCTX_KEY_STRING(user, "user", DCTX_BROADCAST)
DCTX_KEY_INT64(attempt, "attempt", DCTX_LOCAL)

static void show(const char *where)
{
    char chain[128];
    dctx_chain_format(chain, sizeof(chain));
    printf("%-20s user=%-7s attempt=%" PRId64 " chain=%s\n", where, user_get_or("nobody"),
           attempt_get_or(0), chain);
}

/* The guard pops at each way out of the function, this early return included. */
static bool connect_once(int64_t n)
{
    DCTX_SCOPE("connect");
    must(attempt_set(n));
    show("in connect_once");
    if (n < 2)
        return false;
    return true;
}

int main(void)
{
    must(DCTX_REGISTER_KEYS(NULL, &user, &attempt));
    must(dctx_registry_freeze(NULL));
    show("at the start");

    DCTX_WITH_SCOPE("request") {
        must(user_set("alice"));
        show("in the request");

        /* An inner scope hides a value of the outer one for as long as it is open. */
        DCTX_WITH_SCOPE("as-admin") {
            must(user_set("root"));
            show("as administrator");
        }

        /* Without a name a scope undoes all the same, but does not show in the chain. */
        DCTX_WITH_SCOPE(NULL) {
            must(user_unset());
            show("with user unset");
        }

        for (int64_t n = 1; !connect_once(n); n++)
            show("between attempts");
        show("connected");
    }

    /* What the guards do: for code that cannot use them, such as a begin and an end callback. */
    dctx_scope_t scope;
    must(dctx_scope_push("by-hand", &scope));
    must(user_set("bob"));
    show("pushed by hand");
    must(dctx_scope_pop(&scope));

    show("at the end");
    return 0;
}
