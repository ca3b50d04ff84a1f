/*
 * The groups of a system, by name, and the memberships of an actor, by its id. All under one lock,
 * which nobody holds while he sends.
 *
 * That an actor is in a group its cell says too (DCTX_LIFE_GROUPED), so that an end need not look
 * here for nothing. Who joins sets that while the actor is alive and under the lock; who ends the
 * actor's life takes it off with the life, and then comes here: so he comes after whoever joined,
 * and nobody joins after him.
 */
#ifndef DCTX_GROUPS_H
#define DCTX_GROUPS_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

typedef struct dctx_member dctx_member_t;
typedef struct dctx_group dctx_group_t;

typedef struct dctx_groups {
    pthread_mutex_t lock;
    dctx_group_t **groups; /* buckets by name; a power of two, as below */
    size_t group_buckets, group_count;
    dctx_member_t **members; /* buckets by id */
    size_t member_buckets, member_count;
} dctx_groups_t;

void dctx_groups_init(dctx_groups_t *groups);
void dctx_groups_finish(dctx_groups_t *groups);

/* Takes an actor that has ended out of all groups. */
void dctx_groups_forget_(dctx_groups_t *groups, uint64_t id);

#endif
