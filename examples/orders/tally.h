/* tally.h - what became of all lines and requests, in memory that does not grow with the run (but
 * by eight bytes for each request that failed). */
#ifndef ORDERS_TALLY_H
#define ORDERS_TALLY_H

#include "histogram.h"
#include "request.h"

/* The lowest-numbered few of something that may be many, so that two runs of the same input show
 * the same ones. */
enum { REMARKS_KEPT = 10 };
typedef struct remark {
    uint64_t number; /* of the line, or of the request */
    uint64_t line;
    char text[200];
} remark_t;
typedef struct remarks {
    uint64_t count; /* of all */
    size_t kept;
    remark_t lowest[REMARKS_KEPT];
} remarks_t;

/* Numbers of requests. */
typedef struct numbers {
    uint64_t *items;
    size_t count, capacity;
} numbers_t;

enum { HOP_LABELS = 8 };
typedef struct hop_times {
    char label[160]; /* "remote:orders > remote:inventory": from whom to whom */
    histogram_t times;
} hop_times_t;

typedef struct tally {
    uint64_t requests;           /* asked */
    uint64_t outcomes[OUTCOMES]; /* of those answered */
    uint64_t fates[FATES];       /* of all */
    numbers_t which[FATES];      /* nothing for ANSWERED */
    uint64_t hops_checked;
    remarks_t refused;      /* lines of input */
    remarks_t not_accepted; /* answered with no */
    remarks_t failed;       /* not answered */
    size_t hop_count;
    hop_times_t *hops; /* HOP_LABELS */
    request_t
        *example; /* the first that was accepted with more than one line, or the best there is */
    /* Set by the gateway at the end. */
    int64_t took_ns;
    size_t most_in_flight;
    bool interrupted;
} tally_t;

bool tally_init(tally_t *tally);
void tally_finish(tally_t *tally);

void tally_refused(tally_t *tally, uint64_t line, const char *why);
void tally_request(tally_t *tally, const request_t *request);

/* How many requests were asked and have no right answer. */
uint64_t tally_failures(const tally_t *tally);

#endif
