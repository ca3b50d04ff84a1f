#include "request.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *fate_name(fate_t fate)
{
    static const char *const names[FATES] = {"answered", "timed out", "unreachable",
                                             "failed",   "mixed up",  "unfinished"};
    return fate < FATES ? names[fate] : "?";
}

void request_id_format(uint64_t number, char *buffer)
{
    snprintf(buffer, REQUEST_ID_SIZE, "req-%06" PRIu64, number);
}

void request_destroy(request_t **request_p)
{
    request_t *request = *request_p;
    if (request == NULL)
        return;
    intake_finish(&request->intake);
    answer_finish(&request->answer);
    free(request);
    *request_p = NULL;
}

request_t *request_dup(const request_t *request)
{
    request_t *copy = malloc(sizeof *copy);
    if (copy == NULL)
        return NULL;
    *copy = *request;
    copy->intake.order = (order_t){0};
    copy->answer = (answer_t){0};
    if (order_copy(&copy->intake.order, &request->intake.order) != DCTX_OK ||
        answer_copy(&copy->answer, &request->answer) != DCTX_OK)
        request_destroy(&copy);
    return copy;
}

static const char *hop_fault(const request_t *request, const hop_t *hop, const char *chain)
{
    if (strcmp(hop->seen.request_id, request->asked.request_id) != 0)
        return "a hop worked for another request id";
    if (strcmp(hop->seen.tenant, request->asked.tenant) != 0)
        return "a hop worked for another tenant";
    if (hop->seen.express != request->asked.express)
        return "a hop saw another feature flag";
    if (strcmp(hop->seen.chain, chain) != 0)
        return "a hop was reached by another way";
    return NULL;
}

const char *request_fault(const request_t *request)
{
    static const char orders[] = "api-gateway > remote:orders";
    static const char inventory[] = "api-gateway > remote:orders > remote:inventory";
    static const char pricing[] = "api-gateway > remote:orders > actor:pricing";
    const answer_t *answer = &request->answer;
    size_t lines = request->intake.order.line_count;
    if (!request->returned_right)
        return "the answer came back into another context";
    if (answer->wrong_returns != 0)
        return "a reply came back to orders into another context";
    if (answer->hop_count != (answer->outcome == REFUSED ? 1 : lines + 2))
        return "the answer is not from as many hops as there were";
    for (size_t i = 0; i < answer->hop_count; i++) {
        const char *chain = i == 0 ? orders : i <= lines ? inventory : pricing;
        const char *fault = hop_fault(request, &answer->hops[i], chain);
        if (fault != NULL)
            return fault;
    }
    return NULL;
}
