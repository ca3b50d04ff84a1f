/*
 * What the I/O actor sends by: a link over ZeroMQ, or the network of a test world. Both take the
 * options of a link, and keep to what a link promises.
 */
#ifndef DCTX_WIRE_H
#define DCTX_WIRE_H

#include <stdbool.h>
#include <stdint.h>

#include <dcontext/link.h>
#include <dcontext/system.h>

typedef struct dctx_wire dctx_wire_t;

/* As the functions of a link of the same names. */
typedef struct dctx_wire_class {
    dctx_error_t (*bind)(dctx_wire_t *self, const char *endpoint, const char **ret_endpoint);
    /* `key`: as for dctx_link_connect_curve(), or NULL */
    dctx_error_t (*connect)(dctx_wire_t *self, const char *peer, const char *endpoint,
                            const char *key);
    dctx_error_t (*send)(dctx_wire_t *self, const char *peer, const dctx_link_message_t *message);
    bool (*is_up)(const dctx_wire_t *self, const char *peer);
    bool (*process)(dctx_wire_t *self);
    uint64_t (*stamps_refused)(const dctx_wire_t *self);
    void (*destroy)(dctx_wire_t *self);
} dctx_wire_class_t;

/* The head of each. */
struct dctx_wire {
    const dctx_wire_class_t *class;
    dctx_link_t *link; /* whose sockets and timeout are to be waited for; NULL: of none */
};

/* Over ZeroMQ. */
dctx_error_t dctx_wire_over_zmq_(const dctx_link_options_t *options, dctx_wire_t **ret_wire);

#endif
