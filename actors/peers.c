#include "peers.h"

#include <stdio.h>
#include <string.h>

#include <dcontext/internal.h>

#include "cell.h"

static void init_remote(void *slot)
{
    (void)slot;
}

void dctx_peers_init(dctx_peers_t *peers)
{
    *peers = (dctx_peers_t){0};
    pthread_mutex_init(&peers->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&peers->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    dctx_slab_init(&peers->remotes, sizeof(dctx_remote_t), init_remote);
}

void dctx_peers_finish(dctx_peers_t *peers)
{
    while (peers->peers != NULL) {
        dctx_peer_t *peer = peers->peers;
        peers->peers = peer->next;
        dctx_release_(peer);
    }
    dctx_slab_finish(&peers->remotes);
    pthread_cond_destroy(&peers->changed);
    pthread_mutex_destroy(&peers->lock);
}

bool dctx_node_name_is_valid(const char *name, size_t length)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
    return length >= 1 && length <= 63 && strspn(name, allowed) >= length;
}

static dctx_peer_t *find(dctx_peers_t *peers, const char *name, size_t length)
{
    for (dctx_peer_t *peer = peers->peers; peer != NULL; peer = peer->next) {
        if (strlen(peer->name) == length && memcmp(peer->name, name, length) == 0)
            return peer;
    }
    return NULL;
}

const dctx_peer_t *dctx_peers_get(dctx_peers_t *peers, const char *name, size_t length)
{
    pthread_mutex_lock(&peers->lock);
    dctx_peer_t *peer = find(peers, name, length);
    if (peer == NULL) {
        peer = dctx_calloc_(1, sizeof *peer);
        if (peer != NULL) {
            memcpy(peer->name, name, length);
            peer->next = peers->peers;
            peers->peers = peer;
        }
    }
    pthread_mutex_unlock(&peers->lock);
    return peer;
}

const dctx_peer_t *dctx_peers_find(dctx_peers_t *peers, const char *name)
{
    pthread_mutex_lock(&peers->lock);
    const dctx_peer_t *peer = find(peers, name, strlen(name));
    pthread_mutex_unlock(&peers->lock);
    return peer;
}

void dctx_peers_set_up(dctx_peers_t *peers, const dctx_peer_t *peer, bool up)
{
    pthread_mutex_lock(&peers->lock);
    ((dctx_peer_t *)(uintptr_t)peer)->up = up;
    pthread_cond_broadcast(&peers->changed);
    pthread_mutex_unlock(&peers->lock);
}

bool dctx_peers_wait_up(dctx_peers_t *peers, const dctx_peer_t *peer, int64_t ns)
{
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += (time_t)(ns / 1000000000);
    end.tv_nsec += (long)(ns % 1000000000);
    if (end.tv_nsec >= 1000000000) {
        end.tv_sec++;
        end.tv_nsec -= 1000000000;
    }
    int error = 0;
    pthread_mutex_lock(&peers->lock);
    while (!peer->up && error == 0)
        error = pthread_cond_timedwait(&peers->changed, &peers->lock, &end);
    bool up = peer->up;
    pthread_mutex_unlock(&peers->lock);
    return up;
}

static uint32_t hash(const dctx_peer_t *peer, const char *actor, size_t length)
{
    uint32_t h = 2166136261u;
    for (const char *p = peer->name; *p != '\0'; p++)
        h = (h ^ (unsigned char)*p) * 16777619u;
    h *= 16777619u;
    for (size_t i = 0; i < length; i++)
        h = (h ^ (unsigned char)actor[i]) * 16777619u;
    return h;
}

uint64_t dctx_peers_intern(dctx_peers_t *peers, const dctx_peer_t *peer, const char *actor,
                           size_t length)
{
    uint32_t h = hash(peer, actor, length);
    pthread_mutex_lock(&peers->lock);
    dctx_remote_t **bucket = &peers->buckets[h % DCTX_PEERS_BUCKETS];
    dctx_remote_t *remote = *bucket;
    while (remote != NULL &&
           (remote->hash != h || remote->peer != peer || strlen(remote->actor) != length ||
            memcmp(remote->actor, actor, length) != 0))
        remote = remote->next;
    if (remote == NULL && (remote = dctx_slab_take(&peers->remotes)) != NULL) {
        remote->peer = peer;
        remote->hash = h;
        memcpy(remote->actor, actor, length);
        remote->actor[length] = '\0';
        snprintf(remote->label, sizeof remote->label, "%s@%s", remote->actor, peer->name);
        remote->next = *bucket;
        *bucket = remote;
    }
    pthread_mutex_unlock(&peers->lock);
    return remote == NULL ? 0 : DCTX_ID_REMOTE | remote->slot.index;
}

const dctx_remote_t *dctx_peers_remote(dctx_peers_t *peers, uint64_t id)
{
    if (!dctx_id_is_remote(id))
        return NULL;
    const dctx_remote_t *remote = dctx_slab_at(&peers->remotes, (uint32_t)id);
    return remote != NULL && remote->peer != NULL ? remote : NULL;
}
