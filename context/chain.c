#include "chain.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "fail.h"
#include "msgpack_head.h"
#include "msgpack_scan.h"

#define HEAD_NAMES 4

/* ---- walking --------------------------------------------------------------------------------- */

/* A cursor over well-formed wire bytes: those of a chain, or of an envelope that was scanned. */
typedef struct walk {
    const uint8_t *at;
    const uint8_t *end;
} walk_t;

static walk_t walk_wire(const uint8_t *wire, size_t size)
{
    walk_t walk = {wire, wire + size};
    dctx_head_t head;
    if (dctx_head_read_(walk.at, walk.end, &head))
        walk.at += head.size;
    return walk;
}

static walk_t walk_chain(const dctx_chain_t *chain)
{
    dctx_bytes_t wire = dctx_chain_wire_(chain);
    return walk_wire(wire.data, wire.size);
}

/* The next name, past the mark if that comes first; {NULL, 0} at the end. */
static dctx_bytes_t walk_name(walk_t *walk)
{
    dctx_head_t head;
    while (dctx_head_read_(walk->at, walk->end, &head)) {
        walk->at += head.size;
        if (head.item == DCTX_ITEM_STR) {
            dctx_bytes_t name = {walk->at, (size_t)head.value};
            walk->at += name.size;
            return name;
        }
    }
    return (dctx_bytes_t){NULL, 0};
}

/* The wire bytes that names [from, to) take in the chain, the mark left out where it stands at
 * either end. The range does not reach over the mark. */
static dctx_bytes_t walk_range(const dctx_chain_t *chain, size_t from, size_t to)
{
    if (from >= to)
        return (dctx_bytes_t){NULL, 0};
    walk_t walk = walk_chain(chain);
    if (from == 0 && to == chain->count && chain->elided == 0)
        return (dctx_bytes_t){walk.at, (size_t)(walk.end - walk.at)};
    const uint8_t *begin = NULL;
    for (size_t i = 0; i < to; i++) {
        dctx_bytes_t name = walk_name(&walk);
        if (i == from) {
            uint8_t head[DCTX_HEAD_MAX];
            begin = (const uint8_t *)name.data - dctx_head_str_(head, name.size);
        }
    }
    return (dctx_bytes_t){begin, (size_t)(walk.at - begin)};
}

/* ---- what to keep ---------------------------------------------------------------------------- */

dctx_chain_plan_t dctx_chain_plan_(const dctx_chain_t *parent, size_t count,
                                   const dctx_limits_t *limits)
{
    size_t held = parent != NULL ? parent->count : 0;
    uint64_t elided = parent != NULL ? parent->elided : 0;
    size_t mark = elided > 0 ? parent->mark : HEAD_NAMES;
    size_t all = held + count;
    size_t excess = all > limits->chain_names ? all - limits->chain_names : 0;
    if (excess == 0 && elided == 0)
        return (dctx_chain_plan_t){.head = all, .tail = all, .all = all};
    /* What goes lies next to the mark, so that the mark still says where the missing names were:
     * first what is before it and past the 4th, then what is after it. chain_names is at least 5,
     * so there is always enough to take. */
    size_t before = mark > HEAD_NAMES ? mark - HEAD_NAMES : 0;
    if (before > excess)
        before = excess;
    return (dctx_chain_plan_t){
        .head = mark - before,
        .tail = mark + (excess - before),
        .all = all,
        .elided = elided > UINT64_MAX - excess ? UINT64_MAX : elided + excess,
    };
}

/* ---- building -------------------------------------------------------------------------------- */

static uint8_t *put(uint8_t *out, dctx_bytes_t bytes)
{
    if (bytes.size > 0)
        memcpy(out, bytes.data, bytes.size);
    return out + bytes.size;
}

static uint8_t *put_name(uint8_t *out, dctx_bytes_t name)
{
    return put(out + dctx_head_str_(out, name.size), name);
}

static size_t name_wire_size(dctx_bytes_t name)
{
    uint8_t head[DCTX_HEAD_MAX];
    return dctx_head_str_(head, name.size) + name.size;
}

static dctx_chain_t *chain_new(size_t count, size_t mark, uint64_t elided, size_t wire_size)
{
    dctx_chain_t *chain = dctx_alloc_(sizeof(*chain) + wire_size);
    if (chain == NULL) {
        (void)dctx_fail_(DCTX_ERR_NOMEM, "no memory for a scope chain");
        return NULL;
    }
    dctx_refcount_init(&chain->refs, 1);
    chain->count = (uint32_t)count;
    chain->mark = elided > 0 ? (uint32_t)mark : 0;
    chain->elided = elided;
    chain->wire_size = (uint32_t)wire_size;
    return chain;
}

