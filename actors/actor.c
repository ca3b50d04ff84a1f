/* Spawning, stopping and naming actors. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <dcontext/internal.h>

#include "actor.h"
#include "extra.h"
#include "gauge.h"
#include "life.h"
#include "message.h"
#include "pinned.h"
#include "send.h"
#include "system.h"
#include "urgent.h"

static const char made_prefix[] = "anon-";

void dctx_actor_init_(void *slot)
{
    dctx_actor_t *self = slot;
    dctx_mailbox_init(&self->in, &self->out);
    atomic_init(&self->life, (uint64_t)1 << 32);
    atomic_init(&self->serving, 0);
    atomic_init(&self->pinned, NULL);
    atomic_init(&self->gauge, NULL);
    atomic_init(&self->urgent, 0);
    atomic_init(&self->nudged, 0);
    self->nudge_node.kind = DCTX_NODE_NUDGE;
    self->nudge_node.generation =
        UINT32_MAX;          /* no actor's, so no receiver looks at more of the cell */
    self->unstashed = false; /* from here on the receiver's, as is `stopping` */
    self->stopping = false;
}

/* ---- spawning -------------------------------------------------------------------------------- */

/* Names of the form that the system makes are its own. */
static bool is_made(const char *name, size_t length, uint64_t *ret_id)
{
    size_t prefix = sizeof made_prefix - 1;
    if (length <= prefix || length > prefix + 20 || memcmp(name, made_prefix, prefix) != 0)
        return false;
    uint64_t id = 0;
    for (size_t i = prefix; i < length; i++) {
        if (name[i] < '0' || name[i] > '9')
            return false;
        id = id * 10 + (uint64_t)(name[i] - '0');
    }
    *ret_id = id;
    return true;
}

/* "actor:anon-" and the id; printf() would take a third of a spawn's time. */
static void make_name(char made[static 32], uint64_t id)
{
    enum { DIGITS = 20 };
    char digits[DIGITS];
    unsigned at = DIGITS;
    do
        digits[--at] = (char)('0' + id % 10);
    while ((id /= 10) != 0);
    size_t prefix = DCTX_NAME_AT + sizeof made_prefix - 1;
    memcpy(made, "actor:", DCTX_NAME_AT);
    memcpy(made + DCTX_NAME_AT, made_prefix, sizeof made_prefix - 1);
    memcpy(made + prefix, digits + at, DIGITS - at);
    made[prefix + DIGITS - at] = '\0';
}

