#include <dcontext/seal.h>

#include <pthread.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <sodium.h>

#include <dcontext/internal.h>
#include <dcontext/session.h>

#define SEALED_NAME "dctx.sealed"
#define FORM        1
#define KEYS_MAX    16
#define BOUND_MAX   16
#define MAC_SIZE    32
/* The bin head and what it holds: the last of a seal's bytes. */
#define TAIL_SIZE (2 + MAC_SIZE)
#define SEAL_MAX  (DCTX_SEAL_IDENTITY_MAX + 64 + TAIL_SIZE)
#define MINUTE    INT64_C(60000000000)

typedef struct seal_key {
    uint32_t id;
    uint8_t key[DCTX_SEAL_KEY_SIZE];
} seal_key_t;

struct dctx_seals {
    int64_t lifetime;
    size_t bound_count;
    char *bound[BOUND_MAX]; /* not changed after */
    pthread_rwlock_t lock;  /* of what follows */
    size_t count;
    size_t in_use; /* index; count: none */
    seal_key_t keys[KEYS_MAX];
};

dctx_error_t dctx_seal_register(dctx_registry_t *registry)
{
    const dctx_key_options_t options = {.name = SEALED_NAME, .type = DCTX_TYPE_BYTES};
    return dctx_registry_add_reserved_(registry, &options, NULL);
}

/* ---- the keys -------------------------------------------------------------------------------- */

void dctx_seals_destroy(dctx_seals_t **seals_p)
{
    if (seals_p == NULL || *seals_p == NULL)
        return;
    dctx_seals_t *seals = *seals_p;
    *seals_p = NULL;
    for (size_t i = 0; i < seals->bound_count; i++)
        dctx_release_(seals->bound[i]);
    pthread_rwlock_destroy(&seals->lock);
    sodium_memzero(seals, sizeof(*seals));
    dctx_release_(seals);
}

