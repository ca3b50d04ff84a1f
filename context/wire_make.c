/* Wire bytes made by hand. */
#include <dcontext/snapshot.h>

#include <string.h>

#include "fail.h"

#define WIRE_VERSION 1

static dctx_error_t check(const dctx_writer_t *writer, const char *const *chain, size_t chain_count,
                          const dctx_wire_entry_t *entries, size_t entry_count)
{
    if (writer == NULL || (chain == NULL && chain_count > 0) || chain_count > UINT32_MAX ||
        (entries == NULL && entry_count > 0) || entry_count > UINT32_MAX)
        return dctx_fail_(DCTX_ERR_INVALID, "no writer, or an array that is not there");
    for (size_t i = 0; i < chain_count; i++)
        if (chain[i] == NULL)
            return dctx_fail_(DCTX_ERR_INVALID, "the chain's name %zu is NULL", i);
    for (size_t i = 0; i < entry_count; i++)
        if (entries[i].name == NULL || (entries[i].value.data == NULL && entries[i].value.size > 0))
            return dctx_fail_(DCTX_ERR_INVALID, "entry %zu has no name, or no value", i);
    return DCTX_OK;
}

dctx_error_t dctx_wire_make(dctx_writer_t *writer, const char *const *chain, size_t chain_count,
                            const dctx_wire_entry_t *entries, size_t entry_count)
{
    dctx_error_t error = check(writer, chain, chain_count, entries, entry_count);
    if (error != DCTX_OK)
        return error;
    dctx_write_array(writer, 3);
    dctx_write_uint(writer, WIRE_VERSION);
    dctx_write_array(writer, (uint32_t)chain_count);
    for (size_t i = 0; i < chain_count; i++)
        dctx_write_cstr(writer, chain[i]);
    dctx_write_array(writer, (uint32_t)entry_count);
    for (size_t i = 0; i < entry_count; i++) {
        dctx_write_array(writer, 3);
        dctx_write_cstr(writer, entries[i].name);
        dctx_write_uint(writer, entries[i].version);
        dctx_write_bin(writer, entries[i].value.data, entries[i].value.size);
    }
    return dctx_writer_error(writer);
}
