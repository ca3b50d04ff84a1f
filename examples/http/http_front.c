/*
 * http_front - an HTTP server that turns the headers of a request into context, and takes the context along:
 *
 *     POST /            a JSON list of {"url": ..., "arguments": ...}: calls each URL with the arguments as JSON
 *                       body, and answers when all have answered. This is what the W3C's conformance harness for
 *                       Trace Context asks of a service.
 *     GET /greet/NAME   asks the actor "greeter" on the node "backend" over ZeroMQ, and answers with its reply.
 *
 *     http_front [--port PORT] [--backend ENDPOINT]
 *
 * Listens on the loopback address only. Prints "listening URL"; ends with its standard input, or on a signal.
 */
#include <curl/curl.h>
#include <jansson.h>
#include <microhttpd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/signalfd.h>
#include <poll.h>
#include <unistd.h>

#include <dcontext/actors.h>

#include "call.h"
#include "keys.h"

enum { BODY_MOST = 1 << 20, CALLS_MOST = 1000, ASK_MILLISECONDS = 5000 };

typedef enum MHD_Result result_t;

static dctx_system_t *actors; /* NULL without a backend */

/* ---- a request's headers as a carrier, for reading ---- */

typedef struct visit {
    const char *name;
    dctx_header_fn call;
    void *arg;
} visit_t;

static result_t visit_header(void *arg, enum MHD_ValueKind kind, const char *name,
                             const char *value)
{
    const visit_t *visit = arg;
    (void)kind;
    if (visit->name != NULL && strcasecmp(visit->name, name) != 0)
        return MHD_YES;
    dctx_bytes_t name_bytes = {name, strlen(name)};
    dctx_bytes_t value_bytes = {value, value != NULL ? strlen(value) : 0};
    return visit->call(name_bytes, value_bytes, visit->arg) ? MHD_YES : MHD_NO;
}

static void each_header(void *connection, const char *name, dctx_header_fn call, void *arg)
{
    visit_t visit = {name, call, arg};
    (void)MHD_get_connection_values(connection, MHD_HEADER_KIND, visit_header, &visit);
}

/* ---- answers ---- */

static result_t answer(struct MHD_Connection *connection, unsigned status, char *text)
{
    if (text == NULL)
        return MHD_NO;
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        free(text);
        return MHD_NO;
    }
    (void)MHD_add_response_header(response, "Content-Type", "application/json");
    result_t result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static result_t refuse(struct MHD_Connection *connection, unsigned status, const char *why)
{
    json_t *object = json_pack("{s:s}", "error", why);
    char *text = object != NULL ? json_dumps(object, 0) : NULL;
    json_decref(object);
    return answer(connection, status, text);
}

/* ---- POST / ---- */

/* {"url": ..., "arguments": ...} */
static json_t *make_call(const json_t *item)
{
    const char *url = json_string_value(json_object_get(item, "url"));
    const json_t *arguments = json_object_get(item, "arguments");
    char *body = json_dumps(arguments, JSON_ENCODE_ANY | JSON_COMPACT);
    char *text = NULL;
    long status = body != NULL ? call_url("call", url, body, &text) : 0;
    json_t *outcome = json_pack("{s:s, s:I}", "url", url, "status", (json_int_t)status);
    if (status == 0 && outcome != NULL)
        (void)json_object_set_new(outcome, "error",
                                  json_string(text != NULL ? text : "out of memory"));
    free(text);
    free(body);
    return outcome;
}

static bool are_calls(const json_t *list)
{
    size_t index;
    json_t *item;
    if (!json_is_array(list) || json_array_size(list) > CALLS_MOST)
        return false;
    json_array_foreach(list, index,
                       item) if (!json_is_string(json_object_get(item, "url")) ||
                                 json_object_get(item, "arguments") == NULL) return false;
    return true;
}

static result_t make_calls(struct MHD_Connection *connection, const char *body, size_t size)
{
    json_error_t error;
    size_t index;
    json_t *item;
    json_t *list = json_loadb(body != NULL ? body : "", size, 0, &error);
    if (list == NULL || !are_calls(list)) {
        json_decref(list);
        return refuse(connection, MHD_HTTP_BAD_REQUEST,
                      "the body must be a list of {\"url\": ..., \"arguments\": ...}");
    }
    json_t *outcomes = json_array();
    json_array_foreach(list, index, item)(void) json_array_append_new(outcomes, make_call(item));
    char *text = json_dumps(outcomes, 0);
    json_decref(outcomes);
    json_decref(list);
    return answer(connection, MHD_HTTP_OK, text);
}

/* ---- GET /greet/NAME ---- */

static result_t greet(struct MHD_Connection *connection, const char *name)
{
    dctx_ref_t greeter;
    dctx_message_t *reply = NULL;
    if (actors == NULL)
        return refuse(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "there is no backend");
    dctx_error_t error = dctx_system_find(actors, "greeter@backend", &greeter);
    if (error == DCTX_OK)
        error = dctx_ask_wait(greeter, DCTX_TYPE_STRING, name, ASK_MILLISECONDS, &reply);
    const char *text = error == DCTX_OK ? dctx_message_get(reply, DCTX_TYPE_STRING) : NULL;
    result_t result = text != NULL ? answer(connection, MHD_HTTP_OK, strdup(text))
                                   : refuse(connection,
                                            error == DCTX_ERR_TIMEOUT || error == DCTX_ERR_DEADLINE
                                                ? MHD_HTTP_GATEWAY_TIMEOUT
                                                : MHD_HTTP_BAD_GATEWAY,
                                            dctx_strerror(error));
    dctx_message_destroy(&reply);
    return result;
}

/* ---- requests ---- */

/* A request whose body is still coming. */
typedef struct request {
    char *body;
    size_t size;
    bool too_big;
} request_t;

