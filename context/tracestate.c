#include "tracestate.h"

#include <string.h>

#include "chars.h"

/* Members longer than this go first when there is no room for all. */
#define LONG_MEMBER 128

static bool all(const char *text, size_t size, unsigned class)
{
    return dctx_chars_span_(text, size, class) == size;
}

bool dctx_tracestate_key_(const char *key, size_t size)
{
    if (size == 0 || size > DCTX_TRACESTATE_KEY_BYTES ||
        !dctx_char_is_(key[0], DCTX_CHAR_DIGIT_OR_LOWER))
        return false;
    size_t tenant = dctx_chars_span_(key, size, DCTX_CHAR_STATE_KEY);
    if (tenant == size)
        return true;
    size_t system = size - tenant - 1;
    return key[tenant] == '@' && tenant <= 241 && system >= 1 && system <= 14 &&
           dctx_char_is_(key[tenant + 1], DCTX_CHAR_LOWER) &&
           all(key + tenant + 1, system, DCTX_CHAR_STATE_KEY);
}

bool dctx_tracestate_value_(const char *value, size_t size)
{
    if (size == 0 || size > DCTX_TRACESTATE_VALUE_BYTES || value[size - 1] == ' ')
        return false;
    return all(value, size, DCTX_CHAR_STATE_VALUE);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool add(dctx_tracestate_t *state, const char *text, size_t size)
{
    const char *equals = memchr(text, '=', size);
    if (equals == NULL)
        return false;
    size_t key_size = (size_t)(equals - text);
    if (!dctx_tracestate_key_(text, key_size) ||
        !dctx_tracestate_value_(equals + 1, size - key_size - 1))
        return false;
    for (size_t i = 0; i < state->count; i++)
        if (state->members[i].key_size == key_size &&
            memcmp(state->members[i].text, text, key_size) == 0)
            return false;
    if (state->count == DCTX_TRACESTATE_MEMBERS)
        return false;
    state->members[state->count++] =
        (dctx_tracestate_member_t){text, (uint16_t)key_size, (uint16_t)size};
    return true;
}

bool dctx_tracestate_parse_(dctx_tracestate_t *state, const char *line, size_t size)
{
    const char *end = line + size;
    for (const char *at = line;;) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma != NULL ? comma : end;
        const char *last = stop;
        while (at < last && is_blank(*at))
            at++;
        while (at < last && is_blank(last[-1]))
            last--;
        /* Members may be empty: "a=1,,b=2". */
        if (at < last && !add(state, at, (size_t)(last - at)))
            return false;
        if (comma == NULL)
            return true;
        at = comma + 1;
    }
}

size_t dctx_tracestate_size_(const dctx_tracestate_t *state)
{
    size_t size = state->count > 0 ? state->count - 1 : 0;
    for (size_t i = 0; i < state->count; i++)
        size += state->members[i].size;
    return size;
}

size_t dctx_tracestate_fit_(dctx_tracestate_t *state, size_t keep)
{
    size_t size = dctx_tracestate_size_(state);
    size_t before = state->count;
    for (size_t i = state->count; i-- > keep && size > DCTX_TRACESTATE_BYTES;) {
        if (state->members[i].size <= LONG_MEMBER)
            continue;
        size -= state->members[i].size + (state->count > 1);
        state->count--;
        memmove(&state->members[i], &state->members[i + 1],
                (state->count - i) * sizeof(state->members[0]));
    }
    while (size > DCTX_TRACESTATE_BYTES)
        size -= state->members[--state->count].size + (size_t)1;
    return before - state->count;
}

size_t dctx_tracestate_write_(const dctx_tracestate_t *state, char *out)
{
    char *at = out;
    for (size_t i = 0; i < state->count; i++) {
        if (i > 0)
            *at++ = ',';
        memcpy(at, state->members[i].text, state->members[i].size);
        at += state->members[i].size;
    }
    return (size_t)(at - out);
}
