/*
 * gateway - the edge of the shop: reads orders, gives each a context, sends it on its way, and
 * tells at the end what became of all.
 *
 * One thread does it all, and waits in one place for what comes next: input, answers, signals.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "console.h"
#include "keys.h"
#include "line_reader.h"
#include "report.h"
#include "server.h"
#include "shop.h"
#include "signals.h"
#include "summary.h"
#include "text.h"
#include "traffic.h"

enum { REACH_MS = 5000, STOP_MS = 300 };

typedef struct gateway {
    options_t options;
    console_t console;
    const char *source; /* the input's name, fit to print */
    int signal_fd;
    int wake_fd;
    int signal;          /* the one that interrupted us */
    atomic_bool shop_up; /* written by the system's threads; only a hint, so relaxed is enough */
    shop_t shop;
    dctx_system_t *system;
    traffic_t traffic;
    tally_t tally;
    FILE *trace;
    line_reader_t input;
    uint64_t input_size; /* of a regular file; 0: not known */
    uint64_t pass;       /* the first is 1 */
    bool input_done;
    bool broken; /* input, trace or output could not be read or written */
} gateway_t;

/* ---- lines in -------------------------------------------------------------------------------- */

static void refuse(gateway_t *gateway, uint64_t line, const char *why)
{
    /* The same lines come again in every pass; once is enough to say so. */
    if (gateway->pass > 1)
        return;
    console_note(&gateway->console, "line %llu refused: %s", (unsigned long long)line, why);
    tally_refused(&gateway->tally, line, why);
}

static bool is_blank(const line_t *line)
{
    for (uint64_t i = 0; i < line->size; i++)
        if (strchr(" \t\r", line->text[i]) == NULL || line->text[i] == '\0')
            return false;
    return true;
}

static void take_line(gateway_t *gateway, const line_t *line)
{
    char why[256];
    intake_t intake;
    if (is_blank(line))
        return;
    if (!intake_parse(line->text, (size_t)line->size, &intake, why, sizeof why)) {
        refuse(gateway, line->number, why);
    } else if (!traffic_ask(&gateway->traffic, &intake, line->number)) {
        intake_finish(&intake);
        refuse(gateway, line->number, "out of memory");
    }
}

static void end_of_input(gateway_t *gateway)
{
    gateway->input_done =
        gateway->pass == gateway->options.repeat || !line_reader_rewind(&gateway->input);
    gateway->pass += !gateway->input_done;
}

/* Ask for what is there and fits. True when more input is wanted. */
static bool take_lines(gateway_t *gateway)
{
    char why[128], number[TEXT_COUNT_SIZE];
    line_t line;
    while (!gateway->input_done && gateway->traffic.in_flight < gateway->options.concurrency) {
        switch (line_reader_next(&gateway->input, &line)) {
        case LINE_READ:
            take_line(gateway, &line);
            break;
        case LINE_TOO_LONG:
            snprintf(why, sizeof why, "it is %s bytes long, at most %d are taken",
                     text_count(number, line.size), LINE_LIMIT);
            refuse(gateway, line.number, why);
            break;
        case LINE_MORE:
            return true;
        case LINE_END:
            end_of_input(gateway);
            break;
        }
    }
    return false;
}

static void read_input(gateway_t *gateway)
{
    if (line_reader_fill(&gateway->input))
        return;
    console_error(&gateway->console, "gateway: cannot read %s: %s", gateway->source,
                  strerror(errno));
    gateway->input_done = true;
    gateway->broken = true;
}

/* ---- answers out ----------------------------------------------------------------------------- */

static void take_answers(gateway_t *gateway)
{
    eventfd_t count;
    eventfd_read(gateway->wake_fd, &count);
    for (request_t *request; (request = traffic_take(&gateway->traffic)) != NULL;) {
        if (gateway->signal != 0 && request->status == DCTX_ERR_STOPPED)
            request->fate = UNFINISHED;
        else if (request->fate != ANSWERED)
            console_note(&gateway->console, "req-%06llu (line %llu, order %s) %s: %s",
                         (unsigned long long)request->number, (unsigned long long)request->line,
                         request->intake.order.id, fate_name(request->fate), request->reason);
        tally_request(&gateway->tally, request);
        if (gateway->trace != NULL && !report_request(gateway->trace, request))
            gateway->broken = true;
        request_destroy(&request);
    }
}

