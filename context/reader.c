#include <string.h>

#include <dcontext/type.h>

#include "fail.h"
#include "msgpack_scan.h"

void dctx_reader_init(dctx_reader_t *reader, const void *data, size_t size)
{
    static const uint8_t nothing[1];
    const uint8_t *at = size > 0 ? data : nothing;
    *reader = (dctx_reader_t){.at_ = at, .end_ = at + size, .error_ = DCTX_OK};
}

void dctx_reader_fail(dctx_reader_t *reader, dctx_error_t error)
{
    if (reader->error_ == DCTX_OK)
        reader->error_ = error;
}

dctx_error_t dctx_reader_error(const dctx_reader_t *reader)
{
    return reader->error_;
}

dctx_error_t dctx_reader_end(const dctx_reader_t *reader)
{
    if (reader->error_ == DCTX_OK && reader->at_ != reader->end_)
        return dctx_fail_(DCTX_ERR_MALFORMED, "%zu bytes left over after the last msgpack item",
                          (size_t)(reader->end_ - reader->at_));
    return reader->error_;
}

static const char *item_name(dctx_item_t item)
{
    static const char *const names[] = {
        [DCTX_ITEM_END] = "nothing",    [DCTX_ITEM_NIL] = "nil",
        [DCTX_ITEM_BOOL] = "a boolean", [DCTX_ITEM_INT] = "an integer",
        [DCTX_ITEM_DOUBLE] = "a float", [DCTX_ITEM_STR] = "a string",
        [DCTX_ITEM_BIN] = "binary",     [DCTX_ITEM_ARRAY] = "an array",
        [DCTX_ITEM_MAP] = "a map",      [DCTX_ITEM_EXT] = "an extension"};
    return names[item];
}

static void malformed(dctx_reader_t *reader)
{
    size_t left = (size_t)(reader->end_ - reader->at_);
    reader->error_ =
        left == 0 ? dctx_fail_(DCTX_ERR_MALFORMED, "the bytes end where a msgpack item is expected")
                  : dctx_fail_(DCTX_ERR_MALFORMED,
                               "the last %zu bytes do not begin with a whole msgpack item", left);
}

static bool head(dctx_reader_t *reader, dctx_head_t *ret_head)
{
    if (reader->error_ != DCTX_OK)
        return false;
    if (dctx_head_read_(reader->at_, reader->end_, ret_head))
        return true;
    malformed(reader);
    return false;
}

static void wrong_type(dctx_reader_t *reader, const char *wanted, const dctx_head_t *found)
{
    reader->error_ = dctx_fail_(DCTX_ERR_TYPE, "msgpack has %s where %s is expected",
                                item_name(found->item), wanted);
}

/* The head of the wanted item, stepped over. */
static bool take(dctx_reader_t *reader, dctx_item_t wanted, dctx_head_t *ret_head)
{
    if (!head(reader, ret_head))
        return false;
    if (ret_head->item != wanted) {
        wrong_type(reader, item_name(wanted), ret_head);
        return false;
    }
    reader->at_ += ret_head->size;
    return true;
}

dctx_item_t dctx_reader_peek(const dctx_reader_t *reader)
{
    dctx_head_t found;
    if (reader->error_ != DCTX_OK || !dctx_head_read_(reader->at_, reader->end_, &found))
        return DCTX_ITEM_END;
    return found.item;
}

void dctx_read_nil(dctx_reader_t *reader)
{
    dctx_head_t found;
    (void)take(reader, DCTX_ITEM_NIL, &found);
}

bool dctx_read_bool(dctx_reader_t *reader)
{
    dctx_head_t found;
    return take(reader, DCTX_ITEM_BOOL, &found) && found.value != 0;
}

