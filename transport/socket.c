#include "socket.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include <czmq.h>

#include <dcontext/internal.h>

#include "endpoint.h"
#include "session.h"

/* No socket begins with these bytes: a zsock_t and a zactor_t have tags of their own there, and a
 * libzmq socket a pointer, which this is not. */
#define PORT_TAG UINT64_C(0xdc7c0de70b5ea7ed)

struct dctx_port {
    uint64_t tag;
    void *handle;
    zsock_t *zsock;        /* whose handle it is; NULL: nobody's */
    dctx_policy_t *policy; /* with a reference */
    dctx_routes_t *routes; /* NULL: no need for them */
    bool knows_all;        /* its socket has no endpoint that was not given through it */
    bool settled;
    dctx_class_t leaving; /* as the view's */
    dctx_class_t entering;
};

/*
 * libzmq tells of a socket's endpoints the last, and no other. So once one was seen that leads off
 * this host the socket is marked, for good, in an option that has no meaning but on Windows. A
 * table of our own would not hear of it when a socket is closed and another gets its address.
 */
#define OFF_HOST_MARK 94 /* ZMQ_LOOPBACK_FASTPATH */

static int option(void *handle, int name)
{
    int value = 0;
    size_t size = sizeof(value);
    return zmq_getsockopt(handle, name, &value, &size) == 0 ? value : -1;
}

/* Of what is no port. *ret_handle NULL: of nothing. A plain handle is most often meant; libzmq
 * knows its own, and zsock_resolve() would ask it. Of a zsock_t nobody needs to be asked. */
static inline bool is_stream(void *socket, void **ret_handle)
{
    if (zsock_is(socket)) {
        *ret_handle = zsock_resolve(socket);
        return strcmp(zsock_type_str(socket), "STREAM") == 0;
    }
    void *handle = zactor_is(socket) ? zsock_resolve(socket) : socket;
    int type = handle != NULL ? option(handle, ZMQ_TYPE) : -1;
    *ret_handle = type >= 0 ? handle : NULL;
    return type == ZMQ_STREAM;
}

dctx_error_t dctx_socket_view_(void *socket, dctx_view_t *ret_view)
{
    const dctx_port_t *port = socket;
    if (socket != NULL && port->tag == PORT_TAG) {
        *ret_view =
            (dctx_view_t){port->handle, port->policy, port->routes, port->leaving, port->entering};
        return DCTX_OK;
    }
    void *handle = NULL;
    bool stream = socket != NULL && is_stream(socket, &handle);
    if (__builtin_expect(handle == NULL, 0))
        return dctx_fail_(DCTX_ERR_INVALID, "not a socket");
    if (__builtin_expect(stream, 0))
        return dctx_fail_(DCTX_ERR_INVALID,
                          "a STREAM socket carries bytes, not messages: it takes no stamps");
    *ret_view = (dctx_view_t){.handle = handle, .policy = dctx_policy_or_default_(NULL)};
    return DCTX_OK;
}

dctx_error_t dctx_socket_error_(const char *what, int error)
{
    switch (error) {
    case EAGAIN:
        return dctx_fail_(DCTX_ERR_AGAIN, "the socket is not ready to %s", what);
    case EINTR:
        return dctx_fail_(DCTX_ERR_AGAIN, "interrupted: %s", what);
    case EHOSTUNREACH:
        return dctx_fail_(DCTX_ERR_UNREACHABLE, "no such peer: cannot %s", what);
    case ENOMEM:
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory to %s", what);
    default:
        return dctx_fail_(DCTX_ERR_IO, "cannot %s: %s", what, zmq_strerror(error));
    }
}

/* ---- who is there ---------------------------------------------------------------------------- */

static inline bool begins(const char *text, const char *start)
{
    while (*start != '\0' && *text == *start) {
        text++;
        start++;
    }
    return *start == '\0';
}

/* 127. and then digits and dots, to the end or to what may follow an address. */
static inline bool is_loopback_v4(const char *address)
{
    if (!begins(address, "127."))
        return false;
    while (*address == '.' || (*address >= '0' && *address <= '9'))
        address++;
    return *address == '\0' || *address == ':' || *address == ']';
}

/* True if the ZAP handler was asked for certain. With a domain and without enforcing it, libzmq
 * lets everybody in when there is no handler; and then the peer's own word for its user id, in the
 * handshake, would be taken. */