static void show_progress(gateway_t *gateway)
{
    if (!console_due(&gateway->console))
        return;
    char done[TEXT_COUNT_SIZE], failed[TEXT_COUNT_SIZE], flying[TEXT_COUNT_SIZE], share[16] = "";
    const tally_t *tally = &gateway->tally;
    if (gateway->input_size > 0)
        snprintf(share, sizeof share, "%3.0f %%  ",
                 100.0 * (double)gateway->input.bytes /
                     ((double)gateway->input_size * (double)gateway->options.repeat));
    console_progress(&gateway->console, "%s%s answered, %s failed, %s under way", share,
                     text_count(done, tally->fates[ANSWERED]),
                     text_count(failed, tally_failures(tally)),
                     text_count(flying, gateway->traffic.in_flight));
}

/* ---- the run --------------------------------------------------------------------------------- */

static void take_signals(gateway_t *gateway)
{
    for (int signal; (signal = signals_next(gateway->signal_fd)) != 0;) {
        if (signal == SIGCHLD)
            shop_children(&gateway->shop);
        else
            gateway->signal = signal;
    }
}

static void run(gateway_t *gateway)
{
    int64_t begun_ns = clock_now_ns();
    int period_ms = gateway->console.live ? CONSOLE_PROGRESS_MS : -1;
    while (gateway->signal == 0) {
        take_answers(gateway);
        bool hungry = take_lines(gateway);
        if (gateway->input_done && gateway->traffic.in_flight == 0)
            break;
        struct pollfd events[] = {
            {.fd = gateway->signal_fd, .events = POLLIN},
            {.fd = gateway->wake_fd, .events = POLLIN},
            {.fd = hungry ? gateway->input.fd : -1, .events = POLLIN},
        };
        poll(events, 3, period_ms);
        if (events[0].revents != 0)
            take_signals(gateway);
        if (hungry && events[2].revents != 0)
            read_input(gateway);
        show_progress(gateway);
    }
    console_clear(&gateway->console);
    gateway->tally.took_ns = clock_now_ns() - begun_ns;
    gateway->tally.interrupted = gateway->signal != 0;
}

/* ---- start and stop -------------------------------------------------------------------------- */

static void on_node(const char *node, dctx_node_event_t event, const char *reason, void *arg)
{
    gateway_t *gateway = arg;
    if (strcmp(node, SHOP_NODE) != 0)
        return;
    if (event == DCTX_NODE_REFUSED)
        dctx_log(DCTX_LOG_ERROR, "the node %s refuses: %s", node, reason);
    atomic_store_explicit(&gateway->shop_up, event == DCTX_NODE_UP, memory_order_relaxed);
    eventfd_write(gateway->wake_fd, 1);
}

/* Until the order service answers: else every order would be sent into the void, one timeout after
 * the other. */
static int reach_shop(gateway_t *gateway)
{
    int64_t deadline_ns = clock_now_ns() + REACH_MS * 1000000ll;
    struct pollfd events[] = {{.fd = gateway->signal_fd, .events = POLLIN},
                              {.fd = gateway->wake_fd, .events = POLLIN}};
    if (gateway->options.orders != NULL)
        console_note(&gateway->console, "dialling the order service at %s", gateway->shop.endpoint);
    while (!atomic_load_explicit(&gateway->shop_up, memory_order_relaxed)) {
        int64_t left_ms = (deadline_ns - clock_now_ns()) / 1000000;
        if (left_ms <= 0) {
            fprintf(stderr, "gateway: no order service answers at %s\n", gateway->shop.endpoint);
            return 2;
        }
        poll(events, 2, (int)left_ms);
        take_signals(gateway);
        if (gateway->signal != 0)
            return 128 + gateway->signal;
        eventfd_t count;
        eventfd_read(gateway->wake_fd, &count);
    }
    return 0;
}

