/*
 * Cancel scopes: a tree, and who is told.
 *
 * Each tree has one of a fixed number of locks, which guards its shape, the registrations, and who
 * is being called. It is held for a few loads and stores, or for a walk through what is being
 * cancelled, and never while anything is called: a canceller moves the watches it finds to a list
 * of its own, and takes them from there one by one. A watch is in exactly one list, or in none, so
 * that unwatching needs not know which.
 */
#include "cancel.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <dcontext/runtime.h>

#include "alloc.h"
#include "fail.h"
#include "known.h"
#include "registry.h"
#include "thread.h"

enum { REASON_MAX = 255, CHAIN_SIZE = 4096 };

/* A call of dctx_cancel() that has watches to call. Locked, all of it. */
typedef struct firing {
    struct firing *next;
    dctx_cancel_watch_t *left;
    const dctx_cancel_watch_t
        *current; /* being called; NULL: none, or it needs not be waited for */
    const char *thread;
} firing_t;

typedef struct tree {
    _Alignas(64) pthread_mutex_t lock;
    pthread_cond_t called; /* some firing's `current` changed, and somebody waits for that */
    firing_t *firings;
    unsigned waiting;
} tree_t;

#define TREE_                                                                                      \
    {                                                                                              \
        .lock = PTHREAD_MUTEX_INITIALIZER, .called = PTHREAD_COND_INITIALIZER                      \
    }
#define TREE4_ TREE_, TREE_, TREE_, TREE_
static tree_t trees[] = {TREE4_, TREE4_, TREE4_, TREE4_, TREE4_, TREE4_, TREE4_, TREE4_};
static uint32_t next_tree; /* relaxed: any spread will do */

/* Its address tells threads apart. */
static __thread char here;

/* ---- why ------------------------------------------------------------------------------------- */

/* Where there was no memory for words. */
static dctx_cause_t wordless[2] = {
    {.status = DCTX_ERR_CANCELLED, .reason = "", .chain = ""},
    {.status = DCTX_ERR_DEADLINE, .reason = "", .chain = ""},
};

static size_t cut(const char *text, size_t most)
{
    size_t size = strnlen(text, most + 1);
    if (size <= most)
        return size;
    size = most;
    while (size > 0 && ((unsigned char)text[size] & 0xc0) == 0x80)
        size--;
    return size;
}

static dctx_cause_t *new_cause(dctx_error_t status, const char *reason, const char *chain)
{
    size_t reason_size = cut(reason, REASON_MAX);
    size_t chain_size = cut(chain, CHAIN_SIZE - 1);
    dctx_cause_t *cause = dctx_alloc_(sizeof(*cause) + reason_size + chain_size + 2);
    if (cause == NULL)
        return &wordless[status == DCTX_ERR_DEADLINE];
    char *words = (char *)(cause + 1);
    memcpy(words, reason, reason_size);
    words[reason_size] = '\0';
    memcpy(words + reason_size + 1, chain, chain_size);
    words[reason_size + 1 + chain_size] = '\0';
    *cause = (dctx_cause_t){.status = status, .reason = words, .chain = words + reason_size + 1};
    dctx_refcount_init(&cause->refs, 1);
    return cause;
}

static bool is_wordless(const dctx_cause_t *cause)
{
    return cause == &wordless[0] || cause == &wordless[1];
}

static dctx_cause_t *ref_cause(dctx_cause_t *cause)
{
    if (!is_wordless(cause))
        dctx_refcount_add(&cause->refs, 1);
    return cause;
}

static void unref_cause(dctx_cause_t *cause)
{
    if (cause != NULL && !is_wordless(cause) && dctx_refcount_drop(&cause->refs, 1))
        dctx_release_(cause);
}

/* ---- life ------------------------------------------------------------------------------------ */

static tree_t *tree_of(const dctx_cancel_t *cancel)
{
    return &trees[cancel->tree];
}

/* Locked. */
static void settle(dctx_cancel_t *cancel, dctx_cause_t *cause)
{
    cancel->cause = ref_cause(cause);
    __atomic_store_n(&cancel->status, (int)cause->status, __ATOMIC_RELEASE);
    if (cancel->fd >= 0) {
        uint64_t one = 1;
        ssize_t written = write(cancel->fd, &one, sizeof(one));
        (void)written; /* it was 0, and so takes a 1 */
    }
}

