#include "envelope.h"

#include "fail.h"
#include "msgpack_scan.h"
#include "name.h"

#define WIRE_VERSION 1

static size_t bytes_left(const dctx_envelope_t *envelope)
{
    return (size_t)(envelope->end - envelope->at);
}

static dctx_error_t cut_short(const char *where)
{
    return dctx_fail_(DCTX_ERR_MALFORMED, "the stamp is cut short or undefined at %s", where);
}

static dctx_error_t not_what(const char *where, const char *wanted)
{
    return dctx_fail_(DCTX_ERR_MALFORMED, "%s of the stamp is not %s", where, wanted);
}

/* An array's head, stepped over. Each element takes a byte at least: a count past that is a lie. */
static dctx_error_t take_array(dctx_envelope_t *envelope, const char *where, dctx_head_t *ret_head)
{
    if (!dctx_head_read_(envelope->at, envelope->end, ret_head))
        return cut_short(where);
    if (ret_head->item != DCTX_ITEM_ARRAY)
        return not_what(where, "an array");
    envelope->at += ret_head->size;
    if (ret_head->value > bytes_left(envelope))
        return cut_short(where);
    return DCTX_OK;
}

static dctx_error_t skip(dctx_envelope_t *envelope, const char *where)
{
    dctx_error_t error =
        dctx_item_skip_(envelope->at, envelope->end, DCTX_NESTING_MAX, &envelope->at);
    if (error == DCTX_OK)
        return DCTX_OK;
    if (error == DCTX_ERR_LIMIT)
        return dctx_fail_(DCTX_ERR_LIMIT, "%s of the stamp is nested deeper than the limit of %d",
                          where, DCTX_NESTING_MAX);
    return cut_short(where);
}

/* ---- the chain ------------------------------------------------------------------------------- */

__attribute__((noinline)) static dctx_error_t scan_chain_item(dctx_envelope_t *envelope)
{
    size_t limit = envelope->limits->name_bytes;
    const uint8_t *at = envelope->at;
    dctx_head_t head;
    if (!dctx_head_read_(at, envelope->end, &head))
        return cut_short("the chain");
    envelope->chain_canonical &= head.canonical;
    envelope->at = at += head.size;
    if (head.item == DCTX_ITEM_STR) {
        if (head.value > bytes_left(envelope))
            return cut_short("the chain");
        char shown[DCTX_NAME_SHOWN_SIZE];
        size_t size = (size_t)head.value;
        if (size > limit)
            return dctx_fail_(DCTX_ERR_LIMIT,
                              "the chain's name '%s' is %zu bytes; the limit name_bytes is %zu",
                              dctx_name_show_(at, size, shown), size, limit);
        if (size == 0)
            return dctx_fail_(DCTX_ERR_MALFORMED, "the chain has an empty name");
        if (!dctx_name_is_clean_(at, size))
            return dctx_fail_(DCTX_ERR_MALFORMED, "the chain's name '%s' has control characters",
                              dctx_name_show_(at, size, shown));
        if (envelope->chain_count == envelope->limits->chain_names)
            return dctx_fail_(DCTX_ERR_LIMIT,
                              "the chain has %zu names or more; the limit chain_names is %zu",
                              envelope->chain_count + 1, envelope->limits->chain_names);
        envelope->chain_count++;
        envelope->at = at + size;
        return DCTX_OK;
    }
    if (head.item != DCTX_ITEM_INT || head.negative || head.value == 0)
        return dctx_fail_(DCTX_ERR_MALFORMED,
                          "the chain has something that is neither a name nor a positive count");
    if (envelope->chain_elided != 0)
        return dctx_fail_(DCTX_ERR_MALFORMED, "the chain has two counts of elided names");
    envelope->chain_mark = envelope->chain_count;
    envelope->chain_elided = head.value;
    return DCTX_OK;
}

