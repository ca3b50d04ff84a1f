#include "groups.h"

#include <string.h>

#include <dcontext/group.h>
#include <dcontext/internal.h>

#include "send.h"
#include "share.h"
#include "system.h"

enum { BUCKETS_FIRST = 16 };

/* That an actor is in a group. */
struct dctx_member {
    dctx_member_t *next; /* in its bucket */
    uint64_t id;
    dctx_group_t *group;
    size_t place; /* in the group's `members` */
};

struct dctx_group {
    dctx_group_t *next; /* in its bucket */
    uint32_t hash;
    dctx_member_t **members;
    size_t count, capacity;
    char name[];
};

void dctx_groups_init(dctx_groups_t *groups)
{
    pthread_mutex_init(&groups->lock, NULL);
}

static void release_group(dctx_group_t *group)
{
    for (size_t i = 0; i < group->count; i++)
        dctx_release_(group->members[i]);
    dctx_release_(group->members);
    dctx_release_(group);
}

void dctx_groups_finish(dctx_groups_t *groups)
{
    for (size_t i = 0; i < groups->group_buckets; i++) {
        for (dctx_group_t *group = groups->groups[i], *next; group != NULL; group = next) {
            next = group->next;
            release_group(group);
        }
    }
    dctx_release_(groups->groups);
    dctx_release_(groups->members);
    pthread_mutex_destroy(&groups->lock);
}

/* ---- looking up ------------------------------------------------------------------------------ */

