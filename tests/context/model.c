#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a type of the user's ---- */

static size_t alive; /* atomic, relaxed: read when all threads are done */

thing_t thing_make(const char *text)
{
    thing_t thing = {strdup(text)};
    if (thing.text == NULL)
        abort();
    (void)__atomic_add_fetch(&alive, 1, __ATOMIC_RELAXED);
    return thing;
}

size_t things_alive(void)
{
    return __atomic_load_n(&alive, __ATOMIC_RELAXED);
}

static dctx_error_t thing_copy(void *dst, const void *src)
{
    const thing_t *from = src;
    *(thing_t *)dst = from->text != NULL ? thing_make(from->text) : (thing_t){NULL};
    return DCTX_OK;
}

static void thing_destroy(void *value)
{
    thing_t *thing = value;
    if (thing->text == NULL)
        return;
    free(thing->text);
    (void)__atomic_sub_fetch(&alive, 1, __ATOMIC_RELAXED);
}

static dctx_error_t thing_encode(const void *value, dctx_writer_t *writer)
{
    const thing_t *thing = value;
    const char *text = thing->text != NULL ? thing->text : "";
    if (text[0] == '!')
        return DCTX_ERR_CODEC;
    dctx_writer_put(writer, "T", 1);
    dctx_writer_put(writer, text, strlen(text));
    return DCTX_OK;
}

static dctx_error_t thing_decode(void *dst, const void *data, size_t size)
{
    char text[CONTENT_MAX + 1];
    if (size == 0 || *(const char *)data != 'T' || size - 1 > CONTENT_MAX)
        return DCTX_ERR_CODEC;
    memcpy(text, (const char *)data + 1, size - 1);
    text[size - 1] = '\0';
    *(thing_t *)dst = thing_make(text);
    return DCTX_OK;
}

const dctx_type_t thing_type = {"thing",      sizeof(thing_t), thing_copy, thing_destroy,
                                thing_encode, thing_decode,    0};

/* ---- the registries ---- */

typedef struct mkey {
    const dctx_type_t *type;
    unsigned flags;
    uint32_t version;
} mkey_t;

typedef struct mname {
    const char *name;
    mkey_t keys[REGISTRIES];
} mname_t;

/* In the wire's order: ASCII letters as lower case, bytes unsigned. */
static const mname_t names[NAMES] = {
    {"Alpha", {{DCTX_TYPE_STRING, 0, 1}, {DCTX_TYPE_STRING, 0, 1}}},
    {"alpha_b", {{DCTX_TYPE_BYTES, 0, 1}, {DCTX_TYPE_STRING, 0, 1}}},
    {"alphaC", {{DCTX_TYPE_INT64, 0, 3}, {DCTX_TYPE_INT64, DCTX_CACHED, 1}}},
    {"beta", {{&thing_type, 0, 1}, {NULL, 0, 0}}},
    {"beta-local", {{DCTX_TYPE_STRING, DCTX_LOCAL, 1}, {DCTX_TYPE_STRING, 0, 1}}},
    {"bool", {{DCTX_TYPE_BOOL, DCTX_CACHED, 1}, {DCTX_TYPE_BOOL, 0, 1}}},
    {"count", {{DCTX_TYPE_UINT64, 0, 1}, {DCTX_TYPE_UINT64, DCTX_LOCAL, 1}}},
    {"D", {{DCTX_TYPE_DOUBLE, 0, 1}, {NULL, 0, 0}}},
    {"dd", {{NULL, 0, 0}, {DCTX_TYPE_STRING, 0, 1}}},
    {"e", {{&thing_type, DCTX_LOCAL, 1}, {&thing_type, DCTX_LOCAL, 1}}},
    {"f.one", {{DCTX_TYPE_STRING, 0, 2}, {NULL, 0, 0}}},
    {"f.two", {{DCTX_TYPE_INT64, DCTX_LOCAL, 1}, {NULL, 0, 0}}},
    {"g", {{DCTX_TYPE_BYTES, DCTX_LOCAL, 1}, {NULL, 0, 0}}},
    {"m1", {{NULL, 0, 0}, {NULL, 0, 0}}},
    {"M2", {{NULL, 0, 0}, {NULL, 0, 0}}},
    {"y", {{NULL, 0, 0}, {NULL, 0, 0}}},
    {"Zed", {{DCTX_TYPE_STRING, 0, 1}, {DCTX_TYPE_STRING, 0, 1}}},
    {"\xc3\xa9t\xc3\xa9", {{DCTX_TYPE_STRING, 0, 1}, {NULL, 0, 0}}},
};