static dctx_error_t scan_chain(dctx_envelope_t *envelope)
{
    dctx_head_t head;
    envelope->chain = envelope->at;
    dctx_error_t error = take_array(envelope, "the chain", &head);
    if (error != DCTX_OK)
        return error;
    envelope->chain_canonical = head.canonical;
    for (uint64_t i = 0; i < head.value; i++) {
        /* The usual name, under 32 bytes; all else, and every failure, is scan_chain_item()'s. */
        const uint8_t *at = envelope->at;
        size_t size = at < envelope->end ? *at & 0x1f : 0;
        if (size > 0 && (*at & 0xe0) == 0xa0 && size < bytes_left(envelope) &&
            size <= envelope->limits->name_bytes &&
            envelope->chain_count < envelope->limits->chain_names &&
            dctx_name_is_clean_(at + 1, size)) {
            envelope->chain_count++;
            envelope->at = at + 1 + size;
            continue;
        }
        error = scan_chain_item(envelope);
        if (error != DCTX_OK)
            return error;
    }
    envelope->chain_size = (size_t)(envelope->at - envelope->chain);
    return DCTX_OK;
}

/* ---- open ------------------------------------------------------------------------------------ */

static dctx_error_t scan_version(dctx_envelope_t *envelope)
{
    dctx_head_t head;
    if (!dctx_head_read_(envelope->at, envelope->end, &head))
        return cut_short("the version");
    if (head.item != DCTX_ITEM_INT || head.negative)
        return not_what("the version", "a number from 0 up");
    if (head.value != WIRE_VERSION)
        return dctx_fail_(DCTX_ERR_VERSION,
                          "the stamp is of wire version %llu; this library reads version %d",
                          (unsigned long long)head.value, WIRE_VERSION);
    envelope->at += head.size;
    return DCTX_OK;
}

dctx_error_t dctx_envelope_open_(dctx_envelope_t *envelope, const dctx_limits_t *limits,
                                 const void *data, size_t size)
{
    if (size > limits->stamp_bytes)
        return dctx_fail_(DCTX_ERR_LIMIT, "the stamp is %zu bytes; the limit stamp_bytes is %zu",
                          size, limits->stamp_bytes);
    if (size == 0)
        return dctx_fail_(DCTX_ERR_MALFORMED, "the stamp has no bytes");
    /* One by one: for a whole struct gcc uses an instruction that is slower than the rest of this
     * function. */
    envelope->limits = limits;
    envelope->at = data;
    envelope->end = envelope->at + size;
    envelope->chain_count = 0;
    envelope->chain_mark = 0;
    envelope->chain_elided = 0;

    dctx_head_t outer, entries;
    dctx_error_t error = take_array(envelope, "the beginning", &outer);
    if (error != DCTX_OK)
        return error;
    /* The version comes before the count: another version may well have another shape. */
    if (outer.value == 0)
        return not_what("the beginning", "an array of version, chain and entries");
    error = scan_version(envelope);
    if (error != DCTX_OK)
        return error;
    if (outer.value < 3)
        return not_what("the beginning", "an array of version, chain and entries");
    error = scan_chain(envelope);
    if (error != DCTX_OK)
        return error;
    error = take_array(envelope, "the entries", &entries);
    if (error != DCTX_OK)
        return error;
    if (entries.value > limits->entries)
        return dctx_fail_(DCTX_ERR_LIMIT, "the stamp has %llu entries; the limit entries is %zu",
                          (unsigned long long)entries.value, limits->entries);
    envelope->entry_count = envelope->entries_left = (size_t)entries.value;
    envelope->elements_left = (size_t)outer.value - 3;
    return DCTX_OK;
}

/* ---- entries --------------------------------------------------------------------------------- */

static dctx_error_t bad_entry(const dctx_envelope_entry_t *entry, const char *what)
{
    char shown[DCTX_NAME_SHOWN_SIZE];
    return dctx_fail_(DCTX_ERR_MALFORMED, "%s key '%s' of the stamp", what,
                      dctx_name_show_(entry->name, entry->name_size, shown));
}

