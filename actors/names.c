#include "names.h"

#include <string.h>

#include <dcontext/internal.h>

enum { FIRST_BUCKETS = 64 };

void dctx_names_init(dctx_names_t *names)
{
    *names = (dctx_names_t){0};
    pthread_mutex_init(&names->lock, NULL);
}

void dctx_names_finish(dctx_names_t *names)
{
    dctx_release_(names->buckets);
    pthread_mutex_destroy(&names->lock);
}

bool dctx_name_is_valid(const char *name, size_t length)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:/-";
    return length >= 1 && length <= DCTX_NAME_MAX && memchr(name, '\0', length) == NULL &&
           strspn(name, allowed) >= length;
}

static uint32_t hash(const char *name, size_t length)
{
    uint32_t h = 2166136261u;
    for (size_t i = 0; i < length; i++)
        h = (h ^ (unsigned char)name[i]) * 16777619u;
    return h;
}

dctx_name_t *dctx_name_new(const char *name, size_t length)
{
    dctx_name_t *self = dctx_alloc_(sizeof *self + DCTX_NAME_AT + length + 1);
    if (self == NULL)
        return NULL;
    *self = (dctx_name_t){.hash = hash(name, length), .length = (uint32_t)length};
    memcpy(self->scope, "actor:", DCTX_NAME_AT);
    memcpy(self->scope + DCTX_NAME_AT, name, length);
    self->scope[DCTX_NAME_AT + length] = '\0';
    return self;
}

static dctx_name_t **find(dctx_names_t *names, const char *name, size_t length, uint32_t h)
{
    dctx_name_t **place = &names->buckets[h & (names->bucket_count - 1)];
    while (*place != NULL && ((*place)->hash != h || (*place)->length != length ||
                              memcmp((*place)->scope + DCTX_NAME_AT, name, length) != 0))
        place = &(*place)->next;
    return place;
}

/* Without memory a table that has buckets goes on with those: slower, not wrong. */
static bool grow(dctx_names_t *names)
{
    size_t count = names->bucket_count == 0 ? FIRST_BUCKETS : names->bucket_count * 2;
    dctx_name_t **buckets = dctx_calloc_(count, sizeof(dctx_name_t *));
    if (buckets == NULL)
        return names->buckets != NULL;
    for (size_t i = 0; i < names->bucket_count; i++) {
        for (dctx_name_t *name = names->buckets[i], *next; name != NULL; name = next) {
            next = name->next;
            name->next = buckets[name->hash & (count - 1)];
            buckets[name->hash & (count - 1)] = name;
        }
    }
    dctx_release_(names->buckets);
    names->buckets = buckets;
    names->bucket_count = count;
    return true;
}

dctx_error_t dctx_names_add(dctx_names_t *names, dctx_name_t *name, uint64_t id)
{
    dctx_error_t error = DCTX_OK;
    pthread_mutex_lock(&names->lock);
    if (names->count >= names->bucket_count && !grow(names)) {
        error = DCTX_ERR_NOMEM;
    } else {
        dctx_name_t **place = find(names, name->scope + DCTX_NAME_AT, name->length, name->hash);
        if (*place != NULL) {
            error = DCTX_ERR_CONFLICT;
        } else {
            name->id = id;
            name->next = NULL;
            *place = name;
            names->count++;
        }
    }
    pthread_mutex_unlock(&names->lock);
    if (error == DCTX_ERR_NOMEM)
        return dctx_fail_(error, "no memory for the table of names");
    if (error != DCTX_OK)
        return dctx_fail_(error, "an actor named \"%s\" is alive already",
                          name->scope + DCTX_NAME_AT);
    return DCTX_OK;
}

void dctx_names_remove(dctx_names_t *names, dctx_name_t *name)
{
    pthread_mutex_lock(&names->lock);
    dctx_name_t **place = find(names, name->scope + DCTX_NAME_AT, name->length, name->hash);
    if (*place == name) {
        *place = name->next;
        names->count--;
    }
    pthread_mutex_unlock(&names->lock);
}

uint64_t dctx_names_find(dctx_names_t *names, const char *name, size_t length)
{
    uint64_t id = 0;
    pthread_mutex_lock(&names->lock);
    if (names->bucket_count > 0) {
        dctx_name_t *found = *find(names, name, length, hash(name, length));
        if (found != NULL)
            id = found->id;
    }
    pthread_mutex_unlock(&names->lock);
    return id;
}
