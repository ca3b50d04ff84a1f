/* What the store's unit tests share. Each test runs in a process of its own, so the process-wide
 * registry is fresh. */
#ifndef DCTX_FIXTURE_H
#define DCTX_FIXTURE_H

#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dcontext/dcontext.h>

#define OK(call)           FAILS(call, DCTX_OK)
#define FAILS(call, error) cr_assert_eq((call), (error), "%s: %s", #call, dctx_error_detail())
/* The failure says why, in words that hold `text`. */
#define FAILS_SAYING(call, error, text)                                                            \
    do {                                                                                           \
        FAILS(call, error);                                                                        \
        cr_assert_not_null(strstr(dctx_error_detail(), (text)), "the detail is: %s",               \
                           dctx_error_detail());                                                   \
    } while (0)

/* ---- a type that owns memory, and counts ----------------------------------------------------- */

/* A text on the heap: wrong copies and destructions show under the sanitizers, and in the
 * balance. */
typedef struct note {
    char *text;
} note_t;

static int notes_alive __attribute__((unused));
static dctx_error_t note_refusal
    __attribute__((unused)); /* what copy, encode and decode return, if not DCTX_OK */

static inline dctx_error_t note_make(note_t *note, const char *text, size_t size)
{
    if (note_refusal != DCTX_OK)
        return note_refusal;
    note->text = strndup(text, size);
    if (note->text == NULL)
        return DCTX_ERR_NOMEM;
    (void)__atomic_add_fetch(&notes_alive, 1, __ATOMIC_RELAXED);
    return DCTX_OK;
}

static inline dctx_error_t note_copy(void *dst, const void *src)
{
    const note_t *from = src;
    return note_make(dst, from->text, strlen(from->text));
}

static inline void note_destroy(void *value)
{
    note_t *note = value;
    if (note->text == NULL)
        return;
    free(note->text);
    (void)__atomic_sub_fetch(&notes_alive, 1, __ATOMIC_RELAXED);
}

static inline dctx_error_t note_encode(const void *value, dctx_writer_t *writer)
{
    const note_t *note = value;
    if (note_refusal != DCTX_OK)
        return note_refusal;
    dctx_write_cstr(writer, note->text);
    return dctx_writer_error(writer);
}

static inline dctx_error_t note_decode(void *dst, const void *data, size_t size)
{
    dctx_reader_t reader;
    dctx_reader_init(&reader, data, size);
    dctx_bytes_t text = dctx_read_str(&reader);
    dctx_error_t error = dctx_reader_end(&reader);
    return error == DCTX_OK ? note_make(dst, text.data, text.size) : error;
}

static const dctx_type_t note_type __attribute__((unused)) = {.name = "note",
                                                              .size = sizeof(note_t),
                                                              .copy = note_copy,
                                                              .destroy = note_destroy,
                                                              .encode = note_encode,
                                                              .decode = note_decode};

/* ---- keys ------------------------------------------------------------------------------------ */

static inline const dctx_key_t *add_to(dctx_registry_t *registry, const char *name,
                                       const dctx_type_t *type, unsigned flags)
{
    const dctx_key_t *key = NULL;
    dctx_key_options_t options = {.name = name, .type = type, .flags = flags};
    OK(dctx_registry_add(registry, &options, &key));
    return key;
}

/* The keys that most tests use, in the process-wide registry. */
static const dctx_key_t *user, *tenant, *total, *note, *secret, *memo;

static inline void set_up_keys(void)
{
    user = add_to(NULL, "user", DCTX_TYPE_STRING, DCTX_BROADCAST);
    tenant = add_to(NULL, "tenant", DCTX_TYPE_STRING, DCTX_BROADCAST);
    total = add_to(NULL, "total", DCTX_TYPE_INT64, DCTX_BROADCAST);
    note = add_to(NULL, "note", &note_type, DCTX_BROADCAST);
    secret = add_to(NULL, "secret", DCTX_TYPE_STRING, DCTX_LOCAL);
    memo = add_to(NULL, "memo", &note_type, DCTX_LOCAL);
}

static inline void set_up(void)
{
    set_up_keys();
    OK(dctx_registry_freeze(NULL));
}

/* The string value of a key in the thread's context, "-" for none. */
static inline const char *text_of(const dctx_key_t *key)
{
    const char *text = dctx_get(key);
    return text != NULL ? text : "-";
}

static inline const char *note_text(const dctx_key_t *key)
{
    const note_t *value = dctx_get(key);
    return value != NULL ? value->text : "-";
}

static inline dctx_error_t set_note(const dctx_key_t *key, const char *text)
{
    char copy[256];
    (void)snprintf(copy, sizeof(copy), "%s", text);
    note_t value = {copy};
    return dctx_set(key, &value);
}

static inline dctx_error_t set_total(int64_t value)
{
    return dctx_set(total, &value);
}

static inline const char *chain(void)
{
    static _Thread_local char text[4096];
    (void)dctx_chain_format(text, sizeof(text));
    return text;
}

static inline dctx_snapshot_t *capture(void)
{
    dctx_snapshot_t *snapshot = NULL;
    OK(dctx_capture(&snapshot));
    return snapshot;
}

static inline dctx_snapshot_t *forked(void)
{
    dctx_snapshot_t *snapshot = NULL;
    OK(dctx_fork(&snapshot));
    return snapshot;
}

static inline dctx_bytes_t encoded(const dctx_snapshot_t *snapshot)
{
    dctx_bytes_t bytes = {NULL, 0};
    OK(dctx_snapshot_encode(snapshot, &bytes));
    return bytes;
}

static inline dctx_snapshot_t *decoded(dctx_registry_t *registry, const void *data, size_t size)
{
    dctx_snapshot_t *snapshot = NULL;
    OK(dctx_snapshot_decode(registry, data, size, &snapshot));
    return snapshot;
}

static inline dctx_scope_t push(const char *name)
{
    dctx_scope_t scope;
    OK(dctx_scope_push(name, &scope));
    return scope;
}

static inline dctx_scope_t attach(const dctx_snapshot_t *snapshot)
{
    dctx_scope_t scope;
    OK(dctx_attach(snapshot, &scope));
    return scope;
}

static inline dctx_context_counters_t counters(void)
{
    dctx_context_counters_t read;
    dctx_context_counters_read(&read);
    return read;
}

/* ---- the log --------------------------------------------------------------------------------- */

static char log_text[2048] __attribute__((unused));
static int log_lines __attribute__((unused));

static inline void log_sink(dctx_log_level_t level, const char *line, void *arg)
{
    (void)level;
    (void)arg;
    log_lines++;
    (void)snprintf(log_text, sizeof(log_text), "%s", line);
}

/* ---- failing allocations --------------------------------------------------------------------- */

static size_t allocations __attribute__((unused));
static size_t fail_at
    __attribute__((unused)); /* the allocation that fails, and all after it; 0: none */

static inline void *counting_allocate(size_t size)
{
    allocations++;
    return fail_at != 0 && allocations >= fail_at ? NULL : malloc(size);
}

static inline void count_allocations(void)
{
    static const dctx_allocator_t counting = {counting_allocate, free};
    dctx_set_allocator(&counting);
}

#endif
