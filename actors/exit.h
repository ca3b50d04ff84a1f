/* Why an actor ended, or failed: see dcontext/supervise.h. */
#ifndef DCTX_EXIT_H
#define DCTX_EXIT_H

#include <dcontext/supervise.h>

/* What an exit says in words; NULL is "". Copied. */
typedef struct dctx_exit_words {
    const char *who;
    const char *reason;
    const char *where; /* "handler of \"charge\"" */
    const char *chain;
} dctx_exit_words_t;

/* Never fails: without memory it is one that says the kind and nothing else.
 * `cause` stays the caller's. */
dctx_exit_t *dctx_exit_new_(dctx_exit_kind_t kind, dctx_error_t error,
                            const dctx_exit_words_t *words, const dctx_exit_t *cause);

#endif
