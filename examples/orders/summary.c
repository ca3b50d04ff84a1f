#include "summary.h"

#include <inttypes.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "text.h"

enum { WIDTH = 96 };

typedef struct style {
    const char *bold, *good, *poor, *bad, *off;
    const char *branch, *last, *bar; /* of the tree */
} style_t;

static style_t style_for(FILE *out)
{
    style_t style = {"", "", "", "", "", "|- ", "`- ", "|  "};
    if (isatty(fileno(out)) && getenv("NO_COLOR") == NULL) {
        style.bold = "\033[1m";
        style.good = "\033[32m";
        style.poor = "\033[33m";
        style.bad = "\033[31m";
        style.off = "\033[0m";
    }
    setlocale(LC_CTYPE, "");
    if (strcmp(nl_langinfo(CODESET), "UTF-8") == 0) {
        style.branch = "├─ ";
        style.last = "└─ ";
        style.bar = "│  ";
    }
    return style;
}

static double ms(int64_t ns)
{
    return (double)ns / 1e6;
}

/* ---- requests and outcomes ------------------------------------------------------------------- */

static void print_share(FILE *out, const style_t *style, const char *colour, const char *name,
                        uint64_t count, uint64_t of)
{
    char number[TEXT_COUNT_SIZE];
    fprintf(out, "  %s%-18s%s %10s %7.1f %%\n", count > 0 ? colour : "", name,
            count > 0 ? style->off : "", text_count(number, count),
            of > 0 ? 100.0 * (double)count / (double)of : 0.0);
}

static void print_outcomes(FILE *out, const style_t *style, const char *source,
                           const tally_t *tally)
{
    char number[TEXT_COUNT_SIZE], rate[TEXT_COUNT_SIZE];
    double seconds = (double)tally->took_ns / 1e9;
    fprintf(out, "%s%s requests from %s%s%s\n", style->bold, text_count(number, tally->requests),
            source, tally->interrupted ? ", interrupted" : "", style->off);
    fprintf(out, "  in %.3f s: %s a second, at most %zu under way at once\n\n", seconds,
            text_count(rate, seconds > 0 ? (uint64_t)((double)tally->requests / seconds) : 0),
            tally->most_in_flight);
    for (int i = 0; i < OUTCOMES; i++)
        print_share(out, style, i == ACCEPTED ? style->good : style->poor,
                    outcome_name((outcome_t)i), tally->outcomes[i], tally->requests);
    for (int i = ANSWERED + 1; i < FATES; i++)
        if (tally->fates[i] > 0)
            print_share(out, style, style->bad, fate_name((fate_t)i), tally->fates[i],
                        tally->requests);
    fputc('\n', out);
}

/* ---- times ----------------------------------------------------------------------------------- */

static void print_hops(FILE *out, const style_t *style, const tally_t *tally)
{
    if (tally->hop_count == 0)
        return;
    fprintf(out, "%s%-36s %10s %12s %12s %12s%s\n", style->bold, "hop, there and back", "count",
            "median", "p99", "longest", style->off);
    for (size_t i = 0; i < tally->hop_count; i++) {
        const histogram_t *times = &tally->hops[i].times;
        char number[TEXT_COUNT_SIZE];
        fprintf(out, "  %-34s %10s %9.3f ms %9.3f ms %9.3f ms\n", tally->hops[i].label,
                text_count(number, times->count), ms(histogram_quantile(times, 0.5)),
                ms(histogram_quantile(times, 0.99)), ms(times->most));
    }
    fputc('\n', out);
}

/* ---- one request as a path ------------------------------------------------------------------- */

static size_t depth_of(const char *chain)
{
    size_t depth = 0;
    for (const char *at = chain; (at = strstr(at, " > ")) != NULL; at += 3)
        depth++;
    return depth;
}

static const char *name_of(const char *chain)
{
    const char *name = chain;
    for (const char *at = chain; (at = strstr(at, " > ")) != NULL; name = at)
        at += 3;
    return name;
}

/* True if no hop after `i` hangs on the same branch at `depth`. */
static bool is_last(const answer_t *answer, size_t i, size_t depth)
{
    for (size_t j = i + 1; j < answer->hop_count; j++) {
        size_t other = depth_of(answer->hops[j].seen.chain);
        if (other <= depth)
            return other < depth;
    }
    return true;
}

