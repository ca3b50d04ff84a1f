#include "exit.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include <dcontext/internal.h>

enum {
    KINDS = DCTX_EXIT_UNWATCHED + 1,
    DEPTH_MAX = 32 /* of a chain of causes; past it the first cause is what stays */
};

/* Its texts are behind it in the same block. */
struct dctx_exit {
    _Atomic(uint32_t) references; /* relaxed up, acq_rel down; 0: of a spare one, which stays */
    dctx_exit_kind_t kind;
    dctx_error_t error;
    unsigned depth;
    dctx_exit_t *cause;
    const char *who, *reason, *where, *chain;
};

/* ---- making ---------------------------------------------------------------------------------- */

static dctx_exit_t *spare(dctx_exit_kind_t kind)
{
#define SPARE(k)                                                                                   \
    [k] = {.kind = (k), .error = DCTX_ERR_NOMEM, .who = "", .reason = "", .where = "", .chain = "" }
    static dctx_exit_t spares[KINDS] = {
        SPARE(DCTX_EXIT_SELF),     SPARE(DCTX_EXIT_STOPPED),   SPARE(DCTX_EXIT_PARENT),
        SPARE(DCTX_EXIT_SYSTEM),   SPARE(DCTX_EXIT_FAILED),    SPARE(DCTX_EXIT_START_FAILED),
        SPARE(DCTX_EXIT_TIED),     SPARE(DCTX_EXIT_INTENSITY), SPARE(DCTX_EXIT_ESCALATED),
        SPARE(DCTX_EXIT_NO_ACTOR), SPARE(DCTX_EXIT_NODE_LOST), SPARE(DCTX_EXIT_UNWATCHED)};
#undef SPARE
    return &spares[kind];
}

static const char *put(char **at, const char *text)
{
    if (text == NULL || text[0] == '\0')
        return "";
    size_t size = strlen(text) + 1;
    const char *begin = memcpy(*at, text, size);
    *at += size;
    return begin;
}

static size_t room(const char *text)
{
    return text == NULL ? 0 : strlen(text) + 1;
}

/* The cause, or, of a chain that is long enough, its end:
 * rings of tied actors would make it endless. */
static const dctx_exit_t *root_of(const dctx_exit_t *cause)
{
    while (cause != NULL && cause->depth >= DEPTH_MAX)
        cause = cause->cause;
    return cause;
}

dctx_exit_t *dctx_exit_new_(dctx_exit_kind_t kind, dctx_error_t error,
                            const dctx_exit_words_t *words, const dctx_exit_t *cause)
{
    static const dctx_exit_words_t none;
    if (words == NULL)
        words = &none;
    dctx_exit_t *self = dctx_alloc_(sizeof *self + room(words->who) + room(words->reason) +
                                    room(words->where) + room(words->chain));
    if (self == NULL)
        return spare(kind);
    cause = root_of(cause);
    *self = (dctx_exit_t){.kind = kind,
                          .error = error,
                          .depth = cause != NULL ? cause->depth + 1 : 0,
                          .cause = dctx_exit_ref(cause)};
    atomic_init(&self->references, 1);
    char *at = (char *)(self + 1);
    self->who = put(&at, words->who);
    self->reason = put(&at, words->reason);
    self->where = put(&at, words->where);
    self->chain = put(&at, words->chain);
    return self;
}

dctx_exit_t *dctx_exit_ref(const dctx_exit_t *self)
{
    dctx_exit_t *own = (dctx_exit_t *)(uintptr_t)self;
    if (own != NULL && atomic_load_explicit(&own->references, memory_order_relaxed) != 0)
        (void)atomic_fetch_add_explicit(&own->references, 1, memory_order_relaxed);
    return own;
}

