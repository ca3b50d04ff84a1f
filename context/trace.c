#include "trace.h"

#include <string.h>

#include "fail.h"
#include "known.h"
#include "registry.h"
#include "tracestate.h"

/* ---- encoding: [bin16 trace, bin8 span, bin8 parent or nil, flags, random] ---- */

static void put_big(uint8_t *out, uint64_t value)
{
    for (int i = 7; i >= 0; i--, value >>= 8)
        out[i] = (uint8_t)value;
}

static uint64_t get_big(const uint8_t *in)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value = value << 8 | in[i];
    return value;
}

static dctx_error_t encode(const void *value, dctx_writer_t *writer)
{
    const dctx_trace_t *trace = value;
    uint8_t id[16];
    dctx_write_array(writer, 5);
    put_big(id, trace->trace_high);
    put_big(id + 8, trace->trace_low);
    dctx_write_bin(writer, id, 16);
    put_big(id, trace->span);
    dctx_write_bin(writer, id, 8);
    put_big(id, trace->parent);
    if (trace->has_parent)
        dctx_write_bin(writer, id, 8);
    else
        dctx_write_nil(writer);
    dctx_write_uint(writer, trace->flags);
    dctx_write_bool(writer, trace->random);
    return dctx_writer_error(writer);
}

static dctx_error_t decode(void *dst, const void *data, size_t size)
{
    static const uint8_t none[8];
    dctx_reader_t reader;
    dctx_reader_init(&reader, data, size);
    uint32_t count = dctx_read_array(&reader);
    dctx_bytes_t id = dctx_read_bin(&reader);
    dctx_bytes_t span = dctx_read_bin(&reader);
    dctx_bytes_t parent = {none, sizeof(none)};
    bool has_parent = dctx_reader_peek(&reader) != DCTX_ITEM_NIL;
    if (has_parent)
        parent = dctx_read_bin(&reader);
    else
        dctx_read_nil(&reader);
    uint64_t flags = dctx_read_uint(&reader);
    bool random = dctx_read_bool(&reader);
    for (uint32_t i = 5; i < count && dctx_reader_error(&reader) == DCTX_OK; i++)
        dctx_read_skip(&reader);
    dctx_error_t error = dctx_reader_end(&reader);
    if (error != DCTX_OK)
        return error;
    if (count < 5 || id.size != 16 || span.size != 8 || parent.size != 8)
        return DCTX_ERR_MALFORMED;
    const uint8_t *id_bytes = id.data;
    *(dctx_trace_t *)dst = (dctx_trace_t){
        .trace_high = get_big(id_bytes),
        .trace_low = get_big(id_bytes + 8),
        .span = get_big(span.data),
        .parent = get_big(parent.data),
        .flags = flags,
        .has_parent = has_parent,
        .random = random,
    };
    return DCTX_OK;
}

const dctx_type_t dctx_trace_type_ = {
    .name = "trace", .size = sizeof(dctx_trace_t), .encode = encode, .decode = decode};

/* ---- making one ---- */

static uint64_t draw(const dctx_id_source_t *ids)
{
    return ids->next(ids->arg);
}

static uint64_t draw_nonzero(const dctx_id_source_t *ids)
{
    /* A source that gives nothing but zeroes must not hang its caller. */
    for (int i = 0; i < 8; i++) {
        uint64_t id = draw(ids);
        if (id != 0)
            return id;
    }
    return 1;
}

void dctx_trace_root(const dctx_id_source_t *ids, dctx_trace_t *ret_trace)
{
    if (ret_trace == NULL)
        return;
    if (ids == NULL)
        ids = dctx_id_source_of_thread_();
    dctx_trace_t trace = {.random = true};
    trace.trace_high = draw(ids);
    trace.trace_low = draw_nonzero(ids);
    trace.span = draw_nonzero(ids);
    *ret_trace = trace;
}

