#include "message.h"

#include <string.h>

#include <dcontext/handling.h>
#include <dcontext/internal.h>

#include "share.h"
#include "system.h"

enum { REASON_MAX = 255 };

/* What <dcontext/actor.h> has its callers believe. */
_Static_assert(offsetof(dctx_message_t, type) == offsetof(dctx_message_head_t, type) &&
                   offsetof(dctx_message_t, value) == offsetof(dctx_message_head_t, value),
               "the ABI of inline reads");

/* The flags that say what the content is. */
enum {
    CONTENT_FLAGS =
        DCTX_MESSAGE_REMOTE | DCTX_MESSAGE_BLOCK | DCTX_MESSAGE_REASON | DCTX_MESSAGE_SHARED
};

dctx_message_t *dctx_message_new_(dctx_system_t *system, dctx_runner_t *runner,
                                  dctx_node_kind_t kind)
{
    dctx_message_t *message = dctx_pool_take(&system->pool, runner != NULL ? &runner->cells : NULL);
    if (message == NULL) {
        (void)dctx_fail_(DCTX_ERR_NOMEM, "no memory for a message");
        return NULL;
    }
    memset(message, 0, offsetof(dctx_message_t, inline_));
    message->node.kind = (unsigned)kind & 0x7fu;
    return message;
}

void dctx_decoded_destroy_(dctx_decoded_t *decoded)
{
    while (decoded != NULL) {
        dctx_decoded_t *next = decoded->next;
        dctx_type_destroy_(decoded->type, decoded->value);
        dctx_release_(decoded);
        decoded = next;
    }
}

void dctx_parcel_destroy_(dctx_parcel_t *parcel)
{
    if (parcel == NULL)
        return;
    dctx_decoded_destroy_(parcel->decoded);
    dctx_cancel_unref(&parcel->work);
    dctx_release_(parcel);
}

void dctx_message_clear_(dctx_message_t *message)
{
    unsigned flags = message->node.flags;
    if (flags & DCTX_MESSAGE_REMOTE) {
        dctx_parcel_destroy_(message->parcel);
    } else if (__builtin_expect(flags & DCTX_MESSAGE_SHARED, 0)) {
        dctx_share_unref_(dctx_share_of_(message->value), 1);
    } else if (message->value != NULL) {
        if (message->type != NULL && message->type->destroy != NULL)
            message->type->destroy(message->value);
        if (flags & DCTX_MESSAGE_BLOCK)
            dctx_release_(message->value);
    }
    message->type = NULL;
    message->value = NULL;
    message->node.flags = (uint16_t)(flags & ~(unsigned)CONTENT_FLAGS);
}

void dctx_message_release_(dctx_system_t *system, dctx_runner_t *runner, dctx_message_t *message)
{
    dctx_message_clear_(message);
    if (message->snapshot != NULL) {
        if (runner != NULL && runner->in_turn)
            dctx_lot_spend(&runner->spent, message->snapshot);
        else
            dctx_snapshot_unref(&message->snapshot);
    }
    if (message->node.flags & DCTX_MESSAGE_OWN)
        dctx_release_(message);
    else
        dctx_pool_give(&system->pool, runner != NULL ? &runner->cells : NULL, message);
}

void dctx_message_destroy(dctx_message_t **message_p)
{
    if (message_p == NULL || *message_p == NULL)
        return;
    dctx_message_t *message = *message_p;
    *message_p = NULL;
    dctx_message_clear_(message);
    dctx_snapshot_unref(&message->snapshot);
    dctx_release_(message);
}

/* Where a value of `size` bytes goes; NULL without memory. */
static void *place(dctx_message_t *message, const dctx_type_t *type, size_t size)
{
    void *place = message->inline_;
    bool metered = (message->node.flags & DCTX_MESSAGE_METERED) != 0;
    if (size > (metered ? sizeof message->metered_ : DCTX_MESSAGE_INLINE)) {
        place = dctx_alloc_(size);
        if (place == NULL) {
            (void)dctx_fail_(DCTX_ERR_NOMEM, "no memory for a message of type \"%s\", %zu bytes",
                             type->name, size);
            return NULL;
        }
        message->node.flags |= DCTX_MESSAGE_BLOCK;
    }
    return place;
}

static void forget(dctx_message_t *message, void *value)
{
    if (message->node.flags & DCTX_MESSAGE_BLOCK)
        dctx_release_(value);
    message->node.flags &= (uint16_t)~DCTX_MESSAGE_BLOCK;
}

dctx_error_t dctx_message_store_(dctx_message_t *message, const dctx_type_t *type,
                                 const void *value)
{
    if (type == NULL)
        return value == NULL ? DCTX_OK
                             : dctx_fail_(DCTX_ERR_INVALID, "a message's value needs a type");
    if (value == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "a message of type \"%s\" needs a value", type->name);
    size_t size = type->size;
    bool plain = type->copy == NULL && size != 0;
    if (!plain)
        size = dctx_type_stored_size_(type, value);
    void *to = place(message, type, size);
    if (to == NULL)
        return DCTX_ERR_NOMEM;
    if (plain) {
        memcpy(to, value, size);
    } else {
        dctx_error_t error = dctx_type_store_(type, to, size, value);
        if (error != DCTX_OK) {
            forget(message, to);
            return error;
        }
    }
    message->type = type;
    message->value = to;
    return DCTX_OK;
}