int64_t dctx_read_int(dctx_reader_t *reader)
{
    dctx_head_t found;
    if (!head(reader, &found))
        return 0;
    if (found.item != DCTX_ITEM_INT) {
        wrong_type(reader, item_name(DCTX_ITEM_INT), &found);
        return 0;
    }
    if (!found.negative && found.value > INT64_MAX) {
        reader->error_ = dctx_fail_(DCTX_ERR_TYPE, "a msgpack integer is above INT64_MAX");
        return 0;
    }
    reader->at_ += found.size;
    return (int64_t)found.value;
}

uint64_t dctx_read_uint(dctx_reader_t *reader)
{
    dctx_head_t found;
    if (!head(reader, &found))
        return 0;
    if (found.item != DCTX_ITEM_INT) {
        wrong_type(reader, item_name(DCTX_ITEM_INT), &found);
        return 0;
    }
    if (found.negative) {
        reader->error_ =
            dctx_fail_(DCTX_ERR_TYPE, "a msgpack integer is negative where none may be");
        return 0;
    }
    reader->at_ += found.size;
    return found.value;
}

double dctx_read_double(dctx_reader_t *reader)
{
    dctx_head_t found;
    if (!head(reader, &found))
        return 0;
    double value = 0;
    if (found.item == DCTX_ITEM_INT) {
        /* JavaScript's encoders write 3.0 as the integer 3. */
        value = found.negative ? (double)(int64_t)found.value : (double)found.value;
    } else if (found.item != DCTX_ITEM_DOUBLE) {
        wrong_type(reader, item_name(DCTX_ITEM_DOUBLE), &found);
        return 0;
    } else if (found.size == 5) {
        uint32_t bits = (uint32_t)found.value;
        float single;
        memcpy(&single, &bits, sizeof(single));
        value = (double)single;
    } else {
        memcpy(&value, &found.value, sizeof(value));
    }
    reader->at_ += found.size;
    return value;
}

static dctx_bytes_t read_run(dctx_reader_t *reader, dctx_item_t wanted)
{
    dctx_head_t found;
    const uint8_t *start = reader->at_;
    if (!take(reader, wanted, &found))
        return (dctx_bytes_t){NULL, 0};
    if (found.value > (size_t)(reader->end_ - reader->at_)) {
        reader->at_ = start;
        malformed(reader);
        return (dctx_bytes_t){NULL, 0};
    }
    dctx_bytes_t run = {reader->at_, (size_t)found.value};
    reader->at_ += run.size;
    return run;
}

dctx_bytes_t dctx_read_str(dctx_reader_t *reader)
{
    return read_run(reader, DCTX_ITEM_STR);
}

dctx_bytes_t dctx_read_bin(dctx_reader_t *reader)
{
    return read_run(reader, DCTX_ITEM_BIN);
}

/* An item takes a byte at least, so the count returned is no more than the input can hold, and a
 * caller may allocate by it. */
static uint32_t read_count(dctx_reader_t *reader, dctx_item_t wanted, unsigned items_each)
{
    dctx_head_t found;
    const uint8_t *start = reader->at_;
    if (!take(reader, wanted, &found))
        return 0;
    if (found.value * items_each > (size_t)(reader->end_ - reader->at_)) {
        reader->at_ = start;
        malformed(reader);
        return 0;
    }
    return (uint32_t)found.value;
}

uint32_t dctx_read_array(dctx_reader_t *reader)
{
    return read_count(reader, DCTX_ITEM_ARRAY, 1);
}

uint32_t dctx_read_map(dctx_reader_t *reader)
{
    return read_count(reader, DCTX_ITEM_MAP, 2);
}

void dctx_read_skip(dctx_reader_t *reader)
{
    if (reader->error_ != DCTX_OK)
        return;
    dctx_error_t error = dctx_item_skip_(reader->at_, reader->end_, DCTX_NESTING_MAX, &reader->at_);
    if (error == DCTX_ERR_LIMIT)
        reader->error_ = dctx_fail_(DCTX_ERR_LIMIT, "msgpack nested deeper than the limit of %d",
                                    DCTX_NESTING_MAX);
    else if (error != DCTX_OK)
        malformed(reader);
}
