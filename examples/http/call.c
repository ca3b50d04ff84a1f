#include "call.h"

#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ANSWER_MOST = 1 << 20, MILLISECONDS_MOST = 10000 };

/* ---- a list of libcurl's as a carrier, for writing ---- */

static dctx_error_t set_header(void *headers, const char *name, const char *value, size_t size)
{
    struct curl_slist **list = headers;
    size_t name_size = strlen(name);
    char *line = malloc(name_size + 2 + size + 1);
    if (line == NULL)
        return DCTX_ERR_NOMEM;
    memcpy(line, name, name_size);
    memcpy(line + name_size, ": ", 2);
    memcpy(line + name_size + 2, value, size);
    line[name_size + 2 + size] = '\0';
    struct curl_slist *longer = curl_slist_append(*list, line);
    free(line);
    if (longer == NULL)
        return DCTX_ERR_NOMEM;
    *list = longer;
    return DCTX_OK;
}

/* ---- the answer ---- */

typedef struct answer {
    char *text;
    size_t size;
} answer_t;

static size_t take(char *data, size_t one, size_t count, void *arg)
{
    answer_t *answer = arg;
    size_t size = one * count;
    size_t room = ANSWER_MOST - answer->size;
    size_t taken = size < room ? size : room;
    char *longer = realloc(answer->text, answer->size + taken + 1);
    if (longer == NULL)
        return 0;
    memcpy(longer + answer->size, data, taken);
    answer->text = longer;
    answer->size += taken;
    longer[answer->size] = '\0';
    return size;
}

static long time_left(void)
{
    int64_t left = dctx_deadline_left() / 1000000;
    if (left < 1)
        return 1;
    return left < MILLISECONDS_MOST ? (long)left : MILLISECONDS_MOST;
}

static long perform(CURL *curl, const char *url, const char *body, struct curl_slist *headers,
                    char **ret_text)
{
    char why[CURL_ERROR_SIZE] = "";
    answer_t answer = {NULL, 0};
    long status = 0;
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, time_left());
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
    if (body != NULL)
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    CURLcode code = curl_easy_perform(curl);
    if (code == CURLE_OK) {
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
        *ret_text = answer.text != NULL ? answer.text : strdup("");
        return status;
    }
    free(answer.text);
    *ret_text = strdup(why[0] != '\0' ? why : curl_easy_strerror(code));
    return 0;
}

long call_url(const char *name, const char *url, const char *body, char **ret_text)
{
    long status = 0;
    struct curl_slist *headers = NULL;
    CURL *curl = curl_easy_init();
    *ret_text = NULL;
    if (curl == NULL)
        return 0;
    DCTX_WITH_SCOPE(name) {
        const dctx_carrier_t carrier = {.headers = &headers, .set = set_header};
        dctx_error_t error = dctx_trace_begin(NULL);
        if (error == DCTX_OK)
            error = dctx_inject(NULL, NULL, &carrier);
        if (error == DCTX_OK && body != NULL)
            error = set_header(&headers, "Content-Type", "application/json", 16);
        if (error == DCTX_OK)
            status = perform(curl, url, body, headers, ret_text);
        else
            *ret_text = strdup(dctx_strerror(error));
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return status;
}
