#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fail.h"

#define DETAIL_SIZE 256

static _Thread_local char detail[DETAIL_SIZE];

/* A switch without a default, so that the compiler names an enumerator that was forgotten. */
#define EACH_ERROR(X)                                                                              \
    X(DCTX_OK, "no error")                                                                         \
    X(DCTX_ERR_NOMEM, "out of memory")                                                             \
    X(DCTX_ERR_INVALID, "invalid argument")                                                        \
    X(DCTX_ERR_FROZEN, "the registry is frozen: register keys before the freeze")                  \
    X(DCTX_ERR_NOT_FROZEN, "the registry is not frozen yet: freeze it before use")                 \
    X(DCTX_ERR_UNKNOWN_KEY, "the key is not in the registry of this thread's context")             \
    X(DCTX_ERR_TYPE, "wrong type")                                                                 \
    X(DCTX_ERR_CONFLICT, "the name is registered already, with another type or options")           \
    X(DCTX_ERR_LIMIT, "over a limit")                                                              \
    X(DCTX_ERR_MALFORMED, "malformed bytes")                                                       \
    X(DCTX_ERR_VERSION, "a version that this library does not read")                               \
    X(DCTX_ERR_CODEC, "a value's encode or decode function refused")                               \
    X(DCTX_ERR_SCOPE_ORDER, "a scope opened later is still open")                                  \
    X(DCTX_ERR_WRONG_THREAD, "the scope belongs to another thread")                                \
    X(DCTX_ERR_NOT_OPEN, "the scope is not open")                                                  \
    X(DCTX_ERR_ABSENT, "not there")                                                                \
    X(DCTX_ERR_REGISTRY, "belongs to another registry")                                            \
    X(DCTX_ERR_TIMEOUT, "timed out")                                                               \
    X(DCTX_ERR_UNREACHABLE, "the peer cannot be reached, or was lost")                             \
    X(DCTX_ERR_NO_ACTOR, "no such actor is alive")                                                 \
    X(DCTX_ERR_STOPPED, "the actor or system is stopping or stopped")                              \
    X(DCTX_ERR_FULL, "the queue is full")                                                          \
    X(DCTX_ERR_REJECTED, "rejected by an interceptor, a policy, or the handler")                   \
    X(DCTX_ERR_NO_REPLY, "the handler sent no reply")                                              \
    X(DCTX_ERR_IO, "input/output error")                                                           \
    X(DCTX_ERR_AGAIN, "would block: try again later")                                              \
    X(DCTX_ERR_CANCELLED, "the request was cancelled")                                             \
    X(DCTX_ERR_DEADLINE, "the request's deadline has passed")

const char *dctx_strerror(dctx_error_t error)
{
    switch (error) {
#define SENTENCE(name, sentence)                                                                   \
    case name:                                                                                     \
        return sentence;
        EACH_ERROR(SENTENCE)
#undef SENTENCE
    }
    return "unknown error";
}

const char *dctx_error_name(dctx_error_t error)
{
    switch (error) {
#define NAME(name, sentence)                                                                       \
    case name:                                                                                     \
        return #name;
        EACH_ERROR(NAME)
#undef NAME
    }
    return "DCTX_ERR_?";
}

const char *dctx_error_detail(void)
{
    return detail;
}

static _Thread_local bool quiet;

bool dctx_fail_quietly_(bool yes)
{
    bool before = quiet;
    quiet = yes;
    return before;
}

dctx_error_t dctx_fail_(dctx_error_t error, const char *format, ...)
{
    if (format == NULL || quiet) {
        detail[0] = '\0';
        return error;
    }
    int saved_errno = errno;
    char text[DETAIL_SIZE];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    size_t size = length < 0 ? 0 : (size_t)length >= DETAIL_SIZE ? DETAIL_SIZE - 1 : (size_t)length;
    /* Details end up in logs: what a peer or a user put into a name must not forge a line there. */
    for (size_t i = 0; i < size; i++)
        detail[i] = (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i];
    detail[size] = '\0';
    errno = saved_errno;
    return error;
}