/* alphaC in registry 0. The long step differs from the two short ones, so that taking them
 * shows. */
static dctx_error_t migrate(const void *data, size_t size, int64_t factor, int64_t more,
                            dctx_writer_t *writer)
{
    dctx_reader_t reader;
    dctx_reader_init(&reader, data, size);
    int64_t value = dctx_read_int(&reader);
    if (dctx_reader_end(&reader) != DCTX_OK)
        return DCTX_ERR_CODEC;
    dctx_write_int(writer, value * factor + more);
    return DCTX_OK;
}

static dctx_error_t migrate_1_2(const void *data, size_t size, dctx_writer_t *writer)
{
    return migrate(data, size, 10, 0, writer);
}

static dctx_error_t migrate_2_3(const void *data, size_t size, dctx_writer_t *writer)
{
    return migrate(data, size, 1, 1, writer);
}

static dctx_error_t migrate_1_3(const void *data, size_t size, dctx_writer_t *writer)
{
    return migrate(data, size, 100, 0, writer);
}

static const dctx_migration_t migrations[] = {
    {1, 2, migrate_1_2}, {2, 3, migrate_2_3}, {1, 3, migrate_1_3}};

dctx_registry_t *model_registries[REGISTRIES];
static const dctx_key_t *keys[REGISTRIES][NAMES];

static void must(dctx_error_t error)
{
    if (error == DCTX_OK)
        return;
    fprintf(stderr, "model: %s: %s\n", dctx_error_name(error), dctx_error_detail());
    abort();
}

static void pad(dctx_registry_t *registry, const char *prefix, unsigned flags)
{
    for (int i = 0; i < 63; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%s%02d", prefix, i);
        const dctx_key_options_t options = {.name = name, .type = DCTX_TYPE_STRING, .flags = flags};
        must(dctx_registry_add(registry, &options, NULL));
    }
}

void model_open(bool padded)
{
    const dctx_limits_t limits = {.stamp_bytes = STAMP_LIMIT,
                                  .entries = ENTRY_LIMIT,
                                  .value_bytes = VALUE_LIMIT,
                                  .chain_names = CHAIN_LIMIT,
                                  .name_bytes = NAME_LIMIT,
                                  .scope_depth = DEPTH_LIMIT};
    model_registries[0] = dctx_registry_global();
    must(dctx_registry_new(&model_registries[1]));
    for (int r = 0; r < REGISTRIES; r++) {
        must(dctx_registry_set_limits(model_registries[r], &limits));
        /* Not in the order of the names, which is the library's to find. */
        for (int n = 0; n < NAMES; n++) {
            int i = n * 7 % NAMES;
            const mkey_t *key = &names[i].keys[r];
            bool migrates = key->version == 3;
            const dctx_key_options_t options = {.name = names[i].name,
                                                .type = key->type,
                                                .flags = key->flags,
                                                .version = key->version,
                                                .migrations = migrates ? migrations : NULL,
                                                .migration_count = migrates ? 3 : 0};
            if (key->type != NULL)
                must(dctx_registry_add(model_registries[r], &options, &keys[r][i]));
        }
        if (padded) {
            pad(model_registries[r], "b-pad-", DCTX_BROADCAST);
            pad(model_registries[r], "ea-pad-", DCTX_LOCAL);
            pad(model_registries[r], "f-pad-", DCTX_BROADCAST);
        }
        must(dctx_registry_freeze(model_registries[r]));
    }
}

void model_close(void)
{
    dctx_registry_destroy(&model_registries[1]);
}

const char *model_name(int index)
{
    return names[index].name;
}

const dctx_type_t *model_type(int registry, int index)
{
    return names[index].keys[registry].type;
}

bool model_is_local(int registry, int index)
{
    return (names[index].keys[registry].flags & DCTX_LOCAL) != 0;
}

uint32_t model_version(int registry, int index)
{
    return names[index].keys[registry].version;
}

const dctx_key_t *model_key(int registry, int index)
{
    return keys[registry][index];
}

/* ---- values ---- */