void dctx_exit_unref(dctx_exit_t **exit_p)
{
    dctx_exit_t *self = exit_p == NULL ? NULL : *exit_p;
    if (exit_p != NULL)
        *exit_p = NULL;
    while (self != NULL && atomic_load_explicit(&self->references, memory_order_relaxed) != 0 &&
           atomic_fetch_sub_explicit(&self->references, 1, memory_order_acq_rel) == 1) {
        dctx_exit_t *cause = self->cause;
        dctx_release_(self);
        self = cause;
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

dctx_exit_kind_t dctx_exit_kind(const dctx_exit_t *self)
{
    return self != NULL ? self->kind : (dctx_exit_kind_t)0;
}

dctx_error_t dctx_exit_error(const dctx_exit_t *self)
{
    return self != NULL ? self->error : DCTX_OK;
}

const char *dctx_exit_who(const dctx_exit_t *self)
{
    return self != NULL ? self->who : "";
}

const char *dctx_exit_reason(const dctx_exit_t *self)
{
    return self != NULL ? self->reason : "";
}

const char *dctx_exit_where(const dctx_exit_t *self)
{
    return self != NULL ? self->where : "";
}

const char *dctx_exit_chain(const dctx_exit_t *self)
{
    return self != NULL ? self->chain : "";
}

const dctx_exit_t *dctx_exit_cause(const dctx_exit_t *self)
{
    return self != NULL ? self->cause : NULL;
}

bool dctx_exit_is_failure(const dctx_exit_t *self)
{
    if (self == NULL)
        return false;
    switch (self->kind) {
    case DCTX_EXIT_SELF:
    case DCTX_EXIT_STOPPED:
    case DCTX_EXIT_PARENT:
    case DCTX_EXIT_SYSTEM:
        return false;
    default:
        return true;
    }
}

static const char *kind_text(dctx_exit_kind_t kind)
{
    switch (kind) {
    case DCTX_EXIT_SELF:
        return "stopped by itself";
    case DCTX_EXIT_STOPPED:
        return "stopped";
    case DCTX_EXIT_PARENT:
        return "stopped with its parent";
    case DCTX_EXIT_SYSTEM:
        return "stopped with the system";
    case DCTX_EXIT_FAILED:
        return "failed";
    case DCTX_EXIT_START_FAILED:
        return "did not start";
    case DCTX_EXIT_TIED:
        return "stopped: tied to";
    case DCTX_EXIT_INTENSITY:
        return "failed: too many restarts";
    case DCTX_EXIT_ESCALATED:
        return "failed with its child";
    case DCTX_EXIT_NO_ACTOR:
        return "gone before";
    case DCTX_EXIT_NODE_LOST:
        return "lost with its node";
    case DCTX_EXIT_UNWATCHED:
        return "cannot be monitored";
    default:
        return "ended";
    }
}

/* Adds to a text that may be cut; counts what the whole would have. */
typedef struct text {
    char *buffer;
    size_t size, length;
} text_t;

static void add(text_t *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(text_t *text, const char *format, ...)
{
    va_list args;
    bool fits = text->length < text->size;
    va_start(args, format);
    int length = vsnprintf(fits ? text->buffer + text->length : NULL,
                           fits ? text->size - text->length : 0, format, args);
    va_end(args);
    text->length += length > 0 ? (size_t)length : 0;
}

static void add_one(text_t *text, const dctx_exit_t *exit)
{
    add(text, "%s%s%s", exit->who, exit->who[0] != '\0' ? ": " : "", kind_text(exit->kind));
    bool failed = dctx_exit_is_failure(exit) && exit->kind != DCTX_EXIT_TIED;
    if (failed && exit->cause == NULL && exit->error != DCTX_OK)
        add(text, ": %s", dctx_error_name(exit->error));
    if (exit->reason[0] != '\0')
        add(text, "%s \"%s\"", failed && exit->cause == NULL ? "" : ":", exit->reason);
    if (exit->where[0] != '\0')
        add(text, " in %s", exit->where);
    if (exit->chain[0] != '\0')
        add(text, " under %s", exit->chain);
}

size_t dctx_exit_format(const dctx_exit_t *self, char *buffer, size_t size)
{
    if (buffer == NULL)
        size = 0;
    text_t text = {.buffer = buffer, .size = size};
    if (size > 0)
        buffer[0] = '\0';
    for (const dctx_exit_t *exit = self; exit != NULL; exit = exit->cause) {
        add_one(&text, exit);
        if (exit->cause != NULL)
            add(&text, "%s", exit->kind == DCTX_EXIT_TIED ? " " : ": ");
    }
    return text.length;
}
