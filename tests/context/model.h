/*
 * The reference model: what a thread's context is by contract, in arrays and deep copies, with no
 * cleverness at all. A state is a plain struct; a snapshot is a copy of one; a scope keeps a copy
 * of the state to return to.
 *
 * Two registries: the process-wide one (0), and an isolated one (1) that knows some of the same
 * names, some with another type or as local keys, and leaves out others. A name's index is its
 * place in the wire's order.
 */
#ifndef DCTX_TESTS_MODEL_H
#define DCTX_TESTS_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dcontext/dcontext.h>

#include "wire.h"

enum {
    NAMES = 18,
    REGISTRIES = 2,
    CONTENT_MAX = 160,
    RAW_MAX = 256,
    /* The registries' limits, small so that random steps run into them. */
    STAMP_LIMIT = 700,
    ENTRY_LIMIT = 12,
    VALUE_LIMIT = 120,
    CHAIN_LIMIT = 7,
    NAME_LIMIT = 16,
    DEPTH_LIMIT = 20,
    CHAIN_MAX = CHAIN_LIMIT + DEPTH_LIMIT
};

/* What is in an encoded value, whoever reads it. */
typedef enum kind {
    KIND_NONE,
    KIND_STR,
    KIND_BIN,
    KIND_BOOL,
    KIND_INT,  /* fits an int64 */
    KIND_HUGE, /* above INT64_MAX */
    KIND_DOUBLE,
    KIND_THING,
    KIND_JUNK /* no type decodes it */
} kind_t;

/* A value: what it says and, when it may travel, its whole wire entry. */
typedef struct mvalue {
    bool present;
    bool refuses; /* its encode function does */
    kind_t kind;
    uint32_t version;
    uint64_t frame; /* serial of the frame it was set or attached in; 0: the root */
    size_t size;
    uint8_t content[CONTENT_MAX]; /* characters, bytes, or a number's eight */
    size_t body_size;
    size_t raw_size;
    uint8_t raw[RAW_MAX];
} mvalue_t;

typedef struct mchain {
    size_t count;
    size_t mark; /* names before the mark, if elided */
    uint64_t elided;
    char names[CHAIN_MAX][NAME_LIMIT + 1];
} mchain_t;

typedef struct mstate {
    int registry;
    mvalue_t slots[NAMES];  /* values of registered keys */
    mvalue_t extras[NAMES]; /* entries passing through */
    mchain_t chain;
} mstate_t;

typedef struct mframe {
    mstate_t before;
    uint64_t serial;
    dctx_scope_t token;
    bool closing;
} mframe_t;

typedef struct mthread {
    mstate_t state;
    size_t depth;
    uint64_t serials;
    mframe_t frames[DEPTH_LIMIT];
} mthread_t;

/* A user's type with memory of its own. Encoded as 'T' and the text; a text that begins with '!'
 * refuses to be. */
typedef struct thing {
    char *text;
} thing_t;
extern const dctx_type_t thing_type;
size_t things_alive(void);
thing_t thing_make(const char *text);

/* Registers everything, in both registries, and freezes them. `padded` adds keys that nobody uses,
 * more than fit a word of bits, so that others' places in it coincide. */
void model_open(bool padded);
void model_close(void);
extern dctx_registry_t *model_registries[REGISTRIES];
const char *model_name(int index);
const dctx_type_t *model_type(int registry, int index); /* NULL: not registered */
bool model_is_local(int registry, int index);
uint32_t model_version(int registry, int index);
const dctx_key_t *model_key(int registry, int index);

/* Fills in the wire entry. `name` in any spelling; widths -1 for the canonical form; `extra` adds
 * an element that readers ignore. */
typedef struct mstyle {
    const char *name;
    int name_width, version_width, bin_width;
    bool extra;
} mstyle_t;
void mvalue_body(const mvalue_t *value, wire_t *body);
void mvalue_entry(mvalue_t *value, const mstyle_t *style);

/* A value as this registry's key would have it when set, wire entry included if it is broadcast. */
void mvalue_own(mvalue_t *value, int registry, int index);

/* What reading the slot gives. */
typedef struct mview {
    bool readable;
    size_t size;
    uint8_t content[CONTENT_MAX];
} mview_t;
void mstate_read(const mstate_t *state, int index, mview_t *ret_view);
/* True if what dctx_get() gave is that. */
bool mview_matches(const mview_t *view, const dctx_type_t *type, const void *got);

void mstate_init(mstate_t *state, int registry);
void mstate_drop_locals(mstate_t *state);
void mstate_shorten_chain(mstate_t *state);
/* The entries of `from` as a registry that decodes them would sort them. */
void mstate_place(mstate_t *state, int index, const mvalue_t *received);
void mstate_rehome(const mstate_t *from, int registry, mstate_t *ret_state);
void mstate_merge(mstate_t *state, const mstate_t *from, uint64_t frame);
void mstate_clear(mstate_t *state);
bool mstate_has_entries(const mstate_t *state);

void mchain_push(mchain_t *chain, const char *name);
size_t mchain_format(const mchain_t *chain, char *buffer, size_t size);

/* The wire form. The first of these errors that applies, or any other that does, is right; both
 * DCTX_OK: `wire` holds the bytes. */
typedef struct mencoding {
    bool over_limit, refused;
} mencoding_t;
mencoding_t mstate_encode(const mstate_t *state, wire_t *wire);

#endif
