#include "secure.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include <dcontext/internal.h>

#include "socket.h"

#define ZAP_ENDPOINT "inproc://zeromq.zap.01"
#define KEY_SIZE     40
#define DOMAIN_MAX   63
/* How long a look at the directory holds. A key that is new is looked up at once. */
#define FRESH_MS 1000
/* Keys remembered; past it all are forgotten and looked up again. */
#define KNOWN_MAX 4096

/* What the directory said of a key, as it was when looked at last. */
typedef struct known {
    zcert_t *cert; /* NULL: not there */
} known_t;

struct dctx_curve {
    char domain[DOMAIN_MAX + 1];
    zactor_t *auth;
    char *directory;
    pthread_mutex_t lock; /* of all below */
    zcertstore_t *store;
    zhashx_t *known;         /* known_t by key */
    int64_t fresh;           /* the directory is not looked at before; ms, zclock_mono() */
    struct timespec changed; /* what it was like: itself, and what is in it */
    time_t modified;
    off_t size;
    size_t count;
};

/* ---- the handler ----------------------------------------------------------------------------- */

/* zauth asserts that it can bind, so this is found out before. */
static bool has_handler(void)
{
    zsock_t *probe = zsock_new(ZMQ_REP);
    bool free_to_bind = probe != NULL && zsock_bind(probe, ZAP_ENDPOINT) == 0;
    if (free_to_bind)
        (void)zsock_unbind(probe, ZAP_ENDPOINT);
    zsock_destroy(&probe);
    return !free_to_bind;
}

static dctx_error_t check(const char *domain, const char *directory)
{
    struct stat info;
    if (!zsys_has_curve())
        return dctx_fail_(DCTX_ERR_INVALID, "this libzmq has no CURVE");
    if (domain == NULL || domain[0] == '\0' || strlen(domain) > DOMAIN_MAX)
        return dctx_fail_(DCTX_ERR_INVALID, "a ZAP domain has 1 to %d bytes", DOMAIN_MAX);
    if (directory == NULL || stat(directory, &info) != 0 || !S_ISDIR(info.st_mode))
        return dctx_fail_(DCTX_ERR_INVALID, "no directory of certificates: %s",
                          directory != NULL ? directory : "NULL");
    return DCTX_OK;
}

static void destroy_known(void **item_p)
{
    known_t *known = *item_p;
    *item_p = NULL;
    zcert_destroy(&known->cert);
    dctx_release_(known);
}

