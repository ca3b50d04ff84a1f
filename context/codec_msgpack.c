/* Packing through msgpack-c, so that what a codec writes is what every msgpack-c program would
 * write. The one source file that includes its headers: msgpack-c never sees input, see
 * docs/design.md. */
#include <msgpack.h>
#include <string.h>

#include "writer.h"

static msgpack_packer packer(dctx_writer_t *writer)
{
    return (msgpack_packer){.data = writer, .callback = dctx_writer_msgpack};
}

void dctx_write_nil(dctx_writer_t *writer)
{
    msgpack_packer pk = packer(writer);
    (void)msgpack_pack_nil(&pk);
}

void dctx_write_bool(dctx_writer_t *writer, bool value)
{
    msgpack_packer pk = packer(writer);
    (void)(value ? msgpack_pack_true(&pk) : msgpack_pack_false(&pk));
}

void dctx_write_int(dctx_writer_t *writer, int64_t value)
{
    msgpack_packer pk = packer(writer);
    (void)msgpack_pack_int64(&pk, value);
}

void dctx_write_uint(dctx_writer_t *writer, uint64_t value)
{
    msgpack_packer pk = packer(writer);
    (void)msgpack_pack_uint64(&pk, value);
}

void dctx_write_double(dctx_writer_t *writer, double value)
{
    msgpack_packer pk = packer(writer);
    (void)msgpack_pack_double(&pk, value);
}

/* Before the head is written: it can claim no more than 32 bits. */
static bool fits(dctx_writer_t *writer, size_t size)
{
    if (size > UINT32_MAX)
        dctx_writer_fail(writer, DCTX_ERR_LIMIT);
    return dctx_writer_fits_(writer, size);
}

void dctx_write_str(dctx_writer_t *writer, const char *data, size_t size)
{
    if (!fits(writer, size))
        return;
    msgpack_packer pk = packer(writer);
    (void)msgpack_pack_str(&pk, size);
    dctx_writer_put(writer, data, size);
}

void dctx_write_cstr(dctx_writer_t *writer, const char *string)
{
    if (string == NULL)
        dctx_write_nil(writer);
    else
        dctx_write_str(writer, string, strlen(string));
}

void dctx_write_bin(dctx_writer_t *writer, const void *data, size_t size)
{
    if (!fits(writer, size))
        return;
    msgpack_packer pk = packer(writer);
    (void)msgpack_pack_bin(&pk, size);
    dctx_writer_put(writer, data, size);
}

void dctx_write_array(dctx_writer_t *writer, uint32_t count)
{
    msgpack_packer pk = packer(writer);
    (void)msgpack_pack_array(&pk, count);
}

void dctx_write_map(dctx_writer_t *writer, uint32_t count)
{
    msgpack_packer pk = packer(writer);
    (void)msgpack_pack_map(&pk, count);
}
