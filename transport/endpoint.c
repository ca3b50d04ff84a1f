#include "endpoint.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <dcontext/internal.h>

#include "socket.h"

#define IPC_PREFIX         "ipc://"
#define CONNECT_TIMEOUT_MS 5000
#define HANDSHAKE_LIMIT_MS 5000
#define KEEPALIVE_IDLE_S   30
#define KEEPALIVE_EVERY_S  10
#define KEEPALIVE_TRIES    3
/* Never, to all intents: whoever dials makes a new socket. Not -1: then ZeroMQ would drop what a
 * connection that ended had brought and nobody had read. */
#define RECONNECT_MS  3600000
#define ENDPOINT_SIZE 512

/* Any thread adds; only its uniqueness matters, so relaxed. */
static atomic_ulong monitors;

static bool set_int(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof(value)) == 0;
}

/* Also plain ones: those have no security to set up. */
static bool secure(void *socket, int type, const dctx_socket_options_t *options,
                   const char *server_key)
{
    if (type == ZMQ_ROUTER ? options->domain == NULL : server_key == NULL)
        return true;
    zcert_t *own = options->certificate;
    if (zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, zcert_public_key(own), 32) != 0 ||
        zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, zcert_secret_key(own), 32) != 0)
        return false;
    if (type != ZMQ_ROUTER)
        return zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, server_key, strlen(server_key)) == 0;
    return set_int(socket, ZMQ_CURVE_SERVER, 1) &&
           zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, options->domain, strlen(options->domain)) == 0 &&
           set_int(socket, ZMQ_ZAP_ENFORCE_DOMAIN, 1);
}

dctx_error_t dctx_socket_open_(int type, const dctx_socket_options_t *options,
                               const char *server_key, void **ret_socket)
{
    /* CZMQ knows of it, so that a program that ends without closing it ends all the same. */
    void *socket = zsys_socket(type, __FILE__, __LINE__);
    if (socket == NULL)
        return dctx_fail_(DCTX_ERR_IO, "cannot make a ZeroMQ socket: %s", zmq_strerror(errno));
    bool ok = set_int(socket, ZMQ_SNDHWM, options->send_frames) &&
              set_int(socket, ZMQ_RCVHWM, options->receive_frames) &&
              set_int(socket, ZMQ_SNDTIMEO, 0) && set_int(socket, ZMQ_RCVTIMEO, 0) &&
              set_int(socket, ZMQ_LINGER, 0) && set_int(socket, ZMQ_RECONNECT_IVL, RECONNECT_MS) &&
              set_int(socket, ZMQ_CONNECT_TIMEOUT, CONNECT_TIMEOUT_MS) &&
              set_int(socket, ZMQ_HANDSHAKE_IVL, HANDSHAKE_LIMIT_MS) &&
              /* A machine that vanished without a word leaves no connection behind for ever. */
              set_int(socket, ZMQ_TCP_KEEPALIVE, 1) &&
              set_int(socket, ZMQ_TCP_KEEPALIVE_IDLE, KEEPALIVE_IDLE_S) &&
              set_int(socket, ZMQ_TCP_KEEPALIVE_INTVL, KEEPALIVE_EVERY_S) &&
              set_int(socket, ZMQ_TCP_KEEPALIVE_CNT, KEEPALIVE_TRIES) &&
              zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &options->message_bytes,
                             sizeof(options->message_bytes)) == 0 &&
              (type != ZMQ_ROUTER || set_int(socket, ZMQ_ROUTER_MANDATORY, 1)) &&
              secure(socket, type, options, server_key);
    if (!ok) {
        int error = errno;
        dctx_socket_close_(&socket, 0);
        return dctx_fail_(DCTX_ERR_IO, "cannot set up a ZeroMQ socket: %s", zmq_strerror(error));
    }
    *ret_socket = socket;
    return DCTX_OK;
}

void dctx_socket_close_(void **socket_p, int linger_ms)
{
    if (*socket_p == NULL)
        return;
    (void)set_int(*socket_p, ZMQ_LINGER, linger_ms);
    (void)zsys_close(*socket_p, __FILE__, __LINE__);
    *socket_p = NULL;
}

dctx_error_t dctx_monitor_open_(void *socket, void **ret_monitor)
{
    char address[64];
    unsigned long number = atomic_fetch_add_explicit(&monitors, 1, memory_order_relaxed);
    snprintf(address, sizeof(address), "inproc://dctx-link-monitor-%lu", number);
    if (zmq_socket_monitor(
            socket, address,
            ZMQ_EVENT_CLOSED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH) != 0)
        return dctx_fail_(DCTX_ERR_IO, "cannot watch a ZeroMQ socket: %s", zmq_strerror(errno));
    void *monitor = zsys_socket(ZMQ_PAIR, __FILE__, __LINE__);
    if (monitor == NULL || !set_int(monitor, ZMQ_LINGER, 0) || zmq_connect(monitor, address) != 0) {
        int error = errno;
        dctx_monitor_close_(socket, &monitor);
        return dctx_fail_(DCTX_ERR_IO, "cannot watch a ZeroMQ socket: %s", zmq_strerror(error));
    }
    *ret_monitor = monitor;
    return DCTX_OK;
}

