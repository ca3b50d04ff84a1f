/* actors_lines.h - the exchanges inside one process that other actor systems are measured by
 * too. */
#ifndef DCTX_TESTS_ACTORS_LINES_H
#define DCTX_TESTS_ACTORS_LINES_H

#include <dcontext/actors.h>

/*
 * Prints the lines `actors.LINE`, beside each peer that is there, beside libzmq, and beside the
 * same without context. The calling thread's context is the one that messages carry; handlers read
 * `key`.
 */
void measure_lines(dctx_system_t *system, const dctx_key_t *key);

#endif
