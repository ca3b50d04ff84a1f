#include "policy.h"

#include <string.h>
#include <strings.h>

#include <dcontext/internal.h>

/* ---- lists of names -------------------------------------------------------------------------- */

struct dctx_names {
    size_t count;
    struct {
        const char *text;
        size_t size;
        bool prefix;
    } item[];
};

/* One allocation: the items, then their text. NULL for NULL. */
static dctx_error_t copy_names(const char *const *list, dctx_names_t **ret_names)
{
    size_t count = 0, bytes = 0;
    if (list == NULL)
        return DCTX_OK;
    for (; list[count] != NULL; count++) {
        const char *star = strchr(list[count], '*');
        if (list[count][0] == '\0' || (star != NULL && star[1] != '\0'))
            return dctx_fail_(DCTX_ERR_INVALID,
                              "a policy's list has a name that is empty or has a '*' in its midst");
        bytes += strlen(list[count]) + 1;
    }
    dctx_names_t *names = dctx_calloc_(1, sizeof(*names) + count * sizeof(names->item[0]) + bytes);
    if (names == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a policy's list of %zu names", count);
    char *text = (char *)&names->item[count];
    names->count = count;
    for (size_t i = 0; i < count; i++) {
        size_t size = strlen(list[i]);
        memcpy(text, list[i], size + 1);
        names->item[i].text = text;
        names->item[i].prefix = text[size - 1] == '*';
        names->item[i].size = size - names->item[i].prefix;
        text += size + 1;
    }
    *ret_names = names;
    return DCTX_OK;
}

static bool has_name(const dctx_names_t *names, dctx_bytes_t name)
{
    for (size_t i = 0; i < names->count; i++) {
        size_t size = names->item[i].size;
        if ((names->item[i].prefix ? name.size >= size : name.size == size) &&
            strncasecmp(names->item[i].text, name.data, size) == 0)
            return true;
    }
    return false;
}

/* ---- making ---------------------------------------------------------------------------------- */

#define BELIEVED                                                                                   \
    .leave = {.stamp_bytes = SIZE_MAX, .chain_names = SIZE_MAX},                                   \
    .enter = {.stamp_bytes = SIZE_MAX, .chain_names = SIZE_MAX}, .trace = DCTX_CLAIM_BELIEVE,      \
    .deadline = DCTX_CLAIM_BELIEVE

/* What passes through unknown is as far from known as can be: a stranger neither gets nor brings
 * it. */
static dctx_names_t nothing = {0};

static dctx_policy_t default_policy = {
    .refs = 1,
    .rules = {[DCTX_CLASS_HOST] = {BELIEVED, .chain = DCTX_CLAIM_BELIEVE},
              [DCTX_CLASS_DOMAIN] = {BELIEVED, .chain = DCTX_CLAIM_BELIEVE},
              [DCTX_CLASS_STRANGER] = {.leave = {.stamp_bytes = SIZE_MAX,
                                                 .chain_names = SIZE_MAX,
                                                 .pass_allow = &nothing},
                                       .enter = {.stamp_bytes = SIZE_MAX,
                                                 .chain_names = SIZE_MAX,
                                                 .pass_allow = &nothing},
                                       .chain = DCTX_CLAIM_DROP,
                                       .trace = DCTX_CLAIM_BELIEVE,
                                       .deadline = DCTX_CLAIM_BELIEVE}},
    .tallies = DCTX_TALLIES_INIT,
};

dctx_policy_t *dctx_policy_or_default_(const dctx_policy_t *policy)
{
    return policy != NULL ? (dctx_policy_t *)(uintptr_t)policy : &default_policy;
}

static dctx_error_t copy_flow(const dctx_flow_t *flow, const dctx_sieve_rules_t *defaults,
                              dctx_sieve_rules_t *rules)
{
    rules->stamp_bytes = flow->stamp_bytes != 0 ? flow->stamp_bytes : SIZE_MAX;
    rules->chain_names = flow->chain_names != 0 ? flow->chain_names : SIZE_MAX;
    dctx_error_t error = copy_names(flow->allow, &rules->allow);
    if (error == DCTX_OK)
        error = copy_names(flow->deny, &rules->deny);
    if (error == DCTX_OK)
        error = copy_names(flow->pass_deny, &rules->pass_deny);
    if (error == DCTX_OK)
        error = copy_names(flow->pass_allow, &rules->pass_allow);
    if (error == DCTX_OK && flow->pass_allow == NULL)
        rules->pass_allow = defaults->pass_allow;
    return error;
}

static bool in_range(const dctx_rules_t *rules)
{
    return (unsigned)rules->stamp <= DCTX_STAMP_FORBIDDEN &&
           (unsigned)rules->chain <= DCTX_CLAIM_DROP && (unsigned)rules->trace <= DCTX_CLAIM_DROP &&
           (unsigned)rules->deadline <= DCTX_CLAIM_DROP && rules->timeout >= 0;
}

static dctx_error_t copy_rules(const dctx_rules_t *from, const dctx_class_rules_t *defaults,
                               dctx_class_rules_t *rules)
{
    if (!in_range(from))
        return dctx_fail_(DCTX_ERR_INVALID, "a policy's rule is none that there is");
    rules->stamp = from->stamp;
    rules->chain = from->chain != DCTX_CLAIM_DEFAULT ? from->chain : defaults->chain;
    rules->trace = from->trace != DCTX_CLAIM_DEFAULT ? from->trace : defaults->trace;
    rules->deadline = from->deadline != DCTX_CLAIM_DEFAULT ? from->deadline : defaults->deadline;
    rules->timeout = from->timeout != 0 ? from->timeout : INT64_C(60000000000);
    const char *name = from->chain_name != NULL ? from->chain_name : "peer";
    rules->chain_name = dctx_strndup_(name, strlen(name));
    if (rules->chain_name == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a policy");
    dctx_error_t error = copy_flow(&from->leave, &defaults->leave, &rules->leave);
    if (error == DCTX_OK)
        error = copy_flow(&from->enter, &defaults->enter, &rules->enter);
    return error;
}

static void release_names(dctx_names_t *names)
{
    if (names != &nothing)
        dctx_release_(names);
}

static void finish_flow(dctx_sieve_rules_t *rules)
{
    release_names(rules->allow);
    release_names(rules->deny);
    release_names(rules->pass_allow);
    release_names(rules->pass_deny);
}

static void destroy(dctx_policy_t *policy)
{
    for (int i = 0; i < DCTX_CLASSES; i++) {
        finish_flow(&policy->rules[i].leave);
        finish_flow(&policy->rules[i].enter);
        dctx_release_(policy->rules[i].chain_name);
    }
    dctx_tallies_finish_(&policy->tallies);
    dctx_release_(policy);
}

dctx_error_t dctx_policy_new(const dctx_policy_options_t *options, dctx_policy_t **ret_policy)
{
    /* The default one is 0. Only ever added to. */
    static atomic_ullong last_serial;
    if (options == NULL || ret_policy == NULL || (unsigned)options->peer >= DCTX_CLASSES ||
        (unsigned)options->on_error > DCTX_ON_ERROR_REJECT)
        return dctx_fail_(DCTX_ERR_INVALID, "a policy's options are none that there are");
    dctx_policy_t *policy = dctx_calloc_(1, sizeof(*policy));
    if (policy == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a policy");
    atomic_init(&policy->refs, 1);
    policy->serial = 1 + atomic_fetch_add_explicit(&last_serial, 1, memory_order_relaxed);
    policy->proxied = options->proxied;
    policy->peer =
        options->proxied && options->peer == DCTX_CLASS_AUTO ? DCTX_CLASS_STRANGER : options->peer;
    policy->on_error = options->on_error;
    policy->dead_stamp = options->dead_stamp;
    policy->arg = options->arg;
    policy->log = options->log;
    policy->curve = options->curve;
    pthread_mutex_init(&policy->tallies.lock, NULL);
    dctx_error_t error = DCTX_OK;
    for (int i = DCTX_CLASS_HOST; i < DCTX_CLASSES && error == DCTX_OK; i++)
        error = copy_rules(&options->rules[i], &default_policy.rules[i], &policy->rules[i]);
    if (error != DCTX_OK) {
        destroy(policy);
        return error;
    }
    *ret_policy = policy;
    return DCTX_OK;
}

/* Whoever adds a reference has one; whoever drops the last must see what the others did: release,
 * and acquire before freeing. The default policy is not counted. */
dctx_policy_t *dctx_policy_ref(dctx_policy_t *policy)
{
    if (policy != NULL && policy != &default_policy)
        atomic_fetch_add_explicit(&policy->refs, 1, memory_order_relaxed);
    return policy;
}

void dctx_policy_unref(dctx_policy_t **policy_p)
{
    if (policy_p == NULL || *policy_p == NULL)
        return;
    dctx_policy_t *policy = *policy_p;
    *policy_p = NULL;
    if (policy == &default_policy ||
        atomic_fetch_sub_explicit(&policy->refs, 1, memory_order_acq_rel) > 1)
        return;
    destroy(policy);
}

/* ---- what passes ----------------------------------------------------------------------------- */

typedef struct sieve {
    dctx_policy_t *policy;
    const dctx_class_rules_t *rules;
    const dctx_sieve_rules_t *flow;
    dctx_class_t peer;
    bool leaving;
    dctx_stripped_t *stripped;
} sieve_t;

bool dctx_reaches_(dctx_reach_t reach, dctx_class_t peer)
{
    switch (reach) {
    case DCTX_REACH_ANY:
        return true;
    case DCTX_REACH_DOMAIN:
        return peer != DCTX_CLASS_STRANGER;
    case DCTX_REACH_HOST:
        return peer == DCTX_CLASS_HOST;
    case DCTX_REACH_LOCAL:
    default:
        return false;
    }
}

bool dctx_policy_leaves_whole_(const dctx_policy_t *policy, dctx_class_t peer)
{
    const dctx_class_rules_t *rules = &policy->rules[peer];
    const dctx_sieve_rules_t *leave = &rules->leave;
    return leave->allow == NULL && leave->deny == NULL && leave->pass_allow == NULL &&
           leave->pass_deny == NULL && leave->stamp_bytes == SIZE_MAX &&
           leave->chain_names == SIZE_MAX && rules->chain != DCTX_CLAIM_DROP;
}

static bool is_named(dctx_bytes_t name, const char *text)
{
    return name.size == strlen(text) && strncasecmp(name.data, text, name.size) == 0;
}

/* Whether an entry is what the peer claims about trace or deadline, and is not believed. */
static bool is_disbelieved(const sieve_t *sieve, dctx_bytes_t name)
{
    if (sieve->leaving)
        return false;
    if (sieve->rules->trace != DCTX_CLAIM_BELIEVE &&
        (is_named(name, "dctx.trace") || is_named(name, "dctx.tracestate")))
        return true;
    return sieve->rules->deadline != DCTX_CLAIM_BELIEVE && is_named(name, "dctx.deadline");
}

static bool listed(const dctx_names_t *allow, const dctx_names_t *deny, dctx_bytes_t name)
{
    return (deny == NULL || !has_name(deny, name)) && (allow == NULL || has_name(allow, name));
}

/* True if the entry passes; else why not. */
static bool passes(const sieve_t *sieve, const dctx_key_t *key, dctx_bytes_t name,
                   dctx_strip_t *ret_reason)
{
    if (is_disbelieved(sieve, name))
        *ret_reason = DCTX_STRIP_CLAIM;
    else if (key == NULL) {
        *ret_reason = DCTX_STRIP_UNKNOWN;
        return listed(sieve->flow->pass_allow, sieve->flow->pass_deny, name);
    } else if (!dctx_reaches_(dctx_key_reach(key), sieve->peer))
        *ret_reason = DCTX_STRIP_REACH;
    else {
        *ret_reason = DCTX_STRIP_LISTED;
        return listed(sieve->flow->allow, sieve->flow->deny, name);
    }
    return false;
}

static bool keep(const dctx_key_t *key, dctx_bytes_t name, void *arg)
{
    sieve_t *sieve = arg;
    dctx_strip_t reason;
    if (passes(sieve, key, name, &reason))
        return true;
    dctx_tally_t *tally = dctx_tally_of_(&sieve->policy->tallies, name, reason, sieve->leaving);
    if (sieve->stripped->count < DCTX_STRIPPED_MAX)
        sieve->stripped->tallies[sieve->stripped->count] = tally;
    else
        atomic_fetch_add_explicit(&tally->count, 1, memory_order_relaxed);
    sieve->stripped->count++;
    return false;
}

bool dctx_policy_passing_(const dctx_policy_t *policy, dctx_class_t peer, bool leaving,
                          dctx_passing_t *ret_passing)
{
    static const unsigned reaches[DCTX_CLASSES] = {
        [DCTX_CLASS_HOST] = 1u << DCTX_REACH_HOST | 1u << DCTX_REACH_DOMAIN | 1u << DCTX_REACH_ANY,
        [DCTX_CLASS_DOMAIN] = 1u << DCTX_REACH_DOMAIN | 1u << DCTX_REACH_ANY,
        [DCTX_CLASS_STRANGER] = 1u << DCTX_REACH_ANY,
    };
    const dctx_class_rules_t *rules = &policy->rules[peer];
    const dctx_sieve_rules_t *flow = leaving ? &rules->leave : &rules->enter;
    if (flow->allow != NULL || flow->deny != NULL ||
        (leaving ? rules->chain == DCTX_CLAIM_DROP
                 : rules->chain != DCTX_CLAIM_BELIEVE || rules->trace != DCTX_CLAIM_BELIEVE ||
                       rules->deadline != DCTX_CLAIM_BELIEVE))
        return false;
    *ret_passing = (dctx_passing_t){
        .reaches = reaches[peer],
        .unknown = flow->pass_allow == NULL && flow->pass_deny == NULL,
        .stamp_bytes = flow->stamp_bytes,
        .chain_names = flow->chain_names,
    };
    return true;
}

bool dctx_policy_passes_whole_(const dctx_policy_t *policy, dctx_class_t peer, bool leaving,
                               const dctx_snapshot_t *snapshot)
{
    dctx_passing_t passing;
    return dctx_policy_passing_(policy, peer, leaving, &passing) &&
           dctx_snapshot_passes_(snapshot, &passing);
}

dctx_error_t dctx_policy_sieve_(dctx_policy_t *policy, dctx_class_t peer, bool leaving,
                                const dctx_snapshot_t *snapshot, dctx_stripped_t *ret_stripped,
                                dctx_snapshot_t **ret_snapshot)
{
    const dctx_class_rules_t *rules = &policy->rules[peer];
    sieve_t sieve = {policy, rules,   leaving ? &rules->leave : &rules->enter,
                     peer,   leaving, ret_stripped};
    ret_stripped->count = 0;
    if (snapshot != NULL && dctx_policy_passes_whole_(policy, peer, leaving, snapshot)) {
        *ret_snapshot = dctx_snapshot_ref(snapshot);
        return DCTX_OK;
    }
    /* To whom a chain is not believed, none is told. */
    bool keep_chain =
        leaving ? rules->chain != DCTX_CLAIM_DROP : rules->chain == DCTX_CLAIM_BELIEVE;
    return dctx_snapshot_filter_(snapshot, keep, &sieve, keep_chain, ret_snapshot);
}

static const char *reason_text(dctx_strip_t reason)
{
    static const char *const texts[] = {"its reach", "a list", "it is not known here",
                                        "a claim that is not believed"};
    return texts[reason];
}

void dctx_policy_count_stripped_(dctx_policy_t *policy, bool leaving,
                                 const dctx_stripped_t *stripped)
{
    if (stripped->count == 0)
        return;
    dctx_policy_count_(policy,
                       leaving ? DCTX_POLICY_STRIPPED_LEAVING : DCTX_POLICY_STRIPPED_ENTERING,
                       stripped->count);
    for (size_t i = 0; i < stripped->count && i < DCTX_STRIPPED_MAX; i++) {
        dctx_tally_t *tally = stripped->tallies[i];
        atomic_fetch_add_explicit(&tally->count, 1, memory_order_relaxed);
        if (policy->log)
            dctx_log(DCTX_LOG_INFO, "key '%s' was stripped from a message that %s: %s", tally->name,
                     leaving ? "leaves" : "enters", reason_text(tally->reason));
    }
}

/* ---- what was counted ------------------------------------------------------------------------ */

static uint64_t counted(const dctx_policy_t *policy, dctx_policy_counter_t counter)
{
    return atomic_load_explicit(&policy->counters[counter], memory_order_relaxed);
}

void dctx_policy_counters_read(const dctx_policy_t *policy, dctx_policy_counters_t *ret_counters)
{
    if (ret_counters == NULL)
        return;
    policy = dctx_policy_or_default_(policy);
    ret_counters->missing = counted(policy, DCTX_POLICY_MISSING);
    ret_counters->forbidden = counted(policy, DCTX_POLICY_FORBIDDEN);
    ret_counters->oversized = counted(policy, DCTX_POLICY_OVERSIZED);
    ret_counters->refused = counted(policy, DCTX_POLICY_REFUSED);
    ret_counters->revoked = counted(policy, DCTX_POLICY_REVOKED);
    ret_counters->rejected = counted(policy, DCTX_POLICY_REJECTED);
    ret_counters->stripped_leaving = counted(policy, DCTX_POLICY_STRIPPED_LEAVING);
    ret_counters->stripped_entering = counted(policy, DCTX_POLICY_STRIPPED_ENTERING);
}

void dctx_policy_stripped(const dctx_policy_t *policy, dctx_stripped_fn call, void *arg)
{
    dctx_tallies_each_(&dctx_policy_or_default_(policy)->tallies, call, arg);
}