static void take_body(request_t *request, const char *data, size_t size)
{
    char *longer = NULL;
    if (!request->too_big && request->size + size <= BODY_MOST)
        longer = realloc(request->body, request->size + size);
    if (longer == NULL) {
        request->too_big = true;
        return;
    }
    memcpy(longer + request->size, data, size);
    request->body = longer;
    request->size += size;
}

static result_t route(struct MHD_Connection *connection, const char *method, const char *path,
                      const request_t *request)
{
    static const char greet_path[] = "/greet/";
    if (request->too_big)
        return refuse(connection, MHD_HTTP_CONTENT_TOO_LARGE, "the body is too big");
    if (strcmp(path, "/") == 0)
        return strcmp(method, "POST") == 0
                   ? make_calls(connection, request->body, request->size)
                   : refuse(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "POST a list of calls here");
    if (strncmp(path, greet_path, strlen(greet_path)) == 0 && strcmp(method, "GET") == 0)
        return greet(connection, path + strlen(greet_path));
    return refuse(connection, MHD_HTTP_NOT_FOUND, "there is nothing here");
}

/* The whole of it: the context is there for as long as the request is worked on. */
static result_t work(struct MHD_Connection *connection, const char *method, const char *path,
                     const request_t *request)
{
    const dctx_carrier_t headers = {.headers = connection, .each = each_header};
    dctx_snapshot_t *snapshot = NULL;
    if (dctx_extract(NULL, NULL, &headers, &snapshot, NULL) != DCTX_OK)
        return refuse(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, dctx_error_detail());
    result_t result = MHD_NO;
    {
        DCTX_ATTACH_SCOPE(snapshot, "http");
        /* A span of our own: a child of the caller's, or the root if there was none. */
        if (dctx_trace_begin(NULL) == DCTX_OK)
            result = route(connection, method, path, request);
    }
    dctx_snapshot_unref(&snapshot);
    return result;
}

static result_t on_request(void *arg, struct MHD_Connection *connection, const char *path,
                           const char *method, const char *version, const char *data, size_t *size,
                           void **state)
{
    request_t *request = *state;
    (void)arg;
    (void)version;
    if (request == NULL) {
        *state = calloc(1, sizeof(*request));
        return *state != NULL ? MHD_YES : MHD_NO;
    }
    if (*size > 0) {
        take_body(request, data, *size);
        *size = 0;
        return MHD_YES;
    }
    return work(connection, method, path, request);
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code)
{
    request_t *request = *state;
    (void)arg;
    (void)connection;
    (void)code;
    if (request != NULL)
        free(request->body);
    free(request);
    *state = NULL;
}

/* ---- the program ---- */

static bool connect_backend(const char *endpoint)
{
    dctx_error_t error = dctx_system_new(&(dctx_system_options_t){.name = "front"}, &actors);
    if (error == DCTX_OK)
        error = dctx_system_connect(actors, "backend", endpoint);
    if (error != DCTX_OK)
        fprintf(stderr, "http_front: %s (%s)\n", dctx_strerror(error), dctx_error_detail());
    return error == DCTX_OK;
}

static struct MHD_Daemon *listen_on(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    /* A thread for each connection: a call may come back to this very server. */
    struct MHD_Daemon *daemon =
        MHD_start_daemon(MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL,
                         NULL, on_request, NULL, MHD_OPTION_SOCK_ADDR, (struct sockaddr *)&address,
                         MHD_OPTION_CONNECTION_LIMIT, 256u, MHD_OPTION_CONNECTION_TIMEOUT, 30u,
                         MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
    if (daemon == NULL) {
        perror("http_front: listen");
        return NULL;
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT);
    printf("listening http://127.0.0.1:%u/\n", info != NULL ? info->port : port);
    fflush(stdout);
    return daemon;
}

/* Until standard input ends, or a signal asks for it. */
static void wait_for_the_end(int signals)
{
    struct pollfd items[2] = {{.fd = STDIN_FILENO, .events = POLLIN},
                              {.fd = signals, .events = POLLIN}};
    char ignored[256];
    while (poll(items, 2, -1) >= 0 && items[1].revents == 0)
        if (items[0].revents != 0 && read(STDIN_FILENO, ignored, sizeof(ignored)) <= 0)
            return;
}

static int usage(void)
{
    fprintf(stderr, "usage: http_front [--port PORT] [--backend ENDPOINT]\n");
    return 2;
}

int main(int argc, char **argv)
{
    const char *backend = NULL;
    unsigned long port = 0;
    for (int at = 1; at < argc; at += 2) {
        if (at + 1 < argc && strcmp(argv[at], "--port") == 0)
            port = strtoul(argv[at + 1], NULL, 10);
        else if (at + 1 < argc && strcmp(argv[at], "--backend") == 0)
            backend = argv[at + 1];
        else
            return usage();
    }
    if (port > UINT16_MAX)
        return usage();
    /* Before there are threads: they inherit it. */
    sigset_t ends;
    (void)sigemptyset(&ends);
    (void)sigaddset(&ends, SIGINT);
    (void)sigaddset(&ends, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &ends, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    int signals = signalfd(-1, &ends, SFD_CLOEXEC);
    if (signals < 0 || keys_register() != DCTX_OK || curl_global_init(CURL_GLOBAL_DEFAULT) != 0 ||
        (backend != NULL && !connect_backend(backend)))
        return 1;
    struct MHD_Daemon *daemon = listen_on((uint16_t)port);
    if (daemon != NULL) {
        wait_for_the_end(signals);
        MHD_stop_daemon(daemon);
    }
    dctx_system_destroy(&actors);
    curl_global_cleanup();
    (void)close(signals);
    return daemon != NULL ? 0 : 1;
}
