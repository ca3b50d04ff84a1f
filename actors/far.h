/*
 * Monitors that go from node to node, by the node at their other end and by number. The I/O actor
 * has two such tables, which it alone touches: of ours on actors elsewhere, and of others' on
 * actors here.
 */
#ifndef DCTX_FAR_H
#define DCTX_FAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "alarm.h"

struct dctx_monitor;

/* A node that has monitors in a table. */
typedef struct dctx_far_node {
    struct dctx_far_node *next;
    struct dctx_far *first;
    size_t count;
    char name[64];
} dctx_far_node_t;

/* Part of a monitor, which it lies behind. */
typedef struct dctx_far {
    struct dctx_far *in_bucket;
    struct dctx_far *next, **place; /* of the same node's */
    dctx_far_node_t *node;          /* NULL: it is in no table */
    uint64_t number;
    struct dctx_monitor *watch;
    dctx_alarm_t alarm; /* while it is set it has a reference of the monitor */
} dctx_far_t;

typedef struct dctx_far_table {
    dctx_far_t **buckets; /* NULL as long as there was none */
    size_t capacity;      /* a power of two */
    size_t count;
    dctx_far_node_t *nodes; /* those that have any */
} dctx_far_table_t;

void dctx_far_table_finish(dctx_far_table_t *table); /* it is empty */

/* False: no memory, and it is not in. The number is not in use. */
bool dctx_far_add(dctx_far_table_t *table, const char *node, uint64_t number, dctx_far_t *far);
void dctx_far_remove(dctx_far_table_t *table, dctx_far_t *far);

dctx_far_t *dctx_far_find(const dctx_far_table_t *table, const char *node, uint64_t number);

/* Any one of a node's, of any node's if it is NULL; NULL: there is none. */
dctx_far_t *dctx_far_any(const dctx_far_table_t *table, const char *node);
size_t dctx_far_count(const dctx_far_table_t *table, const char *node);

#endif
