/* request.h - one request of the gateway, from the line it came in to what became of it. */
#ifndef ORDERS_REQUEST_H
#define ORDERS_REQUEST_H

#include "intake.h"

typedef enum fate {
    ANSWERED = 0,
    TIMED_OUT = 1,
    UNREACHABLE = 2,
    FAILED = 3,
    MIXED_UP = 4,   /* answered, but somewhere it ran in another request's context: must never be */
    UNFINISHED = 5, /* the gateway was interrupted */
    FATES = 6
} fate_t;
const char *fate_name(fate_t fate);

typedef struct request {
    struct request *next; /* in the list of those that are done */
    struct traffic *traffic;
    uint64_t number; /* of the run, from 1 */
    uint64_t line;   /* where it came from */
    intake_t intake;
    seen_t asked; /* the context it was asked in */
    int64_t asked_ns;
    int64_t took_ns;
    /* Set when it is done. */
    dctx_error_t status;
    bool returned_right; /* the answer came back into the context it was asked in */
    answer_t answer;     /* when status is DCTX_OK */
    char reason[256];    /* else */
    fate_t fate;
} request_t;

enum { REQUEST_ID_SIZE = 32 };
void request_id_format(uint64_t number, char *buffer); /* REQUEST_ID_SIZE bytes */

void request_destroy(request_t **request_p);
request_t *request_dup(const request_t *request); /* NULL: out of memory */

/* What an answer's hops saw, compared with what they must have seen; NULL when all is right, else
 * what is not. */
const char *request_fault(const request_t *request);

#endif
