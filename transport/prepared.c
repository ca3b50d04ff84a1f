#include "prepared.h"

#include <string.h>

#include <dcontext/internal.h>

const uint8_t dctx_magic_[DCTX_MAGIC_SIZE] = {0xd7, 'd', 'c', 't', 'x', 0x01};

/* How many policies and classes a snapshot keeps frames for. */
#define KEPT_MAX 4

/*
 * A frame that was made, and those made before it. Published with the snapshot's companion
 * (release, acquire) and not changed after; the bytes are shared by libzmq's own count.
 */
typedef struct prepared {
    dctx_companion_t base;
    struct prepared *older;
    size_t depth; /* how many are older */
    uint64_t policy;
    dctx_class_t peer;
    bool stamped;
    dctx_stripped_t stripped;
    zmq_msg_t frame;
} prepared_t;

static void destroy(dctx_companion_t *companion)
{
    for (prepared_t *at = (prepared_t *)companion, *older; at != NULL; at = older) {
        older = at->older;
        (void)zmq_msg_close(&at->frame);
        dctx_release_(at);
    }
}

static void destroy_nothing(dctx_companion_t *companion)
{
    (void)companion;
}

/* The companion of a snapshot that was sent once. Most are, and for these a frame to keep would be
 * one more allocation. */
static dctx_companion_t sent_once = {destroy_nothing};

static const prepared_t *find(const dctx_companion_t *companion, const dctx_policy_t *policy,
                              dctx_class_t peer)
{
    if (companion == NULL || companion == &sent_once)
        return NULL;
    const prepared_t *at = (const prepared_t *)companion;
    while (at != NULL && (at->policy != policy->serial || at->peer != peer))
        at = at->older;
    return at;
}

static dctx_error_t check_size(const dctx_sieve_rules_t *rules, const dctx_snapshot_t *snapshot,
                               size_t size)
{
    if (size > rules->stamp_bytes)
        return dctx_fail_(DCTX_ERR_LIMIT, "the stamp is %zu bytes; the policy's stamp_bytes is %zu",
                          size, rules->stamp_bytes);
    if (rules->chain_names != SIZE_MAX && dctx_snapshot_chain_length(snapshot) > rules->chain_names)
        return dctx_fail_(DCTX_ERR_LIMIT,
                          "the chain has %zu names; the policy's chain_names is %zu",
                          dctx_snapshot_chain_length(snapshot), rules->chain_names);
    return DCTX_OK;
}

/* What of the snapshot leaves, as a frame. */
static dctx_error_t make(const dctx_snapshot_t *snapshot, dctx_policy_t *policy, dctx_class_t peer,
                         dctx_stripped_t *ret_stripped, zmq_msg_t *ret_frame, bool *ret_stamped)
{
    static const size_t empty_size = 4; /* 93 01 90 90 */
    dctx_snapshot_t *passed;
    dctx_bytes_t wire;
    dctx_error_t error = dctx_policy_sieve_(policy, peer, true, snapshot, ret_stripped, &passed);
    if (error != DCTX_OK)
        return error;
    error = dctx_snapshot_encode(passed, &wire);
    if (error == DCTX_OK)
        error = check_size(&policy->rules[peer].leave, passed, wire.size);
    if (error == DCTX_OK) {
        *ret_stamped = wire.size > empty_size;
        if (zmq_msg_init_size(ret_frame, DCTX_MAGIC_SIZE + wire.size) != 0)
            error = dctx_fail_(DCTX_ERR_NOMEM, "no memory for a stamp of %zu bytes", wire.size);
    }
    if (error == DCTX_OK) {
        uint8_t *out = zmq_msg_data(ret_frame);
        memcpy(out, dctx_magic_, DCTX_MAGIC_SIZE);
        memcpy(out + DCTX_MAGIC_SIZE, wire.data, wire.size);
    }
    dctx_snapshot_unref(&passed);
    return error;
}

/* Keeps a frame like this one with the snapshot, if there is room and memory. */
static void keep(const dctx_snapshot_t *snapshot, dctx_companion_t *companion,
                 const dctx_policy_t *policy, dctx_class_t peer, const dctx_stripped_t *stripped,
                 zmq_msg_t *frame, bool stamped)
{
    prepared_t *older = companion == &sent_once ? NULL : (prepared_t *)companion;
    if (stripped->count > DCTX_STRIPPED_MAX || (older != NULL && older->depth + 1 >= KEPT_MAX))
        return;
    prepared_t *made = dctx_alloc_(sizeof(*made));
    if (made == NULL)
        return;
    made->base.destroy = destroy;
    made->older = older;
    made->depth = older != NULL ? older->depth + 1 : 0;
    made->policy = policy->serial;
    made->peer = peer;
    made->stamped = stamped;
    made->stripped = *stripped;
    /* The first copy of a frame changes it, to one whose bytes are shared; later ones do not, so
     * any thread may copy it once it is published. */
    (void)zmq_msg_init(&made->frame);
    if (zmq_msg_copy(&made->frame, frame) != 0 ||
        !dctx_snapshot_set_companion_(snapshot, companion, &made->base)) {
        (void)zmq_msg_close(&made->frame);
        dctx_release_(made);
    }
}