void mvalue_body(const mvalue_t *value, wire_t *body)
{
    uint64_t bits = 0;
    double real;
    wire_clear(body);
    if (value->size >= sizeof(bits))
        memcpy(&bits, value->content, sizeof(bits));
    switch (value->kind) {
    case KIND_STR:
        wire_str(body, value->content, value->size);
        break;
    case KIND_BIN:
        wire_bin(body, value->content, value->size);
        break;
    case KIND_BOOL:
        wire_byte(body, value->content[0] ? 0xc3 : 0xc2);
        break;
    case KIND_INT:
        wire_int(body, (int64_t)bits);
        break;
    case KIND_HUGE:
        wire_uint(body, bits, 8);
        break;
    case KIND_DOUBLE:
        memcpy(&real, value->content, sizeof(real));
        wire_double(body, real);
        break;
    case KIND_THING:
        wire_byte(body, 'T');
        wire_raw(body, value->content, value->size);
        break;
    case KIND_NONE:
    case KIND_JUNK:
        wire_raw(body, value->content, value->size);
        break;
    }
}

void mvalue_entry(mvalue_t *value, const mstyle_t *style)
{
    wire_t body, entry;
    wire_init(&body);
    wire_init(&entry);
    mvalue_body(value, &body);
    wire_array(&entry, style->extra ? 4 : 3, style->extra ? 4 : -1);
    wire_str_head(&entry, strlen(style->name), style->name_width);
    wire_raw(&entry, style->name, strlen(style->name));
    wire_uint(&entry, value->version, style->version_width);
    wire_bin_head(&entry, body.size, style->bin_width);
    wire_raw(&entry, body.data, body.size);
    if (style->extra)
        wire_raw(&entry, "\x92\xc0\xa1x", 4);
    if (entry.size > RAW_MAX)
        abort();
    memcpy(value->raw, entry.data, entry.size);
    value->raw_size = entry.size;
    value->body_size = body.size;
    wire_finish(&body);
    wire_finish(&entry);
}

void mvalue_own(mvalue_t *value, int registry, int index)
{
    value->present = true;
    value->version = model_version(registry, index);
    value->refuses = value->kind == KIND_THING && value->size > 0 && value->content[0] == '!';
    value->raw_size = 0;
    if (!model_is_local(registry, index))
        mvalue_entry(value, &(mstyle_t){model_name(index), -1, -1, -1, false});
}

static bool reads_as(const mvalue_t *value, const dctx_type_t *type)
{
    int64_t number = 0;
    switch (value->kind) {
    case KIND_STR:
        return type == DCTX_TYPE_STRING && memchr(value->content, 0, value->size) == NULL;
    case KIND_BIN:
        return type == DCTX_TYPE_BYTES;
    case KIND_BOOL:
        return type == DCTX_TYPE_BOOL;
    case KIND_INT:
        memcpy(&number, value->content, sizeof(number));
        return type == DCTX_TYPE_INT64 || (type == DCTX_TYPE_UINT64 && number >= 0);
    case KIND_HUGE:
        return type == DCTX_TYPE_UINT64;
    case KIND_DOUBLE:
        return type == DCTX_TYPE_DOUBLE;
    case KIND_THING:
        return type == &thing_type;
    case KIND_NONE:
    case KIND_JUNK:
        break;
    }
    return false;
}

void mstate_read(const mstate_t *state, int index, mview_t *ret_view)
{
    const mvalue_t *value = &state->slots[index];
    uint32_t version = model_version(state->registry, index);
    *ret_view = (mview_t){.readable = false};
    if (!value->present || value->version > version ||
        !reads_as(value, model_type(state->registry, index)))
        return;
    memcpy(ret_view->content, value->content, value->size);
    ret_view->size = value->size;
    ret_view->readable = true;
    if (value->version == version)
        return;
    /* Only alphaC has a history. */
    ret_view->readable = version == 3;
    if (version == 3) {
        int64_t number;
        memcpy(&number, value->content, sizeof(number));
        number = value->version == 1 ? number * 100 : number + 1;
        memcpy(ret_view->content, &number, sizeof(number));
    }
}

bool mview_matches(const mview_t *view, const dctx_type_t *type, const void *got)
{
    if (!view->readable || got == NULL)
        return !view->readable && got == NULL;
    const void *data = got;
    size_t size = type->size;
    if (type == DCTX_TYPE_STRING) {
        size = strlen(got);
    } else if (type == DCTX_TYPE_BYTES) {
        data = ((const dctx_bytes_t *)got)->data;
        size = ((const dctx_bytes_t *)got)->size;
    } else if (type == &thing_type) {
        const thing_t *thing = got;
        data = thing->text != NULL ? thing->text : "";
        size = strlen(data);
    }
    return size == view->size && (size == 0 || memcmp(data, view->content, size) == 0);
}

/* ---- states ---- */

void mstate_init(mstate_t *state, int registry)
{
    memset(state, 0, sizeof(*state));
    state->registry = registry;
}