static bool is_vouched(void *handle)
{
    char domain[256] = "";
    size_t size = sizeof(domain);
    return zmq_getsockopt(handle, ZMQ_ZAP_DOMAIN, domain, &size) == 0 && domain[0] != '\0' &&
           option(handle, ZMQ_ZAP_ENFORCE_DOMAIN) == 1;
}

/* A loopback address, with a port behind it or not. Digits only: a host's name may begin like one.
 */
static bool is_loopback(const char *address)
{
    if (begins(address, "[::1]") || strcmp(address, "::1") == 0)
        return true;
    address += begins(address, "[") ? 1 : 0;
    address += begins(address, "::ffff:") ? 7 : 0;
    return is_loopback_v4(address);
}

static bool is_on_host(const char *endpoint)
{
    if (begins(endpoint, "inproc://") || begins(endpoint, "ipc://"))
        return true;
    if (!begins(endpoint, "tcp://"))
        return false;
    /* "source;destination" */
    const char *destination = strrchr(endpoint, ';');
    destination = destination != NULL ? destination + 1 : endpoint + strlen("tcp://");
    return is_loopback(destination) || begins(destination, "localhost:");
}

#define ENDPOINT_SIZE  1024
#define ENDPOINT_SHORT 64

static bool last_is_on_host(void *handle)
{
    /* What the thread asked about last, and the answer: mostly it is the same again. */
    static _Thread_local char known[ENDPOINT_SHORT] __attribute__((tls_model("initial-exec")));
    static _Thread_local bool answer __attribute__((tls_model("initial-exec")));
    char endpoint[ENDPOINT_SIZE];
    /* libzmq fills the buffer with zeroes to its end: so first a short one, which nearly always
     * does. */
    size_t size = ENDPOINT_SHORT;
    if (zmq_getsockopt(handle, ZMQ_LAST_ENDPOINT, endpoint, &size) != 0) {
        size = sizeof(endpoint);
        return zmq_getsockopt(handle, ZMQ_LAST_ENDPOINT, endpoint, &size) == 0 &&
               is_on_host(endpoint);
    }
    /* Neither bound nor connected: there is nobody yet to be careful of. */
    if (endpoint[0] == '\0')
        return true;
    if (memcmp(endpoint, known, ENDPOINT_SHORT) != 0) {
        answer = is_on_host(endpoint);
        memcpy(known, endpoint, ENDPOINT_SHORT);
    }
    return answer;
}

/* Of all endpoints that it was seen with. Looks at the last one. */
static bool stays_on_host(void *handle)
{
    static const int yes = 1;
    /* Whether any socket was: until then none needs to be asked. Relaxed: whoever gets a socket
     * from another thread sees what that one did before. */
    static atomic_bool any_marked;
    if (atomic_load_explicit(&any_marked, memory_order_relaxed) &&
        option(handle, OFF_HOST_MARK) == 1)
        return false;
    if (last_is_on_host(handle))
        return true;
    atomic_store_explicit(&any_marked, true, memory_order_relaxed);
    (void)zmq_setsockopt(handle, OFF_HOST_MARK, &yes, sizeof(yes));
    return false;
}

static bool has_endpoint(void *handle)
{
    char endpoint[ENDPOINT_SIZE];
    size_t size = sizeof(endpoint);
    return zmq_getsockopt(handle, ZMQ_LAST_ENDPOINT, endpoint, &size) != 0 || endpoint[0] != '\0';
}

void dctx_socket_look_(void *handle)
{
    (void)stays_on_host(handle);
}

/* By its endpoints. Looks. */
static dctx_class_t look(void *handle)
{
    if (stays_on_host(handle))
        return DCTX_CLASS_HOST;
    if (option(handle, ZMQ_MECHANISM) != ZMQ_CURVE)
        return DCTX_CLASS_STRANGER;
    bool known = option(handle, ZMQ_CURVE_SERVER) == 1 ? is_vouched(handle) : true;
    return known ? DCTX_CLASS_DOMAIN : DCTX_CLASS_STRANGER;
}

dctx_class_t dctx_socket_leaving_(const dctx_view_t *view)
{
    return view->leaving != DCTX_CLASS_AUTO ? view->leaving : look(view->handle);
}

static const char *text_of(dctx_property_fn property, void *frame, const char *name)
{
    const char *text = property(frame, name);
    return text != NULL ? text : "";
}