void dctx_chain_free_(dctx_chain_t *chain)
{
    dctx_release_(chain);
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

dctx_error_t dctx_chain_build_(dctx_chain_t *parent, const dctx_bytes_t *names, size_t count,
                               const dctx_limits_t *limits, dctx_chain_t **ret_chain)
{
    if (count == 0 && (parent == NULL || parent->count <= limits->chain_names)) {
        *ret_chain = dctx_chain_ref_(parent);
        return DCTX_OK;
    }
    dctx_chain_plan_t plan = dctx_chain_plan_(parent, count, limits);
    size_t held = parent != NULL ? parent->count : 0;
    uint8_t array_head[DCTX_HEAD_MAX], mark[DCTX_HEAD_MAX];
    dctx_bytes_t array = {array_head, dctx_head_array_(array_head, dctx_chain_plan_count_(&plan) +
                                                                       (plan.elided > 0))};
    dctx_bytes_t elision = {mark, plan.elided > 0 ? dctx_head_uint_(mark, plan.elided) : 0};
    /* Either side of the mark: a run of the parent's bytes, then new names. */
    dctx_bytes_t head = walk_range(parent, 0, smaller(plan.head, held));
    dctx_bytes_t tail = walk_range(parent, smaller(plan.tail, held), held);
    size_t head_names = larger(plan.head, held) - held;
    size_t tail_names = larger(plan.tail, held) - held;

    size_t wire_size = array.size + head.size + elision.size + tail.size;
    for (size_t i = 0; i < head_names; i++)
        wire_size += name_wire_size(names[i]);
    for (size_t i = tail_names; i < count; i++)
        wire_size += name_wire_size(names[i]);

    dctx_chain_t *chain =
        chain_new(dctx_chain_plan_count_(&plan), plan.head, plan.elided, wire_size);
    if (chain == NULL)
        return DCTX_ERR_NOMEM;
    uint8_t *out = put(put(chain->wire, array), head);
    for (size_t i = 0; i < head_names; i++)
        out = put_name(out, names[i]);
    out = put(put(out, elision), tail);
    for (size_t i = tail_names; i < count; i++)
        out = put_name(out, names[i]);
    *ret_chain = chain;
    return DCTX_OK;
}

dctx_error_t dctx_chain_from_envelope_(const dctx_envelope_t *envelope, dctx_chain_t **ret_chain)
{
    size_t items = envelope->chain_count + (envelope->chain_elided > 0);
    if (items == 0) {
        *ret_chain = NULL;
        return DCTX_OK;
    }
    /* The shortest form is no longer than what came. */
    dctx_chain_t *chain = chain_new(envelope->chain_count, envelope->chain_mark,
                                    envelope->chain_elided, envelope->chain_size);
    if (chain == NULL)
        return DCTX_ERR_NOMEM;
    if (envelope->chain_canonical) {
        memcpy(chain->wire, envelope->chain, envelope->chain_size);
    } else {
        walk_t walk = walk_wire(envelope->chain, envelope->chain_size);
        uint8_t *out = chain->wire + dctx_head_array_(chain->wire, items);
        for (size_t i = 0; i <= envelope->chain_count; i++) {
            if (envelope->chain_elided > 0 && i == envelope->chain_mark)
                out += dctx_head_uint_(out, envelope->chain_elided);
            if (i < envelope->chain_count)
                out = put_name(out, walk_name(&walk));
        }
        chain->wire_size = (uint32_t)(out - chain->wire);
    }
    *ret_chain = chain;
    return DCTX_OK;
}

/* ---- looking --------------------------------------------------------------------------------- */

dctx_bytes_t dctx_chain_name_(const dctx_chain_t *chain, size_t index)
{
    walk_t walk = walk_chain(chain);
    if (chain == NULL || index >= chain->count)
        return (dctx_bytes_t){NULL, 0};
    for (; index > 0; index--)
        (void)walk_name(&walk);
    return walk_name(&walk);
}

/* A line that is written as far as it fits and measured to its end. */
typedef struct line {
    char *buffer;
    size_t size;
    size_t length;
} line_t;

static void append(line_t *line, const void *text, size_t size)
{
    if (line->length + 1 < line->size)
        memcpy(line->buffer + line->length, text, smaller(size, line->size - 1 - line->length));
    line->length += size;
}

static void append_part(line_t *line, const void *text, size_t size)
{
    if (line->length > 0)
        append(line, " > ", 3);
    append(line, text, size);
}

static void append_mark(line_t *line, uint64_t elided)
{
    char text[40];
    int size = snprintf(text, sizeof(text), "[%" PRIu64 " more]", elided);
    append_part(line, text, (size_t)size);
}

size_t dctx_chain_format_(const dctx_chain_t *parent, const dctx_bytes_t *names, size_t count,
                          const dctx_limits_t *limits, char *buffer, size_t size)
{
    dctx_chain_plan_t plan = dctx_chain_plan_(parent, count, limits);
    size_t held = parent != NULL ? parent->count : 0;
    line_t line = {buffer, size, 0};
    walk_t walk = walk_chain(parent);
    for (size_t i = 0; i <= plan.all; i++) {
        if (plan.elided > 0 && i == plan.head)
            append_mark(&line, plan.elided);
        if (i == plan.all)
            break;
        dctx_bytes_t name = i < held ? walk_name(&walk) : names[i - held];
        if (i < plan.head || i >= plan.tail)
            append_part(&line, name.data, name.size);
    }
    if (size > 0)
        buffer[smaller(line.length, size - 1)] = '\0';
    return line.length;
}
