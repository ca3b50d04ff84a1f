/*
 * Routers. Members are in the places of a table, which senders read without a lock. Where keys are
 * routed nothing ever moves in it: who goes leaves an empty place. Else the last one fills it, and
 * a sender at this moment finds him in both, or passes him by: so nobody is told that there is no
 * member, nor are all of them told or counted, but by a look under the lock. A table that is too
 * small is replaced by one twice as large, and kept, as somebody may still read it, until the
 * router goes: all of them together are no larger than the last.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <dcontext/group.h>
#include <dcontext/handling.h>
#include <dcontext/internal.h>
#include <dcontext/router.h>

#include "deadletter.h"
#include "gauge.h"
#include "message.h"
#include "send.h"
#include "system.h"

enum { PLACES_FIRST = 8, EXACT_MAX = 8, CHOICES = 4, PROBES = 32 };

typedef struct table {
    struct table *before; /* the smaller ones */
    size_t capacity;
    _Atomic(uint64_t) ids[]; /* written under the lock, with release; 0: an empty place */
} table_t;

struct dctx_router {
    dctx_system_t *system;
    dctx_router_options_t options; /* but for what is copied below */
    dctx_actor_options_t worker;
    char worker_name[DCTX_NAME_MAX + 1];
    dctx_ref_t front;         /* set before anybody else has the router */
    _Atomic(size_t) holders;  /* its owner and its front actor; acq_rel */
    _Atomic(table_t *) table; /* under the lock, with release */
    /* Places in use, from the first on; under the lock, with release,
     * after the table that has them. */
    _Atomic(size_t) used;
    _Alignas(64) _Atomic(uint64_t) turn; /* of round robin; relaxed */
    _Atomic(uint64_t) random;            /* where the random numbers are; relaxed */

    pthread_mutex_t lock; /* of who changes the members */
    size_t spawned;       /* numbers given to workers; under the lock */
    uint64_t *own;        /* under the lock: the ids of workers, also of those that have gone */
    size_t own_count, own_capacity;
};

static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static dctx_ref_t ref_of(const dctx_router_t *self, uint64_t id)
{
    return (dctx_ref_t){.system_ = self->system, .id_ = id};
}

static dctx_actor_t *actor_of(const dctx_router_t *self, uint64_t id)
{
    return dctx_slab_at(&self->system->actors, (uint32_t)id);
}

static bool is_alive(const dctx_router_t *self, uint64_t id)
{
    if (dctx_id_is_remote(id))
        return true;
    dctx_actor_t *actor = actor_of(self, id);
    uint64_t life = atomic_load_explicit(&actor->life, memory_order_acquire);
    return (life & DCTX_LIFE_ALIVE) && life >> 32 == id >> 32;
}

/* ---- members --------------------------------------------------------------------------------- */

/* Under the lock. Where keys are routed the last place is given up, so that its keys go where they
 * came from, and any other stays, empty. */
static void empty_place(dctx_router_t *self, size_t place)
{
    table_t *table = atomic_load_explicit(&self->table, memory_order_relaxed);
    size_t last = atomic_load_explicit(&self->used, memory_order_relaxed) - 1;
    if (self->options.route != DCTX_ROUTE_BY_KEY && place != last) {
        uint64_t moved = atomic_load_explicit(&table->ids[last], memory_order_relaxed);
        atomic_store_explicit(&table->ids[place], moved, memory_order_release);
        place = last;
    }
    if (place == last)
        atomic_store_explicit(&self->used, last, memory_order_release);
    atomic_store_explicit(&table->ids[place], 0, memory_order_release);
}

/* Empties a place, unless another has come into it. */
static void clear_place(dctx_router_t *self, size_t place, uint64_t id)
{
    pthread_mutex_lock(&self->lock);
    table_t *table = atomic_load_explicit(&self->table, memory_order_relaxed);
    if (atomic_load_explicit(&table->ids[place], memory_order_relaxed) == id)
        empty_place(self, place);
    pthread_mutex_unlock(&self->lock);
}

