#include "far.h"

#include <string.h>

#include <dcontext/internal.h>

enum { FIRST = 64 };

static dctx_far_node_t *find_node(const dctx_far_table_t *table, const char *name)
{
    dctx_far_node_t *node = table->nodes;
    while (node != NULL && strcmp(node->name, name) != 0)
        node = node->next;
    return node;
}

static dctx_far_t **bucket(dctx_far_t **buckets, size_t capacity, uint64_t number)
{
    uint64_t h = number * UINT64_C(0x9e3779b97f4a7c15);
    return &buckets[(size_t)(h >> 32) & (capacity - 1)];
}

/* More buckets, if there is memory: they are but shorter ways. False: there are none at all. */
static bool grow(dctx_far_table_t *table)
{
    size_t capacity = table->capacity == 0 ? FIRST : table->capacity * 4;
    dctx_far_t **buckets = dctx_calloc_(capacity, sizeof *buckets);
    if (buckets == NULL)
        return table->buckets != NULL;
    for (size_t i = 0; i < table->capacity; i++) {
        for (dctx_far_t *far = table->buckets[i], *next; far != NULL; far = next) {
            dctx_far_t **head = bucket(buckets, capacity, far->number);
            next = far->in_bucket;
            far->in_bucket = *head;
            *head = far;
        }
    }
    dctx_release_(table->buckets);
    table->buckets = buckets;
    table->capacity = capacity;
    return true;
}

static dctx_far_node_t *get_node(dctx_far_table_t *table, const char *name)
{
    dctx_far_node_t *node = find_node(table, name);
    if (node == NULL && (node = dctx_calloc_(1, sizeof *node)) != NULL) {
        strncpy(node->name, name, sizeof node->name - 1);
        node->next = table->nodes;
        table->nodes = node;
    }
    return node;
}

bool dctx_far_add(dctx_far_table_t *table, const char *name, uint64_t number, dctx_far_t *far)
{
    if (table->count >= table->capacity && !grow(table))
        return false;
    dctx_far_node_t *node = get_node(table, name);
    if (node == NULL)
        return false;
    far->number = number;
    far->node = node;
    far->next = node->first;
    far->place = &node->first;
    if (far->next != NULL)
        far->next->place = &far->next;
    node->first = far;
    node->count++;
    dctx_far_t **head = bucket(table->buckets, table->capacity, number);
    far->in_bucket = *head;
    *head = far;
    table->count++;
    return true;
}

static void forget_node(dctx_far_table_t *table, dctx_far_node_t *node)
{
    dctx_far_node_t **place = &table->nodes;
    while (*place != node)
        place = &(*place)->next;
    *place = node->next;
    dctx_release_(node);
}

void dctx_far_remove(dctx_far_table_t *table, dctx_far_t *far)
{
    dctx_far_t **place = bucket(table->buckets, table->capacity, far->number);
    while (*place != far)
        place = &(*place)->in_bucket;
    *place = far->in_bucket;
    *far->place = far->next;
    if (far->next != NULL)
        far->next->place = far->place;
    table->count--;
    if (--far->node->count == 0)
        forget_node(table, far->node);
    far->node = NULL;
}

dctx_far_t *dctx_far_find(const dctx_far_table_t *table, const char *node, uint64_t number)
{
    if (table->buckets == NULL)
        return NULL;
    dctx_far_t *far = *bucket(table->buckets, table->capacity, number);
    while (far != NULL && (far->number != number || strcmp(far->node->name, node) != 0))
        far = far->in_bucket;
    return far;
}

dctx_far_t *dctx_far_any(const dctx_far_table_t *table, const char *name)
{
    const dctx_far_node_t *node = name != NULL ? find_node(table, name) : table->nodes;
    return node != NULL ? node->first : NULL;
}

size_t dctx_far_count(const dctx_far_table_t *table, const char *name)
{
    const dctx_far_node_t *node = find_node(table, name);
    return node != NULL ? node->count : 0;
}

void dctx_far_table_finish(dctx_far_table_t *table)
{
    dctx_release_(table->buckets);
    *table = (dctx_far_table_t){0};
}