/* No address: nothing but inproc, or a connection that broke before libzmq asked for it. */
static bool came_from_host(void *handle, const char *address)
{
    if (address[0] == '\0')
        return stays_on_host(handle);
    /* What it nearly always is on one host. */
    return strcmp(address, "127.0.0.1") == 0 || is_loopback_v4(address) ||
           begins(address, "localhost:") || is_loopback(address);
}

dctx_class_t dctx_socket_entering_(const dctx_view_t *view, dctx_property_fn property, void *frame)
{
    if (view->entering != DCTX_CLASS_AUTO)
        return view->entering;
    if (came_from_host(view->handle, text_of(property, frame, "Peer-Address")))
        return DCTX_CLASS_HOST;
    dctx_origin_t origin;
    dctx_socket_origin_(view, property, frame, false, &origin);
    return origin.peer;
}

void dctx_socket_origin_(const dctx_view_t *view, dctx_property_fn property, void *frame,
                         bool whole, dctx_origin_t *ret_origin)
{
    void *handle = view->handle;
    if (!whole && view->entering != DCTX_CLASS_AUTO) {
        *ret_origin = (dctx_origin_t){view->entering, DCTX_MECHANISM_NULL, false, "", ""};
        return;
    }
    const char *address = text_of(property, frame, "Peer-Address");
    if (!whole && came_from_host(handle, address)) {
        /* It is not looked at any further. */
        *ret_origin = (dctx_origin_t){DCTX_CLASS_HOST, DCTX_MECHANISM_NULL, false, address, ""};
        return;
    }
    int mechanism = option(handle, ZMQ_MECHANISM);
    *ret_origin = (dctx_origin_t){
        .peer = view->entering,
        .mechanism = mechanism == ZMQ_CURVE   ? DCTX_MECHANISM_CURVE
                     : mechanism == ZMQ_PLAIN ? DCTX_MECHANISM_PLAIN
                                              : DCTX_MECHANISM_NULL,
        .address = address,
        .user_id = "",
    };
    bool is_server = mechanism == ZMQ_CURVE   ? option(handle, ZMQ_CURVE_SERVER) == 1
                     : mechanism == ZMQ_PLAIN ? option(handle, ZMQ_PLAIN_SERVER) == 1
                                              : false;
    if (is_server && address[0] != '\0' && is_vouched(handle)) {
        ret_origin->vouched = true;
        ret_origin->user_id = text_of(property, frame, "User-Id");
    }
    if (ret_origin->peer != DCTX_CLASS_AUTO)
        return;
    if (came_from_host(handle, address))
        ret_origin->peer = DCTX_CLASS_HOST;
    else if (mechanism == ZMQ_CURVE && address[0] != '\0' &&
             (!is_server || ret_origin->user_id[0] != '\0'))
        ret_origin->peer = DCTX_CLASS_DOMAIN;
    else
        ret_origin->peer = DCTX_CLASS_STRANGER;
}

static bool is_known(const dctx_origin_t *origin)
{
    return origin->mechanism != DCTX_MECHANISM_NULL && origin->address[0] != '\0';
}

#define METADATA_MAX 32

void dctx_origin_note_(const dctx_origin_t *origin, zcert_t *cert, dctx_snapshot_t **snapshot_p)
{
    bool has_key = origin->vouched && origin->mechanism == DCTX_MECHANISM_CURVE;
    dctx_session_pair_t pairs[METADATA_MAX];
    size_t count = 0;
    zlist_t *names = cert != NULL ? zcert_meta_keys(cert) : NULL;
    const char *name = names != NULL ? zlist_first(names) : NULL;
    for (; name != NULL && count < METADATA_MAX; name = zlist_next(names))
        pairs[count++] = (dctx_session_pair_t){name, zcert_meta(cert, name)};
    const dctx_session_t session = {.mechanism = origin->mechanism,
                                    .public_key = has_key ? origin->user_id : "",
                                    .user_id = origin->user_id,
                                    .metadata = pairs,
                                    .count = count};
    dctx_snapshot_t *more;
    if (dctx_session_set_(*snapshot_p, origin->address[0] != '\0' ? origin->address : NULL,
                          is_known(origin) ? &session : NULL, &more) == DCTX_OK) {
        dctx_snapshot_unref(snapshot_p);
        *snapshot_p = more;
    }
    zlist_destroy(&names);
}

/* ---- endpoints ------------------------------------------------------------------------------- */