void dctx_trace_child(const dctx_trace_t *parent, const dctx_id_source_t *ids,
                      dctx_trace_t *ret_trace)
{
    if (ret_trace == NULL)
        return;
    if (ids == NULL)
        ids = dctx_id_source_of_thread_();
    if (!dctx_trace_is_valid(parent)) {
        uint64_t flags = parent != NULL ? parent->flags : 0;
        dctx_trace_root(ids, ret_trace);
        ret_trace->flags = flags;
        return;
    }
    dctx_trace_t trace = *parent;
    trace.parent = parent->span;
    trace.has_parent = true;
    do
        trace.span = draw_nonzero(ids);
    while (trace.span == parent->span && trace.span != 1);
    *ret_trace = trace;
}

bool dctx_trace_is_valid(const dctx_trace_t *trace)
{
    return trace != NULL && (trace->trace_high | trace->trace_low) != 0 && trace->span != 0;
}

dctx_sampled_t dctx_trace_sampled(const dctx_trace_t *trace)
{
    if (trace == NULL)
        return DCTX_SAMPLED_UNKNOWN;
    if ((trace->flags & DCTX_TRACE_DEBUG) != 0)
        return DCTX_SAMPLED_YES;
    if ((trace->flags & DCTX_TRACE_SAMPLING_KNOWN) == 0)
        return DCTX_SAMPLED_UNKNOWN;
    return (trace->flags & DCTX_TRACE_SAMPLED) != 0 ? DCTX_SAMPLED_YES : DCTX_SAMPLED_NO;
}

void dctx_trace_decide(dctx_trace_t *trace, dctx_sampled_t sampled)
{
    if (trace == NULL)
        return;
    const uint64_t bits = DCTX_TRACE_DEBUG | DCTX_TRACE_SAMPLING_KNOWN | DCTX_TRACE_SAMPLED;
    uint64_t flags = trace->flags & ~bits;
    if (sampled != DCTX_SAMPLED_UNKNOWN)
        flags |= DCTX_TRACE_SAMPLING_KNOWN;
    /* Debug means more than sampled, and goes only when that is taken back. */
    if (sampled == DCTX_SAMPLED_YES)
        flags |= DCTX_TRACE_SAMPLED | (trace->flags & DCTX_TRACE_DEBUG);
    trace->flags = flags;
}

/* ---- the thread's ---- */

const dctx_trace_t *dctx_trace_get(void)
{
    return dctx_get(dctx_known_key_(DCTX_KNOWN_TRACE));
}

dctx_error_t dctx_trace_set(const dctx_trace_t *trace)
{
    const dctx_key_t *key = dctx_known_key_(DCTX_KNOWN_TRACE);
    const dctx_key_t *state = dctx_known_key_(DCTX_KNOWN_TRACESTATE);
    const dctx_trace_t *present = dctx_get(key);
    bool another = trace == NULL || present == NULL || present->trace_low != trace->trace_low ||
                   present->trace_high != trace->trace_high;
    if (trace == NULL || !another || dctx_get(state) == NULL)
        return dctx_known_set_(DCTX_KNOWN_TRACE, trace);
    return dctx_set_many((dctx_binding_t[]){{key, NULL, trace}, {state, NULL, NULL}}, 2);
}

dctx_error_t dctx_trace_unset(void)
{
    const dctx_key_t *key = dctx_known_key_(DCTX_KNOWN_TRACE);
    const dctx_key_t *state = dctx_known_key_(DCTX_KNOWN_TRACESTATE);
    if (key == NULL)
        return dctx_known_unset_(DCTX_KNOWN_TRACE);
    return dctx_set_many((dctx_binding_t[]){{key, NULL, NULL}, {state, NULL, NULL}}, 2);
}

dctx_error_t dctx_trace_begin(const dctx_id_source_t *ids)
{
    dctx_trace_t next;
    dctx_trace_child(dctx_trace_get(), ids, &next);
    return dctx_trace_set(&next);
}

/* ---- the trace state ---- */

