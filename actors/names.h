/*
 * The names of a system's actors: name to id. Only actors with a name of their own are here; the
 * name that the system gives the others says the id.
 */
#ifndef DCTX_NAMES_H
#define DCTX_NAMES_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dcontext/error.h>

enum { DCTX_NAME_MAX = 56 };

/* A name in use. Lives as long as its actor's cell, so that a dead letter can still show it. */
typedef struct dctx_name {
    struct dctx_name *next; /* in its bucket, under the table's lock */
    uint64_t id;
    uint32_t hash;
    uint32_t length;
    char scope[]; /* "actor:NAME" */
} dctx_name_t;

enum { DCTX_NAME_AT = 6 }; /* where the name begins in `scope` */

typedef struct dctx_names {
    pthread_mutex_t lock;
    dctx_name_t **buckets; /* a power of two of them; NULL until the first name */
    size_t bucket_count;
    size_t count;
} dctx_names_t;

void dctx_names_init(dctx_names_t *names);
void dctx_names_finish(dctx_names_t *names); /* the names themselves are their actors' */

/* 1..56 bytes of [A-Za-z0-9_.:/-]. */
bool dctx_name_is_valid(const char *name, size_t length);

/* A name not in the table yet; NULL without memory. Released with dctx_release_(). */
dctx_name_t *dctx_name_new(const char *name, size_t length);

/* DCTX_ERR_CONFLICT, DCTX_ERR_NOMEM. */
dctx_error_t dctx_names_add(dctx_names_t *names, dctx_name_t *name, uint64_t id);
void dctx_names_remove(dctx_names_t *names, dctx_name_t *name);

/* The id behind a name; 0 if there is none. */
uint64_t dctx_names_find(dctx_names_t *names, const char *name, size_t length);

#endif