static dctx_error_t set_name(dctx_system_t *system, dctx_actor_t *actor, const char *name,
                             uint64_t id)
{
    atomic_store_explicit(&actor->named, NULL, memory_order_relaxed);
    if (name == NULL) {
        make_name(actor->made, id);
        actor->scope = actor->made;
        return DCTX_OK;
    }
    size_t length = strlen(name);
    uint64_t ignored = 0;
    if (!dctx_name_is_valid(name, length))
        return dctx_fail_(DCTX_ERR_INVALID,
                          "an actor's name is 1 to 56 of A-Z a-z 0-9 _ . : / -, not \"%s\"", name);
    if (is_made(name, length, &ignored))
        return dctx_fail_(DCTX_ERR_INVALID, "names like \"%s\" are the system's own", name);
    dctx_name_t *named = dctx_name_new(name, length);
    if (named == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for the name of an actor");
    dctx_error_t error = dctx_names_add(&system->names, named, id);
    if (error != DCTX_OK) {
        dctx_release_(named);
        return error;
    }
    atomic_store_explicit(&actor->named, named, memory_order_relaxed);
    actor->scope = named->scope;
    return DCTX_OK;
}

/* The message that has on_start run in the spawner's context. */
static dctx_error_t make_start(dctx_system_t *system, dctx_runner_t *runner, dctx_actor_t *actor,
                               const dctx_actor_options_t *options, uint64_t id)
{
    actor->start = NULL;
    if (options->on_start == NULL && options->new_state == NULL)
        return DCTX_OK;
    dctx_message_t *start = dctx_message_new_(system, runner, DCTX_NODE_START);
    if (start == NULL)
        return DCTX_ERR_NOMEM;
    dctx_error_t error = dctx_fork_for_(system, &start->snapshot);
    if (error != DCTX_OK) {
        dctx_message_release_(system, runner, start);
        return error;
    }
    start->node.generation = (uint32_t)(id >> 32);
    start->u.done.run.on_start = options->on_start;
    actor->start = start;
    return DCTX_OK;
}

static dctx_error_t set_interceptors(dctx_system_t *system, dctx_actor_t *actor,
                                     const dctx_actor_options_t *options)
{
    dctx_extra_t *extra = dctx_extra_get_(actor);
    if (extra == NULL)
        return DCTX_ERR_NOMEM;
    dctx_error_t error = dctx_pipeline_init(&extra->pipeline, &system->pipeline,
                                            options->interceptors, options->interceptor_count);
    if (error == DCTX_OK)
        atomic_store_explicit(&system->intercepted, true, memory_order_relaxed);
    return error;
}

/* All of a spawn that can fail. On an error nothing is left of it. */
static dctx_error_t prepare(dctx_system_t *system, dctx_runner_t *runner, dctx_actor_t *actor,
                            const dctx_actor_options_t *options, bool internal, uint64_t id)
{
    actor->extra = NULL;
    atomic_store_explicit(&actor->named, NULL, memory_order_relaxed);
    dctx_error_t error = dctx_gauge_prepare_(actor, options, internal);
    if (error == DCTX_OK)
        error = make_start(system, runner, actor, options, id);
    if (error != DCTX_OK)
        return error;
    error = dctx_kin_prepare_(actor, options, (dctx_ref_t){.system_ = system, .id_ = id});
    if (error == DCTX_OK && options->stash_limit != 0) {
        if (dctx_extra_get_(actor) == NULL)
            error = DCTX_ERR_NOMEM;
        else
            actor->extra->stash.limit = options->stash_limit;
    }
    if (error == DCTX_OK && options->interceptor_count > 0)
        error = set_interceptors(system, actor, options);
    if (error == DCTX_OK)
        error = set_name(system, actor, options->name, id);
    /* The thread comes last: it has no way to be sent away again. */
    if (error == DCTX_OK && (options->flags & DCTX_PINNED) && system->stage.world == NULL) {
        dctx_pinned_t *pinned = NULL;
        error = dctx_pinned_new_(system, actor, &pinned);
        if (error == DCTX_OK)
            atomic_store_explicit(&actor->pinned, pinned, memory_order_release);
    }
    if (error == DCTX_OK)
        return DCTX_OK;
    dctx_name_t *named = atomic_exchange(&actor->named, NULL);
    if (named != NULL) {
        dctx_names_remove(&system->names, named);
        dctx_release_(named);
    }
    if (actor->start != NULL)
        dctx_message_release_(system, runner, actor->start);
    actor->start = NULL;
    if (actor->extra != NULL)
        dctx_kin_discard_(actor);
    return error;
}

static dctx_error_t check(dctx_system_t *system, dctx_runner_t *runner,
                          const dctx_actor_options_t *options)
{
    if (options->handler == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "an actor needs a handler");
    if (options->flags & ~(unsigned)(DCTX_PINNED | DCTX_COUNTED | DCTX_METERED))
        return dctx_fail_(DCTX_ERR_INVALID, "unknown flags %#x for an actor", options->flags);
    uint32_t limit = runner != NULL ? DCTX_PHASE_CLOSING : DCTX_PHASE_STOPPING;
    if (dctx_phase_(system) >= limit)
        return dctx_fail_(DCTX_ERR_STOPPED, "system %s is stopping", system->name);
    return DCTX_OK;
}

dctx_error_t dctx_spawn_(dctx_system_t *system, const dctx_actor_options_t *options, bool internal,
                         dctx_ref_t *ret_ref)
{
    dctx_runner_t *runner = dctx_runner_of(system);
    dctx_error_t error = check(system, runner, options);
    if (error != DCTX_OK)
        return error;
    dctx_actor_t *actor = dctx_slab_take(&system->actors);
    if (actor == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for an actor");
    uint64_t generation =
        dctx_life_generation(atomic_load_explicit(&actor->life, memory_order_relaxed));
    uint64_t id = dctx_id_make(generation, actor->slot.index);
    /* A receiver may be at work on the cell for a late message: it looks at this, and at
     * `stopping`, which whoever ended the last actor has left false. */
    if (actor->system == NULL)
        actor->system = system;
    error = prepare(system, runner, actor, options, internal, id);
    if (error != DCTX_OK) {
        dctx_slab_give(&system->actors, actor);
        return error;
    }
    actor->handler = options->handler;
    actor->state = options->state;
    actor->on_stop = options->on_stop;
    actor->destroy_state = options->destroy_state;
    actor->may_block = (options->flags & DCTX_PINNED) != 0;
    actor->asks = 0;
    actor->internal = internal;
    if (internal)
        actor->scope = "actor:(asks)"; /* whose callbacks it runs, for those who read of it */
    dctx_message_t *start = actor->start;
    actor->death = DCTX_OK;
    dctx_gauge_open_(actor, options, internal, (uint32_t)generation);
    uint64_t life = generation << 32 | DCTX_LIFE_ALIVE;
    uint32_t serving = (uint32_t)generation;
    dctx_bond_t *bond = dctx_kin_open_(actor, &life, &serving);
    if (bond != NULL && start != NULL) {
        dctx_message_release_(system, runner, start);
        actor->start = start = NULL;
    }
    if (!internal)
        dctx_count_(system, runner, DCTX_TALLY_SPAWNED);
    /* From the first store on receivers serve it, from the second senders find it. The second is
     * sequentially consistent: see below. */
    atomic_store_explicit(&actor->serving, serving, memory_order_release);
    atomic_store(&actor->life, life);
    if (bond != NULL)
        dctx_kin_offer_(runner, bond);
    if (start != NULL) {
        dctx_count_(system, runner, DCTX_TALLY_POSTED);
        dctx_post_(system, runner, actor, &start->node);
    }
    *ret_ref = (dctx_ref_t){.system_ = system, .id_ = id};
    /* Stop sets the phase, then goes through the cells: if it did not see us, we see the phase. */
    if (dctx_phase_(system) >= DCTX_PHASE_CLOSING)
        (void)dctx_actor_stop_(system, runner, id);
    return DCTX_OK;
}

dctx_error_t dctx_spawn_child(dctx_actor_t *self, const dctx_actor_options_t *options,
                              dctx_ref_t *ret_ref)
{
    dctx_runner_t *here = dctx_runner_here;
    if (self == NULL || options == NULL || ret_ref == NULL || here == NULL || here->actor != self)
        return dctx_fail_(DCTX_ERR_INVALID,
                          "an actor spawns its children itself, in its own callbacks");
    dctx_actor_options_t own = *options;
    own.parent = dctx_life_ref_(self);
    return dctx_spawn_(self->system, &own, false, ret_ref);
}

dctx_error_t dctx_spawn(dctx_system_t *system, const dctx_actor_options_t *options,
                        dctx_ref_t *ret_ref)
{
    if (system == NULL || options == NULL || ret_ref == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no system, no options, or no place for the ref");
    return dctx_spawn_(system, options, false, ret_ref);
}

/* ---- stopping -------------------------------------------------------------------------------- */

bool dctx_actor_stop_(dctx_system_t *system, dctx_runner_t *runner, uint64_t id)
{
    dctx_actor_t *actor = dctx_slab_at(&system->actors, (uint32_t)id);
    if (actor == NULL)
        return false;
    /* Counted first, as dctx_accept_() does. */
    dctx_count_(system, runner, DCTX_TALLY_POSTED);
    uint64_t life = atomic_load(&actor->life);
    bool mine = false, alive;
    uint64_t bits = 0;
    do {
        alive = (life & DCTX_LIFE_ALIVE) && life >> 32 == id >> 32;
        /* One that is suspended does not look at its mailbox. */
        bits = DCTX_LIFE_STOP_POSTED | (life & DCTX_LIFE_SUSPENDED ? DCTX_LIFE_STOP_NOW : 0);
    } while (alive && !(life & DCTX_LIFE_STOP_POSTED) &&
             !(mine = atomic_compare_exchange_weak(&actor->life, &life, life | bits)));
    if (mine) {
        actor->stop_node.generation = (uint32_t)(id >> 32);
        actor->stop_node.kind = DCTX_NODE_STOP;
        actor->stop_node.spent = 0;
        dctx_post_(system, runner, actor, &actor->stop_node);
        if (bits & DCTX_LIFE_STOP_NOW)
            dctx_urgent_stop_(system, runner, actor);
    } else {
        dctx_count_(system, runner, DCTX_TALLY_CONSUMED);
        dctx_system_stirred_(system);
    }
    return alive;
}

dctx_error_t dctx_stop(dctx_ref_t ref)
{
    if (dctx_ref_is_none(ref) || dctx_ref_is_remote(ref))
        return dctx_fail_(DCTX_ERR_INVALID, "only an actor of this process can be stopped");
    dctx_system_t *system = ref.system_;
    if (!dctx_actor_stop_(system, dctx_runner_of(system), ref.id_))
        return dctx_fail_(DCTX_ERR_NO_ACTOR, "the actor has gone");
    return DCTX_OK;
}

/* Sets STOP_NOW in the life of an actor that lives. *ret_mine: it was not set before. */
static bool tell_life(dctx_actor_t *actor, uint64_t id, bool *ret_mine)
{
    uint64_t life = atomic_load(&actor->life);
    bool alive;
    *ret_mine = false;
    do
        alive = (life & DCTX_LIFE_ALIVE) && life >> 32 == id >> 32;
    while (alive && !(life & DCTX_LIFE_STOP_NOW) &&
           !(*ret_mine =
                 atomic_compare_exchange_weak(&actor->life, &life, life | DCTX_LIFE_STOP_NOW)));
    return alive;
}

bool dctx_actor_stop_now_(dctx_system_t *system, dctx_runner_t *runner, uint64_t id)
{
    dctx_actor_t *actor = dctx_slab_at(&system->actors, (uint32_t)id);
    if (actor == NULL)
        return false;
    /* Counted first, as dctx_accept_() does. */
    dctx_count_(system, runner, DCTX_TALLY_POSTED);
    bool mine = false;
    bool alive = tell_life(actor, id, &mine);
    if (mine)
        dctx_urgent_stop_(system, runner, actor);
    dctx_count_(system, runner, DCTX_TALLY_CONSUMED);
    dctx_system_stirred_(system);
    return alive;
}

dctx_error_t dctx_stop_now(dctx_ref_t ref)
{
    if (dctx_ref_is_none(ref) || dctx_ref_is_remote(ref))
        return dctx_fail_(DCTX_ERR_INVALID, "only an actor of this process can be stopped");
    dctx_system_t *system = ref.system_;
    if (!dctx_actor_stop_now_(system, dctx_runner_of(system), ref.id_))
        return dctx_fail_(DCTX_ERR_NO_ACTOR, "the actor has gone");
    return DCTX_OK;
}

void dctx_self_stop(dctx_actor_t *self)
{
    dctx_runner_t *runner = dctx_runner_here;
    if (runner != NULL && runner->actor == self && self != NULL)
        self->stopping = true;
}

/* ---- from the inside ------------------------------------------------------------------------- */

dctx_ref_t dctx_self(const dctx_actor_t *self)
{
    return self != NULL ? dctx_cell_ref(self) : DCTX_REF_NONE;
}

const char *dctx_self_name(const dctx_actor_t *self)
{
    return self != NULL ? self->scope + DCTX_NAME_AT : "";
}

dctx_system_t *dctx_self_system(const dctx_actor_t *self)
{
    return self != NULL ? self->system : NULL;
}

/* ---- refs ------------------------------------------------------------------------------------ */

bool dctx_ref_equal(dctx_ref_t a, dctx_ref_t b)
{
    return a.system_ == b.system_ && a.id_ == b.id_;
}

bool dctx_ref_is_none(dctx_ref_t ref)
{
    return ref.system_ == NULL;
}

bool dctx_ref_is_remote(dctx_ref_t ref)
{
    return ref.system_ != NULL && dctx_id_is_remote(ref.id_);
}

static bool is_alive(dctx_actor_t *actor, uint64_t id)
{
    uint64_t life = atomic_load(&actor->life);
    return (life & DCTX_LIFE_ALIVE) && life >> 32 == id >> 32;
}

static size_t format_local(dctx_system_t *system, uint64_t id, char *buffer, size_t size)
{
    char name[DCTX_NAME_MAX + 1] = "";
    dctx_actor_t *actor = dctx_slab_at(&system->actors, (uint32_t)id);
    if (actor == NULL)
        return 0;
    /* An actor ends its life first, and then has to get this lock before its name goes away. */
    pthread_mutex_lock(&system->names.lock);
    if (is_alive(actor, id)) {
        dctx_name_t *named = atomic_load(&actor->named);
        if (!is_alive(actor, id))
            name[0] = '\0';
        else if (named != NULL)
            memcpy(name, named->scope + DCTX_NAME_AT, named->length + 1);
        else
            snprintf(name, sizeof name, "%s%" PRIu64, made_prefix, id);
    }
    pthread_mutex_unlock(&system->names.lock);
    return (size_t)snprintf(buffer, size, "%s", name);
}

size_t dctx_ref_format(dctx_ref_t ref, char *buffer, size_t size)
{
    if (buffer == NULL)
        size = 0;
    if (size > 0)
        buffer[0] = '\0';
    if (dctx_ref_is_none(ref))
        return 0;
    dctx_system_t *system = ref.system_;
    if (!dctx_id_is_remote(ref.id_))
        return format_local(system, ref.id_, buffer, size);
    const dctx_remote_t *remote = dctx_peers_remote(&system->peers, ref.id_);
    return remote == NULL ? 0 : (size_t)snprintf(buffer, size, "%s", remote->label);
}

/* ---- finding --------------------------------------------------------------------------------- */

uint64_t dctx_actor_find_(dctx_system_t *system, const char *name, size_t length)
{
    uint64_t id = 0;
    if (!is_made(name, length, &id))
        return dctx_names_find(&system->names, name, length);
    dctx_actor_t *actor =
        dctx_id_is_remote(id) ? NULL : dctx_slab_at(&system->actors, (uint32_t)id);
    return actor != NULL && is_alive(actor, id) ? id : 0;
}

static dctx_error_t find_remote(dctx_system_t *system, const char *name, size_t length,
                                const char *node, uint64_t *ret_id)
{
    const dctx_peer_t *peer = dctx_peers_get(&system->peers, node, strlen(node));
    uint64_t id = peer == NULL ? 0 : dctx_peers_intern(&system->peers, peer, name, length);
    if (id == 0)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for the address \"%s\"", name);
    *ret_id = id;
    return DCTX_OK;
}

dctx_error_t dctx_system_find(dctx_system_t *system, const char *name, dctx_ref_t *ret_ref)
{
    if (system == NULL || name == NULL || ret_ref == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no system, no name, or no place for the ref");
    const char *at = strchr(name, '@');
    size_t length = at == NULL ? strlen(name) : (size_t)(at - name);
    if (!dctx_name_is_valid(name, length))
        return dctx_fail_(DCTX_ERR_INVALID,
                          "an actor's name is 1 to 56 of A-Z a-z 0-9 _ . : / -, not \"%s\"", name);
    if (at != NULL && !dctx_node_name_is_valid(at + 1, strlen(at + 1)))
        return dctx_fail_(DCTX_ERR_INVALID,
                          "a node's name is 1 to 63 of A-Z a-z 0-9 _ . -, not \"%s\"", at + 1);
    uint64_t id = 0;
    if (at != NULL && strcmp(at + 1, system->name) != 0) {
        dctx_error_t error = find_remote(system, name, length, at + 1, &id);
        if (error != DCTX_OK)
            return error;
    } else {
        id = dctx_actor_find_(system, name, length);
        if (id == 0)
            return dctx_fail_(DCTX_ERR_NO_ACTOR, "no actor named \"%.*s\" is alive", (int)length,
                              name);
    }
    *ret_ref = (dctx_ref_t){.system_ = system, .id_ = id};
    return DCTX_OK;
}