static int start_system(gateway_t *gateway)
{
    /* Without a name: several gateways may use one shop, and nodes are told apart by name. */
    const dctx_system_options_t options = {
        .dead_after_ms = gateway->options.dead_after_ms, .on_node = on_node, .arg = gateway};
    dctx_ref_t orders = DCTX_REF_NONE;
    dctx_error_t error = dctx_system_new(&options, &gateway->system);
    if (error == DCTX_OK)
        error = dctx_system_connect(gateway->system, SHOP_NODE, gateway->shop.endpoint);
    if (error == DCTX_OK)
        error = dctx_system_find(gateway->system, "orders@" SHOP_NODE, &orders);
    if (error != DCTX_OK) {
        fprintf(stderr, "gateway: cannot start: %s: %s\n", dctx_strerror(error),
                dctx_error_detail());
        return 2;
    }
    traffic_init(&gateway->traffic, orders, gateway->options.timeout_ms, gateway->wake_fd);
    int status = reach_shop(gateway);
    if (status == 0)
        run(gateway);
    /* When this has returned, every request that was asked is done. */
    dctx_system_stop(gateway->system, STOP_MS, NULL);
    take_answers(gateway);
    gateway->tally.most_in_flight = gateway->traffic.most_in_flight;
    traffic_finish(&gateway->traffic);
    return status;
}

static bool open_input(gateway_t *gateway)
{
    const char *file = gateway->options.file;
    bool standard = strcmp(file, "-") == 0;
    int fd = standard ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        fprintf(stderr, "gateway: cannot open %s: %s\n", file, strerror(errno));
        return false;
    }
    struct stat about = {0};
    if (fstat(fd, &about) == 0 && S_ISREG(about.st_mode))
        gateway->input_size = (uint64_t)about.st_size;
    /* It opens, and only reading it would fail: after the services were started. */
    if (S_ISDIR(about.st_mode)) {
        fprintf(stderr, "gateway: cannot read %s: %s\n", file, strerror(EISDIR));
        return false;
    }
    const char *slash = strrchr(file, '/');
    const char *name = slash != NULL ? slash + 1 : file;
    gateway->source = standard                            ? "standard input"
                      : text_is_clean(name, strlen(name)) ? name
                                                          : "the file";
    line_reader_init(&gateway->input, fd);
    gateway->pass = 1;
    return true;
}

static bool open_trace(gateway_t *gateway)
{
    if (gateway->options.trace == NULL)
        return true;
    gateway->trace = fopen(gateway->options.trace, "we");
    if (gateway->trace == NULL)
        fprintf(stderr, "gateway: cannot write %s: %s\n", gateway->options.trace, strerror(errno));
    else
        setlinebuf(gateway->trace); /* who follows it sees each request when it is done */
    return gateway->trace != NULL;
}

static bool prepare(gateway_t *gateway)
{
    gateway->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    gateway->signal_fd = signals_open((int[]){SIGINT, SIGTERM, SIGCHLD, 0});
    console_init(&gateway->console, gateway->options.quiet);
    dctx_set_log(server_log, &gateway->options.verbose);
    dctx_error_t error = keys_freeze();
    if (gateway->wake_fd < 0 || gateway->signal_fd < 0 || error != DCTX_OK ||
        !tally_init(&gateway->tally)) {
        fprintf(stderr, "gateway: cannot start: %s\n",
                error != DCTX_OK ? dctx_strerror(error) : strerror(errno));
        return false;
    }
    return open_input(gateway) && open_trace(gateway);
}

static int report(gateway_t *gateway)
{
    tally_t *tally = &gateway->tally;
    if (gateway->options.json)
        gateway->broken |= !report_summary(stdout, gateway->source, tally);
    else
        summary_print(stdout, gateway->source, tally);
    gateway->broken |= fflush(stdout) != 0;
    gateway->broken |= gateway->trace != NULL && fclose(gateway->trace) != 0;
    if (gateway->signal != 0)
        return 128 + gateway->signal;
    return tally_failures(tally) > 0 || tally->refused.count > 0 || gateway->broken ? 1 : 0;
}

int main(int argc, char **argv)
{
    static gateway_t gateway;
    int status;
    if (!options_parse(argc, argv, &gateway.options, &status))
        return status;
    signals_block();
    if (!prepare(&gateway))
        return 2;
    status = shop_start(&gateway.shop, &gateway.options, &gateway.console, gateway.signal_fd);
    if (status == 0)
        status = start_system(&gateway);
    shop_stop(&gateway.shop);
    dctx_system_destroy(&gateway.system);
    if (status == 0)
        status = report(&gateway);
    tally_finish(&gateway.tally);
    return status;
}