static inline dctx_error_t share(const prepared_t *prepared, dctx_policy_t *policy,
                                 zmq_msg_t *ret_frame, bool *ret_stamped)
{
    dctx_policy_count_stripped_(policy, true, &prepared->stripped);
    *ret_stamped = prepared->stamped;
    (void)zmq_msg_init(ret_frame);
    if (zmq_msg_copy(ret_frame, (zmq_msg_t *)(uintptr_t)&prepared->frame) != 0)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory to share a stamp");
    return DCTX_OK;
}

static dctx_error_t prepare_whole(const dctx_snapshot_t *snapshot, dctx_policy_t *policy,
                                  dctx_class_t peer, zmq_msg_t *ret_frame, bool *ret_stamped)
{
    dctx_companion_t *companion = dctx_snapshot_companion_(snapshot);
    const prepared_t *prepared = find(companion, policy, peer);
    if (prepared != NULL)
        return share(prepared, policy, ret_frame, ret_stamped);
    dctx_stripped_t stripped;
    dctx_error_t error = make(snapshot, policy, peer, &stripped, ret_frame, ret_stamped);
    if (error != DCTX_OK)
        return error;
    dctx_policy_count_stripped_(policy, true, &stripped);
    if (companion == NULL)
        (void)dctx_snapshot_set_companion_(snapshot, NULL, &sent_once);
    else
        keep(snapshot, companion, policy, peer, &stripped, ret_frame, *ret_stamped);
    return DCTX_OK;
}

dctx_error_t dctx_prepare_(const dctx_snapshot_t *snapshot, dctx_policy_t *policy,
                           dctx_class_t peer, bool always, zmq_msg_t *ret_frame, bool *ret_stamped)
{
    static const uint8_t empty[] = {0xd7, 'd', 'c', 't', 'x', 0x01, 0x93, 0x01, 0x90, 0x90};
    *ret_stamped = false;
    if (snapshot != NULL && !dctx_snapshot_is_empty(snapshot)) {
        dctx_error_t error = prepare_whole(snapshot, policy, peer, ret_frame, ret_stamped);
        if (error != DCTX_OK || *ret_stamped)
            return error;
        (void)zmq_msg_close(ret_frame);
    }
    *ret_stamped = always;
    if (!always) {
        (void)zmq_msg_init(ret_frame);
        return DCTX_OK;
    }
    if (zmq_msg_init_size(ret_frame, sizeof(empty)) != 0)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a stamp");
    memcpy(zmq_msg_data(ret_frame), empty, sizeof(empty));
    return DCTX_OK;
}

static void *room(size_t size, void *frame)
{
    if (zmq_msg_init_size(frame, DCTX_MAGIC_SIZE + size) != 0)
        return NULL;
    uint8_t *out = zmq_msg_data(frame);
    memcpy(out, dctx_magic_, DCTX_MAGIC_SIZE);
    return out + DCTX_MAGIC_SIZE;
}

dctx_error_t dctx_prepare_own_(dctx_policy_t *policy, dctx_class_t peer, bool always,
                               zmq_msg_t *ret_frame, bool *ret_stamped)
{
    dctx_passing_t passing;
    dctx_snapshot_t *snapshot = NULL;
    /* Without a count of its own: no log sink is called, so nothing can change the context. */
    const dctx_snapshot_t *captured = policy->log ? NULL : dctx_captured_();
    const prepared_t *prepared =
        captured != NULL ? find(dctx_snapshot_companion_(captured), policy, peer) : NULL;
    if (prepared != NULL && prepared->stamped)
        return share(prepared, policy, ret_frame, ret_stamped);
    dctx_once_t once = DCTX_ONCE_NOT;
    if (dctx_policy_passing_(policy, peer, true, &passing))
        once = dctx_context_encode_(&passing, room, ret_frame);
    *ret_stamped = true;
    if (once == DCTX_ONCE_DONE || once == DCTX_ONCE_NOMEM)
        return once == DCTX_ONCE_DONE ? DCTX_OK : DCTX_ERR_NOMEM;
    dctx_error_t error = dctx_capture(&snapshot);
    if (error != DCTX_OK)
        return error;
    if (once == DCTX_ONCE_AGAIN && dctx_snapshot_companion_(snapshot) == NULL)
        (void)dctx_snapshot_set_companion_(snapshot, NULL, &sent_once);
    error = dctx_prepare_(snapshot, policy, peer, always, ret_frame, ret_stamped);
    dctx_snapshot_unref(&snapshot);
    return error;
}