dctx_error_t dctx_seals_new(const char *const *bound, int64_t lifetime, dctx_seals_t **ret_seals)
{
    size_t count = 0;
    while (bound != NULL && bound[count] != NULL)
        count++;
    if (count == 0 || count > BOUND_MAX || lifetime < 0)
        return dctx_fail_(DCTX_ERR_INVALID, "a seal is tied to 1 to %d keys; %zu are named",
                          BOUND_MAX, count);
    if (sodium_init() < 0)
        return dctx_fail_(DCTX_ERR_IO, "libsodium does not start");
    dctx_seals_t *seals = dctx_calloc_(1, sizeof(*seals));
    if (seals == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for the keys of seals");
    pthread_rwlock_init(&seals->lock, NULL);
    seals->lifetime = lifetime != 0 ? lifetime : MINUTE;
    for (; seals->bound_count < count; seals->bound_count++) {
        const char *name = bound[seals->bound_count];
        seals->bound[seals->bound_count] = dctx_strndup_(name, strlen(name));
        if (seals->bound[seals->bound_count] == NULL) {
            dctx_seals_destroy(&seals);
            return dctx_fail_(DCTX_ERR_NOMEM, "no memory for the keys of seals");
        }
    }
    *ret_seals = seals;
    return DCTX_OK;
}

/* Under the lock. seals->count: there is none. */
static size_t find(const dctx_seals_t *seals, uint32_t id)
{
    size_t i = 0;
    while (i < seals->count && seals->keys[i].id != id)
        i++;
    return i;
}

static dctx_error_t add(dctx_seals_t *seals, uint32_t id, const uint8_t *key)
{
    size_t at = find(seals, id);
    if (at < seals->count)
        return sodium_memcmp(seals->keys[at].key, key, DCTX_SEAL_KEY_SIZE) == 0
                   ? DCTX_OK
                   : dctx_fail_(DCTX_ERR_CONFLICT, "key %u is another one", id);
    if (at == KEYS_MAX)
        return dctx_fail_(DCTX_ERR_FULL, "there are %d keys: remove an old one", KEYS_MAX);
    bool none_in_use = seals->in_use == seals->count;
    seals->keys[at].id = id;
    memcpy(seals->keys[at].key, key, DCTX_SEAL_KEY_SIZE);
    seals->count++;
    if (none_in_use)
        seals->in_use = seals->count;
    return DCTX_OK;
}

dctx_error_t dctx_seals_add(dctx_seals_t *seals, uint32_t id, const uint8_t key[DCTX_SEAL_KEY_SIZE])
{
    if (seals == NULL || key == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no keys, or no key");
    pthread_rwlock_wrlock(&seals->lock);
    dctx_error_t error = add(seals, id, key);
    pthread_rwlock_unlock(&seals->lock);
    return error;
}

dctx_error_t dctx_seals_use(dctx_seals_t *seals, uint32_t id)
{
    pthread_rwlock_wrlock(&seals->lock);
    size_t at = find(seals, id);
    bool found = at < seals->count;
    if (found)
        seals->in_use = at;
    pthread_rwlock_unlock(&seals->lock);
    return found ? DCTX_OK : dctx_fail_(DCTX_ERR_ABSENT, "there is no key %u", id);
}

dctx_error_t dctx_seals_remove(dctx_seals_t *seals, uint32_t id)
{
    pthread_rwlock_wrlock(&seals->lock);
    size_t at = find(seals, id);
    bool found = at < seals->count;
    if (found) {
        size_t last = seals->count - 1;
        bool none_in_use = seals->in_use == at || seals->in_use == seals->count;
        seals->keys[at] = seals->keys[last];
        if (seals->in_use == last)
            seals->in_use = at;
        sodium_memzero(&seals->keys[last], sizeof(seals->keys[last]));
        seals->count = last;
        if (none_in_use)
            seals->in_use = last;
    }
    pthread_rwlock_unlock(&seals->lock);
    return found ? DCTX_OK : dctx_fail_(DCTX_ERR_ABSENT, "there is no key %u", id);
}

/* A copy of the key, to work with outside the lock. */
static bool copy_key(dctx_seals_t *seals, const uint32_t *id, seal_key_t *ret_key)
{
    pthread_rwlock_rdlock(&seals->lock);
    size_t at = id != NULL ? find(seals, *id) : seals->in_use;
    bool found = at < seals->count;
    if (found)
        *ret_key = seals->keys[at];
    pthread_rwlock_unlock(&seals->lock);
    return found;
}

/* ---- what is under the hash ------------------------------------------------------------------ */

static bool is_bound(const dctx_key_t *key, dctx_bytes_t name, void *arg)
{
    const dctx_seals_t *seals = arg;
    (void)key;
    for (size_t i = 0; i < seals->bound_count; i++)
        if (strlen(seals->bound[i]) == name.size &&
            strncasecmp(seals->bound[i], name.data, name.size) == 0)
            return true;
    return false;
}

/* The request that the thread works for: the wire form of the bound keys, which is the same bytes
 * in every process. Keeps *ret_request alive. */
static dctx_error_t request_of(dctx_seals_t *seals, dctx_snapshot_t **ret_request,
                               dctx_bytes_t *ret_wire)
{
    dctx_snapshot_t *whole, *request;
    dctx_error_t error = dctx_capture(&whole);
    if (error != DCTX_OK)
        return error;
    error = dctx_snapshot_filter_(whole, is_bound, seals, false, &request);
    dctx_snapshot_unref(&whole);
    if (error != DCTX_OK)
        return error;
    error = dctx_snapshot_is_empty(request)
                ? dctx_fail_(DCTX_ERR_ABSENT, "none of the keys that a seal is tied to is set")
                : dctx_snapshot_encode(request, ret_wire);
    if (error != DCTX_OK)
        dctx_snapshot_unref(&request);
    else
        *ret_request = request;
    return error;
}

/* Sizes go in front, so that no bytes can move from one part to the next. */
static void hash_part(crypto_generichash_state *state, const void *data, size_t size)
{
    uint8_t head[4] = {(uint8_t)(size >> 24), (uint8_t)(size >> 16), (uint8_t)(size >> 8),
                       (uint8_t)size};
    crypto_generichash_update(state, head, sizeof(head));
    crypto_generichash_update(state, data, size);
}

static void make_mac(const seal_key_t *key, dctx_bytes_t head, dctx_bytes_t request,
                     uint8_t *ret_mac)
{
    static const char purpose[] = "dcontext sealed identity";
    crypto_generichash_state state;
    crypto_generichash_init(&state, key->key, sizeof(key->key), MAC_SIZE);
    hash_part(&state, purpose, sizeof(purpose) - 1);
    hash_part(&state, head.data, head.size);
    hash_part(&state, request.data, request.size);
    crypto_generichash_final(&state, ret_mac, MAC_SIZE);
    sodium_memzero(&state, sizeof(state));
}

static int64_t wall_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- sealing --------------------------------------------------------------------------------- */

static dctx_error_t write_seal(const dctx_seals_t *seals, const seal_key_t *key,
                               dctx_bytes_t request, const char *identity, dctx_writer_t *writer)
{
    uint8_t mac[MAC_SIZE];
    int64_t now = wall_clock();
    dctx_write_array(writer, 6);
    dctx_write_uint(writer, FORM);
    dctx_write_uint(writer, key->id);
    dctx_write_int(writer, now);
    dctx_write_int(writer, now > INT64_MAX - seals->lifetime ? INT64_MAX : now + seals->lifetime);
    dctx_write_cstr(writer, identity);
    make_mac(key, dctx_writer_bytes(writer), request, mac);
    dctx_write_bin(writer, mac, sizeof(mac));
    return dctx_writer_error(writer);
}

static dctx_error_t set_seal(const dctx_seals_t *seals, const seal_key_t *key, dctx_bytes_t request,
                             const char *identity)
{
    const dctx_key_t *sealed = dctx_registry_find(dctx_current_registry(), SEALED_NAME);
    dctx_writer_t *writer;
    dctx_error_t error = dctx_writer_new(SEAL_MAX, &writer);
    if (error != DCTX_OK)
        return error;
    error = write_seal(seals, key, request, identity, writer);
    if (error == DCTX_OK) {
        dctx_bytes_t seal = dctx_writer_bytes(writer);
        error = dctx_set(sealed, &seal);
    }
    dctx_writer_destroy(&writer);
    return error;
}

dctx_error_t dctx_seal(dctx_seals_t *seals, const char *identity)
{
    seal_key_t key;
    dctx_snapshot_t *request;
    dctx_bytes_t wire;
    if (seals == NULL || identity == NULL || identity[0] == '\0' ||
        strlen(identity) > DCTX_SEAL_IDENTITY_MAX)
        return dctx_fail_(DCTX_ERR_INVALID, "an identity has 1 to %d bytes",
                          DCTX_SEAL_IDENTITY_MAX);
    if (!copy_key(seals, NULL, &key))
        return dctx_fail_(DCTX_ERR_ABSENT, "no key is in use for seals");
    dctx_error_t error = request_of(seals, &request, &wire);
    if (error == DCTX_OK) {
        error = set_seal(seals, &key, wire, identity);
        dctx_snapshot_unref(&request);
    }
    sodium_memzero(&key, sizeof(key));
    return error;
}

dctx_error_t dctx_seal_caller(dctx_seals_t *seals)
{
    const dctx_session_t *session = dctx_security_session();
    if (session == NULL || session->public_key[0] == '\0')
        return dctx_fail_(DCTX_ERR_ABSENT, "nobody vouches for who the caller is");
    return dctx_seal(seals, session->public_key);
}

/* ---- verifying ------------------------------------------------------------------------------- */

typedef struct seal {
    uint32_t key;
    int64_t issued;
    int64_t expires;
    dctx_bytes_t identity;
    dctx_bytes_t mac;
    dctx_bytes_t head; /* what the hash covers */
} seal_t;

static bool parse(const dctx_bytes_t *bytes, seal_t *ret_seal)
{
    dctx_reader_t reader;
    dctx_reader_init(&reader, bytes->data, bytes->size);
    bool is_form = dctx_read_array(&reader) == 6 && dctx_read_uint(&reader) == FORM;
    uint64_t key = dctx_read_uint(&reader);
    ret_seal->issued = dctx_read_int(&reader);
    ret_seal->expires = dctx_read_int(&reader);
    ret_seal->identity = dctx_read_str(&reader);
    ret_seal->mac = dctx_read_bin(&reader);
    if (dctx_reader_end(&reader) != DCTX_OK || !is_form || key > UINT32_MAX ||
        ret_seal->mac.size != MAC_SIZE || bytes->size < TAIL_SIZE ||
        ret_seal->identity.size > DCTX_SEAL_IDENTITY_MAX ||
        memchr(ret_seal->identity.data, '\0', ret_seal->identity.size) != NULL)
        return false;
    ret_seal->key = (uint32_t)key;
    ret_seal->head = (dctx_bytes_t){bytes->data, bytes->size - TAIL_SIZE};
    return true;
}

static dctx_error_t verify(dctx_seals_t *seals, const seal_t *seal)
{
    seal_key_t key;
    dctx_snapshot_t *request;
    dctx_bytes_t wire;
    uint8_t mac[MAC_SIZE];
    if (!copy_key(seals, &seal->key, &key))
        return dctx_fail_(DCTX_ERR_REJECTED, "the seal is under key %u, which is not known",
                          seal->key);
    dctx_error_t error = request_of(seals, &request, &wire);
    if (error == DCTX_OK) {
        make_mac(&key, seal->head, wire, mac);
        dctx_snapshot_unref(&request);
    }
    sodium_memzero(&key, sizeof(key));
    if (error == DCTX_ERR_ABSENT)
        return dctx_fail_(DCTX_ERR_REJECTED, "the seal is not of this request");
    if (error != DCTX_OK)
        return error;
    if (sodium_memcmp(mac, seal->mac.data, MAC_SIZE) != 0)
        return dctx_fail_(DCTX_ERR_REJECTED, "the seal is forged, or not of this request");
    int64_t now = wall_clock();
    if (now > seal->expires || seal->issued > now + MINUTE)
        return dctx_fail_(DCTX_ERR_REJECTED, "the seal has run out, or is of the future");
    return DCTX_OK;
}

dctx_error_t dctx_seal_verify(dctx_seals_t *seals, char *identity, size_t size)
{
    seal_t seal;
    if (seals == NULL || identity == NULL || size < DCTX_SEAL_IDENTITY_MAX + 1)
        return dctx_fail_(DCTX_ERR_INVALID, "an identity needs %d bytes",
                          DCTX_SEAL_IDENTITY_MAX + 1);
    identity[0] = '\0';
    const dctx_bytes_t *bytes =
        dctx_get_typed(dctx_registry_find(dctx_current_registry(), SEALED_NAME), DCTX_TYPE_BYTES);
    if (bytes == NULL)
        return dctx_fail_(DCTX_ERR_ABSENT, "there is no sealed identity");
    if (!parse(bytes, &seal))
        return dctx_fail_(DCTX_ERR_REJECTED, "the sealed identity is not of the form");
    dctx_error_t error = verify(seals, &seal);
    if (error != DCTX_OK)
        return error;
    memcpy(identity, seal.identity.data, seal.identity.size);
    identity[seal.identity.size] = '\0';
    return DCTX_OK;
}