void mstate_drop_locals(mstate_t *state)
{
    for (int i = 0; i < NAMES; i++)
        if (model_is_local(state->registry, i))
            state->slots[i].present = false;
}

void mstate_place(mstate_t *state, int index, const mvalue_t *received)
{
    bool known =
        model_type(state->registry, index) != NULL && !model_is_local(state->registry, index);
    *(known ? &state->slots[index] : &state->extras[index]) = *received;
}

void mstate_rehome(const mstate_t *from, int registry, mstate_t *ret_state)
{
    mstate_init(ret_state, registry);
    ret_state->chain = from->chain;
    for (int i = 0; i < NAMES; i++) {
        if (from->extras[i].present)
            mstate_place(ret_state, i, &from->extras[i]);
        if (from->slots[i].present && !model_is_local(from->registry, i))
            mstate_place(ret_state, i, &from->slots[i]);
    }
}

void mstate_merge(mstate_t *state, const mstate_t *from, uint64_t frame)
{
    for (int i = 0; i < NAMES; i++) {
        if (from->slots[i].present) {
            state->slots[i] = from->slots[i];
            state->slots[i].frame = frame;
        }
        if (from->extras[i].present)
            state->extras[i] = from->extras[i];
    }
}

void mstate_clear(mstate_t *state)
{
    for (int i = 0; i < NAMES; i++)
        state->slots[i].present = state->extras[i].present = false;
}

bool mstate_has_entries(const mstate_t *state)
{
    for (int i = 0; i < NAMES; i++)
        if (state->slots[i].present || state->extras[i].present)
            return true;
    return false;
}

/* ---- the chain ---- */

void mchain_push(mchain_t *chain, const char *name)
{
    if (chain->count == CHAIN_MAX)
        abort();
    snprintf(chain->names[chain->count++], sizeof(chain->names[0]), "%s", name);
}

/* What is kept: the first four and the newest. Names next to the mark go, so that it stays true. */
void mstate_shorten_chain(mstate_t *state)
{
    mchain_t *chain = &state->chain;
    while (chain->count > CHAIN_LIMIT) {
        if (chain->elided == 0)
            chain->mark = 4;
        if (chain->mark > 4)
            chain->mark--;
        memmove(chain->names[chain->mark], chain->names[chain->mark + 1],
                (chain->count - chain->mark - 1) * sizeof(chain->names[0]));
        chain->count--;
        chain->elided++;
    }
}

size_t mchain_format(const mchain_t *chain, char *buffer, size_t size)
{
    size_t length = 0;
    char text[CHAIN_MAX * (NAME_LIMIT + 3) + 40] = "";
    for (size_t i = 0; i <= chain->count; i++) {
        if (chain->elided > 0 && chain->mark == i)
            length += (size_t)sprintf(text + length, "%s[%llu more]", length > 0 ? " > " : "",
                                      (unsigned long long)chain->elided);
        if (i < chain->count)
            length +=
                (size_t)sprintf(text + length, "%s%s", length > 0 ? " > " : "", chain->names[i]);
    }
    if (size > 0)
        snprintf(buffer, size, "%s", text);
    return length;
}

/* ---- the wire ---- */

mencoding_t mstate_encode(const mstate_t *state, wire_t *wire)
{
    mencoding_t result = {false, false};
    const mchain_t *chain = &state->chain;
    const mvalue_t *entries[2 * NAMES];
    size_t count = 0;
    for (int i = 0; i < NAMES; i++) {
        if (state->slots[i].present && !model_is_local(state->registry, i))
            entries[count++] = &state->slots[i];
        if (state->extras[i].present)
            entries[count++] = &state->extras[i];
    }
    wire_clear(wire);
    wire_raw(wire, "\x93\x01", 2);
    wire_array(wire, chain->count + (chain->elided > 0), -1);
    for (size_t i = 0; i <= chain->count; i++) {
        if (chain->elided > 0 && chain->mark == i)
            wire_uint(wire, chain->elided, -1);
        if (i < chain->count)
            wire_cstr(wire, chain->names[i]);
    }
    wire_array(wire, count, -1);
    for (size_t i = 0; i < count; i++) {
        result.refused |= entries[i]->refuses;
        result.over_limit |= entries[i]->body_size > VALUE_LIMIT;
        wire_raw(wire, entries[i]->raw, entries[i]->raw_size);
    }
    result.over_limit |= count > ENTRY_LIMIT || wire->size > STAMP_LIMIT;
    return result;
}
