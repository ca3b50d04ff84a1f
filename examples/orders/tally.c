#include "tally.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

bool tally_init(tally_t *tally)
{
    *tally = (tally_t){.hops = calloc(HOP_LABELS, sizeof *tally->hops)};
    return tally->hops != NULL;
}

void tally_finish(tally_t *tally)
{
    request_destroy(&tally->example);
    for (size_t i = 0; i < FATES; i++)
        free(tally->which[i].items);
    free(tally->hops);
    *tally = (tally_t){0};
}

static void remark(remarks_t *remarks, uint64_t number, uint64_t line, const char *text)
{
    remarks->count++;
    size_t at = remarks->kept;
    while (at > 0 && remarks->lowest[at - 1].number > number)
        at--;
    if (at == REMARKS_KEPT)
        return;
    if (remarks->kept < REMARKS_KEPT)
        remarks->kept++;
    memmove(&remarks->lowest[at + 1], &remarks->lowest[at],
            (remarks->kept - 1 - at) * sizeof *remarks->lowest);
    remarks->lowest[at].number = number;
    remarks->lowest[at].line = line;
    text_cut(remarks->lowest[at].text, sizeof remarks->lowest[at].text, text);
}

void tally_refused(tally_t *tally, uint64_t line, const char *why)
{
    remark(&tally->refused, line, line, why);
}

static bool remember(numbers_t *numbers, uint64_t number)
{
    if (numbers->count == numbers->capacity) {
        size_t capacity = numbers->capacity == 0 ? 64 : numbers->capacity * 2;
        uint64_t *items = realloc(numbers->items, capacity * sizeof *items);
        if (items == NULL)
            return false;
        numbers->items = items;
        numbers->capacity = capacity;
    }
    numbers->items[numbers->count++] = number;
    return true;
}

/* The last two names of a chain: from whom to whom. */
static const char *last_step(const char *chain)
{
    const char *step = chain;
    const char *name = chain;
    for (const char *next; (next = strstr(name, " > ")) != NULL;) {
        step = name;
        name = next + 3;
    }
    return step;
}

static void time_hop(tally_t *tally, const hop_t *hop)
{
    const char *label = last_step(hop->seen.chain);
    hop_times_t *found = NULL;
    for (size_t i = 0; i < tally->hop_count && found == NULL; i++)
        if (strcmp(tally->hops[i].label, label) == 0)
            found = &tally->hops[i];
    if (found == NULL) {
        if (tally->hop_count == HOP_LABELS)
            return;
        found = &tally->hops[tally->hop_count++];
        text_cut(found->label, sizeof found->label, label);
    }
    histogram_add(&found->times, hop->round_trip_ns);
}

/* Accepted with several lines makes the best picture; among equals the first request. */
static int picture_value(const request_t *request)
{
    return (request->answer.outcome == ACCEPTED) + (request->answer.hop_count > 3);
}

static void consider_example(tally_t *tally, const request_t *request)
{
    if (tally->example != NULL) {
        int value = picture_value(request);
        int best = picture_value(tally->example);
        if (value < best || (value == best && request->number > tally->example->number))
            return;
    }
    request_t *copy = request_dup(request);
    if (copy == NULL)
        return;
    request_destroy(&tally->example);
    tally->example = copy;
}

void tally_request(tally_t *tally, const request_t *request)
{
    tally->requests++;
    tally->fates[request->fate]++;
    if (request->fate != ANSWERED) {
        /* When memory runs out the list has gaps; the counts stay right. */
        remark(&tally->failed, request->number, request->line, request->reason);
        (void)remember(&tally->which[request->fate], request->number);
        return;
    }
    const answer_t *answer = &request->answer;
    tally->outcomes[answer->outcome]++;
    tally->hops_checked += answer->hop_count;
    for (size_t i = 0; i < answer->hop_count; i++)
        time_hop(tally, &answer->hops[i]);
    if (answer->outcome != ACCEPTED) {
        char text[200];
        snprintf(text, sizeof text, "%s: %s", outcome_name(answer->outcome), answer->reason);
        remark(&tally->not_accepted, request->number, request->line, text);
    }
    consider_example(tally, request);
}

uint64_t tally_failures(const tally_t *tally)
{
    return tally->requests - tally->fates[ANSWERED];
}
