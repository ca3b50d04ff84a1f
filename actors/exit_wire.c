#include "exit_wire.h"

#include <stdio.h>
#include <string.h>

#include "exit.h"

enum { LINKS_MAX = 33, FIELDS = 6, WHO_MAX = 128 };

/* One exit of a chain, as it came. */
typedef struct link {
    dctx_exit_kind_t kind;
    dctx_error_t error;
    dctx_bytes_t who, reason, where, chain;
} link_t;

/* ---- writing --------------------------------------------------------------------------------- */

/* The length of a text once it is cut, between two characters. */
static size_t cut(const char *text, size_t length, size_t most)
{
    if (length <= most)
        return length;
    while (most > 0 && ((unsigned char)text[most] & 0xc0) == 0x80)
        most--;
    return most;
}

static void write_text(dctx_writer_t *writer, const char *text, size_t most)
{
    dctx_write_str(writer, text, cut(text, strlen(text), most));
}

void dctx_exit_write_(const dctx_exit_t *exit, size_t most, dctx_writer_t *writer)
{
    uint32_t count = 0;
    for (const dctx_exit_t *each = exit; each != NULL; each = dctx_exit_cause(each))
        count++;
    dctx_write_array(writer, count);
    for (const dctx_exit_t *each = exit; each != NULL; each = dctx_exit_cause(each)) {
        dctx_write_array(writer, FIELDS);
        dctx_write_uint(writer, (uint64_t)dctx_exit_kind(each));
        dctx_write_uint(writer, (uint64_t)dctx_exit_error(each));
        write_text(writer, dctx_exit_who(each), WHO_MAX);
        write_text(writer, dctx_exit_reason(each), most);
        write_text(writer, dctx_exit_where(each), most);
        write_text(writer, dctx_exit_chain(each), most);
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

/* A kind that a newer peer has and we have not is a failure of some kind. */
static dctx_exit_kind_t read_kind(uint64_t kind)
{
    return kind >= DCTX_EXIT_SELF && kind <= DCTX_EXIT_UNWATCHED ? (dctx_exit_kind_t)kind
                                                                 : DCTX_EXIT_FAILED;
}

static dctx_error_t read_error(uint64_t code)
{
    if (code > UINT8_MAX || strcmp(dctx_error_name((dctx_error_t)code), "DCTX_ERR_?") == 0)
        return DCTX_ERR_REJECTED;
    return (dctx_error_t)code;
}

static void read_link(dctx_reader_t *reader, link_t *link)
{
    uint32_t count = dctx_read_array(reader);
    if (count < FIELDS)
        dctx_reader_fail(reader, DCTX_ERR_MALFORMED);
    link->kind = read_kind(dctx_read_uint(reader));
    link->error = read_error(dctx_read_uint(reader));
    link->who = dctx_read_str(reader);
    link->reason = dctx_read_str(reader);
    link->where = dctx_read_str(reader);
    link->chain = dctx_read_str(reader);
    for (uint32_t i = FIELDS; i < count && dctx_reader_error(reader) == DCTX_OK; i++)
        dctx_read_skip(reader);
}

/* Of a chain that is too long the first ones are read; 0: it is none. */
static uint32_t read_links(dctx_bytes_t payload, link_t links[LINKS_MAX])
{
    dctx_reader_t reader;
    dctx_reader_init(&reader, payload.data, payload.size);
    uint32_t count = dctx_read_array(&reader);
    for (uint32_t i = 0; i < count && dctx_reader_error(&reader) == DCTX_OK; i++) {
        if (i < LINKS_MAX)
            read_link(&reader, &links[i]);
        else
            dctx_read_skip(&reader);
    }
    if (dctx_reader_end(&reader) != DCTX_OK)
        return 0;
    return count < LINKS_MAX ? count : LINKS_MAX;
}

/* A text without what would spoil a log. */
static const char *clean(dctx_bytes_t bytes, size_t most, char *buffer)
{
    size_t length = bytes.size == 0 ? 0 : cut(bytes.data, bytes.size, most);
    const unsigned char *from = bytes.data;
    for (size_t i = 0; i < length; i++)
        buffer[i] = from[i] < 0x20 || from[i] == 0x7f ? '?' : (char)from[i];
    buffer[length] = '\0';
    return buffer;
}

/* Of the texts, each in a buffer of its own. */
static dctx_exit_t *make(const link_t *link, const char *node, const dctx_exit_t *cause)
{
    char name[WHO_MAX + 1], who[WHO_MAX + 80], reason[DCTX_EXIT_TEXT_MAX + 1],
        where[DCTX_EXIT_TEXT_MAX + 1], chain[DCTX_EXIT_TEXT_MAX + 1];
    (void)clean(link->who, WHO_MAX, name);
    bool bare = name[0] != '\0' && strchr(name, '@') == NULL;
    snprintf(who, sizeof who, "%s%s%.63s", name, bare ? "@" : "", bare ? node : "");
    dctx_exit_words_t words = {.who = who,
                               .reason = clean(link->reason, DCTX_EXIT_TEXT_MAX, reason),
                               .where = clean(link->where, DCTX_EXIT_TEXT_MAX, where),
                               .chain = clean(link->chain, DCTX_EXIT_TEXT_MAX, chain)};
    return dctx_exit_new_(link->kind, link->error, &words, cause);
}

dctx_exit_t *dctx_exit_read_(dctx_bytes_t payload, const char *who, const char *node)
{
    link_t links[LINKS_MAX];
    uint32_t count = read_links(payload, links);
    if (count == 0) {
        dctx_exit_words_t words = {.who = who, .reason = "its node did not say how, as it should"};
        return dctx_exit_new_(DCTX_EXIT_FAILED, DCTX_ERR_MALFORMED, &words, NULL);
    }
    dctx_exit_t *exit = NULL;
    while (count-- > 0) {
        dctx_exit_t *cause = exit;
        exit = make(&links[count], node, cause);
        dctx_exit_unref(&cause);
    }
    return exit;
}
