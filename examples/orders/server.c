#include "server.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "keys.h"
#include "number.h"
#include "signals.h"

enum { STOP_MS = 1000 };

void server_log(dctx_log_level_t level, const char *line, void *arg)
{
    const bool *verbose = arg;
    if (*verbose || level >= DCTX_LOG_WARNING)
        fprintf(stderr, "%s: %s\n", program_invocation_short_name, line);
}

/* 0: go on; else the exit status plus one. */
static int parse(const server_t *server, int argc, char **argv, server_options_t *options)
{
    static const struct option known[] = {
        {"bind", required_argument, NULL, 'b'},
        {"inventory", required_argument, NULL, 'i'},
        {"tied", no_argument, NULL, 't'},
        {"verbose", no_argument, NULL, 'v'},
        {"dead-after", required_argument, NULL, 'd'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    uint64_t number = 0;
    int option;
    while ((option = getopt_long(argc, argv, "h", known, NULL)) != -1) {
        switch (option) {
        case 'b':
            options->service.bind = optarg;
            break;
        case 'i':
            options->service.inventory = optarg;
            break;
        case 't':
            options->tied = true;
            break;
        case 'd':
            if (!number_parse("dead-after", optarg, NUMBER_MS_MAX, &number))
                return 1 + 2;
            options->service.dead_after_ms = (int64_t)number;
            break;
        case 'v':
            options->verbose = true;
            break;
        case 'h':
            fputs(server->help, stdout);
            return 1 + 0;
        default:
            fprintf(stderr, "Try '%s --help'.\n", program_invocation_short_name);
            return 1 + 2;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "%s: '%s' is not expected; try --help\n", program_invocation_short_name,
                argv[optind]);
        return 1 + 2;
    }
    if ((options->service.inventory != NULL) != server->needs_inventory) {
        fprintf(stderr, "%s: --inventory is %s; try --help\n", program_invocation_short_name,
                server->needs_inventory ? "needed" : "not for this program");
        return 1 + 2;
    }
    return 0;
}

/* True at the end of standard input; what comes before it is read and dropped. */
static bool input_ended(void)
{
    char dropped[256];
    ssize_t size = read(STDIN_FILENO, dropped, sizeof dropped);
    return size == 0 || (size < 0 && errno != EINTR && errno != EAGAIN);
}

static void wait_for_end(int signal_fd, bool tied)
{
    struct pollfd ends[] = {{.fd = signal_fd, .events = POLLIN},
                            {.fd = tied ? STDIN_FILENO : -1, .events = POLLIN}};
    while (signals_next(signal_fd) == 0) {
        if (ends[1].revents != 0 && input_ended())
            return;
        if (poll(ends, 2, -1) < 0 && errno != EINTR)
            return;
    }
}

int server_main(const server_t *server, int argc, char **argv)
{
    server_options_t options = {.service = {.bind = "tcp://127.0.0.1:*"}};
    int status = parse(server, argc, argv, &options);
    if (status != 0)
        return status - 1;

    signals_block();
    /* A tied server leaves SIGINT pending: a Ctrl-C reaches the whole process group, and the
     * gateway still has use for its services while it stops. */
    int signal_fd = options.tied ? signals_open((int[]){SIGTERM, 0})
                                 : signals_open((int[]){SIGTERM, SIGINT, 0});
    if (signal_fd < 0) {
        perror(program_invocation_short_name);
        return 2;
    }
    dctx_set_log(server_log, &options.verbose);
    service_t service;
    dctx_error_t error = keys_freeze();
    if (error == DCTX_OK)
        error = server->start(&options.service, &service);
    if (error != DCTX_OK) {
        fprintf(stderr, "%s: cannot start: %s: %s\n", program_invocation_short_name,
                dctx_strerror(error), dctx_error_detail());
        return 2;
    }
    printf("listening %s\n", service.endpoint);
    fflush(stdout);
    wait_for_end(signal_fd, options.tied);
    service_stop(&service, STOP_MS);
    close(signal_fd);
    return 0;
}