/* Whose endpoint zsock_endpoint() is to tell; NULL: it is none. */
static zsock_t *zsock_of(void *socket)
{
    const dctx_port_t *port = socket;
    if (port->tag == PORT_TAG)
        return port->zsock;
    return zsock_is(socket) ? socket : NULL;
}

static inline bool is_port(const void *socket)
{
    return ((const dctx_port_t *)socket)->tag == PORT_TAG;
}

/* Of a settled port, whose endpoints have changed. A policy's word comes first. */
static void find_classes(dctx_port_t *port)
{
    if (port->policy->peer != DCTX_CLASS_AUTO)
        return;
    port->leaving = look(port->handle);
    /* Where no endpoint leads off this host no connection does. */
    bool on_host = port->leaving == DCTX_CLASS_HOST && port->knows_all;
    port->entering = on_host ? DCTX_CLASS_HOST : DCTX_CLASS_AUTO;
}

/* Looks at the endpoint before this one too: it is about to be forgotten. */
static dctx_error_t attach(void *socket, const char *endpoint, bool bind)
{
    dctx_view_t view = {.handle = NULL};
    dctx_error_t error = dctx_socket_view_(socket, &view);
    if (error != DCTX_OK)
        return error;
    if (endpoint == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no endpoint");
    zsock_t *zsock = zsock_of(socket);
    dctx_socket_look_(view.handle);
    int done;
    if (zsock != NULL)
        done = bind ? zsock_bind(zsock, "%s", endpoint) : zsock_connect(zsock, "%s", endpoint);
    else
        done = bind ? zmq_bind(view.handle, endpoint) : zmq_connect(view.handle, endpoint);
    if (done == -1)
        return dctx_endpoint_fail_(bind ? "listen on" : "connect to", endpoint, errno);
    dctx_socket_look_(view.handle);
    if (is_port(socket) && ((dctx_port_t *)socket)->settled)
        find_classes(socket);
    return DCTX_OK;
}

dctx_error_t dctx_socket_bind(void *socket, const char *endpoint)
{
    return attach(socket, endpoint, true);
}

dctx_error_t dctx_socket_connect(void *socket, const char *endpoint)
{
    return attach(socket, endpoint, false);
}

/* ---- ports ----------------------------------------------------------------------------------- */

dctx_error_t dctx_port_new(void *socket, dctx_policy_t *policy, dctx_port_t **ret_port)
{
    dctx_view_t view = {.handle = NULL};
    if (ret_port == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "nowhere to put the port");
    dctx_error_t error = dctx_socket_view_(socket, &view);
    if (error != DCTX_OK)
        return error;
    dctx_port_t *port = dctx_alloc_(sizeof(*port));
    if (port == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a port");
    *port = (dctx_port_t){.tag = PORT_TAG,
                          .handle = view.handle,
                          .zsock = zsock_of(socket),
                          .knows_all = !has_endpoint(view.handle),
                          .policy = dctx_policy_or_default_(policy)};
    port->leaving = port->entering = port->policy->peer;
    if (port->policy->curve != NULL && option(view.handle, ZMQ_TYPE) == ZMQ_ROUTER)
        error = dctx_routes_new_(port->policy, &port->routes);
    if (error != DCTX_OK) {
        dctx_release_(port);
        return error;
    }
    (void)dctx_policy_ref(port->policy);
    dctx_socket_look_(view.handle);
    *ret_port = port;
    return DCTX_OK;
}

dctx_error_t dctx_port_settle(dctx_port_t *port)
{
    if (port == NULL || !is_port(port))
        return dctx_fail_(DCTX_ERR_INVALID, "not a port");
    if (!has_endpoint(port->handle))
        return dctx_fail_(DCTX_ERR_INVALID, "the port's socket is neither bound nor connected: "
                                            "settle the port when it is");
    port->settled = true;
    find_classes(port);
    return DCTX_OK;
}

void dctx_port_destroy(dctx_port_t **port_p)
{
    if (port_p == NULL || *port_p == NULL)
        return;
    dctx_port_t *port = *port_p;
    *port_p = NULL;
    port->tag = 0;
    dctx_routes_destroy_(&port->routes);
    dctx_policy_unref(&port->policy);
    dctx_release_(port);
}

dctx_class_t dctx_socket_class(void *socket)
{
    dctx_view_t view = {.handle = NULL};
    return dctx_socket_view_(socket, &view) == DCTX_OK ? dctx_socket_leaving_(&view)
                                                       : DCTX_CLASS_AUTO;
}