dctx_error_t dctx_message_move_(dctx_message_t *message, const dctx_type_t *type, const void *value)
{
    if (type == NULL || value == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "there is no value to take over");
    if (type->size == 0)
        return dctx_fail_(DCTX_ERR_TYPE, "a value of type \"%s\" can be copied, not taken over",
                          type->name);
    void *to = place(message, type, type->size);
    if (to == NULL)
        return DCTX_ERR_NOMEM;
    memcpy(to, value, type->size);
    message->type = type;
    message->value = to;
    return DCTX_OK;
}

void dctx_message_set_reason_(dctx_message_t *message, const char *reason, size_t length)
{
    size_t whole = length;
    if (length > REASON_MAX)
        length = REASON_MAX;
    char *to = (char *)message->inline_;
    size_t room = DCTX_MESSAGE_INLINE - 1;
    if (length > room) {
        char *block = dctx_alloc_(length + 1);
        if (block != NULL) {
            message->node.flags |= DCTX_MESSAGE_BLOCK;
            to = block;
            room = length;
        }
    }
    if (length > room)
        length = room;
    /* A cut must not leave the first bytes of a character behind. */
    while (length < whole && length > 0 && ((unsigned char)reason[length] & 0xc0) == 0x80)
        length--;
    if (length > 0)
        memcpy(to, reason, length);
    to[length] = '\0';
    message->value = to;
    message->node.flags |= DCTX_MESSAGE_REASON;
}

dctx_parcel_t *dctx_parcel_new_(const char *node, dctx_bytes_t type, dctx_bytes_t payload)
{
    size_t node_size = strlen(node) + 1;
    dctx_parcel_t *parcel = dctx_alloc_(sizeof *parcel + node_size + type.size + 1 + payload.size);
    if (parcel == NULL)
        return NULL;
    *parcel = (dctx_parcel_t){0};
    memcpy(parcel->text, node, node_size);
    parcel->node = parcel->text;
    char *name = parcel->text + node_size;
    if (type.size > 0)
        memcpy(name, type.data, type.size);
    name[type.size] = '\0';
    parcel->type = name;
    char *bytes = name + type.size + 1;
    if (payload.size > 0)
        memcpy(bytes, payload.data, payload.size);
    parcel->payload = (dctx_bytes_t){.data = bytes, .size = payload.size};
    return parcel;
}

dctx_parcel_t *dctx_message_take_parcel_(dctx_message_t *message)
{
    dctx_parcel_t *parcel = message->parcel;
    message->value = NULL;
    message->node.flags &= (uint16_t)~DCTX_MESSAGE_REMOTE;
    return parcel;
}

void dctx_message_put_parcel_(dctx_message_t *message, dctx_parcel_t *parcel)
{
    message->parcel = parcel;
    message->node.flags |= DCTX_MESSAGE_REMOTE;
}

bool dctx_message_has_room_(const dctx_message_t *message)
{
    if (message->type == NULL || message->value != message->inline_)
        return true;
    return dctx_type_stored_size_(message->type, message->value) <= sizeof message->metered_;
}

void dctx_message_take_content_(dctx_message_t *message, dctx_message_t *from)
{
    unsigned flags = from->node.flags & CONTENT_FLAGS;
    bool metered = (message->node.flags & DCTX_MESSAGE_METERED) != 0;
    int64_t sent_at = message->sent_at;
    if (metered && !dctx_message_has_room_(from))
        message->node.flags &= (uint16_t)~DCTX_MESSAGE_METERED;
    message->node.flags = (uint16_t)(message->node.flags | flags);
    message->type = from->type;
    message->value = from->value;
    if (flags & DCTX_MESSAGE_REMOTE) {
        message->parcel = from->parcel;
    } else if (from->value == from->inline_) {
        memcpy(message->inline_, from->inline_, DCTX_MESSAGE_INLINE);
        message->value = message->inline_;
        /* Stored bytes point at their own content, which has moved along. */
        if (from->type == DCTX_TYPE_BYTES) {
            dctx_bytes_t *bytes = message->value;
            bytes->data = bytes + 1;
        }
    }
    if (message->node.flags & DCTX_MESSAGE_METERED)
        message->sent_at = sent_at;
    from->type = NULL;
    from->value = NULL;
    from->node.flags &= (uint16_t)~CONTENT_FLAGS;
}

/* ---- as users see it ------------------------------------------------------------------------- */

