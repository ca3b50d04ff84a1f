/*
 * launch.h - the services as child processes of the gateway.
 *
 * A child's life is tied to the gateway's by a pipe: the gateway holds the writing end of the
 * child's standard input, and when it is gone, by kill -9 even, the child reads the end and stops.
 */
#ifndef ORDERS_LAUNCH_H
#define ORDERS_LAUNCH_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { ENDPOINT_SIZE = 256 };

typedef struct child {
    const char *name; /* of the program, found beside the gateway's own */
    char path[PATH_MAX];
    bool verbose;
    char inventory[ENDPOINT_SIZE]; /* for --inventory; "": none */
    char dead_after[24];           /* for --dead-after; "": none */
    char endpoint[ENDPOINT_SIZE];  /* where it listens; when set already, where it shall */
    pid_t pid;                     /* 0: not running */
    bool listened;                 /* since it was started last */
    int stdin_fd, stdout_fd;
} child_t;

/* `inventory` may be NULL, `dead_after_ms` 0: then the option is not given. */
void child_init(child_t *child, const char *name, const char *inventory, int64_t dead_after_ms);

/* Start it. False with errno. */
bool child_start(child_t *child);

typedef enum child_news {
    CHILD_READY,      /* it listens, at child->endpoint */
    CHILD_ENDED,      /* without a word: it said why on standard error */
    CHILD_LATE,       /* nothing in time */
    CHILD_INTERRUPTED /* a signal came; see *ret_signal */
} child_news_t;

/* Wait for "listening ENDPOINT". `signal_fd`: signals_open(). */
child_news_t child_await(child_t *child, int signal_fd, int64_t timeout_ms, int *ret_signal);

/* True if it has ended since it was last seen running; *ret_status is as from waitpid(). */
bool child_reap(child_t *child, int *ret_status);

/* End all: ask first, by the end of their standard input, and kill when `timeout_ms` are over. */
void children_stop(child_t *children, int count, int signal_fd, int64_t timeout_ms);

#endif