static uint32_t hash_name(const char *name)
{
    uint32_t hash = 2166136261u;
    for (; *name != '\0'; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619u;
    return hash;
}

static dctx_group_t **group_bucket(dctx_groups_t *groups, uint32_t hash)
{
    return &groups->groups[hash & (groups->group_buckets - 1)];
}

static dctx_member_t **member_bucket(dctx_groups_t *groups, uint64_t id)
{
    uint64_t hash = id * 0x9e3779b97f4a7c15u;
    return &groups->members[hash >> 32 & (groups->member_buckets - 1)];
}

static dctx_group_t *find_group(dctx_groups_t *groups, const char *name)
{
    uint32_t hash = hash_name(name);
    dctx_group_t *group = groups->group_buckets == 0 ? NULL : *group_bucket(groups, hash);
    while (group != NULL && (group->hash != hash || strcmp(group->name, name) != 0))
        group = group->next;
    return group;
}

static dctx_member_t *find_member(dctx_groups_t *groups, const dctx_group_t *group, uint64_t id)
{
    dctx_member_t *member = groups->member_buckets == 0 ? NULL : *member_bucket(groups, id);
    while (member != NULL && (member->group != group || member->id != id))
        member = member->next;
    return member;
}

/* ---- room for more --------------------------------------------------------------------------- */

/* A table twice as large; without memory the old one does, if there is one. */
static void *grow_buckets(size_t *buckets, void *old, size_t *ret_before)
{
    *ret_before = *buckets;
    size_t count = *buckets == 0 ? BUCKETS_FIRST : *buckets * 2;
    void *table = dctx_calloc_(count, sizeof(void *));
    if (table == NULL)
        return old;
    *buckets = count;
    return table;
}

static dctx_error_t need_group_buckets(dctx_groups_t *groups)
{
    if (groups->group_count < groups->group_buckets)
        return DCTX_OK;
    dctx_group_t **old = groups->groups;
    size_t before = 0;
    groups->groups = grow_buckets(&groups->group_buckets, old, &before);
    if (groups->groups == old)
        return old != NULL ? DCTX_OK : DCTX_ERR_NOMEM;
    for (size_t i = 0; i < before; i++) {
        for (dctx_group_t *group = old[i], *next; group != NULL; group = next) {
            next = group->next;
            dctx_group_t **bucket = group_bucket(groups, group->hash);
            group->next = *bucket;
            *bucket = group;
        }
    }
    dctx_release_(old);
    return DCTX_OK;
}

static dctx_error_t need_member_buckets(dctx_groups_t *groups)
{
    if (groups->member_count < groups->member_buckets)
        return DCTX_OK;
    dctx_member_t **old = groups->members;
    size_t before = 0;
    groups->members = grow_buckets(&groups->member_buckets, old, &before);
    if (groups->members == old)
        return old != NULL ? DCTX_OK : DCTX_ERR_NOMEM;
    for (size_t i = 0; i < before; i++) {
        for (dctx_member_t *member = old[i], *next; member != NULL; member = next) {
            next = member->next;
            dctx_member_t **bucket = member_bucket(groups, member->id);
            member->next = *bucket;
            *bucket = member;
        }
    }
    dctx_release_(old);
    return DCTX_OK;
}

static dctx_error_t need_place(dctx_group_t *group)
{
    if (group->count < group->capacity)
        return DCTX_OK;
    size_t capacity = group->capacity == 0 ? 4 : group->capacity * 2;
    dctx_member_t **members = dctx_alloc_(capacity * sizeof(dctx_member_t *));
    if (members == NULL)
        return DCTX_ERR_NOMEM;
    if (group->count > 0)
        memcpy(members, group->members, group->count * sizeof(dctx_member_t *));
    dctx_release_(group->members);
    group->members = members;
    group->capacity = capacity;
    return DCTX_OK;
}

/* ---- joining and leaving --------------------------------------------------------------------- */

static dctx_group_t *make_group(dctx_groups_t *groups, const char *name)
{
    size_t size = strlen(name) + 1;
    if (need_group_buckets(groups) != DCTX_OK)
        return NULL;
    dctx_group_t *group = dctx_calloc_(1, sizeof *group + size);
    if (group == NULL)
        return NULL;
    group->hash = hash_name(name);
    memcpy(group->name, name, size);
    dctx_group_t **bucket = group_bucket(groups, group->hash);
    group->next = *bucket;
    *bucket = group;
    groups->group_count++;
    return group;
}

static void drop_if_empty(dctx_groups_t *groups, dctx_group_t *group)
{
    if (group->count > 0)
        return;
    dctx_group_t **place = group_bucket(groups, group->hash);
    while (*place != group)
        place = &(*place)->next;
    *place = group->next;
    groups->group_count--;
    release_group(group);
}

/* Sets the mark in the cell. False: the actor has gone. */
static bool mark(dctx_system_t *system, uint64_t id)
{
    if (dctx_id_is_remote(id))
        return true;
    dctx_actor_t *actor = dctx_slab_at(&system->actors, (uint32_t)id);
    uint64_t life = actor == NULL ? 0 : atomic_load(&actor->life);
    do
        if (!(life & DCTX_LIFE_ALIVE) || life >> 32 != id >> 32)
            return false;
    while (!atomic_compare_exchange_weak(&actor->life, &life, life | DCTX_LIFE_GROUPED));
    return true;
}

static dctx_error_t add_member(dctx_system_t *system, dctx_group_t *group, uint64_t id)
{
    dctx_groups_t *groups = &system->groups;
    dctx_member_t *member = NULL;
    if (need_member_buckets(groups) == DCTX_OK && need_place(group) == DCTX_OK)
        member = dctx_alloc_(sizeof *member);
    if (member == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a member of group %s", group->name);
    if (!mark(system, id)) {
        dctx_release_(member);
        return dctx_fail_(DCTX_ERR_NO_ACTOR, "the actor has gone");
    }
    dctx_member_t **bucket = member_bucket(groups, id);
    *member = (dctx_member_t){.next = *bucket, .id = id, .group = group, .place = group->count};
    *bucket = member;
    group->members[group->count++] = member;
    groups->member_count++;
    return DCTX_OK;
}

/* Takes out the membership that `place` points to. */
static void remove_member(dctx_groups_t *groups, dctx_member_t **place)
{
    dctx_member_t *member = *place;
    dctx_group_t *group = member->group;
    *place = member->next;
    dctx_member_t *last = group->members[--group->count];
    group->members[member->place] = last;
    last->place = member->place;
    groups->member_count--;
    dctx_release_(member);
    drop_if_empty(groups, group);
}

static dctx_error_t check(const dctx_system_t *system, const char *group)
{
    if (system == NULL || group == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no system, or no group");
    if (!dctx_name_is_valid(group, strlen(group)))
        return dctx_fail_(DCTX_ERR_INVALID,
                          "a group's name is 1 to 56 of A-Z a-z 0-9 _ . : / -, not \"%s\"", group);
    return DCTX_OK;
}

static dctx_error_t check_member(const dctx_system_t *system, const char *group, dctx_ref_t member)
{
    dctx_error_t error = check(system, group);
    if (error == DCTX_OK && member.system_ != system)
        error = dctx_fail_(DCTX_ERR_INVALID, "a group's members are addresses of its own system");
    return error;
}

dctx_error_t dctx_group_join(dctx_system_t *system, const char *name, dctx_ref_t member)
{
    dctx_error_t error = check_member(system, name, member);
    if (error != DCTX_OK)
        return error;
    dctx_groups_t *groups = &system->groups;
    pthread_mutex_lock(&groups->lock);
    dctx_group_t *group = find_group(groups, name);
    if (group == NULL)
        group = make_group(groups, name);
    if (group == NULL) {
        error = dctx_fail_(DCTX_ERR_NOMEM, "no memory for group %s", name);
    } else if (find_member(groups, group, member.id_) == NULL) {
        error = add_member(system, group, member.id_);
        drop_if_empty(groups, group);
    }
    pthread_mutex_unlock(&groups->lock);
    return error;
}

dctx_error_t dctx_group_leave(dctx_system_t *system, const char *name, dctx_ref_t member)
{
    dctx_error_t error = check_member(system, name, member);
    if (error != DCTX_OK)
        return error;
    dctx_groups_t *groups = &system->groups;
    pthread_mutex_lock(&groups->lock);
    dctx_group_t *group = find_group(groups, name);
    dctx_member_t *found = group != NULL ? find_member(groups, group, member.id_) : NULL;
    if (found != NULL) {
        dctx_member_t **place = member_bucket(groups, member.id_);
        while (*place != found)
            place = &(*place)->next;
        remove_member(groups, place);
    }
    pthread_mutex_unlock(&groups->lock);
    if (found == NULL)
        return dctx_fail_(DCTX_ERR_ABSENT, "no such member of group %s", name);
    return DCTX_OK;
}

void dctx_groups_forget_(dctx_groups_t *groups, uint64_t id)
{
    pthread_mutex_lock(&groups->lock);
    dctx_member_t **place = groups->member_buckets > 0 ? member_bucket(groups, id) : NULL;
    while (place != NULL && *place != NULL) {
        if ((*place)->id == id)
            remove_member(groups, place);
        else
            place = &(*place)->next;
    }
    pthread_mutex_unlock(&groups->lock);
}

/* ---- who is in it ---------------------------------------------------------------------------- */

size_t dctx_group_size(dctx_system_t *system, const char *name)
{
    if (check(system, name) != DCTX_OK)
        return 0;
    pthread_mutex_lock(&system->groups.lock);
    const dctx_group_t *group = find_group(&system->groups, name);
    size_t count = group != NULL ? group->count : 0;
    pthread_mutex_unlock(&system->groups.lock);
    return count;
}

dctx_error_t dctx_group_members(dctx_system_t *system, const char *name, dctx_ref_t **ret_members,
                                size_t *ret_count)
{
    dctx_error_t error = check(system, name);
    if (error != DCTX_OK)
        return error;
    if (ret_members == NULL || ret_count == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "there is no place for the members");
    pthread_mutex_lock(&system->groups.lock);
    const dctx_group_t *group = find_group(&system->groups, name);
    size_t count = group != NULL ? group->count : 0;
    dctx_ref_t *members = count > 0 ? dctx_alloc_(count * sizeof *members) : NULL;
    for (size_t i = 0; members != NULL && i < count; i++)
        members[i] = (dctx_ref_t){.system_ = system, .id_ = group->members[i]->id};
    pthread_mutex_unlock(&system->groups.lock);
    if (count > 0 && members == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for the members of group %s", name);
    *ret_members = members;
    *ret_count = count;
    return DCTX_OK;
}

/* ---- telling all ----------------------------------------------------------------------------- */

dctx_error_t dctx_tell_all_(dctx_system_t *system, const dctx_ref_t *members, size_t count,
                            const dctx_type_t *type, const void *value, dctx_group_sent_t *ret_sent)
{
    dctx_snapshot_t *snapshot = NULL;
    dctx_share_t *share = NULL;
    dctx_group_sent_t sent = {0};
    size_t used = 0;
    dctx_error_t error = dctx_fork_for_(system, &snapshot);
    if (error == DCTX_OK && dctx_share_suits_(type))
        error = dctx_share_new_(type, value, count + 1, &share);
    for (size_t i = 0; error == DCTX_OK && i < count; i++) {
        bool held = false;
        if (dctx_tell_shared_(members[i], type, value, share, snapshot, &held) == DCTX_OK)
            sent.delivered++;
        else
            sent.failed++;
        used += held;
    }
    if (share != NULL)
        dctx_share_unref_(share, count + 1 - used);
    dctx_snapshot_unref(&snapshot);
    if (error == DCTX_OK && ret_sent != NULL)
        *ret_sent = sent;
    return error;
}

dctx_error_t dctx_group_tell(dctx_system_t *system, const char *group, const dctx_type_t *type,
                             const void *value, dctx_group_sent_t *ret_sent)
{
    dctx_ref_t *members = NULL;
    size_t count = 0;
    if ((type == NULL) != (value == NULL))
        return dctx_fail_(DCTX_ERR_INVALID, "a message has a type and a value, or neither");
    dctx_error_t error = dctx_group_members(system, group, &members, &count);
    if (error == DCTX_OK)
        error = dctx_tell_all_(system, members, count, type, value, ret_sent);
    dctx_release_(members);
    return error;
}