static dctx_error_t start(dctx_curve_t *curve, const char *directory)
{
    curve->directory = dctx_strndup_(directory, strlen(directory));
    curve->store = zcertstore_new(directory);
    curve->known = zhashx_new();
    if (curve->directory == NULL || curve->store == NULL || curve->known == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a certificate store");
    zhashx_set_destructor(curve->known, destroy_known);
    if (has_handler())
        return dctx_fail_(DCTX_ERR_CONFLICT, "this process has a ZAP handler already");
    curve->auth = zactor_new(zauth, NULL);
    if (curve->auth == NULL)
        return dctx_fail_(DCTX_ERR_IO, "cannot start zauth");
    if (zstr_sendx(curve->auth, "CURVE", directory, NULL) != 0 || zsock_wait(curve->auth) != 0)
        return dctx_fail_(DCTX_ERR_IO, "zauth did not take its directory");
    return DCTX_OK;
}

dctx_error_t dctx_curve_new(const char *domain, const char *directory, dctx_curve_t **ret_curve)
{
    dctx_error_t error = check(domain, directory);
    if (error != DCTX_OK)
        return error;
    dctx_curve_t *curve = dctx_calloc_(1, sizeof(*curve));
    if (curve == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a ZAP handler");
    strcpy(curve->domain, domain);
    pthread_mutex_init(&curve->lock, NULL);
    error = start(curve, directory);
    if (error != DCTX_OK) {
        dctx_curve_destroy(&curve);
        return error;
    }
    *ret_curve = curve;
    return DCTX_OK;
}

void dctx_curve_destroy(dctx_curve_t **curve_p)
{
    if (curve_p == NULL || *curve_p == NULL)
        return;
    dctx_curve_t *curve = *curve_p;
    *curve_p = NULL;
    zactor_destroy(&curve->auth);
    zhashx_destroy(&curve->known);
    zcertstore_destroy(&curve->store);
    pthread_mutex_destroy(&curve->lock);
    dctx_release_(curve->directory);
    dctx_release_(curve);
}

const char *dctx_curve_domain_(const dctx_curve_t *curve)
{
    return curve->domain;
}

/* ---- who a key is ---------------------------------------------------------------------------- */

/*
 * Under the lock. Once a second at most, however many keys are asked for: forgets them all when the
 * directory is not what it was. The store would not notice a file that took another's place within
 * a second, so it is made anew.
 */
static void look_at_directory(dctx_curve_t *curve)
{
    struct stat info = {.st_size = 0};
    int64_t now = zclock_mono();
    if (now < curve->fresh)
        return;
    curve->fresh = now + FRESH_MS;
    zdir_t *dir = zdir_new(curve->directory, NULL);
    if (dir != NULL && stat(curve->directory, &info) == 0 &&
        info.st_mtim.tv_sec == curve->changed.tv_sec &&
        info.st_mtim.tv_nsec == curve->changed.tv_nsec && zdir_modified(dir) == curve->modified &&
        zdir_cursize(dir) == curve->size && zdir_count(dir) == curve->count) {
        zdir_destroy(&dir);
        return;
    }
    zhashx_purge(curve->known);
    zcertstore_t *store = dir != NULL ? zcertstore_new(curve->directory) : NULL;
    if (store != NULL) {
        zcertstore_destroy(&curve->store);
        curve->store = store;
        curve->changed = info.st_mtim;
        curve->modified = zdir_modified(dir);
        curve->size = zdir_cursize(dir);
        curve->count = zdir_count(dir);
    }
    zdir_destroy(&dir);
}

/* Under the lock. NULL: no memory to say. */
static known_t *look_up(dctx_curve_t *curve, const char *key)
{
    look_at_directory(curve);
    known_t *known = zhashx_lookup(curve->known, key);
    if (known != NULL)
        return known;
    if (zhashx_size(curve->known) >= KNOWN_MAX)
        zhashx_purge(curve->known);
    known = dctx_calloc_(1, sizeof(*known));
    if (known == NULL)
        return NULL;
    /* Reads the directory again if it changed. The certificate is the store's, which may purge
     * it. */
    zcert_t *cert = zcertstore_lookup(curve->store, key);
    known->cert = cert != NULL ? zcert_dup(cert) : NULL;
    zhashx_update(curve->known, key, known);
    return known;
}

dctx_error_t dctx_curve_vouch_(dctx_curve_t *curve, const char *key, zcert_t **ret_cert)
{
    pthread_mutex_lock(&curve->lock);
    const known_t *known = look_up(curve, key);
    zcert_t *cert = known != NULL && known->cert != NULL ? zcert_dup(known->cert) : NULL;
    pthread_mutex_unlock(&curve->lock);
    if (cert == NULL)
        return dctx_fail_(DCTX_ERR_REJECTED, "the peer's key is not in the directory any more");
    *ret_cert = cert;
    return DCTX_OK;
}

/* ---- sockets --------------------------------------------------------------------------------- */

static int pick(int given, int usual)
{
    return given == 0 ? usual : given;
}

static bool set(zsock_t *socket, int option, int value)
{
    return zmq_setsockopt(zsock_resolve(socket), option, &value, sizeof(value)) == 0;
}

static dctx_error_t apply(zsock_t *socket, const dctx_socket_settings_t *settings)
{
    static const dctx_socket_settings_t defaults = {0};
    if (settings == NULL)
        settings = &defaults;
    int64_t bytes = settings->message_bytes == 0 ? 1 << 20 : settings->message_bytes;
    int heartbeat = pick(settings->heartbeat_ms, 1000);
    int handshake = pick(settings->handshake_ms, 10000);
    bool done = zmq_setsockopt(zsock_resolve(socket), ZMQ_MAXMSGSIZE, &bytes, sizeof(bytes)) == 0 &&
                set(socket, ZMQ_HANDSHAKE_IVL, handshake < 0 ? 0 : handshake) &&
                set(socket, ZMQ_LINGER, pick(settings->linger_ms, 1000)) &&
                set(socket, ZMQ_SNDTIMEO, pick(settings->send_ms, 5000));
    if (done && heartbeat > 0)
        done = set(socket, ZMQ_HEARTBEAT_IVL, heartbeat) &&
               set(socket, ZMQ_HEARTBEAT_TIMEOUT, 3 * heartbeat) &&
               set(socket, ZMQ_HEARTBEAT_TTL, 3 * heartbeat);
    if (done && zsock_type(socket) == ZMQ_ROUTER)
        done = set(socket, ZMQ_ROUTER_MANDATORY, 1);
    return done ? DCTX_OK
                : dctx_fail_(DCTX_ERR_INVALID, "the settings are refused: %s", zmq_strerror(errno));
}

static dctx_error_t open_socket(int type, const dctx_socket_settings_t *settings,
                                zsock_t **ret_socket)
{
    if (type == ZMQ_STREAM || type < ZMQ_PAIR || type > ZMQ_STREAM)
        return dctx_fail_(DCTX_ERR_INVALID, "socket type %d carries no stamps", type);
    zsock_t *socket = zsock_new(type);
    if (socket == NULL)
        return dctx_fail_(DCTX_ERR_IO, "cannot open a socket: %s", zmq_strerror(errno));
    dctx_error_t error = apply(socket, settings);
    if (error != DCTX_OK)
        zsock_destroy(&socket);
    else
        *ret_socket = socket;
    return error;
}

/* Closes the socket if it cannot be bound or connected; else hands it over. */
static dctx_error_t attach(zsock_t *socket, const char *endpoint, bool bind, zsock_t **ret_socket)
{
    int result = -1;
    errno = EINVAL;
    if (endpoint != NULL)
        result = bind ? zsock_bind(socket, "%s", endpoint) : zsock_connect(socket, "%s", endpoint);
    if (result != -1) {
        dctx_socket_look_(zsock_resolve(socket));
        *ret_socket = socket;
        return DCTX_OK;
    }
    int failure = errno;
    zsock_destroy(&socket);
    return dctx_fail_(failure == EINVAL || failure == EPROTONOSUPPORT ? DCTX_ERR_INVALID
                                                                      : DCTX_ERR_IO,
                      "cannot %s %s: %s", bind ? "bind" : "connect to",
                      endpoint != NULL ? endpoint : "NULL", zmq_strerror(failure));
}

/* All zeroes is what zcert_load() gives for the half that a file does not have. */
static bool has_secret(zcert_t *cert)
{
    static const uint8_t none[32] = {0};
    return cert != NULL && memcmp(zcert_secret_key(cert), none, sizeof(none)) != 0;
}

static bool set_text(zsock_t *socket, int option, const char *text)
{
    return zmq_setsockopt(zsock_resolve(socket), option, text, strlen(text)) == 0;
}

dctx_error_t dctx_curve_server(dctx_curve_t *curve, int type, const char *endpoint, zcert_t *own,
                               const dctx_socket_settings_t *settings, zsock_t **ret_socket)
{
    zsock_t *socket;
    if (curve == NULL || !has_secret(own))
        return dctx_fail_(DCTX_ERR_INVALID, "a CURVE server needs a dctx_curve_t and a certificate "
                                            "with its secret half");
    dctx_error_t error = open_socket(type, settings, &socket);
    if (error != DCTX_OK)
        return error;
    zcert_apply(own, socket);
    if (!set(socket, ZMQ_CURVE_SERVER, 1) || !set_text(socket, ZMQ_ZAP_DOMAIN, curve->domain) ||
        !set(socket, ZMQ_ZAP_ENFORCE_DOMAIN, 1)) {
        int failure = errno;
        zsock_destroy(&socket);
        return dctx_fail_(DCTX_ERR_IO, "libzmq refuses to demand CURVE: %s", zmq_strerror(failure));
    }
    return attach(socket, endpoint, true, ret_socket);
}

dctx_error_t dctx_curve_client(int type, const char *endpoint, zcert_t *own, const char *server_key,
                               const dctx_socket_settings_t *settings, zsock_t **ret_socket)
{
    zsock_t *socket;
    if (!has_secret(own) || server_key == NULL || strlen(server_key) != KEY_SIZE)
        return dctx_fail_(DCTX_ERR_INVALID,
                          "a CURVE client needs a certificate with its secret half "
                          "and the server's key, of %d characters",
                          KEY_SIZE);
    dctx_error_t error = open_socket(type, settings, &socket);
    if (error != DCTX_OK)
        return error;
    zcert_apply(own, socket);
    if (!set_text(socket, ZMQ_CURVE_SERVERKEY, server_key)) {
        zsock_destroy(&socket);
        return dctx_fail_(DCTX_ERR_INVALID, "the server's key is none");
    }
    return attach(socket, endpoint, false, ret_socket);
}

dctx_error_t dctx_insecure_server(int type, const char *endpoint,
                                  const dctx_socket_settings_t *settings, zsock_t **ret_socket)
{
    zsock_t *socket;
    dctx_error_t error = open_socket(type, settings, &socket);
    return error == DCTX_OK ? attach(socket, endpoint, true, ret_socket) : error;
}

dctx_error_t dctx_insecure_client(int type, const char *endpoint,
                                  const dctx_socket_settings_t *settings, zsock_t **ret_socket)
{
    zsock_t *socket;
    dctx_error_t error = open_socket(type, settings, &socket);
    return error == DCTX_OK ? attach(socket, endpoint, false, ret_socket) : error;
}