/* The hops come parents first, so the chains that the handlers saw are the tree. */
static void print_path(FILE *out, const style_t *style, const request_t *request)
{
    const answer_t *answer = &request->answer;
    char money[TEXT_MONEY_SIZE];
    fprintf(out, "%sone request as a path:%s %s of tenant %s (line %" PRIu64 "), %s", style->bold,
            style->off, request->asked.request_id, request->asked.tenant, request->line,
            outcome_name(answer->outcome));
    if (answer->outcome == ACCEPTED)
        fprintf(out, ", %s", text_money(money, request->intake.order.currency, answer->cents));
    fprintf(out, "\n  %s\n", request->asked.chain);
    for (size_t i = 0; i < answer->hop_count; i++) {
        const hop_t *hop = &answer->hops[i];
        size_t depth = depth_of(hop->seen.chain);
        fputs("  ", out);
        for (size_t d = 1; d < depth; d++)
            fputs(is_last(answer, i, d) ? "   " : style->bar, out);
        fputs(is_last(answer, i, depth) ? style->last : style->branch, out);
        fprintf(out, "%-*s %9.3f ms  %s\n", (int)(30 - 3 * depth), name_of(hop->seen.chain),
                ms(hop->round_trip_ns), hop->what);
    }
    fputc('\n', out);
}

/* ---- what was refused, and why --------------------------------------------------------------- */

static void print_remarks(FILE *out, const style_t *style, const char *title,
                          const remarks_t *remarks, bool with_id)
{
    char number[TEXT_COUNT_SIZE];
    if (remarks->count == 0)
        return;
    fprintf(out, "%s%s: %s%s\n", style->bold, title, text_count(number, remarks->count),
            style->off);
    for (size_t i = 0; i < remarks->kept; i++) {
        const remark_t *one = &remarks->lowest[i];
        char id[REQUEST_ID_SIZE];
        request_id_format(one->number, id);
        fprintf(out, "  line %-6" PRIu64 " %s%s%s\n", one->line, with_id ? id : "",
                with_id ? "  " : "", one->text);
    }
    if (remarks->count > remarks->kept)
        fprintf(out, "  and %s more\n", text_count(number, remarks->count - remarks->kept));
    fputc('\n', out);
}

static int compare_numbers(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

/* Every id, whole, so that they can be searched for; a run of them as its first and last. */
static void print_ids(FILE *out, const char *name, numbers_t *numbers)
{
    if (numbers->count == 0)
        return;
    qsort(numbers->items, numbers->count, sizeof *numbers->items, compare_numbers);
    int column = fprintf(out, "  %s:", name);
    for (size_t i = 0; i < numbers->count;) {
        size_t end = i + 1;
        while (end < numbers->count && numbers->items[end] == numbers->items[end - 1] + 1)
            end++;
        char first[REQUEST_ID_SIZE], last[REQUEST_ID_SIZE], text[2 * REQUEST_ID_SIZE + 8];
        request_id_format(numbers->items[i], first);
        request_id_format(numbers->items[end - 1], last);
        int length = end - i == 1 ? snprintf(text, sizeof text, " %s", first)
                                  : snprintf(text, sizeof text, " %s..%s", first, last);
        if (column + length > WIDTH)
            column = fprintf(out, "\n   ") - 1;
        column += fprintf(out, "%s", text);
        i = end;
    }
    fputc('\n', out);
}

static void print_failures(FILE *out, const style_t *style, tally_t *tally)
{
    if (tally_failures(tally) == 0)
        return;
    print_remarks(out, style, "requests that were not answered", &tally->failed, true);
    for (int i = ANSWERED + 1; i < FATES; i++)
        print_ids(out, fate_name((fate_t)i), &tally->which[i]);
    fputc('\n', out);
}

static void print_proof(FILE *out, const style_t *style, const tally_t *tally)
{
    char number[TEXT_COUNT_SIZE];
    if (tally->fates[MIXED_UP] > 0)
        fprintf(out, "%scontext: %s requests MIXED UP%s\n", style->bad,
                text_count(number, tally->fates[MIXED_UP]), style->off);
    else if (tally->hops_checked > 0)
        fprintf(out,
                "context: request id, tenant, flag and path compared at %s hops, %sall right%s\n",
                text_count(number, tally->hops_checked), style->good, style->off);
}

void summary_print(FILE *out, const char *source, tally_t *tally)
{
    style_t style = style_for(out);
    print_outcomes(out, &style, source, tally);
    print_hops(out, &style, tally);
    if (tally->example != NULL)
        print_path(out, &style, tally->example);
    print_remarks(out, &style, "orders not accepted", &tally->not_accepted, true);
    print_remarks(out, &style, "lines refused", &tally->refused, false);
    print_failures(out, &style, tally);
    print_proof(out, &style, tally);
}
