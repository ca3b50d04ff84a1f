/* A header container in two arrays: where each header is, and the text of all. */
#include <dcontext/carrier.h>

#include <string.h>

#include "alloc.h"
#include "fail.h"
#include "fold.h"

#define BYTES_MAX   65536
#define HEADERS_MAX 1024

/* Name and value lie side by side, each with a NUL behind it. */
typedef struct header {
    uint32_t at;
    uint32_t name_size;
    uint32_t value_size;
} header_t;

struct dctx_headers {
    char *text;
    size_t used; /* of text, what was taken out included */
    size_t live; /* of text, what is still in */
    size_t capacity;
    header_t *list;
    size_t count;
    size_t list_capacity;
};

static size_t size_of(const header_t *header)
{
    return (size_t)header->name_size + header->value_size + 2;
}

dctx_error_t dctx_headers_new(dctx_headers_t **ret_headers)
{
    if (ret_headers == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no place for the headers (NULL)");
    dctx_headers_t *headers = dctx_calloc_(1, sizeof(*headers));
    if (headers == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for headers");
    *ret_headers = headers;
    return DCTX_OK;
}

void dctx_headers_destroy(dctx_headers_t **headers_p)
{
    if (headers_p == NULL || *headers_p == NULL)
        return;
    dctx_release_((*headers_p)->text);
    dctx_release_((*headers_p)->list);
    dctx_release_(*headers_p);
    *headers_p = NULL;
}

/* ---- room ---- */

/* Moves what is in to a text of that capacity, without gaps. */
static bool move_text(dctx_headers_t *headers, size_t capacity)
{
    char *text = dctx_alloc_(capacity);
    if (text == NULL)
        return false;
    size_t used = 0;
    for (size_t i = 0; i < headers->count; i++) {
        header_t *header = &headers->list[i];
        memcpy(text + used, headers->text + header->at, size_of(header));
        header->at = (uint32_t)used;
        used += size_of(header);
    }
    dctx_release_(headers->text);
    headers->text = text;
    headers->used = used;
    headers->capacity = capacity;
    return true;
}

static bool reserve_text(dctx_headers_t *headers, size_t size)
{
    if (headers->used + size <= headers->capacity)
        return true;
    size_t capacity = headers->capacity != 0 ? headers->capacity : 512;
    while (capacity < headers->live + size)
        capacity *= 2;
    return move_text(headers, capacity);
}

static bool reserve_list(dctx_headers_t *headers)
{
    if (headers->count < headers->list_capacity)
        return true;
    size_t capacity = headers->list_capacity != 0 ? headers->list_capacity * 2 : 16;
    header_t *list = dctx_alloc_(capacity * sizeof(*list));
    if (list == NULL)
        return false;
    if (headers->count > 0)
        memcpy(list, headers->list, headers->count * sizeof(*list));
    dctx_release_(headers->list);
    headers->list = list;
    headers->list_capacity = capacity;
    return true;
}

/* ---- changing ---- */

static bool is_named(const dctx_headers_t *headers, const header_t *header, const char *name,
                     size_t size)
{
    return header->name_size == size && dctx_fold_equal_(headers->text + header->at, name, size);
}

/* Takes out all of that name from `first` on. */
static bool remove_from(dctx_headers_t *headers, size_t first, const char *name, size_t name_size)
{
    size_t kept = first;
    for (size_t i = first; i < headers->count; i++) {
        if (is_named(headers, &headers->list[i], name, name_size))
            headers->live -= size_of(&headers->list[i]);
        else
            headers->list[kept++] = headers->list[i];
    }
    bool some = kept != headers->count;
    headers->count = kept;
    return some;
}

static dctx_error_t check(const dctx_headers_t *headers, const char *name, const void *value,
                          size_t size)
{
    if (headers == NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "no header container (NULL)");
    if (name == NULL || name[0] == '\0')
        return dctx_fail_(DCTX_ERR_INVALID, "a header needs a name");
    if (value == NULL && size > 0)
        return dctx_fail_(DCTX_ERR_INVALID, "header '%.64s': %zu bytes at NULL", name, size);
    return DCTX_OK;
}

/* `replaced` bytes will go when this is in. */
static dctx_error_t append(dctx_headers_t *headers, const char *name, size_t name_size,
                           const void *value, size_t size, size_t replaced)
{
    if (name_size > BYTES_MAX || size > BYTES_MAX ||
        headers->live - replaced + name_size + size + 2 > BYTES_MAX)
        return dctx_fail_(DCTX_ERR_LIMIT, "header '%.64s' of %zu bytes: a container holds %d", name,
                          size, BYTES_MAX);
    if (headers->count == HEADERS_MAX && replaced == 0)
        return dctx_fail_(DCTX_ERR_LIMIT, "header '%.64s': a container holds %d headers", name,
                          HEADERS_MAX);
    if (!reserve_list(headers) || !reserve_text(headers, name_size + size + 2))
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for header '%.64s'", name);
    header_t header = {(uint32_t)headers->used, (uint32_t)name_size, (uint32_t)size};
    char *out = (char *)memcpy(headers->text + header.at, name, name_size) + name_size;
    *out++ = '\0';
    if (size > 0)
        memcpy(out, value, size);
    out[size] = '\0';
    headers->used += size_of(&header);
    headers->live += size_of(&header);
    headers->list[headers->count++] = header;
    return DCTX_OK;
}

dctx_error_t dctx_headers_add(dctx_headers_t *headers, const char *name, const void *value,
                              size_t size)
{
    dctx_error_t error = check(headers, name, value, size);
    return error == DCTX_OK ? append(headers, name, strlen(name), value, size, 0) : error;
}

dctx_error_t dctx_headers_set(dctx_headers_t *headers, const char *name, const void *value,
                              size_t size)
{
    dctx_error_t error = check(headers, name, value, size);
    if (error != DCTX_OK)
        return error;
    size_t name_size = strlen(name);
    size_t first = 0;
    while (first < headers->count && !is_named(headers, &headers->list[first], name, name_size))
        first++;
    if (first == headers->count)
        return append(headers, name, name_size, value, size, 0);
    header_t *header = &headers->list[first];
    if (size <= header->value_size) {
        /* In its place; the value may be a part of what it replaces. */
        char *out = headers->text + header->at + header->name_size + 1;
        if (size > 0)
            memmove(out, value, size);
        out[size] = '\0';
        headers->live -= header->value_size - size;
        header->value_size = (uint32_t)size;
        (void)remove_from(headers, first + 1, name, name_size);
        return DCTX_OK;
    }
    size_t replaced = 0;
    for (size_t i = first; i < headers->count; i++)
        if (is_named(headers, &headers->list[i], name, name_size))
            replaced += size_of(&headers->list[i]);
    error = append(headers, name, name_size, value, size, replaced);
    if (error != DCTX_OK)
        return error;
    /* The new one stands where the first stood, the others go. */
    header_t added = headers->list[--headers->count];
    headers->live -= size_of(&headers->list[first]);
    headers->list[first] = added;
    (void)remove_from(headers, first + 1, name, name_size);
    return DCTX_OK;
}

bool dctx_headers_remove(dctx_headers_t *headers, const char *name)
{
    return headers != NULL && name != NULL && remove_from(headers, 0, name, strlen(name));
}

void dctx_headers_clear(dctx_headers_t *headers)
{
    if (headers == NULL)
        return;
    headers->count = 0;
    headers->used = 0;
    headers->live = 0;
}

/* ---- looking inside ---- */

static dctx_bytes_t name_of(const dctx_headers_t *headers, const header_t *header)
{
    return (dctx_bytes_t){headers->text + header->at, header->name_size};
}

static dctx_bytes_t value_of(const dctx_headers_t *headers, const header_t *header)
{
    return (dctx_bytes_t){headers->text + header->at + header->name_size + 1, header->value_size};
}

const char *dctx_headers_get(const dctx_headers_t *headers, const char *name)
{
    size_t size = headers != NULL && name != NULL ? strlen(name) : 0;
    for (size_t i = 0; size > 0 && i < headers->count; i++)
        if (is_named(headers, &headers->list[i], name, size))
            return value_of(headers, &headers->list[i]).data;
    return NULL;
}

size_t dctx_headers_count(const dctx_headers_t *headers)
{
    return headers != NULL ? headers->count : 0;
}

bool dctx_headers_at(const dctx_headers_t *headers, size_t index, dctx_bytes_t *ret_name,
                     dctx_bytes_t *ret_value)
{
    if (index >= dctx_headers_count(headers))
        return false;
    *ret_name = name_of(headers, &headers->list[index]);
    *ret_value = value_of(headers, &headers->list[index]);
    return true;
}

/* ---- as a carrier ---- */

static void each(void *container, const char *name, dctx_header_fn visit, void *arg)
{
    const dctx_headers_t *headers = container;
    size_t size = name != NULL ? strlen(name) : 0;
    for (size_t i = 0; i < dctx_headers_count(headers); i++) {
        const header_t *header = &headers->list[i];
        if (name != NULL && !is_named(headers, header, name, size))
            continue;
        if (!visit(name_of(headers, header), value_of(headers, header), arg))
            return;
    }
}

static dctx_error_t set(void *container, const char *name, const char *value, size_t size)
{
    return dctx_headers_set(container, name, value, size);
}

dctx_carrier_t dctx_headers_carrier(dctx_headers_t *headers)
{
    return (dctx_carrier_t){.headers = headers, .each = each, .set = set};
}
