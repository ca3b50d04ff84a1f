/* zmsg_t as a type of messages. */
#include <czmq.h>

#include <dcontext/internal.h>
#include <dcontext/sockets.h>

static dctx_error_t copy(void *dst, const void *src)
{
    zmsg_t *message = *(zmsg_t *const *)src;
    zmsg_t *copied = message != NULL ? zmsg_dup(message) : NULL;
    if (message != NULL && copied == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a copy of a zmsg_t");
    *(zmsg_t **)dst = copied;
    return DCTX_OK;
}

static void destroy(void *value)
{
    zmsg_destroy(value);
}

/* An array of its frames; nil for none. */
static dctx_error_t encode(const void *value, dctx_writer_t *writer)
{
    zmsg_t *message = *(zmsg_t *const *)value;
    if (message == NULL) {
        dctx_write_nil(writer);
        return DCTX_OK;
    }
    dctx_write_array(writer, (uint32_t)zmsg_size(message));
    for (zframe_t *frame = zmsg_first(message); frame != NULL; frame = zmsg_next(message))
        dctx_write_bin(writer, zframe_data(frame), zframe_size(frame));
    return DCTX_OK;
}

static dctx_error_t read_frames(dctx_reader_t *reader, zmsg_t *message)
{
    /* The reader has seen that as many items can be there;
     * each is looked at before it is copied. */
    for (uint32_t left = dctx_read_array(reader); left > 0; left--) {
        dctx_bytes_t frame = dctx_read_bin(reader);
        if (dctx_reader_error(reader) != DCTX_OK)
            break;
        if (zmsg_addmem(message, frame.data, frame.size) != 0)
            return DCTX_ERR_NOMEM;
    }
    return dctx_reader_end(reader);
}

static dctx_error_t decode(void *dst, const void *data, size_t size)
{
    dctx_reader_t reader;
    dctx_reader_init(&reader, data, size);
    zmsg_t *message = NULL;
    dctx_error_t error;
    if (dctx_reader_peek(&reader) == DCTX_ITEM_NIL) {
        dctx_read_nil(&reader);
        error = dctx_reader_end(&reader);
    } else {
        message = zmsg_new();
        error = message != NULL ? read_frames(&reader, message) : DCTX_ERR_NOMEM;
    }
    if (error != DCTX_OK)
        zmsg_destroy(&message);
    else
        *(zmsg_t **)dst = message;
    return error;
}

const dctx_type_t dctx_type_zmsg = {.name = "zmsg",
                                    .size = sizeof(zmsg_t *),
                                    .copy = copy,
                                    .destroy = destroy,
                                    .encode = encode,
                                    .decode = decode};
