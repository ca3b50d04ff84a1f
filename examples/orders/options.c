#include "options.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "number.h"

static const char help[] =
    "Usage: gateway [OPTION]... [FILE]\n"
    "\n"
    "Sends orders through the shop: gateway, orders and inventory, three processes. Reads one\n"
    "JSON object a line from FILE, from standard input when FILE is -, and the sample orders that\n"
    "come with it when there is no FILE.\n"
    "\n"
    "  --embedded          run everything in this process; the output is the same\n"
    "  --orders ENDPOINT   use the order service that listens there; start nothing\n"
    "  --restart           start a service again that has died\n"
    "  --repeat N          go through FILE N times\n"
    "  --concurrency N     orders under way at once, 1 to 4096; default 64\n"
    "  --timeout MS        time budget of an order; default 2000\n"
    "  --dead-after MS     take a node that is silent for so long as gone; default 3000\n"
    "  --trace FILE        write what every hop saw, one JSON object an order\n"
    "  --json              the summary as JSON\n"
    "  --quiet             just the summary: no notes, no progress\n"
    "  --verbose           the library's log, too\n"
    "  --help              this text\n"
    "\n"
    "Without --orders and --embedded it starts `inventory` and `orders`, found beside itself,\n"
    "on ports the system chooses, and stops them when it ends, however it ends.\n"
    "\n"
    "Exit status: 0 every line was an order and every order was answered; 1 lines were refused\n"
    "or orders were not answered; 2 wrong usage, or the services cannot be started or reached;\n"
    "130 interrupted (143: terminated).\n";

static bool parse_options(int argc, char **argv, options_t *options, int *ret_status)
{
    static const struct option known[] = {
        {"embedded", no_argument, NULL, 'e'},
        {"orders", required_argument, NULL, 'o'},
        {"restart", no_argument, NULL, 'R'},
        {"repeat", required_argument, NULL, 'r'},
        {"timeout", required_argument, NULL, 't'},
        {"concurrency", required_argument, NULL, 'c'},
        {"trace", required_argument, NULL, 'T'},
        {"dead-after", required_argument, NULL, 'd'},
        {"json", no_argument, NULL, 'j'},
        {"quiet", no_argument, NULL, 'q'},
        {"verbose", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    uint64_t number = 0;
    int option;
    while ((option = getopt_long(argc, argv, "hq", known, NULL)) != -1) {
        bool good = true;
        switch (option) {
        case 'e':
            options->embedded = true;
            break;
        case 'o':
            options->orders = optarg;
            break;
        case 'R':
            options->restart = true;
            break;
        case 'r':
            good = number_parse("repeat", optarg, 1000000, &options->repeat);
            break;
        case 'c':
            good = number_parse("concurrency", optarg, 4096, &number);
            options->concurrency = (size_t)number;
            break;
        case 't':
            good = number_parse("timeout", optarg, NUMBER_MS_MAX, &number);
            options->timeout_ms = (int64_t)number;
            break;
        case 'd':
            good = number_parse("dead-after", optarg, NUMBER_MS_MAX, &number);
            options->dead_after_ms = (int64_t)number;
            break;
        case 'T':
            options->trace = optarg;
            break;
        case 'j':
            options->json = true;
            break;
        case 'q':
            options->quiet = true;
            break;
        case 'v':
            options->verbose = true;
            break;
        case 'h':
            fputs(help, stdout);
            *ret_status = 0;
            return false;
        default:
            fputs("Try 'gateway --help'.\n", stderr);
            good = false;
        }
        if (!good)
            return false;
    }
    return true;
}

static const char *fault_of(const options_t *options, int operands)
{
    if (operands > 1)
        return "one FILE of orders is wanted, not several";
    if (options->embedded && options->orders != NULL)
        return "--embedded and --orders exclude each other";
    if (options->restart && (options->embedded || options->orders != NULL))
        return "--restart is for services that the gateway starts itself";
    if (options->repeat > 1 && strcmp(options->file, "-") == 0)
        return "--repeat wants a file: standard input can be read but once";
    return NULL;
}

bool options_parse(int argc, char **argv, options_t *ret_options, int *ret_status)
{
    options_t options = {.file = ORDERS_SAMPLE, .repeat = 1, .concurrency = 64, .timeout_ms = 2000};
    *ret_status = 2;
    if (!parse_options(argc, argv, &options, ret_status))
        return false;
    if (optind < argc)
        options.file = argv[optind];
    const char *fault = fault_of(&options, argc - optind);
    if (fault != NULL) {
        fprintf(stderr, "gateway: %s; try --help\n", fault);
        return false;
    }
    *ret_options = options;
    return true;
}
