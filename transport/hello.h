/* The payload of HELLO and WELCOME: who speaks, and how much it takes in. */
#ifndef DCTX_HELLO_H
#define DCTX_HELLO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dcontext/type.h>

#define DCTX_NODE_NAME_MAX 63

typedef struct dctx_hello {
    char node[DCTX_NODE_NAME_MAX + 1];
    char to[DCTX_NODE_NAME_MAX + 1]; /* "": not said */
    uint64_t incarnation;
    uint32_t window;
    uint64_t limit; /* the longest record that it takes; 0: not said */
    uint8_t kinds;  /* the last kind of message that it knows; 0: not said */
} dctx_hello_t;

/* 1 to 63 of A-Z a-z 0-9 _ . - */
bool dctx_node_name_is_valid_(const char *name, size_t size);

/* Appends the map. The writer's sticky error tells of failure. */
void dctx_hello_encode_(const dctx_hello_t *hello, dctx_writer_t *writer);

/* DCTX_ERR_MALFORMED: not one map with the keys that must be there, each once and as it must be. */
dctx_error_t dctx_hello_decode_(dctx_bytes_t payload, dctx_hello_t *ret_hello);

#endif
