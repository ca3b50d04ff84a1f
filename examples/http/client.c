/*
 * client - a program at the edge: sets a context, calls a URL with it, prints the answer.
 *
 *     client [--tenant NAME] [--timeout MS] URL [JSON]
 */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "keys.h"

static int usage(void)
{
    fprintf(stderr, "usage: client [--tenant NAME] [--timeout MS] URL [JSON]\n");
    return 2;
}

static void check(dctx_error_t error)
{
    if (error == DCTX_OK)
        return;
    fprintf(stderr, "client: %s (%s)\n", dctx_strerror(error), dctx_error_detail());
    exit(1);
}

int main(int argc, char **argv)
{
    int at = 1;
    check(keys_register());
    DCTX_SCOPE("client");
    for (; at + 1 < argc && argv[at][0] == '-'; at += 2) {
        if (strcmp(argv[at], "--tenant") == 0)
            check(tenant_set(argv[at + 1]));
        else if (strcmp(argv[at], "--timeout") == 0)
            check(dctx_deadline_set_timeout(atoll(argv[at + 1]) * 1000000));
        else
            return usage();
    }
    if (at >= argc || at + 2 < argc)
        return usage();
    check(dctx_trace_begin(NULL));
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        return 1;
    char *text = NULL;
    long status = call_url("call", argv[at], at + 1 < argc ? argv[at + 1] : NULL, &text);
    curl_global_cleanup();
    if (status == 200)
        printf("%s\n", text != NULL ? text : "");
    else
        fprintf(stderr, "client: %ld %s\n", status, text != NULL ? text : "out of memory");
    free(text);
    return status == 200 ? 0 : 1;
}
