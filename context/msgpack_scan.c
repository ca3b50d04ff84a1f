#include "msgpack_scan.h"

#include "fail.h"

#define DEPTH_MAX 32

static uint64_t read_big(const uint8_t *at, unsigned bytes)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++)
        value = value << 8 | at[i];
    return value;
}

static int64_t sign_extend(uint64_t value, unsigned bytes)
{
    unsigned shift = 64 - 8 * bytes;
    return (int64_t)(value << shift) >> shift;
}

/* The forms 0xc0 to 0xdf: what they are, and how many bytes of number or length follow the tag. */
typedef struct form {
    uint8_t item;
    uint8_t bytes;
} form_t;

static const form_t forms[32] = {
    [0x00] = {DCTX_ITEM_NIL, 0},    [0x01] = {DCTX_ITEM_END, 0}, /* 0xc1 is never used */
    [0x02] = {DCTX_ITEM_BOOL, 0},   [0x03] = {DCTX_ITEM_BOOL, 0}, [0x04] = {DCTX_ITEM_BIN, 1},
    [0x05] = {DCTX_ITEM_BIN, 2},    [0x06] = {DCTX_ITEM_BIN, 4},  [0x07] = {DCTX_ITEM_EXT, 1},
    [0x08] = {DCTX_ITEM_EXT, 2},    [0x09] = {DCTX_ITEM_EXT, 4},  [0x0a] = {DCTX_ITEM_DOUBLE, 4},
    [0x0b] = {DCTX_ITEM_DOUBLE, 8}, [0x0c] = {DCTX_ITEM_INT, 1},  [0x0d] = {DCTX_ITEM_INT, 2},
    [0x0e] = {DCTX_ITEM_INT, 4},    [0x0f] = {DCTX_ITEM_INT, 8},  [0x10] = {DCTX_ITEM_INT, 1},
    [0x11] = {DCTX_ITEM_INT, 2},    [0x12] = {DCTX_ITEM_INT, 4},  [0x13] = {DCTX_ITEM_INT, 8},
    [0x14] = {DCTX_ITEM_EXT, 0},    [0x15] = {DCTX_ITEM_EXT, 0},  [0x16] = {DCTX_ITEM_EXT, 0},
    [0x17] = {DCTX_ITEM_EXT, 0},    [0x18] = {DCTX_ITEM_EXT, 0},  [0x19] = {DCTX_ITEM_STR, 1},
    [0x1a] = {DCTX_ITEM_STR, 2},    [0x1b] = {DCTX_ITEM_STR, 4},  [0x1c] = {DCTX_ITEM_ARRAY, 2},
    [0x1d] = {DCTX_ITEM_ARRAY, 4},  [0x1e] = {DCTX_ITEM_MAP, 2},  [0x1f] = {DCTX_ITEM_MAP, 4},
};

/* Whether a number or length that took `bytes` bytes would not have fitted into fewer. */
static bool is_shortest(uint8_t tag, const dctx_head_t *head, unsigned bytes)
{
    switch (head->item) {
    case DCTX_ITEM_INT:
        if (tag >= 0xd0) { /* signed forms are for numbers below zero */
            int64_t value = (int64_t)head->value;
            return head->negative && (bytes == 1   ? value < -32
                                      : bytes == 2 ? value < INT8_MIN
                                      : bytes == 4 ? value < INT16_MIN
                                                   : value < INT32_MIN);
        }
        return bytes == 1 ? head->value > 0x7f : head->value >> (4 * bytes) != 0;
    case DCTX_ITEM_STR:
        return bytes == 1 ? head->value > 31 : head->value >> (4 * bytes) != 0;
    case DCTX_ITEM_ARRAY:
    case DCTX_ITEM_MAP:
        return bytes == 2 ? head->value > 15 : head->value >> 16 != 0;
    case DCTX_ITEM_BIN:
        return bytes == 1 || head->value >> (4 * bytes) != 0;
    case DCTX_ITEM_EXT:
        return bytes != 1
                   ? head->value >> (4 * bytes) != 0
                   : head->value == 0 || head->value > 16 || (head->value & (head->value - 1)) != 0;
    default:
        return true;
    }
}

