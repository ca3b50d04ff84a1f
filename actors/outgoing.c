#include "outgoing.h"

#include <string.h>

#include <dcontext/internal.h>

#include "system.h"

enum { REASON_MAX = 255, FRAME_AND_RECORD_HEAD = 44 };

void dctx_outgoing_destroy_(dctx_outgoing_t *outgoing)
{
    if (outgoing == NULL)
        return;
    dctx_writer_destroy(&outgoing->writer);
    dctx_parcel_destroy_(outgoing->parcel);
    dctx_release_(outgoing->reason);
    dctx_snapshot_unref(&outgoing->snapshot);
    dctx_cancel_unref(&outgoing->scope);
    dctx_release_(outgoing);
}

static dctx_outgoing_t *make(dctx_link_kind_t kind)
{
    dctx_outgoing_t *outgoing = dctx_calloc_(1, sizeof *outgoing);
    if (outgoing == NULL) {
        (void)dctx_fail_(DCTX_ERR_NOMEM, "no memory for a message to another node");
        return NULL;
    }
    outgoing->node.kind = DCTX_NODE_OUTGOING;
    outgoing->kind = kind;
    outgoing->type = "";
    return outgoing;
}

dctx_error_t dctx_outgoing_encode_(dctx_system_t *system, dctx_outgoing_t *outgoing,
                                   const dctx_type_t *type, const void *value)
{
    if (type == NULL)
        return value == NULL ? DCTX_OK
                             : dctx_fail_(DCTX_ERR_INVALID, "a message's value needs a type");
    if (type->name == NULL)
        return dctx_fail_(DCTX_ERR_INVALID,
                          "a type needs a name: the other node knows it by nothing else");
    if (value == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "a message of type \"%s\" needs a value", type->name);
    if (type->encode == NULL)
        return dctx_fail_(DCTX_ERR_TYPE, "type \"%s\" has no encode: it cannot leave the process",
                          type->name);
    dctx_writer_t *writer = NULL;
    dctx_error_t error = dctx_writer_new(system->options.message_limit, &writer);
    if (error != DCTX_OK)
        return error;
    error = type->encode(value, writer);
    dctx_error_t sticky = dctx_writer_error(writer);
    if (sticky == DCTX_ERR_NOMEM || sticky == DCTX_ERR_LIMIT)
        error =
            dctx_fail_(sticky, "a message of type \"%s\" does not fit message_limit %zu, or memory",
                       type->name, system->options.message_limit);
    else if (error != DCTX_OK || sticky != DCTX_OK)
        error = dctx_fail_(DCTX_ERR_CODEC, "a message of type \"%s\" does not encode", type->name);
    if (error != DCTX_OK) {
        dctx_writer_destroy(&writer);
        return error;
    }
    outgoing->type = type->name;
    outgoing->writer = writer;
    return DCTX_OK;
}

dctx_error_t dctx_outgoing_new_(dctx_system_t *system, dctx_link_kind_t kind,
                                const dctx_type_t *type, const void *value,
                                dctx_outgoing_t **ret_outgoing)
{
    dctx_outgoing_t *outgoing = make(kind);
    if (outgoing == NULL)
        return DCTX_ERR_NOMEM;
    dctx_error_t error = dctx_outgoing_encode_(system, outgoing, type, value);
    if (error != DCTX_OK) {
        dctx_outgoing_destroy_(outgoing);
        return error;
    }
    *ret_outgoing = outgoing;
    return DCTX_OK;
}

void dctx_outgoing_set_parcel_(dctx_outgoing_t *outgoing, dctx_parcel_t *parcel)
{
    outgoing->parcel = parcel;
    outgoing->type = parcel->type;
}

dctx_parcel_t *dctx_outgoing_take_parcel_(dctx_outgoing_t *outgoing)
{
    dctx_parcel_t *parcel = outgoing->parcel;
    outgoing->parcel = NULL;
    outgoing->type = "";
    return parcel;
}

dctx_error_t dctx_outgoing_relay_(dctx_link_kind_t kind, dctx_parcel_t *parcel,
                                  dctx_outgoing_t **ret_outgoing)
{
    dctx_outgoing_t *outgoing = make(kind);
    if (outgoing == NULL)
        return DCTX_ERR_NOMEM;
    dctx_outgoing_set_parcel_(outgoing, parcel);
    *ret_outgoing = outgoing;
    return DCTX_OK;
}

dctx_error_t dctx_outgoing_answer_(const char *peer, uint64_t correlation,
                                   dctx_outgoing_t **ret_outgoing)
{
    dctx_outgoing_t *outgoing = make(DCTX_LINK_REPLY);
    if (outgoing == NULL)
        return DCTX_ERR_NOMEM;
    strncpy(outgoing->peer, peer, sizeof outgoing->peer - 1);
    outgoing->correlation = correlation;
    *ret_outgoing = outgoing;
    return DCTX_OK;
}

/* Longer words are cut by who reads them. */
enum { CANCEL_MAX = 8192 };

dctx_outgoing_t *dctx_outgoing_cancel_(const char *peer, uint64_t correlation, dctx_error_t why,
                                       const char *reason, const char *chain)
{
    dctx_outgoing_t *outgoing = make(DCTX_LINK_CANCEL);
    if (outgoing == NULL)
        return NULL;
    strncpy(outgoing->peer, peer, sizeof outgoing->peer - 1);
    outgoing->correlation = correlation;
    if (dctx_writer_new(CANCEL_MAX, &outgoing->writer) == DCTX_OK) {
        dctx_write_array(outgoing->writer, 3);
        dctx_write_uint(outgoing->writer, (uint64_t)why);
        dctx_write_cstr(outgoing->writer, reason != NULL ? reason : "");
        dctx_write_cstr(outgoing->writer, chain != NULL ? chain : "");
        /* The cancel counts, not its words. */
        if (dctx_writer_error(outgoing->writer) != DCTX_OK)
            dctx_writer_destroy(&outgoing->writer);
    }
    return outgoing;
}

void dctx_outgoing_set_error_(dctx_outgoing_t *outgoing, dctx_error_t error, const char *reason)
{
    outgoing->kind = DCTX_LINK_ERROR;
    outgoing->code = error;
    if (reason == NULL)
        return;
    size_t length = strnlen(reason, REASON_MAX + 1);
    if (length > REASON_MAX) {
        length = REASON_MAX;
        while (length > 0 && ((unsigned char)reason[length] & 0xc0) == 0x80)
            length--;
    }
    outgoing->reason = dctx_strndup_(reason, length);
}

dctx_error_t dctx_outgoing_check_size_(dctx_system_t *system, const dctx_outgoing_t *outgoing)
{
    size_t size = FRAME_AND_RECORD_HEAD + strlen(outgoing->type);
    if (outgoing->writer != NULL)
        size += dctx_writer_bytes(outgoing->writer).size;
    if (outgoing->parcel != NULL)
        size += outgoing->parcel->payload.size;
    if (outgoing->remote != NULL)
        size += strlen(outgoing->remote->actor);
    dctx_bytes_t stamp = {0};
    if (outgoing->snapshot != NULL && dctx_snapshot_encode(outgoing->snapshot, &stamp) == DCTX_OK)
        size += stamp.size;
    if (size > system->options.message_limit)
        return dctx_fail_(DCTX_ERR_LIMIT, "a message of %zu bytes is over message_limit %zu", size,
                          system->options.message_limit);
    return DCTX_OK;
}
