#include "report.h"

#include <jansson.h>

/* jansson hands NULL on: a missing piece makes the whole NULL, so it is enough to look at the
 * end. */

static json_t *hop_json(const hop_t *hop)
{
    const seen_t *seen = &hop->seen;
    return json_pack("{s:s, s:s, s:s, s:b, s:I, s:I, s:s}", "chain", seen->chain, "request",
                     seen->request_id, "tenant", seen->tenant, "express", seen->express,
                     "budget_ms", (json_int_t)seen->budget_ms, "ns", (json_int_t)hop->round_trip_ns,
                     "what", hop->what);
}

static json_t *request_json(const request_t *request)
{
    const answer_t *answer = &request->answer;
    char id[REQUEST_ID_SIZE];
    request_id_format(request->number, id);
    json_t *hops = json_array();
    for (size_t i = 0; i < answer->hop_count; i++)
        json_array_append_new(hops, hop_json(&answer->hops[i]));
    bool answered = request->fate == ANSWERED;
    return json_pack("{s:s, s:I, s:s, s:s, s:b, s:s, s:s*, s:s, s:I, s:I, s:o}", "request", id,
                     "line", (json_int_t)request->line, "order", request->intake.order.id, "tenant",
                     request->intake.tenant, "express", request->intake.express, "fate",
                     fate_name(request->fate), "outcome",
                     answered ? outcome_name(answer->outcome) : NULL, "reason",
                     answered ? answer->reason : request->reason, "cents",
                     (json_int_t)answer->cents, "ns", (json_int_t)request->took_ns, "hops", hops);
}

/* Takes the reference. */
static bool write_json(FILE *out, json_t *json, size_t flags)
{
    bool good = json != NULL && json_dumpf(json, out, flags) == 0 && fputc('\n', out) != EOF;
    json_decref(json);
    return good;
}

bool report_request(FILE *out, const request_t *request)
{
    return write_json(out, request_json(request), JSON_COMPACT);
}

/* ---- summary --------------------------------------------------------------------------------- */

static json_t *remarks_json(const remarks_t *remarks, bool with_id)
{
    json_t *list = json_array();
    for (size_t i = 0; i < remarks->kept; i++) {
        const remark_t *one = &remarks->lowest[i];
        char id[REQUEST_ID_SIZE];
        request_id_format(one->number, id);
        json_array_append_new(list, json_pack("{s:I, s:s*, s:s}", "line", (json_int_t)one->line,
                                              "request", with_id ? id : NULL, "why", one->text));
    }
    return json_pack("{s:I, s:o}", "count", (json_int_t)remarks->count, "first", list);
}

static json_t *ids_json(const numbers_t *numbers)
{
    json_t *list = json_array();
    for (size_t i = 0; i < numbers->count; i++) {
        char id[REQUEST_ID_SIZE];
        request_id_format(numbers->items[i], id);
        json_array_append_new(list, json_string(id));
    }
    return list;
}

static json_t *hops_json(const tally_t *tally)
{
    json_t *hops = json_object();
    for (size_t i = 0; i < tally->hop_count; i++) {
        const histogram_t *times = &tally->hops[i].times;
        json_object_set_new(hops, tally->hops[i].label,
                            json_pack("{s:I, s:I, s:I, s:I}", "count", (json_int_t)times->count,
                                      "median_ns", (json_int_t)histogram_quantile(times, 0.5),
                                      "p99_ns", (json_int_t)histogram_quantile(times, 0.99),
                                      "longest_ns", (json_int_t)times->most));
    }
    return hops;
}

bool report_summary(FILE *out, const char *source, const tally_t *tally)
{
    json_t *outcomes = json_object();
    for (int i = 0; i < OUTCOMES; i++)
        json_object_set_new(outcomes, outcome_name((outcome_t)i),
                            json_integer((json_int_t)tally->outcomes[i]));
    json_t *unanswered = json_object();
    for (int i = ANSWERED + 1; i < FATES; i++)
        json_object_set_new(unanswered, fate_name((fate_t)i), ids_json(&tally->which[i]));
    json_t *example = tally->example != NULL ? request_json(tally->example) : json_null();
    return write_json(out,
                      json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:o, s:o}",
                                "source", source, "interrupted", tally->interrupted, "ns",
                                (json_int_t)tally->took_ns, "requests", (json_int_t)tally->requests,
                                "answered", (json_int_t)tally->fates[ANSWERED], "most_in_flight",
                                (json_int_t)tally->most_in_flight, "hops_checked",
                                (json_int_t)tally->hops_checked, "outcomes", outcomes, "unanswered",
                                unanswered, "hops", hops_json(tally), "refused",
                                remarks_json(&tally->refused, false), "not_accepted",
                                remarks_json(&tally->not_accepted, true), "example", example),
                      JSON_INDENT(2));
}
