/*
 * dcontext/seal.h - a sealed identity: who the caller is, written by an edge that knows, readable
 * and verifiable behind any number of proxies and services.
 *
 * A seal is the value of the broadcast key `dctx.sealed`: an identity, when it was sealed and until
 * when it holds, under a keyed hash (BLAKE2b) that also covers the values of some keys of the
 * request. Who has not the key cannot make one, and a seal taken from one request does not verify
 * in another. It hides nothing: the identity can be read by who gets the stamp.
 *
 *     dctx_seal_register(NULL);                        // every process, before the freeze
 *     dctx_seals_new((const char *const[]){"request-id", NULL}, 0, &seals);
 *     dctx_seals_add(seals, 1, key);                   // 32 random bytes, shared out of band
 *     dctx_seals_use(seals, 1);                        // the edge only
 *     dctx_seal_caller(seals);                         // the edge, with the request attached
 *     dctx_seal_verify(seals, who, sizeof(who));       // everybody else
 *
 * Rotation, without a pause: add the new key everywhere; use it at the edge; when the seals of the
 * old one have run out, remove that. A seal holds for its lifetime, on any clock that is not behind
 * the edge's by more than a minute.
 *
 * Thread-safety of everything here: any thread.
 */
#ifndef DCONTEXT_SEAL_H
#define DCONTEXT_SEAL_H

#include <dcontext/dcontext.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DCTX_SEAL_KEY_SIZE     32
#define DCTX_SEAL_IDENTITY_MAX 255

/* Registers `dctx.sealed`, before the freeze. Ownership: none. Errors: as dctx_registry_add().
 * Limits and units: none. */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_seal_register(dctx_registry_t *registry);

/*
 * A set of keys, and the names of the context keys that a seal is tied to: what makes a request
 * that request, and stays the same all its way (a request id; not the trace, whose spans change).
 *
 * Ownership: names are copied. The caller owns it; destroy takes NULL and wipes the keys.
 * Errors: DCTX_ERR_INVALID (no names), DCTX_ERR_NOMEM, DCTX_ERR_IO (libsodium does not start).
 * Limits and units: lifetime in nanoseconds, 0 stands for one minute; at most 16 names.
 */
typedef struct dctx_seals dctx_seals_t;
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_seals_new(const char *const *bound, int64_t lifetime,
                                                        dctx_seals_t **ret_seals);
DCTX_EXPORT void dctx_seals_destroy(dctx_seals_t **seals_p);

/*
 * Accept seals under a key; make new ones with it; accept and make none with it any more.
 *
 * Ownership: the key is copied. Errors: DCTX_ERR_CONFLICT (the id stands for another key),
 *   DCTX_ERR_FULL, DCTX_ERR_ABSENT (no key of that id). Limits and units: 16 keys.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_seals_add(dctx_seals_t *seals, uint32_t id,
                                                        const uint8_t key[DCTX_SEAL_KEY_SIZE]);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_seals_use(dctx_seals_t *seals, uint32_t id);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_seals_remove(dctx_seals_t *seals, uint32_t id);

/*
 * Seal an identity into the thread's context; or the public key of the peer that the message being
 * handled came from, as dctx_security_session() tells it.
 *
 * Ownership: copied. Errors: DCTX_ERR_ABSENT (none of the bound keys is set; no key in use; the
 *   peer is not known); DCTX_ERR_INVALID (no identity, too long); and as dctx_set().
 * Limits and units: 255 bytes.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_seal(dctx_seals_t *seals, const char *identity);
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_seal_caller(dctx_seals_t *seals);

/*
 * Verify the seal in the thread's context and read who it is for.
 *
 * Ownership: `identity` is the caller's, of at least DCTX_SEAL_IDENTITY_MAX + 1 bytes; "" on an
 *   error.
 * Errors: DCTX_ERR_ABSENT (no seal); DCTX_ERR_REJECTED (forged, of another request, under a key
 *   that is not known, run out); DCTX_ERR_INVALID (`size` too small); DCTX_ERR_NOMEM.
 * Limits and units: bytes.
 */
DCTX_EXPORT DCTX_MUST_CHECK dctx_error_t dctx_seal_verify(dctx_seals_t *seals, char *identity,
                                                          size_t size);

#ifdef __cplusplus
}
#endif
#endif
