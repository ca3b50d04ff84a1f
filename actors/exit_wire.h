/*
 * How an exit travels between nodes: docs/wire.md, ENDED. A chain of causes is a list, the end
 * itself first. What comes in is a peer's word: texts are cut and cleaned, and nothing is allocated
 * that is longer than they may be.
 */
#ifndef DCTX_EXIT_WIRE_H
#define DCTX_EXIT_WIRE_H

#include <stddef.h>

#include <dcontext/supervise.h>

enum { DCTX_EXIT_TEXT_MAX = 4096 }; /* what a reader takes of one text, in bytes */

/* Writes an exit and its causes; of each text at most `most` bytes. The writer's sticky error tells
 * of failure. */
void dctx_exit_write_(const dctx_exit_t *exit, size_t most, dctx_writer_t *writer);

/* Reads one that came from a node. Who ended is then "name@node", unless its name says another node
 * already. Never fails: what is not of the form reads as a failure of `who` with
 * DCTX_ERR_MALFORMED. */
dctx_exit_t *dctx_exit_read_(dctx_bytes_t payload, const char *who, const char *node);

#endif
