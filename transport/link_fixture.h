/* Links under test, what they were told, and a peer made by hand from docs/wire.md. */
#ifndef DCTX_LINK_FIXTURE_H
#define DCTX_LINK_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dcontext/link.h>
#include <dcontext/session.h>

#include "record.h"

/* What a callback was told, in order. */
typedef struct told {
    enum { TOLD_MESSAGE, TOLD_PEER, TOLD_UNDELIVERED } what;
    char peer[64];
    dctx_link_kind_t kind;
    dctx_error_t code; /* also: why it was undelivered */
    uint64_t correlation;
    char target[256];
    char type[256];
    char payload[256];
    size_t payload_size;
    char tenant[64]; /* "" when the context has none */
    char chain[256];
    char upstream[64]; /* "" when not known, here and below */
    char key[48];
    dctx_peer_event_t event;
    char reason[300];
} told_t;

typedef struct node {
    dctx_link_t *link;
    const char *endpoint;
    told_t *told;
    size_t told_count;
    size_t told_capacity;
    uint64_t messages; /* given on */
    uint64_t next;     /* the correlation that the next message has if none is lost */
    bool in_order;     /* so far */
    bool echo;         /* answers asks, by sending the payload back */
    bool forgetful;    /* counts, keeps nothing */
    void (*hook)(struct node *node, const told_t *told); /* from inside a callback */
    int64_t virtual_now;                                 /* ns; in use if `virtual_clock` */
    bool virtual_clock;
} node_t;

/* Registers the key "tenant" in the process-wide registry and freezes it. */
void fixture_init(void);

/* A context with the tenant and one scope; the caller unrefs. */
dctx_snapshot_t *make_context(const char *tenant, const char *scope);

/* Fills in what of `options` is zero: node, callbacks. Listens on `endpoint` unless it is NULL. */
void node_open(node_t *node, const char *name, const char *endpoint,
               const dctx_link_options_t *options);
void node_close(node_t *node);
/* Listens where another has listened: closing is not at once. */
void node_rebind(node_t *node, const char *endpoint);

dctx_link_counters_t counters_of(const node_t *node);
const told_t *find_event(const node_t *node, dctx_peer_event_t event);
size_t count_told(const node_t *node, int what);

dctx_error_t tell(node_t *node, const char *peer, const char *target, const char *payload,
                  const dctx_snapshot_t *snapshot);
dctx_error_t send_kind(node_t *node, const char *peer, dctx_link_kind_t kind, uint64_t correlation,
                       const char *payload, const dctx_snapshot_t *snapshot);

/* Runs the links (NULL ends the list early) until `done` says so; false if half a minute was not
 * enough. */
typedef bool (*condition_fn)(node_t *const *nodes, const void *arg);
bool run_until(node_t *const *nodes, condition_fn done, const void *arg);

/* Often wanted conditions. */
bool all_up(node_t *const *nodes,
            const void *peer_names); /* const char *const *, one for each node */
bool first_got(node_t *const *nodes, const void *count);       /* size_t: messages */
bool first_told(node_t *const *nodes, const void *count);      /* size_t: of anything */
bool first_malformed(node_t *const *nodes, const void *count); /* uint64_t */

/* ---- a peer made by hand ---- */

typedef struct fake {
    void *socket;
    uint64_t sequence;
} fake_t;

void fake_dial(fake_t *fake, const char *endpoint);
void fake_close(fake_t *fake);
void fake_send(fake_t *fake, const void *frame, size_t size);
/* One record in a frame. Sequence and head are the record's. */
void fake_send_record(fake_t *fake, const dctx_record_t *record);
void fake_hello(fake_t *fake, const char *name, uint64_t incarnation, const char *to,
                uint64_t window);
void fake_tell(fake_t *fake, uint64_t sequence, const char *payload);
/* Runs the node until a frame comes to the fake; 0 if none does. Copies it. */
size_t fake_receive(fake_t *fake, node_t *node, uint8_t *frame, size_t capacity);
/* The first record of the next frame; the bytes are in a buffer that the next call overwrites. */
bool fake_receive_record(fake_t *fake, node_t *node, dctx_record_t *ret_record);
/* The same for a listening fake: takes the routing id off. */
size_t hello_bytes(uint8_t *out, const char *name, uint64_t incarnation, const char *to,
                   uint64_t window);

#endif