dctx_error_t dctx_cancel_new_under(dctx_cancel_t *parent, dctx_cancel_t **ret_cancel)
{
    if (ret_cancel == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no place for the cancel scope (NULL)");
    dctx_cancel_t *cancel = dctx_calloc_(1, sizeof(*cancel));
    if (cancel == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a cancel scope");
    dctx_refcount_init(&cancel->refs, 1);
    cancel->fd = -1;
    *ret_cancel = cancel;
    if (parent == NULL) {
        cancel->tree = __atomic_fetch_add(&next_tree, 1, __ATOMIC_RELAXED) %
                       (sizeof(trees) / sizeof(trees[0]));
        return DCTX_OK;
    }
    cancel->tree = parent->tree;
    cancel->parent = dctx_cancel_ref(parent);
    tree_t *tree = tree_of(cancel);
    pthread_mutex_lock(&tree->lock);
    if (parent->cause != NULL)
        settle(cancel, parent->cause);
    cancel->next = parent->children;
    if (cancel->next != NULL)
        cancel->next->place = &cancel->next;
    cancel->place = &parent->children;
    parent->children = cancel;
    pthread_mutex_unlock(&tree->lock);
    return DCTX_OK;
}

dctx_cancel_t *dctx_cancel_ref(dctx_cancel_t *cancel)
{
    if (cancel != NULL)
        dctx_refcount_add(&cancel->refs, 1);
    return cancel;
}

void dctx_cancel_unref(dctx_cancel_t **cancel_p)
{
    if (cancel_p == NULL)
        return;
    dctx_cancel_t *cancel = *cancel_p;
    *cancel_p = NULL;
    while (cancel != NULL && dctx_refcount_drop(&cancel->refs, 1)) {
        /* A canceller may be walking over it; it has neither children nor watches any more, which
         * would have references. */
        dctx_cancel_t *parent = cancel->parent;
        if (parent != NULL) {
            tree_t *tree = tree_of(cancel);
            pthread_mutex_lock(&tree->lock);
            *cancel->place = cancel->next;
            if (cancel->next != NULL)
                cancel->next->place = cancel->place;
            pthread_mutex_unlock(&tree->lock);
        }
        if (cancel->fd >= 0)
            (void)close(cancel->fd);
        unref_cause(cancel->cause);
        dctx_release_(cancel);
        cancel = parent;
    }
}

/* ---- being told ------------------------------------------------------------------------------ */

static void link_watch(dctx_cancel_watch_t **head, dctx_cancel_watch_t *watch)
{
    watch->next_ = *head;
    if (watch->next_ != NULL)
        watch->next_->place_ = &watch->next_;
    watch->place_ = head;
    *head = watch;
}

static void unlink_watch(dctx_cancel_watch_t *watch)
{
    *watch->place_ = watch->next_;
    if (watch->next_ != NULL)
        watch->next_->place_ = watch->place_;
    watch->place_ = NULL;
}

bool dctx_cancel_watch_(dctx_cancel_t *cancel, dctx_cancel_watch_t *watch, dctx_cancel_fn call,
                        void *arg)
{
    *watch = (dctx_cancel_watch_t){.cancel_ = cancel, .call_ = call, .arg_ = arg};
    if (cancel == NULL)
        return true;
    watch->tree_ = cancel->tree;
    tree_t *tree = tree_of(cancel);
    pthread_mutex_lock(&tree->lock);
    bool alive = cancel->cause == NULL;
    if (alive) {
        dctx_refcount_add(&cancel->refs, 1);
        link_watch(&cancel->watches, watch);
    }
    pthread_mutex_unlock(&tree->lock);
    return alive;
}

bool dctx_cancel_watch(dctx_cancel_t *cancel, dctx_cancel_watch_t *watch, dctx_cancel_fn call,
                       void *arg)
{
    if (watch == NULL || call == NULL) {
        dctx_log(DCTX_LOG_ERROR,
                 "nothing watches: dctx_cancel_watch() needs a watch and a function");
        if (watch != NULL)
            *watch = (dctx_cancel_watch_t){0};
        return true;
    }
    if (dctx_cancel_watch_(cancel, watch, call, arg))
        return true;
    call(cancel, arg);
    return false;
}

/* Locked. */
static firing_t *find_call(const tree_t *tree, const dctx_cancel_watch_t *watch)
{
    firing_t *firing = tree->firings;
    while (firing != NULL && firing->current != watch)
        firing = firing->next;
    return firing;
}

void dctx_cancel_unwatch(dctx_cancel_watch_t *watch)
{
    if (watch == NULL || watch->cancel_ == NULL)
        return;
    tree_t *tree = &trees[watch->tree_];
    dctx_cancel_t *cancel = NULL;
    firing_t *firing;
    pthread_mutex_lock(&tree->lock);
    if (watch->place_ != NULL) {
        cancel = watch->cancel_;
        unlink_watch(watch);
    }
    while ((firing = find_call(tree, watch)) != NULL) {
        if (firing->thread == &here) {
            firing->current = NULL;
            break;
        }
        tree->waiting++;
        pthread_cond_wait(&tree->called, &tree->lock);
        tree->waiting--;
    }
    pthread_mutex_unlock(&tree->lock);
    dctx_cancel_unref(&cancel);
}

/* Locked, and so again at the end. A watch may be gone as soon as it is called. */
static void fire(tree_t *tree, firing_t *firing)
{
    firing->thread = &here;
    firing->next = tree->firings;
    tree->firings = firing;
    while (firing->left != NULL) {
        dctx_cancel_watch_t *watch = firing->left;
        dctx_cancel_t *cancel = watch->cancel_;
        dctx_cancel_fn call = watch->call_;
        void *arg = watch->arg_;
        unlink_watch(watch);
        firing->current = watch;
        pthread_mutex_unlock(&tree->lock);
        call(cancel, arg);
        dctx_cancel_unref(&cancel);
        pthread_mutex_lock(&tree->lock);
        firing->current = NULL;
        if (tree->waiting > 0)
            (void)pthread_cond_broadcast(&tree->called);
    }
    firing_t **place = &tree->firings;
    while (*place != firing)
        place = &(*place)->next;
    *place = firing->next;
}

/* ---- cancelling ------------------------------------------------------------------------------ */

/* The next scope below `top`; what is below one that is `skipped` is left out. */
static dctx_cancel_t *after(dctx_cancel_t *cancel, const dctx_cancel_t *top, bool skipped)
{
    if (!skipped && cancel->children != NULL)
        return cancel->children;
    while (cancel != top && cancel->next == NULL)
        cancel = cancel->parent;
    return cancel != top ? cancel->next : NULL;
}

/* Locked. Cancels all that is not, and takes their watches. */
static void spread(dctx_cancel_t *top, dctx_cause_t *cause, firing_t *firing)
{
    bool skipped = false;
    for (dctx_cancel_t *each = top; each != NULL; each = after(each, top, skipped)) {
        skipped = each->cause != NULL;
        if (skipped)
            continue;
        settle(each, cause);
        while (each->watches != NULL) {
            dctx_cancel_watch_t *watch = each->watches;
            unlink_watch(watch);
            link_watch(&firing->left, watch);
        }
    }
}

bool dctx_cancel_with_(dctx_cancel_t *cancel, dctx_error_t status, const char *reason,
                       const char *chain)
{
    if (cancel == NULL || dctx_cancel_status(cancel) != DCTX_OK)
        return false;
    char buffer[CHAIN_SIZE];
    if (chain == NULL) {
        (void)dctx_chain_format(buffer, sizeof(buffer));
        chain = buffer;
    }
    dctx_cause_t *cause = new_cause(status, reason != NULL ? reason : "", chain);
    tree_t *tree = tree_of(cancel);
    firing_t firing = {.left = NULL};
    /* What is called may give back the last reference that the caller counted on. */
    dctx_cancel_t *held = dctx_cancel_ref(cancel);
    pthread_mutex_lock(&tree->lock);
    bool first = cancel->cause == NULL;
    if (first)
        spread(cancel, cause, &firing);
    if (firing.left != NULL)
        fire(tree, &firing);
    pthread_mutex_unlock(&tree->lock);
    dctx_cancel_unref(&held);
    unref_cause(cause);
    return first;
}

bool dctx_cancel(dctx_cancel_t *cancel, const char *reason)
{
    return dctx_cancel_with_(cancel, DCTX_ERR_CANCELLED, reason, NULL);
}

dctx_error_t dctx_cancel_status(const dctx_cancel_t *cancel)
{
    return cancel != NULL ? (dctx_error_t)__atomic_load_n(&cancel->status, __ATOMIC_ACQUIRE)
                          : DCTX_OK;
}

const char *dctx_cancel_reason(const dctx_cancel_t *cancel)
{
    return dctx_cancel_status(cancel) != DCTX_OK ? cancel->cause->reason : "";
}

const char *dctx_cancel_chain(const dctx_cancel_t *cancel)
{
    return dctx_cancel_status(cancel) != DCTX_OK ? cancel->cause->chain : "";
}

dctx_error_t dctx_cancel_fd(dctx_cancel_t *cancel, int *ret_fd)
{
    if (cancel == NULL || ret_fd == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "a descriptor of no scope, or no place for it");
    tree_t *tree = tree_of(cancel);
    pthread_mutex_lock(&tree->lock);
    if (cancel->fd < 0)
        cancel->fd = eventfd(cancel->cause != NULL, EFD_CLOEXEC | EFD_NONBLOCK);
    int error = errno;
    *ret_fd = cancel->fd;
    pthread_mutex_unlock(&tree->lock);
    return *ret_fd >= 0 ? DCTX_OK : dctx_fail_(DCTX_ERR_IO, "no eventfd: %s", strerror(error));
}

/* ---- the context ----------------------------------------------------------------------------- */

static dctx_error_t copy(void *dst, const void *src)
{
    *(dctx_cancel_t **)dst = dctx_cancel_ref(*(dctx_cancel_t *const *)src);
    return DCTX_OK;
}

static void destroy(void *value)
{
    dctx_cancel_unref(value);
}

const dctx_type_t dctx_cancel_type_ = {
    .name = "cancel", .size = sizeof(dctx_cancel_t *), .copy = copy, .destroy = destroy};

static dctx_cancel_t *in_value(const void *data)
{
    return data != NULL ? *(dctx_cancel_t *const *)data : NULL;
}

dctx_cancel_t *dctx_cancel_entered_(void)
{
    /* Most threads have no local value at all, and then no key needs to be found. */
    if (dctx_hot_.thread == NULL || dctx_hot_.table[DCTX_KIND_LOCAL]->count == 0)
        return NULL;
    return in_value(dctx_get(dctx_known_key_(DCTX_KNOWN_CANCEL)));
}

void dctx_cancel_begin_(dctx_asked_t *asked)
{
    asked->attached_ = dctx_hot_.thread != NULL ? dctx_hot_.thread->state->attached : NULL;
    dctx_hot_.asked = asked;
}

static dctx_value_t *value_in(const dctx_table_t *table, const dctx_key_t *key)
{
    return table != NULL && table->count > 0 ? table->slots[key->index] : NULL;
}

/*
 * What the thread is asked for has a scope only when it is needed. It is entered when the context
 * still is what came with the ask, however much else was set in it: another context that was
 * attached since belongs to other work; and who has entered a scope since, or left all, is where he
 * wants to be.
 */
dctx_error_t dctx_cancel_join_(void)
{
    const dctx_asked_t *asked = dctx_hot_.asked;
    if (__builtin_expect(asked == NULL, 1))
        return DCTX_OK;
    const dctx_snapshot_t *attached = dctx_hot_.thread->state->attached;
    const dctx_key_t *key = dctx_known_key_(DCTX_KNOWN_CANCEL);
    if (attached != asked->attached_ || key == NULL)
        return DCTX_OK;
    const dctx_value_t *came =
        attached != NULL ? value_in(attached->table[DCTX_KIND_LOCAL], key) : NULL;
    if (value_in(dctx_hot_.table[DCTX_KIND_LOCAL], key) != came)
        return DCTX_OK;
    dctx_cancel_t *cancel = NULL;
    dctx_error_t error = asked->scope(&cancel);
    return error == DCTX_OK && cancel != NULL ? dctx_set(key, &cancel) : error;
}

dctx_cancel_t *dctx_cancel_get(void)
{
    if (dctx_cancel_join_() != DCTX_OK)
        dctx_log(DCTX_LOG_WARNING, "an ask goes without a cancel scope: %s", dctx_error_detail());
    return dctx_cancel_entered_();
}

dctx_cancel_t *dctx_snapshot_cancel(const dctx_snapshot_t *snapshot)
{
    if (snapshot == NULL || snapshot->table[DCTX_KIND_LOCAL]->count == 0)
        return NULL;
    return in_value(dctx_snapshot_get(snapshot, snapshot->registry->known[DCTX_KNOWN_CANCEL]));
}

dctx_error_t dctx_cancel_new(dctx_cancel_t **ret_cancel)
{
    dctx_error_t error = dctx_cancel_join_();
    return error == DCTX_OK ? dctx_cancel_new_under(dctx_cancel_entered_(), ret_cancel) : error;
}

dctx_error_t dctx_cancel_enter(dctx_cancel_t *cancel)
{
    if (cancel == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no scope (NULL); detach leaves all");
    return dctx_known_set_(DCTX_KNOWN_CANCEL, &cancel);
}

dctx_error_t dctx_cancel_detach(void)
{
    return dctx_known_set_(DCTX_KNOWN_CANCEL, &(dctx_cancel_t *){NULL});
}

/* ---- asking ---------------------------------------------------------------------------------- */

/* What the asker has to say, where the context is his and not another that was attached. */
static dctx_error_t ask_asker(void)
{
    const dctx_asked_t *asked = dctx_hot_.asked;
    if (__builtin_expect(asked == NULL, 1) || dctx_hot_.thread->state->attached != asked->attached_)
        return DCTX_OK;
    return asked->status();
}

static bool has_left(void)
{
    const void *data = dctx_get(dctx_known_key_(DCTX_KNOWN_CANCEL));
    return data != NULL && in_value(data) == NULL;
}

static dctx_error_t status_here(void)
{
    dctx_error_t error = dctx_cancel_status(dctx_cancel_entered_());
    if (error == DCTX_OK && dctx_deadline_expired())
        error = DCTX_ERR_DEADLINE;
    if (error == DCTX_OK && __builtin_expect(dctx_hot_.asked != NULL, 0) && !has_left())
        error = ask_asker();
    return error;
}

bool dctx_cancelled(void)
{
    return status_here() != DCTX_OK;
}

dctx_error_t dctx_cancel_check(void)
{
    dctx_error_t error = status_here();
    if (error == DCTX_OK)
        return error;
    const dctx_cancel_t *cancel = dctx_cancel_entered_();
    if (dctx_cancel_status(cancel) != DCTX_OK)
        return dctx_cancel_explain_(cancel);
    if (error == DCTX_ERR_DEADLINE && dctx_deadline_expired())
        return dctx_fail_(error, "the deadline passed %lld us ago",
                          (long long)(-dctx_deadline_left() / 1000));
    return dctx_fail_(error, "nobody waits for the answer any more");
}

dctx_error_t dctx_cancel_explain_(const dctx_cancel_t *cancel)
{
    dctx_error_t status = dctx_cancel_status(cancel);
    const char *reason = dctx_cancel_reason(cancel);
    const char *chain = dctx_cancel_chain(cancel);
    if (reason[0] == '\0')
        reason = dctx_strerror(status);
    return chain[0] != '\0' ? dctx_fail_(status, "%s (cancelled in %s)", reason, chain)
                            : dctx_fail_(status, "%s", reason);
}

dctx_error_t dctx_snapshot_over(const dctx_snapshot_t *snapshot)
{
    dctx_error_t error = dctx_cancel_status(dctx_snapshot_cancel(snapshot));
    if (error == DCTX_OK && dctx_snapshot_expired(snapshot))
        error = DCTX_ERR_DEADLINE;
    return error;
}
