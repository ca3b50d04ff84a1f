/*
 * dcontext/error.h - one error enum for the three libraries, and what went wrong in words.
 *
 * Every fallible function returns dctx_error_t. Outputs come last, are named ret_*, are set on
 * success and untouched on failure unless a function says otherwise. The library never prints and
 * never aborts on bad input or on allocation failure.
 */
#ifndef DCONTEXT_ERROR_H
#define DCONTEXT_ERROR_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define DCTX_EXPORT     __attribute__((visibility("default")))
#define DCTX_MUST_CHECK __attribute__((warn_unused_result))
/* A function so quick that the stub between a program and a shared library would be much of its
 * cost. */
#if defined(__has_attribute)
#if __has_attribute(noplt)
#define DCTX_QUICK DCTX_EXPORT __attribute__((noplt))
#endif
#endif
#ifndef DCTX_QUICK
#define DCTX_QUICK DCTX_EXPORT
#endif
#else
#error "dcontext needs gcc or clang: it uses the cleanup attribute and __atomic builtins"
#endif

/* Append-only; the numbers are part of the ABI and of the wire (an error reply carries one). */
typedef enum dctx_error {
    DCTX_OK = 0,
    DCTX_ERR_NOMEM = 1,         /* an allocation failed; nothing changed */
    DCTX_ERR_INVALID = 2,       /* an argument is not what the function asks for */
    DCTX_ERR_FROZEN = 3,        /* the registry is frozen: register keys before the freeze */
    DCTX_ERR_NOT_FROZEN = 4,    /* the registry is not frozen yet: freeze it before use */
    DCTX_ERR_UNKNOWN_KEY = 5,   /* the key is not in the registry of this thread's context */
    DCTX_ERR_TYPE = 6,          /* the key, or the message, has another type */
    DCTX_ERR_CONFLICT = 7,      /* the name is registered already, with another type or options */
    DCTX_ERR_LIMIT = 8,         /* over a limit; dctx_error_detail() names limit, size and key */
    DCTX_ERR_MALFORMED = 9,     /* the bytes are not what the format allows */
    DCTX_ERR_VERSION = 10,      /* the bytes are of a version that this library does not read */
    DCTX_ERR_CODEC = 11,        /* a value's encode or decode function refused */
    DCTX_ERR_SCOPE_ORDER = 12,  /* popped while a scope opened later is still open */
    DCTX_ERR_WRONG_THREAD = 13, /* popped on another thread than the one that pushed */
    DCTX_ERR_NOT_OPEN = 14,     /* the scope was popped already, or was never opened */
    DCTX_ERR_ABSENT = 15,       /* there is no value, no such thing, nothing to take */
    DCTX_ERR_REGISTRY = 16,     /* the snapshot or key belongs to another registry */
    DCTX_ERR_TIMEOUT = 17,      /* the time given ran out */
    /* the peer cannot be reached, or was lost with the request in flight */
    DCTX_ERR_UNREACHABLE = 18,
    DCTX_ERR_NO_ACTOR = 19, /* no actor of that name or reference is alive */
    DCTX_ERR_STOPPED = 20,  /* the actor or system is stopping or stopped */
    DCTX_ERR_FULL = 21,     /* a bounded queue is full */
    DCTX_ERR_REJECTED = 22, /* refused by an interceptor, a policy, or the handler */
    DCTX_ERR_NO_REPLY = 23, /* the handler was done with the ask and sent no reply */
    /* the operating system or ZeroMQ said no; the detail has its words */
    DCTX_ERR_IO = 24,
    DCTX_ERR_AGAIN = 25,     /* would block; try again when the socket is ready */
    DCTX_ERR_CANCELLED = 26, /* the request was cancelled */
    DCTX_ERR_DEADLINE = 27   /* the request's deadline has passed */
} dctx_error_t;

/*
 * What is done with a message whose context is in error: one that does not encode, a stamp that is
 * refused, or missing or there against the rule of a socket's policy.
 */
typedef enum dctx_on_error {
    DCTX_ON_ERROR_CONTINUE = 0, /* counted and logged; the message goes on without context */
    /* counted and logged; a send fails, and what came in goes to the dead-letter callback */
    DCTX_ON_ERROR_REJECT = 1
} dctx_on_error_t;

/*
 * A short sentence for an error, in English, for logs and messages.
 *
 * Ownership: static; never NULL; an unknown value has a sentence too.
 * Errors: none.
 * Thread-safety: any thread.
 * Limits and units: none.
 */
DCTX_EXPORT const char *dctx_strerror(dctx_error_t error);

/*
 * The enumerator's name, "DCTX_ERR_LIMIT".
 *
 * Ownership: static; never NULL ("DCTX_ERR_?" for an unknown value).
 * Errors: none.
 * Thread-safety: any thread.
 * Limits and units: none.
 */
DCTX_EXPORT const char *dctx_error_name(dctx_error_t error);

/*
 * What the last failing dcontext call on this thread had to say beyond its code: which key, which
 * limit, which size, what to do. Only failing calls write it; it never holds a value's content.
 *
 * Ownership: the library's; valid until the next failing call on this thread. "" if there is none.
 * Errors: none.
 * Thread-safety: each thread has its own.
 * Limits and units: at most 255 bytes; longer text is cut.
 */
DCTX_EXPORT const char *dctx_error_detail(void);

#ifdef __cplusplus
}
#endif
#endif
