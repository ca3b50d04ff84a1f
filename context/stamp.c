#include "stamp.h"

#include <string.h>

#include "alloc.h"
#include "fail.h"
#include "fold.h"

dctx_stamp_t *dctx_stamp_new_(size_t values, size_t extras, size_t bytes)
{
    size_t head = sizeof(dctx_stamp_t) + values * sizeof(dctx_value_t);
    dctx_stamp_t *stamp = dctx_alloc_(head + extras * sizeof(dctx_extra_t) + bytes);
    if (stamp == NULL)
        return NULL;
    dctx_refcount_init(&stamp->owner.refs, 1);
    stamp->owner.next = NULL;
    stamp->owner.count = 0;
    stamp->owner.stamp = true;
    stamp->extra_count = 0;
    stamp->reaches = 0;
    stamp->shape = 0;
    stamp->chain = NULL;
    stamp->extras = (dctx_extra_t *)((uintptr_t)stamp + head);
    stamp->bytes = (uint8_t *)(stamp->extras + extras);
    stamp->room = stamp->bytes;
    stamp->room_size = 0;
    stamp->room_used = 0;
    return stamp;
}

static int compare(const dctx_stamp_t *a, const dctx_extra_t *x, const dctx_stamp_t *b,
                   const dctx_extra_t *y)
{
    dctx_bytes_t p = dctx_extra_name_(a, x);
    dctx_bytes_t q = dctx_extra_name_(b, y);
    return dctx_fold_compare_(p.data, p.size, q.data, q.size);
}

static void sift(const dctx_stamp_t *stamp, size_t root, size_t count)
{
    dctx_extra_t *extras = stamp->extras;
    for (size_t child; (child = 2 * root + 1) < count; root = child) {
        if (child + 1 < count && compare(stamp, &extras[child], stamp, &extras[child + 1]) < 0)
            child++;
        if (compare(stamp, &extras[root], stamp, &extras[child]) >= 0)
            return;
        dctx_extra_t swapped = extras[root];
        extras[root] = extras[child];
        extras[child] = swapped;
    }
}

/* A heap sort, because the order comes from a stranger: no worst case, and no memory, as qsort()
 * may take. */
const dctx_extra_t *dctx_stamp_sort_(dctx_stamp_t *stamp)
{
    size_t count = stamp->extra_count;
    for (size_t i = count / 2; i-- > 0;)
        sift(stamp, i, count);
    for (size_t last = count; last-- > 1;) {
        dctx_extra_t swapped = stamp->extras[0];
        stamp->extras[0] = stamp->extras[last];
        stamp->extras[last] = swapped;
        sift(stamp, 0, last);
    }
    for (size_t i = 1; i < count; i++)
        if (compare(stamp, &stamp->extras[i - 1], stamp, &stamp->extras[i]) == 0)
            return &stamp->extras[i];
    return NULL;
}

static void append(dctx_stamp_t *stamp, size_t *used, const dctx_stamp_t *from,
                   const dctx_extra_t *extra)
{
    memcpy(stamp->bytes + *used, from->bytes + extra->offset, extra->size);
    dctx_extra_t *added = &stamp->extras[stamp->extra_count++];
    *added = *extra;
    added->offset = (uint32_t)*used;
    *used += extra->size;
}

static size_t extra_bytes(const dctx_stamp_t *stamp)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < stamp->extra_count; i++)
        bytes += stamp->extras[i].size;
    return bytes;
}

dctx_error_t dctx_stamp_merge_(dctx_stamp_t *under, dctx_stamp_t *over, dctx_stamp_t **ret_merged)
{
    if (under == NULL || over == NULL || under == over) {
        *ret_merged = dctx_stamp_ref_(over != NULL ? over : under);
        return DCTX_OK;
    }
    size_t bytes = extra_bytes(under) + extra_bytes(over);
    dctx_stamp_t *merged =
        bytes <= UINT32_MAX
            ? dctx_stamp_new_(0, (size_t)under->extra_count + over->extra_count, bytes)
            : NULL;
    if (merged == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for %zu bytes of entries passing through",
                          bytes);
    size_t used = 0;
    uint32_t i = 0;
    uint32_t j = 0;
    while (i < under->extra_count || j < over->extra_count) {
        int order = i == under->extra_count ? 1
                    : j == over->extra_count
                        ? -1
                        : compare(under, &under->extras[i], over, &over->extras[j]);
        if (order < 0)
            append(merged, &used, under, &under->extras[i]);
        else
            append(merged, &used, over, &over->extras[j]);
        i += order <= 0;
        j += order >= 0;
    }
    *ret_merged = merged;
    return DCTX_OK;
}
