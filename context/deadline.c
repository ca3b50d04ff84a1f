#include "deadline.h"

#include <stddef.h>
#include <string.h>

#include "cancel.h"
#include "clock.h"
#include "extraction.h"
#include "fail.h"
#include "known.h"
#include "msgpack_head.h"
#include "snapshot.h"

/* No codec: see dctx_deadline_encode_() and dctx_deadline_arrive_(). */
const dctx_type_t dctx_deadline_type_ = {.name = "deadline", .size = sizeof(dctx_deadline_t)};

/* ---- making one ---- */

void dctx_deadline_after(const dctx_clocks_t *clock, int64_t timeout, dctx_deadline_t *ret_deadline)
{
    if (ret_deadline == NULL)
        return;
    clock = dctx_clock_or_current_(clock);
    int64_t wall = dctx_clock_wall_(clock);
    *ret_deadline = (dctx_deadline_t){
        .timestamp = wall,
        .deadline = dctx_time_add_(wall, timeout),
        .due = dctx_time_add_(dctx_clock_monotonic_(clock), timeout),
    };
}

bool dctx_deadline_combine(const dctx_deadline_t *a, const dctx_deadline_t *b,
                           dctx_deadline_t *ret_deadline)
{
    if ((a == NULL && b == NULL) || ret_deadline == NULL)
        return false;
    if (a == NULL || b == NULL) {
        *ret_deadline = a != NULL ? *a : *b;
        return true;
    }
    dctx_deadline_t both = b->due < a->due ? *b : *a;
    both.timestamp = a->timestamp > b->timestamp ? a->timestamp : b->timestamp;
    *ret_deadline = both;
    return true;
}

int64_t dctx_deadline_remaining(const dctx_deadline_t *deadline, const dctx_clocks_t *clock)
{
    if (deadline == NULL)
        return DCTX_NO_DEADLINE;
    return dctx_time_sub_(deadline->due, dctx_clock_monotonic_(dctx_clock_or_current_(clock)));
}

/* ---- the thread's ---- */

const dctx_deadline_t *dctx_deadline_get(void)
{
    return dctx_get(dctx_known_key_(DCTX_KNOWN_DEADLINE));
}

int64_t dctx_deadline_left(void)
{
    return dctx_deadline_remaining(dctx_deadline_get(), NULL);
}

bool dctx_deadline_expired(void)
{
    return dctx_deadline_left() <= 0;
}