const char *dctx_tracestate_get(void)
{
    return dctx_get(dctx_known_key_(DCTX_KNOWN_TRACESTATE));
}

static dctx_error_t set_state(const dctx_tracestate_t *state)
{
    char text[DCTX_TRACESTATE_BYTES + 1];
    if (state->count == 0)
        return dctx_known_unset_(DCTX_KNOWN_TRACESTATE);
    text[dctx_tracestate_write_(state, text)] = '\0';
    return dctx_known_set_(DCTX_KNOWN_TRACESTATE, text);
}

dctx_error_t dctx_tracestate_set(const char *state)
{
    dctx_tracestate_t parsed = {0};
    if (state != NULL && !dctx_tracestate_parse_(&parsed, state, strlen(state)))
        return parsed.count >= DCTX_TRACESTATE_MEMBERS
                   ? dctx_fail_(DCTX_ERR_LIMIT, "a trace state has at most %d members",
                                DCTX_TRACESTATE_MEMBERS)
                   : dctx_fail_(DCTX_ERR_INVALID, "not a trace state by the W3C's grammar");
    if (dctx_tracestate_size_(&parsed) > DCTX_TRACESTATE_BYTES)
        return dctx_fail_(DCTX_ERR_LIMIT, "the trace state is %zu bytes; at most %d are kept",
                          dctx_tracestate_size_(&parsed), DCTX_TRACESTATE_BYTES);
    return set_state(&parsed);
}

dctx_error_t dctx_tracestate_put(const char *member, const char *value)
{
    if (member == NULL || value == NULL || !dctx_tracestate_key_(member, strlen(member)) ||
        !dctx_tracestate_value_(value, strlen(value)))
        return dctx_fail_(DCTX_ERR_INVALID, "not a trace state member by the W3C's grammar");
    char text[DCTX_TRACESTATE_KEY_BYTES + 1 + DCTX_TRACESTATE_VALUE_BYTES];
    size_t member_size = strlen(member);
    size_t value_size = strlen(value);
    if (member_size + 1 + value_size > DCTX_TRACESTATE_BYTES)
        return dctx_fail_(DCTX_ERR_LIMIT, "the member is %zu bytes; a trace state is at most %d",
                          member_size + 1 + value_size, DCTX_TRACESTATE_BYTES);
    memcpy(text, member, member_size);
    text[member_size] = '=';
    memcpy(text + member_size + 1, value, value_size);
    dctx_tracestate_t state = {0};
    state.members[state.count++] = (dctx_tracestate_member_t){
        text, (uint16_t)member_size, (uint16_t)(member_size + 1 + value_size)};
    dctx_tracestate_t old = {0};
    const char *present = dctx_tracestate_get();
    /* What came from a peer may be anything; then it is not worth keeping. */
    if (present != NULL && dctx_tracestate_parse_(&old, present, strlen(present)))
        for (size_t i = 0; i < old.count && state.count < DCTX_TRACESTATE_MEMBERS; i++)
            if (old.members[i].key_size != member_size ||
                memcmp(old.members[i].text, member, member_size) != 0)
                state.members[state.count++] = old.members[i];
    (void)dctx_tracestate_fit_(&state, 1);
    return set_state(&state);
}

/* ---- hexadecimal ---- */

bool dctx_hex_read_(const char *text, size_t digits, bool upper, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (size_t i = 0; i < digits; i++) {
        unsigned c = (unsigned char)text[i];
        unsigned digit = c - '0';
        if (digit > 9) {
            digit = c - 'a';
            if (digit > 5 && upper)
                digit = c - 'A';
            if (digit > 5)
                return false;
            digit += 10;
        }
        value = value << 4 | digit;
    }
    *ret_value = value;
    return true;
}

char *dctx_hex_write_(char *out, uint64_t value, size_t digits)
{
    for (size_t i = digits; i-- > 0; value >>= 4)
        out[i] = "0123456789abcdef"[value & 15];
    return out + digits;
}
