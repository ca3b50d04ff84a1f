/*
 * actors_peers.h - other actor systems to measure beside ours: programs that do the same exchanges,
 * where their compilers are installed (`./dev setup peers`). A peer reads "LINE COUNT" and answers
 * with how long it took, so rounds of theirs and of ours alternate in one run.
 */
#ifndef DCTX_TESTS_ACTORS_PEERS_H
#define DCTX_TESTS_ACTORS_PEERS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

enum { PEER_COUNT = 3 };

typedef struct peer {
    const char *suffix; /* "vs_caf" */
    pid_t pid;          /* 0: not installed, or gone */
    FILE *to, *from;
} peer_t;

extern peer_t peers[PEER_COUNT];

/* Starts those that are installed. */
void peers_start(void);
void peers_stop(void);

/* What a peer answers. One that dies or does not answer in time is gone: killed, said on standard
 * error, and not asked again; a figure beside it is none. */
#define PEER_GONE ((uint64_t)1 << 62)
uint64_t peer_ask(peer_t *peer, const char *line, uint64_t count);

/* A line of a peer, as a bench_fn: the argument is a peer_line_t. */
typedef struct peer_line {
    peer_t *peer;
    const char *line;
} peer_line_t;
void peer_run(void *peer_line, uint64_t count);

/* All threads of this process and of the peers on the first core of those we may use,
 * or on all of them. */
void cores_use_one(bool one);

#endif