static dctx_error_t entry_too_long(const dctx_envelope_entry_t *entry, const char *what,
                                   size_t size, const char *limit_name, size_t limit)
{
    char shown[DCTX_NAME_SHOWN_SIZE];
    return dctx_fail_(DCTX_ERR_LIMIT, "%s key '%s' is %zu bytes; the limit %s is %zu", what,
                      dctx_name_show_(entry->name, entry->name_size, shown), size, limit_name,
                      limit);
}

dctx_error_t dctx_envelope_any_(dctx_envelope_t *envelope, dctx_envelope_entry_t *ret_entry)
{
    if (envelope->entries_left == 0)
        return DCTX_ERR_ABSENT;
    const dctx_limits_t *limits = envelope->limits;
    dctx_envelope_entry_t entry = {.raw = envelope->at};
    dctx_head_t outer, head;
    dctx_error_t error = take_array(envelope, "an entry", &outer);
    if (error != DCTX_OK)
        return error;
    if (outer.value < 3)
        return not_what("an entry", "an array of key, version and value");

    if (!dctx_head_read_(envelope->at, envelope->end, &head))
        return cut_short("a key");
    if (head.item != DCTX_ITEM_STR)
        return not_what("a key", "a string");
    envelope->at += head.size;
    if (head.value > bytes_left(envelope))
        return cut_short("a key");
    entry.name = (const char *)envelope->at;
    entry.name_size = (size_t)head.value;
    if (entry.name_size > limits->key_bytes)
        return entry_too_long(&entry, "the", entry.name_size, "key_bytes", limits->key_bytes);
    if (entry.name_size == 0)
        return not_what("a key", "at least one byte");
    if (!dctx_name_is_clean_(entry.name, entry.name_size))
        return bad_entry(&entry, "there are control characters in");
    envelope->at += entry.name_size;

    if (!dctx_head_read_(envelope->at, envelope->end, &head))
        return bad_entry(&entry, "there is no version after");
    if (head.item != DCTX_ITEM_INT || head.negative || head.value == 0 || head.value > UINT32_MAX)
        return bad_entry(&entry, "a version that is not a number from 1 to 2^32-1, of");
    envelope->at += head.size;
    entry.version = head.value;

    if (!dctx_head_read_(envelope->at, envelope->end, &head))
        return bad_entry(&entry, "there is no value after");
    if (head.item != DCTX_ITEM_BIN)
        return bad_entry(&entry, "a value that is not binary, of");
    envelope->at += head.size;
    if (head.value > bytes_left(envelope))
        return bad_entry(&entry, "a value that is cut short, of");
    entry.body = envelope->at;
    entry.body_size = (size_t)head.value;
    if (entry.body_size > limits->value_bytes)
        return entry_too_long(&entry, "the value of", entry.body_size, "value_bytes",
                              limits->value_bytes);
    envelope->at += entry.body_size;

    for (uint64_t i = 3; i < outer.value; i++) {
        error = skip(envelope, "an entry");
        if (error != DCTX_OK)
            return error;
    }
    entry.raw_size = (size_t)(envelope->at - entry.raw);
    envelope->entries_left--;
    *ret_entry = entry;
    return DCTX_OK;
}

dctx_error_t dctx_envelope_close_(dctx_envelope_t *envelope)
{
    if (envelope->entries_left > 0)
        return dctx_fail_(DCTX_ERR_INVALID, "%zu entries of the stamp were not read",
                          envelope->entries_left);
    for (; envelope->elements_left > 0; envelope->elements_left--) {
        dctx_error_t error = skip(envelope, "a further element");
        if (error != DCTX_OK)
            return error;
    }
    if (envelope->at != envelope->end)
        return dctx_fail_(DCTX_ERR_MALFORMED, "%zu bytes after the end of the stamp",
                          bytes_left(envelope));
    return DCTX_OK;
}