bool dctx_head_read_long_(const uint8_t *at, const uint8_t *end, dctx_head_t *ret_head)
{
    uint8_t tag = *at;
    form_t form = forms[tag - 0xc0];
    if (form.item == DCTX_ITEM_END || (size_t)(end - at) < 1u + form.bytes)
        return false;
    dctx_head_t head = {.item = (dctx_item_t)form.item,
                        .size = (uint8_t)(1 + form.bytes),
                        .value = read_big(at + 1, form.bytes),
                        .canonical = true};
    if (tag >= 0xd0 && tag <= 0xd3) {
        head.value = (uint64_t)sign_extend(head.value, form.bytes);
        head.negative = (int64_t)head.value < 0;
    } else if (form.item == DCTX_ITEM_BOOL) {
        head.value = tag & 1;
    } else if (form.item == DCTX_ITEM_EXT) { /* one more byte: the kind of extension */
        if (form.bytes == 0)
            head.value = UINT64_C(1) << (tag - 0xd4);
        head.size++;
        if ((size_t)(end - at) < head.size)
            return false;
    }
    if (form.bytes > 0)
        head.canonical = is_shortest(tag, &head, form.bytes);
    *ret_head = head;
    return true;
}

dctx_error_t dctx_item_skip_(const uint8_t *at, const uint8_t *end, unsigned max_depth,
                             const uint8_t **ret_next)
{
    /* Items still to come, at each depth. A claim is at most the bytes left, so that sums stay
     * small and a wrong one is refused at once. */
    size_t left[DEPTH_MAX + 1];
    unsigned depth = 0;
    if (max_depth > DEPTH_MAX)
        max_depth = DEPTH_MAX;
    left[0] = 1;
    for (;;) {
        while (left[depth] == 0) {
            if (depth == 0) {
                *ret_next = at;
                return DCTX_OK;
            }
            depth--;
        }
        left[depth]--;
        dctx_head_t head;
        if (!dctx_head_read_(at, end, &head))
            return DCTX_ERR_MALFORMED;
        at += head.size;
        size_t bytes_left = (size_t)(end - at);
        switch (head.item) {
        case DCTX_ITEM_STR:
        case DCTX_ITEM_BIN:
        case DCTX_ITEM_EXT:
            if (head.value > bytes_left)
                return DCTX_ERR_MALFORMED;
            at += head.value;
            break;
        case DCTX_ITEM_ARRAY:
        case DCTX_ITEM_MAP:
            if (head.item == DCTX_ITEM_MAP)
                head.value *= 2; /* of 32 bits: cannot wrap */
            if (head.value > bytes_left)
                return DCTX_ERR_MALFORMED;
            if (depth == max_depth)
                return DCTX_ERR_LIMIT;
            left[++depth] = (size_t)head.value;
            break;
        default:
            break;
        }
    }
}

#define MSGPACK_C_DEPTH_MAX 31

dctx_error_t dctx_msgpack_check(const void *data, size_t size, unsigned max_depth)
{
    if (max_depth == 0)
        max_depth = DCTX_NESTING_MAX;
    else if (max_depth > MSGPACK_C_DEPTH_MAX)
        max_depth = MSGPACK_C_DEPTH_MAX;
    if (size == 0)
        return dctx_fail_(DCTX_ERR_MALFORMED, "no bytes where a msgpack item is expected");
    const uint8_t *at = data;
    const uint8_t *end = at + size;
    const uint8_t *next;
    switch (dctx_item_skip_(at, end, max_depth, &next)) {
    case DCTX_OK:
        break;
    case DCTX_ERR_LIMIT:
        return dctx_fail_(DCTX_ERR_LIMIT, "msgpack nested deeper than the limit of %u", max_depth);
    default:
        return dctx_fail_(DCTX_ERR_MALFORMED, "%zu bytes are no whole msgpack item", size);
    }
    if (next != end)
        return dctx_fail_(DCTX_ERR_MALFORMED, "%zu bytes after a msgpack item of %zu bytes",
                          (size_t)(end - next), (size_t)(next - at));
    return DCTX_OK;
}