/* The living member at a place; 0: none. Who has gone leaves it. */
static uint64_t member_at(dctx_router_t *self, size_t place)
{
    table_t *table = atomic_load_explicit(&self->table, memory_order_acquire);
    uint64_t id = atomic_load_explicit(&table->ids[place], memory_order_acquire);
    if (id == 0 || __builtin_expect(is_alive(self, id), 1))
        return id;
    clear_place(self, place, id);
    return 0;
}

/* Under the lock: who is at a place, alive or not; 0: nobody. */
static uint64_t at(dctx_router_t *self, size_t place)
{
    table_t *table = atomic_load_explicit(&self->table, memory_order_relaxed);
    return atomic_load_explicit(&table->ids[place], memory_order_relaxed);
}

/* Under the lock. */
static dctx_error_t grow(dctx_router_t *self)
{
    table_t *old = atomic_load_explicit(&self->table, memory_order_relaxed);
    size_t capacity = old == NULL ? PLACES_FIRST : old->capacity * 2;
    table_t *table = dctx_calloc_(1, sizeof *table + capacity * sizeof table->ids[0]);
    if (table == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for the members of a router");
    table->before = old;
    table->capacity = capacity;
    for (size_t i = 0; old != NULL && i < old->capacity; i++)
        atomic_init(&table->ids[i], atomic_load_explicit(&old->ids[i], memory_order_relaxed));
    atomic_store_explicit(&self->table, table, memory_order_release);
    return DCTX_OK;
}

/* Under the lock: the place of a member; `used` if it has none. */
static size_t find(dctx_router_t *self, uint64_t id)
{
    table_t *table = atomic_load_explicit(&self->table, memory_order_relaxed);
    size_t used = atomic_load_explicit(&self->used, memory_order_relaxed), place = 0;
    while (place < used && atomic_load_explicit(&table->ids[place], memory_order_relaxed) != id)
        place++;
    return place;
}

/* Under the lock. An empty place is taken first, so that the keys of who was there come to who
 * is. */
static dctx_error_t add(dctx_router_t *self, uint64_t id)
{
    size_t used = atomic_load_explicit(&self->used, memory_order_relaxed);
    if (find(self, id) < used)
        return DCTX_OK;
    size_t place = 0;
    table_t *table = atomic_load_explicit(&self->table, memory_order_relaxed);
    for (; place < used; place++) {
        uint64_t other = atomic_load_explicit(&table->ids[place], memory_order_relaxed);
        if (other == 0 || !is_alive(self, other))
            break;
    }
    if (table == NULL || place == table->capacity) {
        dctx_error_t error = grow(self);
        if (error != DCTX_OK)
            return error;
        table = atomic_load_explicit(&self->table, memory_order_relaxed);
    }
    atomic_store_explicit(&table->ids[place], id, memory_order_release);
    if (place == used)
        atomic_store_explicit(&self->used, used + 1, memory_order_release);
    return DCTX_OK;
}

static bool take_out(dctx_router_t *self, uint64_t id)
{
    size_t place = find(self, id);
    if (place == atomic_load_explicit(&self->used, memory_order_relaxed))
        return false;
    empty_place(self, place);
    return true;
}

dctx_error_t dctx_router_add(dctx_router_t *self, dctx_ref_t member)
{
    if (self == NULL || member.system_ != self->system)
        return dctx_fail_(DCTX_ERR_INVALID, "a router's members are addresses of its own system");
    /* A message would go round in it, and by DCTX_ROUTE_BROADCAST multiply. */
    if (dctx_ref_equal(member, self->front))
        return dctx_fail_(DCTX_ERR_INVALID, "a router is no member of itself");
    if (!is_alive(self, member.id_))
        return dctx_fail_(DCTX_ERR_NO_ACTOR, "the actor has gone");
    pthread_mutex_lock(&self->lock);
    dctx_error_t error = add(self, member.id_);
    pthread_mutex_unlock(&self->lock);
    return error;
}

dctx_error_t dctx_router_remove(dctx_router_t *self, dctx_ref_t member)
{
    if (self == NULL || member.system_ != self->system)
        return dctx_fail_(DCTX_ERR_INVALID, "a router's members are addresses of its own system");
    pthread_mutex_lock(&self->lock);
    bool was = take_out(self, member.id_);
    pthread_mutex_unlock(&self->lock);
    return was ? DCTX_OK : dctx_fail_(DCTX_ERR_ABSENT, "no such member of the router");
}

/* Under the lock: who has gone leaves. From the last place on, as only those move that are known
 * to live. */
static void sweep(dctx_router_t *self)
{
    for (size_t i = atomic_load_explicit(&self->used, memory_order_relaxed); i > 0; i--) {
        uint64_t id = at(self, i - 1);
        if (id != 0 && !is_alive(self, id))
            empty_place(self, i - 1);
    }
}

size_t dctx_router_size(dctx_router_t *self)
{
    if (self == NULL)
        return 0;
    size_t count = 0;
    pthread_mutex_lock(&self->lock);
    sweep(self);
    size_t used = atomic_load_explicit(&self->used, memory_order_relaxed);
    for (size_t i = 0; i < used; i++)
        count += at(self, i) != 0;
    pthread_mutex_unlock(&self->lock);
    return count;
}

/* ---- workers --------------------------------------------------------------------------------- */

/* Under the lock. */
static dctx_error_t need_own(dctx_router_t *self)
{
    if (self->own_count < self->own_capacity)
        return DCTX_OK;
    size_t capacity = self->own_capacity == 0 ? PLACES_FIRST : self->own_capacity * 2;
    uint64_t *own = dctx_alloc_(capacity * sizeof *own);
    if (own == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for the workers of a router");
    if (self->own_count > 0)
        memcpy(own, self->own, self->own_count * sizeof *own);
    dctx_release_(self->own);
    self->own = own;
    self->own_capacity = capacity;
    return DCTX_OK;
}

/* Under the lock. */
static void drop_gone(dctx_router_t *self)
{
    size_t left = 0;
    for (size_t i = 0; i < self->own_count; i++) {
        if (is_alive(self, self->own[i]))
            self->own[left++] = self->own[i];
    }
    self->own_count = left;
}

/* One that has gone is stopped. */
static void stop(dctx_ref_t ref)
{
    dctx_error_t error = dctx_stop(ref);
    (void)error;
}

/* Under the lock. */
static dctx_error_t spawn_worker(dctx_router_t *self)
{
    char name[DCTX_NAME_MAX + 32];
    dctx_actor_options_t options = self->worker;
    dctx_error_t error = need_own(self);
    if (error != DCTX_OK)
        return error;
    size_t number = ++self->spawned;
    if (options.name != NULL) {
        snprintf(name, sizeof name, "%s-%zu", self->worker_name, number);
        options.name = name;
    }
    if (self->options.worker_state != NULL) {
        options.state = self->options.worker_state(number, self->options.arg);
        if (options.state == NULL)
            return dctx_fail_(DCTX_ERR_NOMEM, "no state for a router's worker");
    }
    dctx_ref_t ref = DCTX_REF_NONE;
    error = dctx_spawn(self->system, &options, &ref);
    if (error != DCTX_OK) {
        if (self->options.worker_state != NULL && options.destroy_state != NULL)
            options.destroy_state(options.state);
        return error;
    }
    error = add(self, ref.id_);
    if (error != DCTX_OK)
        stop(ref);
    else
        self->own[self->own_count++] = ref.id_;
    return error;
}

static void stop_worker(dctx_router_t *self)
{
    uint64_t id = self->own[--self->own_count];
    (void)take_out(self, id);
    stop(ref_of(self, id));
}

dctx_error_t dctx_router_resize(dctx_router_t *self, size_t workers)
{
    if (self == NULL || self->worker.handler == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "the router has no workers of its own");
    dctx_error_t error = DCTX_OK;
    pthread_mutex_lock(&self->lock);
    drop_gone(self);
    while (self->own_count > workers)
        stop_worker(self);
    while (error == DCTX_OK && self->own_count < workers)
        error = spawn_worker(self);
    pthread_mutex_unlock(&self->lock);
    return error;
}

/* ---- choosing -------------------------------------------------------------------------------- */

static uint64_t next_random(dctx_router_t *self)
{
    uint64_t step =
        atomic_fetch_add_explicit(&self->random, 0x9e3779b97f4a7c15u, memory_order_relaxed);
    return mix(step);
}

/* The first living member from a place on. */
static uint64_t first_from(dctx_router_t *self, size_t place, size_t used)
{
    uint64_t id = 0;
    for (size_t i = 0; id == 0 && i < used; i++)
        id = member_at(self, (place + i) % used);
    return id;
}

static uint64_t in_turn(dctx_router_t *self, size_t used)
{
    return first_from(self, atomic_fetch_add_explicit(&self->turn, 1, memory_order_relaxed) % used,
                      used);
}

/* Jump consistent hash (Lamping, Veach): one place more takes its share of the keys from all
 * others, and no other key moves. */
static size_t jump(uint64_t key, size_t places)
{
    int64_t at = -1, next = 0;
    while (next < (int64_t)places) {
        at = next;
        key = key * 2862933555777941757u + 1;
        next = (int64_t)((double)(at + 1) * (2147483648.0 / (double)((key >> 33) + 1)));
    }
    return (size_t)at;
}

/* From an empty place the keys are spread over the others, each its own way. */
static uint64_t by_key(dctx_router_t *self, uint64_t key, size_t used)
{
    uint64_t hash = mix(key + 0x9e3779b97f4a7c15u);
    for (int i = 0; i < PROBES; i++) {
        uint64_t id = member_at(self, jump(hash, used));
        if (id != 0)
            return id;
        hash = mix(hash + 1);
    }
    return first_from(self, jump(hash, used), used);
}

/* What waits for a member, and one for what it is busy with. */
static int64_t load_of(const dctx_router_t *self, uint64_t id)
{
    if (dctx_id_is_remote(id))
        return 1;
    dctx_actor_t *actor = actor_of(self, id);
    bool idle = (atomic_load_explicit(&actor->in.head, memory_order_relaxed) & DCTX_MAILBOX_IDLE);
    if (idle)
        return 0;
    int64_t depth = dctx_actor_depth_(ref_of(self, id));
    return depth < 0 ? 1 : depth + 1;
}

static uint64_t least_loaded(dctx_router_t *self, size_t used)
{
    uint64_t best = 0;
    int64_t least = INT64_MAX;
    bool exact = used <= EXACT_MAX;
    uint64_t first =
        exact ? atomic_fetch_add_explicit(&self->turn, 1, memory_order_relaxed) : next_random(self);
    for (size_t i = 0; i < (exact ? used : CHOICES) && least > 0; i++) {
        /* Each choice of a random number's own bits. */
        uint64_t place = exact ? first + i : first >> i * 16;
        uint64_t id = member_at(self, place % used);
        int64_t load = id != 0 ? load_of(self, id) : INT64_MAX;
        if (load < least) {
            least = load;
            best = id;
        }
    }
    return best != 0 ? best : in_turn(self, used);
}

static uint64_t choose(dctx_router_t *self, const dctx_type_t *type, const void *value)
{
    size_t used = atomic_load_explicit(&self->used, memory_order_acquire);
    const dctx_router_options_t *options = &self->options;
    if (used == 0)
        return 0;
    switch (options->route) {
    case DCTX_ROUTE_LEAST_LOADED:
        return least_loaded(self, used);
    case DCTX_ROUTE_BY_KEY:
        if (type == NULL || type != options->key_type || value == NULL)
            return in_turn(self, used);
        return by_key(self, options->key(value, options->arg), used);
    case DCTX_ROUTE_RANDOM:
        return first_from(self, next_random(self) % used, used);
    case DCTX_ROUTE_ROUND_ROBIN:
    case DCTX_ROUTE_BROADCAST:
    default:
        return in_turn(self, used);
    }
}

/* For who found nobody without the lock. */
static uint64_t choose_any(dctx_router_t *self)
{
    uint64_t id = 0;
    pthread_mutex_lock(&self->lock);
    sweep(self);
    size_t used = atomic_load_explicit(&self->used, memory_order_relaxed);
    for (size_t i = 0; id == 0 && i < used; i++)
        id = at(self, i);
    pthread_mutex_unlock(&self->lock);
    return id;
}

static dctx_error_t nobody(void)
{
    return dctx_fail_(DCTX_ERR_NO_ACTOR, "no member of the router is alive");
}

dctx_error_t dctx_router_pick(dctx_router_t *self, const dctx_type_t *type, const void *value,
                              dctx_ref_t *ret_ref)
{
    if (self == NULL || ret_ref == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no router, or no place for the ref");
    if (self->options.route == DCTX_ROUTE_BROADCAST)
        return dctx_fail_(DCTX_ERR_INVALID, "a broadcast goes to all: tell it");
    uint64_t id = choose(self, type, value);
    if (__builtin_expect(id == 0, 0))
        id = choose_any(self);
    if (id == 0)
        return nobody();
    *ret_ref = ref_of(self, id);
    return DCTX_OK;
}

/* All living members. *ret_members is to be released. */
static dctx_error_t all_members(dctx_router_t *self, dctx_ref_t **ret_members, size_t *ret_count)
{
    size_t count = 0;
    pthread_mutex_lock(&self->lock);
    sweep(self);
    size_t used = atomic_load_explicit(&self->used, memory_order_relaxed);
    dctx_ref_t *members = dctx_alloc_((used + 1) * sizeof *members);
    for (size_t i = 0; members != NULL && i < used; i++) {
        uint64_t id = at(self, i);
        if (id != 0)
            members[count++] = ref_of(self, id);
    }
    pthread_mutex_unlock(&self->lock);
    if (members == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a broadcast");
    if (count == 0) {
        dctx_release_(members);
        return nobody();
    }
    *ret_members = members;
    *ret_count = count;
    return DCTX_OK;
}

static dctx_error_t tell_all(dctx_router_t *self, const dctx_type_t *type, const void *value)
{
    dctx_ref_t *members = NULL;
    dctx_group_sent_t sent = {0};
    size_t count = 0;
    dctx_error_t error = all_members(self, &members, &count);
    if (error == DCTX_OK)
        error = dctx_tell_all_(self->system, members, count, type, value, &sent);
    dctx_release_(members);
    /* All may have ended meanwhile. */
    if (error == DCTX_OK && sent.delivered == 0 && dctx_router_size(self) == 0)
        return nobody();
    return error;
}

dctx_error_t dctx_router_tell(dctx_router_t *self, const dctx_type_t *type, const void *value)
{
    if (self == NULL || (type == NULL) != (value == NULL))
        return dctx_fail_(DCTX_ERR_INVALID,
                          "no router, or a type without a value, or a value without");
    if (self->options.route == DCTX_ROUTE_BROADCAST)
        return tell_all(self, type, value);
    for (;;) {
        dctx_ref_t ref = DCTX_REF_NONE;
        dctx_error_t error = dctx_router_pick(self, type, value, &ref);
        if (error == DCTX_OK)
            error = dctx_tell(ref, type, value);
        /* It has ended since it was picked, and so will not be picked again. */
        if (error != DCTX_ERR_NO_ACTOR || dctx_ref_is_none(ref) || is_alive(self, ref.id_))
            return error;
    }
}

/* ---- the address ----------------------------------------------------------------------------- */

/* A message from another node goes to each as a copy of the bytes it came in. */
static dctx_error_t spread_parcel(dctx_router_t *self, const dctx_message_t *message)
{
    dctx_ref_t *members = NULL;
    size_t count = 0;
    dctx_error_t error = all_members(self, &members, &count);
    const dctx_parcel_t *parcel = message->parcel;
    dctx_bytes_t type = {.data = parcel->type, .size = strlen(parcel->type)};
    for (size_t i = 0; error == DCTX_OK && i < count; i++) {
        dctx_message_t copy;
        memset(&copy, 0, sizeof copy);
        dctx_parcel_t *copied = dctx_parcel_new_(parcel->node, type, parcel->payload);
        if (copied == NULL) {
            error = dctx_fail_(DCTX_ERR_NOMEM, "no memory for a broadcast");
            break;
        }
        dctx_message_put_parcel_(&copy, copied);
        dctx_error_t failed = dctx_send_on_(members[i], &copy);
        if (failed != DCTX_OK)
            dctx_log(DCTX_LOG_INFO, "a broadcast passes a member over: %s",
                     dctx_error_name(failed));
        dctx_message_clear_(&copy);
    }
    dctx_release_(members);
    return error;
}

static dctx_error_t broadcast(dctx_router_t *self, const dctx_message_t *message)
{
    if (dctx_message_is_ask(message))
        return dctx_reply_error(message, DCTX_ERR_INVALID, "a broadcast is told, not asked");
    if (dctx_message_is_remote(message))
        return spread_parcel(self, message);
    return tell_all(self, message->type, message->value);
}

static dctx_error_t forward(dctx_router_t *self, dctx_actor_t *front, const dctx_message_t *message)
{
    const dctx_type_t *type = self->options.key_type;
    const void *value = type != NULL ? dctx_message_get(message, type) : NULL;
    for (;;) {
        dctx_ref_t ref = DCTX_REF_NONE;
        dctx_error_t error = dctx_router_pick(self, value != NULL ? type : NULL, value, &ref);
        if (error == DCTX_OK)
            error = dctx_forward(front, message, ref);
        if (error != DCTX_ERR_NO_ACTOR || dctx_ref_is_none(ref) || is_alive(self, ref.id_))
            return error;
    }
}

/* The handler of the address. What nobody gets is a dead letter,
 * as if the address itself had gone. */
static dctx_error_t pass_on(dctx_actor_t *front, const dctx_message_t *message, void *state)
{
    dctx_router_t *self = state;
    bool all = self->options.route == DCTX_ROUTE_BROADCAST;
    dctx_error_t error = all ? broadcast(self, message) : forward(self, front, message);
    if (error == DCTX_OK)
        return DCTX_OK;
    /* Whoever is told of it may well get errors of his own. */
    char words[256];
    snprintf(words, sizeof words, "%s", dctx_error_detail());
    return dctx_message_turn_away_(dctx_runner_here, message, error, words);
}

static void let_go(void *state)
{
    dctx_router_t *self = state;
    if (atomic_fetch_sub_explicit(&self->holders, 1, memory_order_acq_rel) > 1)
        return;
    /* Now that nobody sends to them any more: after all that was. */
    pthread_mutex_lock(&self->lock);
    while (self->own_count > 0)
        stop_worker(self);
    pthread_mutex_unlock(&self->lock);
    for (table_t *table = atomic_load(&self->table), *before; table != NULL; table = before) {
        before = table->before;
        dctx_release_(table);
    }
    dctx_release_(self->own);
    pthread_mutex_destroy(&self->lock);
    dctx_release_(self);
}

static dctx_error_t spawn_front(dctx_router_t *self, const char *name)
{
    if (name == NULL)
        return DCTX_OK;
    dctx_actor_options_t options = {
        .name = name, .handler = pass_on, .state = self, .destroy_state = let_go};
    atomic_store_explicit(&self->holders, 2, memory_order_relaxed);
    dctx_error_t error = dctx_spawn(self->system, &options, &self->front);
    if (error != DCTX_OK)
        atomic_store_explicit(&self->holders, 1, memory_order_relaxed);
    return error;
}

dctx_ref_t dctx_router_ref(const dctx_router_t *self)
{
    return self != NULL ? self->front : DCTX_REF_NONE;
}

/* ---- making ---------------------------------------------------------------------------------- */

static dctx_error_t check(const dctx_system_t *system, const dctx_router_options_t *options)
{
    bool spawns = options->worker != NULL && options->worker->handler != NULL;
    if ((unsigned)options->route > DCTX_ROUTE_BROADCAST)
        return dctx_fail_(DCTX_ERR_INVALID, "there is no such route");
    if (options->member_count == 0 && options->workers == 0)
        return dctx_fail_(DCTX_ERR_INVALID, "a router needs members, or workers to spawn");
    if (options->workers > 0 && !spawns)
        return dctx_fail_(DCTX_ERR_INVALID, "a router that spawns workers needs their handler");
    if (options->workers > 1 && options->worker->destroy_state != NULL &&
        options->worker->state != NULL && options->worker_state == NULL)
        return dctx_fail_(DCTX_ERR_INVALID,
                          "one state for many would be destroyed by each: use worker_state");
    if (options->member_count > 0 && options->members == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "members are counted but not given");
    if (options->route == DCTX_ROUTE_BY_KEY && (options->key == NULL || options->key_type == NULL))
        return dctx_fail_(DCTX_ERR_INVALID, "routing by key needs key and key_type");
    for (size_t i = 0; i < options->member_count; i++) {
        if (options->members[i].system_ != system)
            return dctx_fail_(DCTX_ERR_INVALID,
                              "a router's members are addresses of its own system");
    }
    size_t length = spawns && options->worker->name != NULL ? strlen(options->worker->name) : 0;
    if (length > DCTX_NAME_MAX)
        return dctx_fail_(DCTX_ERR_INVALID, "the name of a router's workers is too long");
    return DCTX_OK;
}

static void take_options(dctx_router_t *self, const dctx_router_options_t *options)
{
    self->options = *options;
    self->options.members = NULL;
    self->options.worker = NULL;
    self->options.name = NULL;
    if (options->worker == NULL)
        return;
    self->worker = *options->worker;
    if (options->route == DCTX_ROUTE_LEAST_LOADED)
        self->worker.flags |= DCTX_COUNTED;
    if (self->worker.name != NULL) {
        strcpy(self->worker_name, self->worker.name);
        self->worker.name = self->worker_name;
    }
}

dctx_error_t dctx_router_new(dctx_system_t *system, const dctx_router_options_t *options,
                             dctx_router_t **ret_router)
{
    if (system == NULL || options == NULL || ret_router == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no system, no options, or no place for the router");
    dctx_error_t error = check(system, options);
    if (error != DCTX_OK)
        return error;
    dctx_router_t *self = dctx_calloc_(1, sizeof *self);
    if (self == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a router");
    self->system = system;
    take_options(self, options);
    atomic_init(&self->holders, 1);
    atomic_init(&self->random, dctx_system_random_(system));
    pthread_mutex_init(&self->lock, NULL);
    for (size_t i = 0; error == DCTX_OK && i < options->member_count; i++)
        error = dctx_router_add(self, options->members[i]);
    if (error == DCTX_OK && options->workers > 0)
        error = dctx_router_resize(self, options->workers);
    if (error == DCTX_OK)
        error = spawn_front(self, options->name);
    if (error != DCTX_OK) {
        dctx_router_destroy(&self);
        return error;
    }
    *ret_router = self;
    return DCTX_OK;
}

void dctx_router_destroy(dctx_router_t **router_p)
{
    if (router_p == NULL || *router_p == NULL)
        return;
    dctx_router_t *self = *router_p;
    *router_p = NULL;
    /* What its address has in its mailbox still goes to the workers: they stop when that has. */
    if (!dctx_ref_is_none(self->front))
        stop(self->front);
    let_go(self);
}
