#include "session.h"

#include <stdatomic.h>
#include <string.h>

#include <dcontext/internal.h>

#define UPSTREAM_NAME "dctx.upstream"
#define SESSION_NAME  "dctx.session"

/* ---- the session's type ---------------------------------------------------------------------- */

/* A copy is one block: the pairs, then all text. */
static dctx_error_t copy_session(void *dst, const void *src)
{
    const dctx_session_t *from = src;
    dctx_session_t *to = dst;
    size_t size = from->count * sizeof(dctx_session_pair_t) + strlen(from->public_key) +
                  strlen(from->user_id) + 2;
    for (size_t i = 0; i < from->count; i++)
        size += strlen(from->metadata[i].name) + strlen(from->metadata[i].value) + 2;
    dctx_session_pair_t *pairs = dctx_alloc_(size);
    if (pairs == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a security session");
    char *text = (char *)(pairs + from->count);
    *to = (dctx_session_t){.mechanism = from->mechanism, .metadata = pairs, .count = from->count};
    to->public_key = text;
    text = stpcpy(text, from->public_key) + 1;
    to->user_id = text;
    text = stpcpy(text, from->user_id) + 1;
    for (size_t i = 0; i < from->count; i++) {
        pairs[i].name = text;
        text = stpcpy(text, from->metadata[i].name) + 1;
        pairs[i].value = text;
        text = stpcpy(text, from->metadata[i].value) + 1;
    }
    return DCTX_OK;
}

static void destroy_session(void *value)
{
    dctx_session_t *session = value;
    dctx_release_((void *)(uintptr_t)session->metadata);
}

static const dctx_type_t session_type = {.name = "dctx.session",
                                         .size = sizeof(dctx_session_t),
                                         .copy = copy_session,
                                         .destroy = destroy_session};

/* ---- keys ------------------------------------------------------------------------------------ */

/* Whether any registry has them: set once and for all, before such a registry is frozen and handed
 * to the threads that receive, so relaxed. */
static atomic_bool wanted;

dctx_error_t dctx_session_register(dctx_registry_t *registry)
{
    const dctx_key_options_t upstream = {
        .name = UPSTREAM_NAME, .type = DCTX_TYPE_STRING, .flags = DCTX_LOCAL};
    const dctx_key_options_t session = {
        .name = SESSION_NAME, .type = &session_type, .flags = DCTX_LOCAL};
    dctx_error_t error = dctx_registry_add_reserved_(registry, &upstream, NULL);
    if (error == DCTX_OK)
        error = dctx_registry_add_reserved_(registry, &session, NULL);
    if (error == DCTX_OK)
        atomic_store_explicit(&wanted, true, memory_order_relaxed);
    return error;
}

bool dctx_session_wanted_(void)
{
    return atomic_load_explicit(&wanted, memory_order_relaxed);
}

dctx_error_t dctx_session_set_(const dctx_snapshot_t *snapshot, const char *address,
                               const dctx_session_t *session, dctx_snapshot_t **ret_snapshot)
{
    dctx_registry_t *registry = dctx_snapshot_registry(snapshot);
    const dctx_key_t *keys[2] = {dctx_registry_find(registry, UPSTREAM_NAME),
                                 dctx_registry_find(registry, SESSION_NAME)};
    const void *values[2] = {address, session};
    dctx_binding_t bindings[2];
    size_t count = 0;
    for (int i = 0; i < 2; i++)
        if (keys[i] != NULL && values[i] != NULL)
            bindings[count++] = (dctx_binding_t){keys[i], NULL, values[i]};
    if (count == 0) {
        *ret_snapshot = dctx_snapshot_ref(snapshot);
        return DCTX_OK;
    }
    return dctx_snapshot_with_(snapshot, bindings, count, ret_snapshot);
}

/* ---- reading --------------------------------------------------------------------------------- */

const char *dctx_upstream_address(void)
{
    return dctx_get(dctx_registry_find(dctx_current_registry(), UPSTREAM_NAME));
}

const dctx_session_t *dctx_security_session(void)
{
    return dctx_get_typed(dctx_registry_find(dctx_current_registry(), SESSION_NAME), &session_type);
}

const char *dctx_snapshot_upstream_address(const dctx_snapshot_t *snapshot)
{
    return snapshot == NULL
               ? NULL
               : dctx_snapshot_get(
                     snapshot, dctx_registry_find(dctx_snapshot_registry(snapshot), UPSTREAM_NAME));
}

const dctx_session_t *dctx_snapshot_security_session(const dctx_snapshot_t *snapshot)
{
    return snapshot == NULL
               ? NULL
               : dctx_snapshot_get(
                     snapshot, dctx_registry_find(dctx_snapshot_registry(snapshot), SESSION_NAME));
}

const char *dctx_session_metadata(const dctx_session_t *session, const char *name)
{
    for (size_t i = 0; session != NULL && name != NULL && i < session->count; i++)
        if (strcmp(session->metadata[i].name, name) == 0)
            return session->metadata[i].value;
    return NULL;
}

const char *dctx_peer_certificate_key(void)
{
    const dctx_session_t *session = dctx_security_session();
    return session != NULL && session->public_key[0] != '\0' ? session->public_key : NULL;
}

const char *dctx_peer_certificate_metadata(const char *name)
{
    return dctx_session_metadata(dctx_security_session(), name);
}
