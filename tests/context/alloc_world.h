/*
 * What a scenario of failing allocations finds: a registry with keys of every kind, a context with
 * values in two scopes, a received snapshot and one taken here. And what can be seen of it, as
 * bytes.
 */
#ifndef DCTX_TESTS_ALLOC_WORLD_H
#define DCTX_TESTS_ALLOC_WORLD_H

#include <criterion/criterion.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "watch.h"
#include "wire.h"

enum { STAMP_MAX = 512, STATE_MAX = 2048 };
enum { NAME, BLOB, FLAG, INT, THING, LOCAL, OLD, LOCAL_THING, KEYS };

typedef struct world {
    dctx_registry_t *registry;
    const dctx_key_t *keys[KEYS];
    dctx_snapshot_t *received; /* lazy values, an undecodable one, a stranger, a chain */
    dctx_snapshot_t *forked;
    uint8_t stamp[STAMP_MAX];
    size_t stamp_size;
    char *text;
    dctx_scope_t scopes[4];
    size_t depth;
} world_t;

/* What came out of the migration: its size. */
typedef struct old {
    size_t size;
} old_t;

extern const dctx_type_t old_type;

void open_world(world_t *world);
void close_world(world_t *world);
dctx_error_t set_thing(const world_t *world, int key, const char *text);
const dctx_key_options_t *key_options(int key);

typedef struct state {
    char text[STATE_MAX];
    size_t size;
} state_t;

void add_value(state_t *state, const dctx_type_t *type, const void *value);
void observe(state_t *state, const world_t *world);

/* A scenario: DCTX_OK or why not; nothing may stay behind but what it did to the context. */
typedef struct scenario {
    const char *name;
    dctx_error_t (*run)(world_t *world);
} scenario_t;

extern const scenario_t scenarios[];
extern const size_t scenario_count;

#endif