void dctx_monitor_close_(void *socket, void **monitor_p)
{
    /* First the sending side: without a reader its next event would block ZeroMQ's I/O thread. */
    (void)zmq_socket_monitor(socket, NULL, 0);
    dctx_socket_close_(monitor_p, 0);
}

dctx_ending_t dctx_monitor_read_(void *monitor)
{
    dctx_ending_t ending = DCTX_ENDING_NONE;
    char frame[16] = "";
    int more = 0;
    /* Every event that was asked for is an end. It has two frames: what, and an address. */
    while (zmq_recv(monitor, frame, sizeof(frame), ZMQ_DONTWAIT) >= 0) {
        size_t size = sizeof(more);
        uint16_t event;
        memcpy(&event, frame, sizeof(event));
        if (zmq_getsockopt(monitor, ZMQ_RCVMORE, &more, &size) != 0 || more == 0)
            continue;
        dctx_ending_t this =
            event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH || event == ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL
                ? DCTX_ENDING_DENIED
            : event == ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL ? DCTX_ENDING_CUT
                                                            : DCTX_ENDING_BROKE;
        ending = this > ending ? this : ending;
    }
    return ending;
}

dctx_error_t dctx_endpoint_fail_(const char *what, const char *endpoint, int error)
{
    bool invalid = error == EINVAL || error == EPROTONOSUPPORT || error == ENOCOMPATPROTO ||
                   error == ENAMETOOLONG;
    return dctx_fail_(invalid ? DCTX_ERR_INVALID : DCTX_ERR_IO, "cannot %s %.128s: %s", what,
                      endpoint, zmq_strerror(error));
}

/* The path of an ipc endpoint; NULL for other transports and for names without a file. */
static const char *path_of(const char *endpoint)
{
    size_t prefix = sizeof(IPC_PREFIX) - 1;
    if (strncmp(endpoint, IPC_PREFIX, prefix) != 0 || endpoint[prefix] == '@' ||
        endpoint[prefix] == '\0' || strcmp(endpoint + prefix, "*") == 0)
        return NULL;
    return endpoint + prefix;
}

/* True if somebody accepts connections there. */
static bool is_listened_on(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return false;
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    /* EAGAIN: its queue of those who wait to be accepted is full. */
    bool taken = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 || errno == EAGAIN;
    close(fd);
    return taken;
}

static void remember_file(dctx_listener_t *listener)
{
    const char *path = path_of(listener->endpoint);
    struct stat file;
    if (path == NULL || lstat(path, &file) != 0 || !S_ISSOCK(file.st_mode))
        return;
    listener->device = file.st_dev;
    listener->inode = file.st_ino;
    listener->has_file = true;
}

dctx_error_t dctx_listener_bind_(void *socket, const char *endpoint, dctx_listener_t **ret_listener)
{
    const char *path = path_of(endpoint);
    if (path != NULL && is_listened_on(path))
        return dctx_endpoint_fail_("listen on", endpoint, EADDRINUSE);
    dctx_listener_t *listener = dctx_calloc_(1, sizeof(*listener) + ENDPOINT_SIZE);
    if (listener == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory to listen on %.128s", endpoint);
    size_t size = ENDPOINT_SIZE;
    if (zmq_bind(socket, endpoint) != 0) {
        int error = errno;
        dctx_release_(listener);
        return dctx_endpoint_fail_("listen on", endpoint, error);
    }
    if (zmq_getsockopt(socket, ZMQ_LAST_ENDPOINT, listener->endpoint, &size) != 0) {
        int error = errno;
        (void)zmq_unbind(socket, endpoint);
        dctx_release_(listener);
        return dctx_endpoint_fail_("listen on", endpoint, error);
    }
    listener->has_directory = strcmp(endpoint, IPC_PREFIX "*") == 0;
    remember_file(listener);
    *ret_listener = listener;
    return DCTX_OK;
}

void dctx_listener_destroy_(dctx_listener_t **listener_p)
{
    dctx_listener_t *listener = *listener_p;
    if (listener == NULL)
        return;
    struct stat file;
    char *path = listener->endpoint + sizeof(IPC_PREFIX) - 1;
    if (listener->has_file && lstat(path, &file) == 0 && file.st_dev == listener->device &&
        file.st_ino == listener->inode) {
        (void)unlink(path);
        char *slash = strrchr(path, '/');
        if (listener->has_directory && slash != NULL) {
            *slash = '\0';
            (void)rmdir(path);
        }
    }
    dctx_release_(listener);
    *listener_p = NULL;
}