dctx_error_t dctx_deadline_set(const dctx_deadline_t *deadline)
{
    dctx_deadline_t both;
    if (deadline == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no deadline (NULL); unset makes it absent");
    (void)dctx_deadline_combine(dctx_deadline_get(), deadline, &both);
    return dctx_known_set_(DCTX_KNOWN_DEADLINE, &both);
}

dctx_error_t dctx_deadline_set_timeout(int64_t timeout)
{
    dctx_deadline_t deadline;
    dctx_deadline_after(NULL, timeout, &deadline);
    return dctx_deadline_set(&deadline);
}

dctx_error_t dctx_deadline_unset(void)
{
    return dctx_known_unset_(DCTX_KNOWN_DEADLINE);
}

/* ---- a snapshot's ---- */

static inline const dctx_deadline_t *find(const dctx_snapshot_t *snapshot)
{
    dctx_value_t *value =
        snapshot->table[DCTX_KIND_BROADCAST]->slots[snapshot->registry->deadline_index];
    return value != NULL ? dctx_value_get_(value) : NULL;
}

const dctx_deadline_t *dctx_snapshot_deadline(const dctx_snapshot_t *snapshot)
{
    return snapshot != NULL ? find(snapshot) : NULL;
}

_Static_assert(offsetof(dctx_snapshot_t, due) == 0, "where dctx_snapshot_expired_() looks");

bool dctx_snapshot_expired(const dctx_snapshot_t *snapshot)
{
    if (snapshot == NULL)
        return false;
    dctx_snapshot_t *keeper = (dctx_snapshot_t *)(uintptr_t)snapshot;
    const dctx_deadline_t *deadline = find(snapshot);
    bool known = deadline == NULL || snapshot->registry->clock.wall == NULL;
    if (known &&
        (snapshot->table[DCTX_KIND_LOCAL]->count == 0 || dctx_snapshot_cancel(snapshot) == NULL))
        __atomic_store_n(&keeper->due.ns, deadline != NULL ? deadline->due : INT64_MAX,
                         __ATOMIC_RELAXED);
    if (deadline == NULL)
        return false;
    /* The coarse reading decides unless it is too close to tell. */
    int64_t reading = __atomic_load_n(&dctx_coarse_reading_, __ATOMIC_RELAXED);
    if (snapshot->registry->clock.wall == NULL && reading != DCTX_COARSE_STOPPED &&
        deadline->due > reading + DCTX_COARSE_ERROR_)
        return false;
    return dctx_clock_monotonic_(dctx_registry_clocks(snapshot->registry)) >= deadline->due;
}

/* ---- on the wire: [remaining, sent, since set, boot id or nil, due], of fixed width ---- */

static uint8_t *put_int(uint8_t *out, int64_t value)
{
    *out++ = 0xd3;
    for (int shift = 56; shift >= 0; shift -= 8)
        *out++ = (uint8_t)((uint64_t)value >> shift);
    return out;
}

size_t dctx_deadline_encode_(const dctx_deadline_t *deadline, const dctx_clocks_t *clock,
                             uint8_t *out)
{
    int64_t wall = dctx_clock_wall_(clock);
    int64_t left = dctx_time_sub_(deadline->due, dctx_clock_monotonic_(clock));
    int64_t since = dctx_time_sub_(wall, deadline->timestamp);
    *out++ = 0x95;
    out = put_int(out, left > 0 ? left : 0);
    out = put_int(out, wall);
    out = put_int(out, since > 0 ? since : 0);
    *out++ = 0xc4;
    *out++ = 16;
    out = (uint8_t *)memcpy(out, clock->boot_id, 16) + 16;
    (void)put_int(out, deadline->due);
    return DCTX_DEADLINE_ENCODED;
}

uint8_t *dctx_deadline_entry_put_(uint8_t *out, const dctx_value_t *value)
{
    const dctx_key_t *key = value->key;
    out = (uint8_t *)memcpy(out, key->prefix, key->prefix_size) + key->prefix_size;
    out += dctx_head_bin_(out, DCTX_DEADLINE_ENCODED);
    return out + dctx_deadline_encode_(value->data, dctx_registry_clocks(key->registry), out);
}

int64_t dctx_deadline_stale_at_(const dctx_deadline_t *deadline, const dctx_clocks_t *clock)
{
    int64_t now = dctx_clock_monotonic_(clock);
    /* Nothing remains, and that stays so. */
    return now < deadline->due ? dctx_time_add_(now, DCTX_DEADLINE_FRESH) : INT64_MAX;
}

/* How much of its time a message used up on the way: what its age says, less what the clocks may
 * disagree by. None if the age cannot be. */
static int64_t time_on_the_way(int64_t age, const dctx_clocks_t *clock)
{
    int64_t skew = dctx_clock_skew_(clock);
    if (age < -skew || age > DCTX_DEADLINE_AGE_MAX) {
        dctx_carrier_count_(DCTX_CARRIER_IMPLAUSIBLE, 1);
        return 0;
    }
    return age > skew ? age - skew : 0;
}

static void anchor(int64_t left, int64_t since, const dctx_clocks_t *clock, int64_t wall,
                   dctx_deadline_t *ret_deadline)
{
    *ret_deadline = (dctx_deadline_t){
        .timestamp = dctx_time_sub_(wall, since),
        .deadline = dctx_time_add_(wall, left),
        .due = dctx_time_add_(dctx_clock_monotonic_(clock), left),
    };
}

bool dctx_deadline_decode_(const void *data, size_t size, const dctx_clocks_t *clock,
                           dctx_deadline_t *ret_deadline)
{
    dctx_reader_t reader;
    dctx_reader_init(&reader, data, size);
    uint32_t count = dctx_read_array(&reader);
    int64_t left = dctx_read_int(&reader);
    int64_t sent = dctx_read_int(&reader);
    int64_t since = dctx_read_int(&reader);
    bool has_boot = dctx_reader_peek(&reader) != DCTX_ITEM_NIL;
    dctx_bytes_t boot = {NULL, 16};
    if (has_boot)
        boot = dctx_read_bin(&reader);
    else
        dctx_read_nil(&reader);
    int64_t due = dctx_read_int(&reader);
    for (uint32_t i = 5; i < count && dctx_reader_error(&reader) == DCTX_OK; i++)
        dctx_read_skip(&reader);
    if (dctx_reader_end(&reader) != DCTX_OK || count < 5 || boot.size != 16 || left < 0 ||
        since < 0)
        return false;

    int64_t wall = dctx_clock_wall_(clock);
    int64_t age = dctx_time_sub_(wall, sent);
    if (has_boot && dctx_clock_same_boot_(clock, boot.data)) {
        /* Never more than what remained, should the two monotonic clocks be apart after all. */
        int64_t exact = dctx_time_sub_(due, dctx_clock_monotonic_(clock));
        anchor(exact < left ? exact : left, dctx_time_add_(since, age > 0 ? age : 0), clock, wall,
               ret_deadline);
        return true;
    }
    int64_t way = time_on_the_way(age, clock);
    anchor(dctx_time_sub_(left, way), dctx_time_add_(since, way), clock, wall, ret_deadline);
    return true;
}

/*
 * Two wall times and no word of when they were sent. What there was when it was set is an upper
 * bound; the time since then may have been spent anywhere, so that a long one is no sign of a wrong
 * clock. The wall times stay as they are, unless they cannot be true here: sent on they are then
 * the same, and nothing adds up over hops.
 */
void dctx_deadline_from_wall_(int64_t timestamp, int64_t deadline, const dctx_clocks_t *clock,
                              dctx_deadline_t *ret_deadline)
{
    int64_t wall = dctx_clock_wall_(clock);
    int64_t whole = dctx_time_sub_(deadline, timestamp);
    int64_t age = dctx_time_sub_(wall, timestamp);
    int64_t way = age > DCTX_DEADLINE_AGE_MAX ? age : time_on_the_way(age, clock);
    anchor(dctx_time_sub_(whole, way), way, clock, wall, ret_deadline);
    if (age >= -dctx_clock_skew_(clock)) {
        ret_deadline->timestamp = timestamp;
        ret_deadline->deadline = deadline;
    }
}

dctx_error_t dctx_deadline_arrive_(const dctx_registry_t *registry, dctx_value_t **slot,
                                   dctx_grave_t *grave)
{
    dctx_value_t *raw = *slot;
    dctx_deadline_t deadline;
    dctx_reader_t reader;
    dctx_reader_init(&reader, raw->wire.bytes, raw->size);
    (void)dctx_read_array(&reader);
    (void)dctx_read_str(&reader);
    uint64_t version = dctx_read_uint(&reader);
    dctx_bytes_t body = dctx_read_bin(&reader);
    if (dctx_reader_error(&reader) != DCTX_OK || version != raw->key->version ||
        !dctx_deadline_decode_(body.data, body.size, dctx_registry_clocks(registry), &deadline))
        return DCTX_OK;
    dctx_lone_t *lone = dctx_lone_new_(raw->key, sizeof(deadline));
    if (lone == NULL)
        return DCTX_ERR_NOMEM;
    memcpy(lone->data, &deadline, sizeof(deadline));
    *slot = &lone->value;
    dctx_value_drop_(raw, grave);
    return DCTX_OK;
}