static const void *decode(dctx_parcel_t *parcel, const dctx_type_t *type)
{
    for (dctx_decoded_t *decoded = parcel->decoded; decoded != NULL; decoded = decoded->next) {
        if (decoded->type == type)
            return decoded->value;
    }
    if (parcel->refused == type || type->name == NULL || strcmp(parcel->type, type->name) != 0)
        return NULL;
    dctx_bytes_t payload = parcel->payload;
    size_t size = 0;
    dctx_error_t error = dctx_type_decoded_size_(type, payload.data, payload.size, &size);
    dctx_decoded_t *decoded = NULL;
    if (error == DCTX_OK) {
        decoded = dctx_alloc_(sizeof *decoded + size);
        error = decoded == NULL
                    ? DCTX_ERR_NOMEM
                    : dctx_type_decode_(type, decoded->value, payload.data, payload.size);
    }
    if (error != DCTX_OK) {
        dctx_release_(decoded);
        dctx_log(DCTX_LOG_WARNING,
                 "a message of type \"%s\", %zu bytes, from node %s does not decode: %s",
                 parcel->type, payload.size, parcel->node, dctx_error_name(error));
        /* What failed for want of memory may be tried again. */
        if (error != DCTX_ERR_NOMEM)
            parcel->refused = type;
        return NULL;
    }
    decoded->type = type;
    decoded->next = parcel->decoded;
    parcel->decoded = decoded;
    return decoded->value;
}

const void *(dctx_message_get)(const dctx_message_t *message, const dctx_type_t *type)
{
    if (message == NULL || type == NULL)
        return NULL;
    if (message->node.flags & DCTX_MESSAGE_REMOTE)
        return decode(message->parcel, type);
    return message->type == type ? message->value : NULL;
}

/* Takes a decoded value out of the parcel's list. */
static void undecode(dctx_parcel_t *parcel, const dctx_type_t *type, void *ret_value)
{
    dctx_decoded_t **place = &parcel->decoded;
    while ((*place)->type != type)
        place = &(*place)->next;
    dctx_decoded_t *decoded = *place;
    *place = decoded->next;
    memcpy(ret_value, decoded->value, type->size);
    dctx_release_(decoded);
    parcel->refused = type; /* taken once is taken */
}

dctx_error_t dctx_message_take(const dctx_message_t *message, const dctx_type_t *type,
                               void *ret_value)
{
    if (message == NULL || type == NULL || ret_value == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no message, no type, or no place for the value");
    if (type->size == 0)
        return dctx_fail_(DCTX_ERR_TYPE, "a value of type \"%s\" can be copied, not taken over",
                          type->name);
    if (dctx_message_get(message, type) == NULL)
        return dctx_fail_(DCTX_ERR_TYPE, "the message holds \"%s\", not \"%s\"",
                          dctx_message_type(message), type->name);
    dctx_message_t *self = dctx_message_own(message);
    if (self->node.flags & DCTX_MESSAGE_REMOTE) {
        undecode(self->parcel, type, ret_value);
        return DCTX_OK;
    }
    if (self->node.flags & DCTX_MESSAGE_SHARED) {
        dctx_error_t error = dctx_type_store_(type, ret_value, type->size, self->value);
        if (error == DCTX_OK)
            dctx_message_clear_(self);
        return error;
    }
    memcpy(ret_value, self->value, type->size);
    forget(self, self->value);
    self->type = NULL;
    self->value = NULL;
    return DCTX_OK;
}

const char *dctx_message_type(const dctx_message_t *message)
{
    if (message == NULL)
        return "";
    if (message->node.flags & DCTX_MESSAGE_REMOTE)
        return message->parcel->type;
    return dctx_type_label_(message->type);
}

bool dctx_message_is_ask(const dctx_message_t *message)
{
    return message != NULL && (message->node.flags & DCTX_MESSAGE_ASK) != 0;
}

bool dctx_message_is_remote(const dctx_message_t *message)
{
    return message != NULL && (message->node.flags & DCTX_MESSAGE_REMOTE) != 0;
}

const char *dctx_message_reason(const dctx_message_t *message)
{
    if (message == NULL || !(message->node.flags & DCTX_MESSAGE_REASON))
        return "";
    return message->value;
}

dctx_error_t dctx_message_context(const dctx_message_t *message, dctx_snapshot_t **ret_snapshot)
{
    if (message == NULL || ret_snapshot == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no message, or no place for its context");
    dctx_snapshot_t *context = message->snapshot;
    if (context == NULL && dctx_runner_here != NULL)
        context = dctx_runner_here->system->empty;
    if (context == NULL)
        return dctx_snapshot_empty(NULL, ret_snapshot);
    *ret_snapshot = dctx_snapshot_ref(context);
    return DCTX_OK;
}

dctx_ref_t dctx_message_sender(const dctx_message_t *message)
{
    if (message == NULL || message->node.kind != DCTX_NODE_MESSAGE ||
        message->u.request.sender.id_ == 0)
        return DCTX_REF_NONE;
    return message->u.request.sender;
}
