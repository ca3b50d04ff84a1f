/* Snapshots to and from their wire form, docs/wire.md. */
#include <string.h>

#include "alloc.h"
#include "base64.h"
#include "clock.h"
#include "counters.h"
#include "deadline.h"
#include "envelope.h"
#include "fail.h"
#include "fold.h"
#include "msgpack_head.h"
#include "name.h"
#include "snapshot.h"
#include "thread.h"

/* ---- encoding -------------------------------------------------------------------------------- */

static size_t bin_head_size(size_t size)
{
    return size < 256 ? 2 : size < 65536 ? 3 : 5;
}

/* A string set here is as long as it likes until now. */
static dctx_error_t check_string(const dctx_value_t *value)
{
    const dctx_key_t *key = value->key;
    size_t limit = key->registry->limits.value_bytes;
    size_t entry = value->size - key->prefix_size;
    size_t size = entry - bin_head_size(entry);
    size = entry - bin_head_size(size);
    if (value->owner->stamp || size <= limit)
        return DCTX_OK;
    return dctx_fail_(DCTX_ERR_LIMIT,
                      "key '%s': the value's encoding is %zu bytes; value_bytes is %zu", key->name,
                      size, limit);
}

/* How many bytes the value's entry takes. Encodes it, if it never was. */
static inline dctx_error_t measure(dctx_value_t *value, size_t limit, size_t *ret_size)
{
    *ret_size = value->size;
    if (__builtin_expect(value->size > 0 && value->size <= limit, 1))
        return DCTX_OK;
    if (value->size > 0)
        return check_string(value);
    if (value->key->known == DCTX_KNOWN_DEADLINE) {
        *ret_size = dctx_deadline_entry_size_(value->key);
        return DCTX_OK;
    }
    dctx_bytes_t entry;
    dctx_error_t error = dctx_value_encode_(value, &entry);
    if (error == DCTX_OK)
        *ret_size = entry.size;
    return error;
}

typedef struct plan {
    size_t size; /* of all entries */
    size_t count;
    size_t largest; /* entry, for the error message */
    dctx_bytes_t largest_name;
} plan_t;

static void plan_entry(plan_t *plan, size_t size, const void *name, size_t name_size)
{
    plan->size += size;
    plan->count++;
    if (size > plan->largest) {
        plan->largest = size;
        plan->largest_name = (dctx_bytes_t){name, name_size};
    }
}

static dctx_error_t plan_entries(const dctx_snapshot_t *snapshot, plan_t *plan)
{
    const dctx_table_t *table = snapshot->table[DCTX_KIND_BROADCAST];
    size_t limit = snapshot->registry->limits.value_bytes;
    for (uint32_t i = 0, left = table->count; left > 0; i++) {
        dctx_value_t *value = table->slots[i];
        if (value == NULL)
            continue;
        left--;
        size_t size = 0;
        dctx_error_t error = measure(value, limit, &size);
        if (error != DCTX_OK)
            return error;
        plan_entry(plan, size, value->key->name, value->key->name_size);
    }
    const dctx_stamp_t *extras = snapshot->extras;
    for (uint32_t i = 0; extras != NULL && i < extras->extra_count; i++) {
        dctx_bytes_t name = dctx_extra_name_(extras, &extras->extras[i]);
        plan_entry(plan, extras->extras[i].size, name.data, name.size);
    }
    return DCTX_OK;
}

static dctx_error_t check_plan(const dctx_limits_t *limits, const plan_t *plan, size_t total)
{
    char shown[DCTX_NAME_SHOWN_SIZE];
    if (plan->count > limits->entries)
        return dctx_fail_(DCTX_ERR_LIMIT, "the context has %zu entries; entries is %zu",
                          plan->count, limits->entries);
    if (total > limits->stamp_bytes)
        return dctx_fail_(DCTX_ERR_LIMIT,
                          "the wire form is %zu bytes; stamp_bytes is %zu; the largest entry is "
                          "that of key '%s' with %zu",
                          total, limits->stamp_bytes,
                          dctx_name_show_(plan->largest_name.data, plan->largest_name.size, shown),
                          plan->largest);
    return DCTX_OK;
}

