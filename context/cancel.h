/* The inside of cancel scopes. What the libraries above need of it is in <dcontext/internal.h>. */
#ifndef DCTX_CANCEL_H
#define DCTX_CANCEL_H

#include <dcontext/cancel.h>
#include <dcontext/internal.h>

#include "refcount.h"

/* Why, by whom. Never changes; counted, as all scopes that one call cancelled share it. */
typedef struct dctx_cause {
    dctx_refcount_t refs;
    dctx_error_t status;
    const char *reason;
    const char *chain;
} dctx_cause_t;

struct dctx_cancel {
    dctx_refcount_t refs;
    uint32_t tree; /* which lock guards what is said to be "locked"; the same in all of a tree */
    /* dctx_error_t. Written once, locked and with release, after `cause`; read with acquire. */
    int status;
    struct dctx_cancel *parent;   /* with a reference; never changes */
    struct dctx_cancel *children; /* locked, as are these three; without references */
    struct dctx_cancel *next;
    struct dctx_cancel **place;
    dctx_cancel_watch_t *watches; /* locked */
    dctx_cause_t *cause;          /* with a reference; see `status` */
    int fd;                       /* locked; -1: none. Closed when the last reference goes */
};

/* Of the key. Set by pointer: a stored NULL is "left all scopes". */
extern const dctx_type_t dctx_cancel_type_;

#endif
