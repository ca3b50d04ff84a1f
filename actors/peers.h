/*
 * Nodes that this system's code has named, and the actors there that it has named. Neither goes
 * away before the system does, so a ref to an actor elsewhere is a number, as that of an actor here
 * is.
 */
#ifndef DCTX_PEERS_H
#define DCTX_PEERS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <dcontext/error.h>

#include "slab.h"

typedef struct dctx_peer {
    struct dctx_peer *next; /* under the lock */
    bool up;                /* under the lock */
    char name[64];
} dctx_peer_t;

/* An actor on a node. Never changes once it has an id. */
typedef struct dctx_remote {
    _Alignas(64) dctx_slab_slot_t slot;
    const dctx_peer_t *peer;
    struct dctx_remote *next; /* of the same peer's; under the lock */
    uint32_t hash;
    char actor[64];  /* at most 56 */
    char label[128]; /* "actor@node" */
} dctx_remote_t;

enum { DCTX_PEERS_BUCKETS = 256 };

typedef struct dctx_peers {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* on the monotonic clock */
    dctx_peer_t *peers;
    dctx_remote_t *buckets[DCTX_PEERS_BUCKETS];
    dctx_slab_t remotes;
} dctx_peers_t;

void dctx_peers_init(dctx_peers_t *peers);
void dctx_peers_finish(dctx_peers_t *peers);

/* 1 to 63 of [A-Za-z0-9_.-]. */
bool dctx_node_name_is_valid(const char *name, size_t length);

/* The peer of a name, made if it is new; NULL without memory. */
const dctx_peer_t *dctx_peers_get(dctx_peers_t *peers, const char *name, size_t length);

/* The peer of a name that was named before, else NULL. */
const dctx_peer_t *dctx_peers_find(dctx_peers_t *peers, const char *name);

/* Sets whether a peer is up, and tells who waits for it. */
void dctx_peers_set_up(dctx_peers_t *peers, const dctx_peer_t *peer, bool up);

/* Waits until a peer is up, for `ns` nanoseconds at most; true if it is. */
bool dctx_peers_wait_up(dctx_peers_t *peers, const dctx_peer_t *peer, int64_t ns);

/* The id of an actor on a peer; 0 without memory. */
uint64_t dctx_peers_intern(dctx_peers_t *peers, const dctx_peer_t *peer, const char *actor,
                           size_t length);

/* The actor behind an id; NULL for an id that is none. */
const dctx_remote_t *dctx_peers_remote(dctx_peers_t *peers, uint64_t id);

#endif