/* Entries that lie behind each other, as received ones do, are copied as one. */
typedef struct run {
    uint8_t *out;
    const uint8_t *begin;
    const uint8_t *end;
} run_t;

static inline void finish_run(run_t *run)
{
    size_t size = (size_t)(run->end - run->begin);
    if (size > 0)
        run->out = (uint8_t *)memcpy(run->out, run->begin, size) + size;
}

static inline void put(run_t *run, const uint8_t *bytes, size_t size)
{
    if (bytes != run->end) {
        finish_run(run);
        run->begin = bytes;
    }
    run->end = bytes + size;
}

/* Both are in the order of folded names; so is what comes out. What has no bytes was encoded when
 * it was measured. */
static void put_entries(uint8_t *out, const dctx_snapshot_t *snapshot)
{
    const dctx_table_t *table = snapshot->table[DCTX_KIND_BROADCAST];
    const dctx_stamp_t *extras = snapshot->extras;
    const dctx_extra_t *extra = extras != NULL ? extras->extras : NULL;
    const dctx_extra_t *end = extras != NULL ? extra + extras->extra_count : NULL;
    run_t run = {out, out, out};
    for (uint32_t i = 0, left = table->count; left > 0; i++) {
        const dctx_value_t *value = table->slots[i];
        if (value == NULL)
            continue;
        left--;
        for (; extra != end; extra++) {
            dctx_bytes_t name = dctx_extra_name_(extras, extra);
            if (dctx_fold_compare_(name.data, name.size, value->key->name, value->key->name_size) >
                0)
                break;
            put(&run, extras->bytes + extra->offset, extra->size);
        }
        if (value->size > 0) {
            put(&run, value->wire.bytes, value->size);
        } else if (value->key->known == DCTX_KNOWN_DEADLINE) {
            finish_run(&run);
            run.out = dctx_deadline_entry_put_(run.out, value);
            run.begin = run.end = run.out;
        } else {
            const dctx_entry_t *entry = __atomic_load_n(&value->wire.entry, __ATOMIC_ACQUIRE);
            put(&run, entry->data, entry->size);
        }
    }
    for (; extra != end; extra++)
        put(&run, extras->bytes + extra->offset, extra->size);
    finish_run(&run);
}

/* Only a deadline set here, or taken in, goes stale; one that did not decode travels on as it
 * came. */
static int64_t stale_at(const dctx_snapshot_t *snapshot)
{
    const dctx_registry_t *registry = snapshot->registry;
    const dctx_value_t *value =
        snapshot->table[DCTX_KIND_BROADCAST]->slots[registry->deadline_index];
    if (__builtin_expect(value == NULL || value->size > 0, 1))
        return INT64_MAX;
    return dctx_deadline_stale_at_(value->data, dctx_registry_clocks(registry));
}

static inline bool is_stale(const dctx_snapshot_t *snapshot, const dctx_wire_t *wire)
{
    return __builtin_expect(wire->stale_at != INT64_MAX, 0) &&
           dctx_clock_monotonic_(dctx_registry_clocks(snapshot->registry)) >= wire->stale_at;
}

void dctx_wire_free_(dctx_wire_t *wire)
{
    while (wire != NULL) {
        dctx_wire_t *older = wire->older;
        dctx_release_(wire);
        wire = older;
    }
}

static dctx_error_t encode(const dctx_snapshot_t *snapshot, dctx_wire_t **ret_wire)
{
    plan_t plan = {0};
    dctx_error_t error = plan_entries(snapshot, &plan);
    if (error != DCTX_OK)
        return error;
    dctx_bytes_t chain = dctx_chain_wire_(snapshot->chain);
    uint8_t count_head[DCTX_HEAD_MAX];
    size_t count_size = dctx_head_array_(count_head, plan.count);
    size_t total = 2 + chain.size + count_size + plan.size;
    error = check_plan(&snapshot->registry->limits, &plan, total);
    if (error != DCTX_OK)
        return error;
    dctx_wire_t *wire = dctx_alloc_(sizeof(*wire) + total);
    if (wire == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a wire form of %zu bytes", total);
    wire->older = NULL;
    wire->stale_at = stale_at(snapshot);
    wire->size = total;
    uint8_t *out = wire->data;
    *out++ = 0x93;
    *out++ = 0x01;
    out = (uint8_t *)memcpy(out, chain.data, chain.size) + chain.size;
    out = (uint8_t *)memcpy(out, count_head, count_size) + count_size;
    put_entries(out, snapshot);
    *ret_wire = wire;
    return DCTX_OK;
}

dctx_error_t dctx_snapshot_encode(const dctx_snapshot_t *snapshot, dctx_bytes_t *ret_bytes)
{
    if (snapshot == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no snapshot (NULL)");
    dctx_snapshot_t *keeper = (dctx_snapshot_t *)(uintptr_t)snapshot;
    dctx_wire_t *wire = __atomic_load_n(&keeper->wire, __ATOMIC_ACQUIRE);
    if (__builtin_expect(wire == NULL || is_stale(snapshot, wire), 0)) {
        dctx_wire_t *made = NULL;
        dctx_error_t error = encode(snapshot, &made);
        if (error != DCTX_OK) {
            dctx_count_(DCTX_COUNT_ENCODE_REFUSED);
            return error;
        }
        dctx_count_(DCTX_COUNT_ENCODED);
        made->older = wire;
        if (__atomic_compare_exchange_n(&keeper->wire, &wire, made, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
            wire = made;
        else
            dctx_release_(made);
    }
    *ret_bytes = (dctx_bytes_t){wire->data, wire->size};
    return DCTX_OK;
}

/* ---- a thread's context, once ---------------------------------------------------------------- */

/* Past this many bytes a wire form that several messages share is worth its snapshot at once. */
#define ONCE_BYTES 1024

/* Entries, written in pieces for which there is room. */
typedef struct sheet {
    uint8_t *out;
    uint8_t bytes[ONCE_BYTES + DCTX_PREFIX_PIECE];
} sheet_t;

static inline bool has_room(const sheet_t *sheet, size_t size)
{
    return size <= (size_t)(sheet->bytes + ONCE_BYTES - sheet->out);
}

/* False if it cannot be had without running somebody's code. */
static bool write_encoded(sheet_t *sheet, const dctx_value_t *value)
{
    if (value->key->known == DCTX_KNOWN_DEADLINE) {
        if (!has_room(sheet, dctx_deadline_entry_size_(value->key)))
            return false;
        sheet->out = dctx_deadline_entry_put_(sheet->out, value);
        return true;
    }
    const dctx_entry_t *entry = __atomic_load_n(&value->wire.entry, __ATOMIC_ACQUIRE);
    if (entry == NULL || !has_room(sheet, entry->size))
        return false;
    sheet->out = (uint8_t *)memcpy(sheet->out, entry->data, entry->size) + entry->size;
    return true;
}

static inline bool write_entries(sheet_t *sheet, const dctx_table_t *table, unsigned reaches)
{
    /* Kept out of memory, as it might be that for all the compiler knows. */
    uint8_t *out = sheet->out;
    for (uint32_t i = 0, left = table->count; left > 0; i++) {
        const dctx_value_t *value = table->slots[i];
        if (value == NULL)
            continue;
        left--;
        if (__builtin_expect((reaches >> value->key->reach & 1) == 0, 0))
            return false;
        size_t size = value->size;
        if (__builtin_expect(size == 0, 0)) {
            sheet->out = out;
            if (!write_encoded(sheet, value))
                return false;
            out = sheet->out;
            continue;
        }
        if (__builtin_expect(size > (size_t)(sheet->bytes + ONCE_BYTES - out), 0))
            return false;
        const uint8_t *bytes = value->wire.bytes;
        for (size_t at = 0; at < size; at += DCTX_PREFIX_PIECE)
            memcpy(out + at, bytes + at, DCTX_PREFIX_PIECE);
        out += size;
    }
    sheet->out = out;
    return true;
}

/* memcpy(), for which compilers put an instruction here that takes longer to begin than all
 * this. */
static inline void copy_names(uint8_t *out, const uint8_t *data, size_t size)
{
    enum { PIECE = 16 };
    if (__builtin_expect(size < PIECE, 0)) {
        for (size_t at = 0; at < size; at++)
            out[at] = data[at];
        return;
    }
    for (size_t at = 0; at + PIECE < size; at += PIECE)
        memcpy(out + at, data + at, PIECE);
    /* The last piece overlaps the one before it. */
    memcpy(out + size - PIECE, data + size - PIECE, PIECE);
}

/* The chain of the present state, which keeps it; NULL is the empty one. */
static inline bool find_chain(dctx_thread_t *thread, const dctx_chain_t **ret_chain)
{
    dctx_chain_t *chain = dctx_thread_base_chain_(thread);
    if (dctx_thread_named_(thread) > 0) {
        chain = dctx_thread_state_(thread)->kept.chain;
        if (__builtin_expect(chain == NULL, 0)) {
            if (dctx_thread_chain_(thread, &chain) != DCTX_OK)
                return false;
            dctx_chain_unref_(chain);
        }
    }
    *ret_chain = chain;
    return true;
}

dctx_once_t dctx_context_encode_(const dctx_passing_t *passing, dctx_room_fn room, void *arg)
{
    dctx_thread_t *thread = dctx_hot_.thread;
    if (thread == NULL)
        return DCTX_ONCE_NOT;
    dctx_state_t *state = thread->state;
    if (state->sent)
        return DCTX_ONCE_AGAIN;
    const dctx_table_t *table = dctx_hot_.table[DCTX_KIND_BROADCAST];
    const dctx_limits_t *limits = &dctx_hot_.registry->limits;
    const dctx_chain_t *chain;
    if ((state->pristine ? state->attached->extras : state->extras) != NULL ||
        table->count > limits->entries || !find_chain(thread, &chain) ||
        (chain == NULL ? table->count == 0 : chain->count > passing->chain_names))
        return DCTX_ONCE_NOT;
    sheet_t sheet;
    dctx_bytes_t names = dctx_chain_wire_(chain);
    if (names.size + 2 + DCTX_HEAD_MAX > ONCE_BYTES)
        return DCTX_ONCE_NOT;
    sheet.bytes[0] = 0x93;
    sheet.bytes[1] = 0x01;
    copy_names(sheet.bytes + 2, names.data, names.size);
    sheet.out = sheet.bytes + 2 + names.size;
    sheet.out += dctx_head_array_(sheet.out, table->count);
    if (!write_entries(&sheet, table, passing->reaches))
        return DCTX_ONCE_NOT;
    size_t size = (size_t)(sheet.out - sheet.bytes);
    /* No value is longer than all together. */
    if (size > passing->stamp_bytes || size > limits->stamp_bytes || size > limits->value_bytes)
        return DCTX_ONCE_NOT;
    state->sent = true;
    uint8_t *out = room(size, arg);
    if (out == NULL) {
        (void)dctx_fail_(DCTX_ERR_NOMEM, "no memory for a wire form of %zu bytes", size);
        return DCTX_ONCE_NOMEM;
    }
    memcpy(out, sheet.bytes, size);
    dctx_count_(DCTX_COUNT_ENCODED);
    return DCTX_ONCE_DONE;
}

/* ---- decoding -------------------------------------------------------------------------------- */

/* Below this many entries all the stamp's parts are made for all of them, which is cheaper than
 * counting. */
#define FEW_ENTRIES 64

/* For decoded values. */
#define ROOM_BYTES 128

#define ALIGN      16

typedef struct decoding {
    dctx_registry_t *registry;
    const uint8_t *data;
    uint32_t next; /* the broadcast key that comes next if entries come in order, as they do */
    dctx_stamp_t *stamp;
    dctx_snapshot_t *snapshot; /* this and the table lie in the stamp */
    dctx_table_t *table;
    dctx_bytes_t last_extra;
    bool sorted; /* the extras, so far */
} decoding_t;

/* Takes the next entry if it is of the key that comes next, as it mostly is. */
static inline const dctx_key_t *take_expected(decoding_t *decoding, dctx_envelope_t *envelope,
                                              dctx_envelope_entry_t *ret_entry)
{
    if (decoding->next >= decoding->registry->kind_count[DCTX_KIND_BROADCAST])
        return NULL;
    const dctx_key_t *key = decoding->registry->keys[decoding->next];
    if (!dctx_envelope_next_is_(envelope, key->prefix, key->prefix_size, ret_entry))
        return NULL;
    decoding->next = key->next;
    return key;
}

/* The broadcast key that the entry is for, or NULL. */
static const dctx_key_t *find_key(decoding_t *decoding, const dctx_envelope_entry_t *entry)
{
    const dctx_registry_t *registry = decoding->registry;
    const dctx_key_t *key = dctx_registry_lookup_(registry, entry->name, entry->name_size);
    if (key == NULL || key->kind != DCTX_KIND_BROADCAST)
        return NULL;
    decoding->next = key->next;
    return key;
}

static dctx_error_t twice(const char *name, size_t size)
{
    char shown[DCTX_NAME_SHOWN_SIZE];
    return dctx_fail_(DCTX_ERR_MALFORMED, "key '%s' stands twice",
                      dctx_name_show_(name, size, shown));
}

static dctx_error_t take_value(decoding_t *decoding, const dctx_key_t *key,
                               const dctx_envelope_entry_t *entry)
{
    if (decoding->table->slots[key->index] != NULL)
        return twice(key->name, key->name_size);
    dctx_stamp_t *stamp = decoding->stamp;
    dctx_value_t *value = &stamp->values[stamp->owner.count++];
    value->owner = &stamp->owner;
    value->key = key;
    value->data = NULL;
    value->wire.bytes = stamp->bytes + (entry->raw - decoding->data);
    value->size = (uint32_t)entry->raw_size;
    stamp->reaches |= 1u << key->reach;
    decoding->table->slots[key->index] = value;
    decoding->table->count++;
    return DCTX_OK;
}

static dctx_error_t take_extra(decoding_t *decoding, const dctx_envelope_entry_t *entry)
{
    dctx_stamp_t *stamp = decoding->stamp;
    stamp->extras[stamp->extra_count++] = (dctx_extra_t){
        .offset = (uint32_t)(entry->raw - decoding->data),
        .size = (uint32_t)entry->raw_size,
        .name_at = (uint8_t)((const uint8_t *)entry->name - entry->raw),
        .name_size = (uint8_t)entry->name_size,
    };
    if (decoding->sorted && decoding->last_extra.data != NULL) {
        int order = dctx_fold_compare_(decoding->last_extra.data, decoding->last_extra.size,
                                       entry->name, entry->name_size);
        if (order == 0)
            return twice(entry->name, entry->name_size);
        decoding->sorted = order < 0;
    }
    decoding->last_extra = (dctx_bytes_t){entry->name, entry->name_size};
    return DCTX_OK;
}

/* How many of the entries are for known keys. Walks a copy of the envelope; what is wrong in it
 * will be found when it is walked again. */
static size_t count_known(decoding_t *decoding, dctx_envelope_t envelope)
{
    dctx_envelope_entry_t entry;
    size_t known = 0;
    while (dctx_envelope_next_(&envelope, &entry) == DCTX_OK)
        known += find_key(decoding, &entry) != NULL;
    decoding->next = decoding->registry->first_user;
    return known;
}

static inline void *aligned(void *at)
{
    return (void *)(((uintptr_t)at + ALIGN - 1) / ALIGN * ALIGN);
}

static inline dctx_snapshot_t *snapshot_place(dctx_stamp_t *stamp, size_t size)
{
    /* The entries are read in pieces. */
    return aligned(stamp->bytes + size + DCTX_PREFIX_PIECE);
}

static inline dctx_table_t *table_place(dctx_snapshot_t *snapshot)
{
    return aligned(snapshot + 1);
}

/* Behind a stamp's bytes lie the snapshot, its table and room for decoded values: one allocation
 * for all. */
static dctx_stamp_t *place_all(decoding_t *decoding, size_t known, size_t unknown, size_t size)
{
    uint32_t slots = decoding->registry->kind_count[DCTX_KIND_BROADCAST];
    size_t table_size = dctx_table_size_(slots);
    dctx_stamp_t *stamp = dctx_stamp_new_(
        known, unknown, size + sizeof(dctx_snapshot_t) + table_size + ROOM_BYTES + 4 * ALIGN);
    if (stamp == NULL)
        return NULL;
    decoding->snapshot = snapshot_place(stamp, size);
    decoding->table = dctx_table_place_(table_place(decoding->snapshot), slots, &stamp->owner);
    stamp->room = aligned((uint8_t *)decoding->table + table_size);
    stamp->room_size = ROOM_BYTES;
    return stamp;
}

static dctx_error_t decode_entries(decoding_t *decoding, dctx_envelope_t *envelope, size_t size)
{
    size_t count = envelope->entry_count;
    if (count == 0)
        return dctx_envelope_close_(envelope);
    size_t known = count;
    size_t unknown = count;
    if (count > FEW_ENTRIES) {
        known = count_known(decoding, *envelope);
        unknown = count - known;
    }
    /* The snapshot lies behind the bytes: one allocation less. */
    decoding->stamp = place_all(decoding, known, unknown, size);
    if (decoding->stamp == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a stamp of %zu bytes", size);
    dctx_error_t error = DCTX_OK;
    for (size_t i = 0; i < count && error == DCTX_OK; i++) {
        dctx_envelope_entry_t entry;
        const dctx_key_t *key = take_expected(decoding, envelope, &entry);
        if (key == NULL) {
            error = dctx_envelope_next_(envelope, &entry);
            if (error != DCTX_OK)
                break;
            key = find_key(decoding, &entry);
        }
        error = key != NULL ? take_value(decoding, key, &entry) : take_extra(decoding, &entry);
    }
    if (error == DCTX_OK)
        error = dctx_envelope_close_(envelope);
    if (error != DCTX_OK)
        return error;
    memcpy(decoding->stamp->bytes, decoding->data, size);
    const dctx_extra_t *again = decoding->sorted ? NULL : dctx_stamp_sort_(decoding->stamp);
    if (again == NULL)
        return DCTX_OK;
    dctx_bytes_t name = dctx_extra_name_(decoding->stamp, again);
    return twice(name.data, name.size);
}

static dctx_snapshot_t *make_snapshot(dctx_registry_t *registry, const decoding_t *decoding)
{
    if (decoding->stamp == NULL)
        return dctx_snapshot_new_(registry);
    dctx_snapshot_init_(decoding->snapshot, registry);
    decoding->snapshot->home = &decoding->stamp->owner;
    return decoding->snapshot;
}

static dctx_error_t decode(dctx_registry_t *registry, const void *data, size_t size,
                           decoding_t *decoding, dctx_snapshot_t **ret_snapshot)
{
    dctx_envelope_t envelope;
    dctx_error_t error = dctx_envelope_open_(&envelope, &registry->limits, data, size);
    if (error == DCTX_OK)
        error = decode_entries(decoding, &envelope, size);
    dctx_chain_t *chain = NULL;
    if (error == DCTX_OK)
        error = dctx_chain_from_envelope_(&envelope, &chain);
    if (error != DCTX_OK)
        return error;
    dctx_snapshot_t *snapshot = make_snapshot(registry, decoding);
    if (snapshot == NULL) {
        dctx_chain_unref_(chain);
        return DCTX_ERR_NOMEM;
    }
    snapshot->chain = chain;
    *ret_snapshot = snapshot;
    return DCTX_OK;
}

/* The same for a stamp of a known shape. */
static dctx_error_t cast_new(const dctx_mould_t *mould, decoding_t *decoding)
{
    size_t size = mould->size;
    dctx_stamp_t *stamp = place_all(decoding, mould->value_count, mould->extra_count, size);
    if (stamp == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a stamp of %zu bytes", size);
    decoding->stamp = stamp;
    stamp->shape = mould->shape;
    stamp->chain = dctx_chain_ref_(mould->chain);
    for (uint32_t i = 0; i < mould->value_count; i++) {
        const dctx_mould_value_t *from = &mould->values[i];
        dctx_value_t *value = &stamp->values[i];
        value->owner = &stamp->owner;
        value->key = from->key;
        value->data = NULL;
        value->wire.bytes = stamp->bytes + from->offset;
        value->size = from->size;
        decoding->table->slots[from->key->index] = value;
    }
    stamp->owner.count = mould->value_count;
    stamp->reaches = mould->reaches;
    decoding->table->count = mould->value_count;
    stamp->extra_count = mould->extra_count;
    for (uint32_t i = 0; i < mould->extra_count; i++)
        stamp->extras[i] = mould->extras[i];
    return DCTX_OK;
}

/* What came back is as cast_new() would make it, but for what readers and holders count. */
static inline void cast_again(dctx_mould_t *mould, decoding_t *decoding)
{
    dctx_stamp_t *stamp = mould->spare;
    mould->spare = NULL;
    stamp->room_used = 0;
    decoding->stamp = stamp;
    decoding->snapshot = snapshot_place(stamp, mould->size);
    decoding->table = table_place(decoding->snapshot);
    dctx_refcount_init(&decoding->table->refs, 1);
}

static inline dctx_error_t cast(dctx_registry_t *registry, dctx_mould_t *mould,
                                decoding_t *decoding, dctx_snapshot_t **ret_snapshot)
{
    if (__builtin_expect(mould->spare != NULL, 1)) {
        cast_again(mould, decoding);
    } else {
        dctx_error_t error = cast_new(mould, decoding);
        if (error != DCTX_OK)
            return error;
    }
    memcpy(decoding->stamp->bytes, decoding->data, mould->size);
    dctx_snapshot_t *snapshot = make_snapshot(registry, decoding);
    snapshot->chain = decoding->stamp->chain;
    *ret_snapshot = snapshot;
    return DCTX_OK;
}

/* What remains of a deadline is counted from now on, not from when somebody looks. */
static dctx_error_t take_deadline(dctx_snapshot_t *snapshot)
{
    dctx_value_t **slot =
        &snapshot->table[DCTX_KIND_BROADCAST]->slots[snapshot->registry->deadline_index];
    if (__builtin_expect(*slot == NULL, 1)) {
        snapshot->due.ns = INT64_MAX;
        return DCTX_OK;
    }
    dctx_grave_t grave = {NULL};
    dctx_value_t *raw = *slot;
    /* The table has no reference on its stamp's values one by one, and that one goes. */
    dctx_value_ref_(raw);
    dctx_error_t error = dctx_deadline_arrive_(snapshot->registry, slot, &grave);
    if (*slot == raw)
        dctx_value_drop_(raw, &grave);
    else
        snapshot->table[DCTX_KIND_BROADCAST]->guest = *slot;
    dctx_snapshot_note_due_(snapshot);
    dctx_grave_empty_(&grave);
    return error;
}

dctx_error_t dctx_snapshot_decode(dctx_registry_t *registry, const void *data, size_t size,
                                  dctx_snapshot_t **ret_snapshot)
{
    registry = dctx_registry_or_global_(registry);
    if (registry == NULL)
        return DCTX_ERR_NOMEM;
    if (!dctx_registry_frozen_(registry))
        return dctx_fail_(DCTX_ERR_NOT_FROZEN, "freeze the registry before decoding");
    if (data == NULL) {
        dctx_count_(DCTX_COUNT_DECODE_REFUSED);
        return dctx_fail_(DCTX_ERR_MALFORMED, "no bytes (NULL)");
    }
    decoding_t decoding;
    decoding.registry = registry;
    decoding.data = data;
    decoding.next = registry->first_user;
    decoding.stamp = NULL;
    decoding.snapshot = NULL;
    decoding.table = DCTX_NO_TABLE;
    decoding.last_extra.data = NULL;
    decoding.last_extra.size = 0;
    decoding.sorted = true;
    dctx_snapshot_t *snapshot = NULL;
    dctx_thread_t *thread = dctx_hot_.thread;
    dctx_mould_t *mould = thread != NULL ? dctx_mould_place_(thread->moulds, size) : NULL;
    bool fits = mould != NULL && dctx_mould_fits_(mould, registry, data, size);
    dctx_error_t error = fits ? cast(registry, mould, &decoding, &snapshot)
                              : decode(registry, data, size, &decoding, &snapshot);
    dctx_stamp_t *stamp = decoding.stamp;
    if (fits)
        mould->missed = 0;
    else if (error == DCTX_OK && stamp != NULL && thread != NULL)
        dctx_mould_learn_(&thread->moulds, registry, stamp, size, snapshot->chain);
    if (error != DCTX_OK) {
        /* Nothing was decoded yet, so there is nothing to destroy. */
        dctx_release_(stamp);
        dctx_count_(DCTX_COUNT_DECODE_REFUSED);
        return error;
    }
    if (stamp != NULL) {
        /* A reference for the table, one for the extras, and one for the snapshot. */
        bool has_values = stamp->owner.count > 0;
        dctx_refcount_init(&stamp->owner.refs, has_values + (stamp->extra_count > 0) + 1);
        if (has_values)
            snapshot->table[DCTX_KIND_BROADCAST] = decoding.table;
        snapshot->extras = stamp->extra_count > 0 ? stamp : NULL;
    }
    error = take_deadline(snapshot);
    if (error != DCTX_OK) {
        dctx_snapshot_unref(&snapshot);
        dctx_count_(DCTX_COUNT_DECODE_REFUSED);
        return error;
    }
    dctx_count_(DCTX_COUNT_DECODED);
    *ret_snapshot = snapshot;
    return DCTX_OK;
}

/* ---- as text --------------------------------------------------------------------------------- */

dctx_error_t dctx_snapshot_to_base64(const dctx_snapshot_t *snapshot, dctx_base64_t form,
                                     char **ret_text)
{
    if (form != DCTX_BASE64 && form != DCTX_BASE64_URL)
        return dctx_fail_(DCTX_ERR_INVALID, "there is no base64 form %d", (int)form);
    dctx_bytes_t bytes = {NULL, 0};
    dctx_error_t error = dctx_snapshot_encode(snapshot, &bytes);
    if (error != DCTX_OK)
        return error;
    char *text = dctx_alloc_(dctx_base64_length_(form, bytes.size) + 1);
    if (text == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a text of %zu bytes", bytes.size);
    dctx_base64_encode_(form, bytes.data, bytes.size, text);
    *ret_text = text;
    return DCTX_OK;
}

dctx_error_t dctx_snapshot_from_base64(dctx_registry_t *registry, const char *text, size_t length,
                                       dctx_snapshot_t **ret_snapshot)
{
    registry = dctx_registry_or_global_(registry);
    if (registry == NULL)
        return DCTX_ERR_NOMEM;
    if (text == NULL) {
        dctx_count_(DCTX_COUNT_DECODE_REFUSED);
        return dctx_fail_(DCTX_ERR_MALFORMED, "no text (NULL)");
    }
    /* Before anything is allocated for it: no text longer than this can be a stamp within the
     * limit. */
    size_t bound = dctx_base64_bound_(length);
    if (bound > registry->limits.stamp_bytes + 4) {
        dctx_count_(DCTX_COUNT_DECODE_REFUSED);
        return dctx_fail_(DCTX_ERR_LIMIT, "the text stands for about %zu bytes; stamp_bytes is %zu",
                          bound, registry->limits.stamp_bytes);
    }
    uint8_t *data = dctx_alloc_(bound);
    if (data == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a text of %zu bytes", length);
    size_t size;
    dctx_error_t error = dctx_base64_decode_(text, length, data, &size);
    if (error == DCTX_OK)
        error = dctx_snapshot_decode(registry, data, size, ret_snapshot);
    else
        dctx_count_(DCTX_COUNT_DECODE_REFUSED);
    dctx_release_(data);
    return error;
}
