/*
 * W3C baggage. Members that a key claims become its value; all others travel on as text, and so do
 * the properties of a claimed one as long as its value stays.
 */
#include "baggage.h"

#include <string.h>

#include <dcontext/contexts.h>

#include "chars.h"
#include "extraction.h"
#include "registry.h"
#include "type.h"

#define BYTES_MAX   8192
#define MEMBERS_MAX 64

/* A longer text of a number or bool is none. */
#define SCALAR_MAX 24

/* ---- grammar ---- */

bool dctx_baggage_is_token_(const char *text, size_t size)
{
    return size > 0 && dctx_chars_span_(text, size, DCTX_CHAR_TOKEN) == size;
}

typedef struct member {
    const char *text; /* the whole */
    size_t size;
    size_t name_size;
    const char *value;
    size_t value_size;
    bool properties;
} member_t;

typedef struct cursor {
    const char *at;
    const char *end;
} cursor_t;

static inline void skip_blanks(cursor_t *cursor)
{
    while (cursor->at < cursor->end && (*cursor->at == ' ' || *cursor->at == '\t'))
        cursor->at++;
}

static inline size_t take(cursor_t *cursor, unsigned class)
{
    size_t size = dctx_chars_span_(cursor->at, (size_t)(cursor->end - cursor->at), class);
    cursor->at += size;
    return size;
}

static inline bool take_char(cursor_t *cursor, char c)
{
    skip_blanks(cursor);
    bool found = cursor->at < cursor->end && *cursor->at == c;
    cursor->at += found;
    skip_blanks(cursor);
    return found;
}

/* key=value;property;property=value, blanks allowed around the delimiters. The text is trimmed. */
static bool parse_member(dctx_bytes_t text, member_t *member)
{
    cursor_t cursor = {text.data, (const char *)text.data + text.size};
    *member = (member_t){.text = text.data, .size = text.size};
    member->name_size = take(&cursor, DCTX_CHAR_TOKEN);
    if (member->name_size == 0 || !take_char(&cursor, '='))
        return false;
    member->value = cursor.at;
    member->value_size = take(&cursor, DCTX_CHAR_BAGGAGE);
    while (take_char(&cursor, ';')) {
        member->properties = true;
        if (take(&cursor, DCTX_CHAR_TOKEN) == 0)
            return false;
        if (take_char(&cursor, '='))
            (void)take(&cursor, DCTX_CHAR_BAGGAGE);
    }
    return cursor.at == cursor.end;
}

/* ---- percent encoding ---- */

static unsigned hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0');
    if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
        return (unsigned)((c | 0x20) - 'a') + 10;
    return 16;
}

/* False if an escape is not two hexadecimal digits. */
static bool unescape(const char *text, size_t size, char *out, size_t *ret_size)
{
    size_t used = 0;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (c == '%') {
            unsigned high = i + 2 < size ? hex_digit(text[i + 1]) : 16;
            unsigned low = i + 2 < size ? hex_digit(text[i + 2]) : 16;
            if (high > 15 || low > 15)
                return false;
            c = (char)(high << 4 | low);
            i += 2;
        }
        out[used++] = c;
    }
    *ret_size = used;
    return true;
}

/* How many bytes the UTF-8 character at the beginning has; 0 if it is none. */
static size_t utf8_size(const unsigned char *text, size_t size)
{
    unsigned char c = text[0];
    if (c < 0x80)
        return 1;
    size_t want = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    if (c < 0xc2 || c > 0xf4 || want > size)
        return 0;
    unsigned char least = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    unsigned char most = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (text[1] < least || text[1] > most)
        return 0;
    for (size_t i = 2; i < want; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    return want;
}

/* Copies, with U+FFFD for each byte that is not UTF-8. False if that is more than `most` bytes. */
static bool repair_utf8(const char *text, size_t size, char *out, size_t most, size_t *ret_size)
{
    size_t used = 0;
    for (size_t i = 0; i < size;) {
        size_t one = utf8_size((const unsigned char *)text + i, size - i);
        size_t put = one > 0 ? one : 3;
        if (put > most - used)
            return false;
        memcpy(out + used, one > 0 ? text + i : "\xef\xbf\xbd", put);
        used += put;
        i += one > 0 ? one : 1;
    }
    *ret_size = used;
    return true;
}

static bool is_ascii(const char *text, size_t size)
{
    unsigned char all = 0;
    for (size_t i = 0; i < size; i++)
        all |= (unsigned char)text[i];
    return all < 0x80;
}

/* ---- values as text ---- */

bool dctx_baggage_has_text_(const dctx_type_t *type)
{
    return type->builtin_ == DCTX_BUILTIN_STRING || type->builtin_ == DCTX_BUILTIN_BOOL ||
           type->builtin_ == DCTX_BUILTIN_INT64 || type->builtin_ == DCTX_BUILTIN_UINT64;
}

typedef union scalar {
    bool boolean;
    int64_t integer;
    uint64_t natural;
} scalar_t;

static bool read_scalar(int builtin, const char *text, size_t size, scalar_t *ret_value)
{
    uint64_t natural = 0;
    bool negative = builtin == DCTX_BUILTIN_INT64 && size > 0 && text[0] == '-';
    if (builtin == DCTX_BUILTIN_BOOL) {
        ret_value->boolean = size == 4 && memcmp(text, "true", 4) == 0;
        return ret_value->boolean || (size == 5 && memcmp(text, "false", 5) == 0);
    }
    if (!dctx_decimal_read_(text + negative, size - negative, &natural))
        return false;
    if (builtin == DCTX_BUILTIN_UINT64) {
        ret_value->natural = natural;
        return true;
    }
    if (natural > (uint64_t)INT64_MAX + negative)
        return false;
    ret_value->integer = (int64_t)(negative ? -natural : natural);
    return true;
}

/* Writes what is not a string; returns the length. */
static size_t write_scalar(int builtin, const void *value, char out[SCALAR_MAX])
{
    if (builtin == DCTX_BUILTIN_BOOL) {
        const char *text = *(const bool *)value ? "true" : "false";
        memcpy(out, text, strlen(text));
        return strlen(text);
    }
    uint64_t natural = *(const uint64_t *)value;
    bool negative = builtin == DCTX_BUILTIN_INT64 && *(const int64_t *)value < 0;
    if (negative)
        *out = '-';
    return (size_t)(dctx_decimal_write_(out + negative, negative ? -natural : natural) - out);
}

/* ---- extracting ---- */

static const dctx_claim_t *find_claim(const dctx_registry_t *registry, const char *name,
                                      size_t size)
{
    for (uint32_t i = 0; i < registry->claim_count; i++) {
        const dctx_claim_t *claim = &registry->claims[i];
        if (claim->size == size && memcmp(claim->name, name, size) == 0)
            return claim;
    }
    return NULL;
}

typedef struct extracting {
    dctx_extraction_t *extraction;
    size_t bytes; /* of all members that were in time, with commas */
    size_t members;
    size_t used; /* of passing */
    char passing[BYTES_MAX + 1];
} extracting_t;

static void set_string(dctx_extraction_t *extraction, const dctx_key_t *key, const char *text,
                       size_t size)
{
    (void)dctx_extraction_put_(extraction, key, text, size + 5);
}

static void claim_string(dctx_extraction_t *extraction, const dctx_key_t *key,
                         const member_t *member)
{
    char text[BYTES_MAX + 1];
    size_t size;
    if (!unescape(member->value, member->value_size, text, &size) ||
        memchr(text, '\0', size) != NULL) {
        dctx_extraction_malformed(extraction);
        return;
    }
    text[size] = '\0';
    if (is_ascii(text, size)) {
        set_string(extraction, key, text, size);
        return;
    }
    char repaired[BYTES_MAX + 1];
    if (!repair_utf8(text, size, repaired, BYTES_MAX, &size)) {
        dctx_extraction_over_limit_(extraction);
        return;
    }
    repaired[size] = '\0';
    set_string(extraction, key, repaired, size);
}

static void claim_member(dctx_extraction_t *extraction, const dctx_key_t *key,
                         const member_t *member)
{
    if (key->type->builtin_ == DCTX_BUILTIN_STRING) {
        claim_string(extraction, key, member);
        return;
    }
    scalar_t value;
    if (member->value_size <= SCALAR_MAX &&
        read_scalar(key->type->builtin_, member->value, member->value_size, &value))
        (void)dctx_extraction_put_(extraction, key, &value, 9);
    else
        dctx_extraction_malformed(extraction);
}

static void take_member(extracting_t *extracting, dctx_bytes_t text)
{
    dctx_extraction_t *extraction = extracting->extraction;
    member_t member;
    if (text.size == 0)
        return;
    if (extracting->members == MEMBERS_MAX ||
        extracting->bytes + text.size + (extracting->members > 0) > BYTES_MAX) {
        dctx_extraction_over_limit_(extraction);
        return;
    }
    if (!parse_member(text, &member)) {
        dctx_extraction_malformed(extraction);
        return;
    }
    extracting->bytes += text.size + (extracting->members > 0);
    extracting->members++;
    const dctx_claim_t *claim = find_claim(extraction->registry, member.text, member.name_size);
    if (claim != NULL)
        claim_member(extraction, claim->key, &member);
    if (claim != NULL && !member.properties)
        return;
    if (extracting->used > 0)
        extracting->passing[extracting->used++] = ',';
    memcpy(extracting->passing + extracting->used, text.data, text.size);
    extracting->used += text.size;
}

static bool take_line(dctx_bytes_t name, dctx_bytes_t value, void *arg)
{
    (void)name;
    const char *at = value.data;
    const char *end = at + value.size;
    while (at < end) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma != NULL ? comma : end;
        take_member(arg, dctx_trim_((dctx_bytes_t){at, (size_t)(stop - at)}));
        at = stop + 1;
    }
    return true;
}

/* Where the members that fit end. */
static size_t whole_members(const char *text, size_t size, size_t room)
{
    if (size <= room)
        return size;
    while (room > 0 && text[room] != ',')
        room--;
    return room;
}

static void extract(const dctx_carrier_t *carrier, dctx_extraction_t *extraction)
{
    extracting_t extracting; /* not initialised whole: it is 8 KiB, of which few are used */
    extracting.extraction = extraction;
    extracting.bytes = extracting.members = extracting.used = 0;
    carrier->each(carrier->headers, "baggage", take_line, &extracting);
    if (extracting.used == 0)
        return;
    const dctx_key_t *key = extraction->registry->known[DCTX_KNOWN_BAGGAGE];
    const dctx_key_t *rest_key = extraction->registry->known[DCTX_KNOWN_BAGGAGE_REST];
    size_t room = dctx_extraction_room_(extraction, key);
    size_t fits = whole_members(extracting.passing, extracting.used, room > 5 ? room - 5 : 0);
    extracting.passing[extracting.used] = '\0';
    if (fits < extracting.used) {
        size_t rest = fits > 0 ? fits + 1 : 0;
        set_string(extraction, rest_key, extracting.passing + rest, extracting.used - rest);
        extracting.passing[fits] = '\0';
    }
    if (fits > 0)
        set_string(extraction, key, extracting.passing, fits);
}

/* ---- injecting ---- */

typedef struct line {
    size_t members;
    size_t used;
    size_t over_limit;
    size_t malformed;
    char text[BYTES_MAX];
} line_t;

/* Begins a member of that size, if it fits; the caller writes it there. */
static char *begin_member(line_t *line, size_t size)
{
    bool comma = line->members > 0;
    if (line->members == MEMBERS_MAX || size > BYTES_MAX || line->used + comma + size > BYTES_MAX) {
        line->over_limit++;
        return NULL;
    }
    if (comma)
        line->text[line->used++] = ',';
    line->members++;
    char *out = line->text + line->used;
    line->used += size;
    return out;
}

static void put_member(line_t *line, const member_t *member)
{
    char *out = begin_member(line, member->size);
    if (out != NULL)
        memcpy(out, member->text, member->size);
}

static bool needs_escape(char c)
{
    return c == '%' || !dctx_char_is_(c, DCTX_CHAR_BAGGAGE);
}

static void put_claim(line_t *line, const dctx_claim_t *claim, const char *text, size_t size)
{
    size_t escaped = size;
    for (size_t i = 0; i < size; i++)
        escaped += needs_escape(text[i]) ? 2 : 0;
    char *out = begin_member(line, claim->size + 1 + escaped);
    if (out == NULL)
        return;
    out = (char *)memcpy(out, claim->name, claim->size) + claim->size;
    *out++ = '=';
    if (escaped == size) {
        memcpy(out, text, size);
        return;
    }
    for (size_t i = 0; i < size; i++) {
        if (needs_escape(text[i])) {
            *out++ = '%';
            *out++ = "0123456789ABCDEF"[(unsigned char)text[i] >> 4];
            *out++ = "0123456789ABCDEF"[(unsigned char)text[i] & 15];
        } else {
            *out++ = text[i];
        }
    }
}

/* Finds the next member of a passing text, well-formed or not; false at the end. */
static bool next_passing(const char **at, dctx_bytes_t *ret_text)
{
    if (*at == NULL || **at == '\0')
        return false;
    const char *stop = strchrnul(*at, ',');
    *ret_text = dctx_trim_((dctx_bytes_t){*at, (size_t)(stop - *at)});
    *at = *stop == ',' ? stop + 1 : stop;
    return true;
}

/* Whether a member that came in says what the key still has. */
static bool says(const member_t *member, const char *text, size_t size)
{
    char plain[BYTES_MAX];
    size_t plain_size;
    return member->value_size <= BYTES_MAX &&
           unescape(member->value, member->value_size, plain, &plain_size) && plain_size == size &&
           memcmp(plain, text, size) == 0;
}

/* The member with properties that came in under the claimed name with this value. */
static bool find_passing(const char *const passing[2], const dctx_claim_t *claim, const char *text,
                         size_t size, member_t *ret_member)
{
    for (int i = 0; i < 2; i++) {
        const char *at = passing[i];
        dctx_bytes_t one;
        while (next_passing(&at, &one))
            if (one.size > claim->size && memcmp(one.data, claim->name, claim->size) == 0 &&
                parse_member(one, ret_member) && ret_member->name_size == claim->size &&
                says(ret_member, text, size))
                return true;
    }
    return false;
}

static void put_claims(line_t *line, const dctx_registry_t *registry, const char *const passing[2])
{
    for (uint32_t i = 0; i < registry->claim_count; i++) {
        const dctx_claim_t *claim = &registry->claims[i];
        const void *value = dctx_get(claim->key);
        char scalar[SCALAR_MAX];
        member_t member;
        if (value == NULL)
            continue;
        const char *text = value;
        size_t size;
        if (claim->key->type->builtin_ == DCTX_BUILTIN_STRING) {
            size = strlen(text);
        } else {
            size = write_scalar(claim->key->type->builtin_, value, scalar);
            text = scalar;
        }
        if (find_passing(passing, claim, text, size, &member))
            put_member(line, &member);
        else
            put_claim(line, claim, text, size);
    }
}

static dctx_error_t inject(const dctx_carrier_t *carrier)
{
    const dctx_registry_t *registry = dctx_current_registry();
    const char *passing[2] = {dctx_get(dctx_known_key_(DCTX_KNOWN_BAGGAGE)),
                              dctx_get(dctx_known_key_(DCTX_KNOWN_BAGGAGE_REST))};
    line_t line; /* not initialised whole, as above */
    line.members = line.used = line.over_limit = line.malformed = 0;
    if (registry != NULL)
        put_claims(&line, registry, passing);
    for (int i = 0; i < 2; i++) {
        const char *at = passing[i];
        dctx_bytes_t one;
        member_t member;
        while (next_passing(&at, &one)) {
            /* A peer's stamp may have anything in it. */
            if (!parse_member(one, &member))
                line.malformed++;
            else if (find_claim(registry, member.text, member.name_size) == NULL)
                put_member(&line, &member);
        }
    }
    dctx_carrier_count_(DCTX_CARRIER_OVER_LIMIT, line.over_limit);
    dctx_carrier_count_(DCTX_CARRIER_MALFORMED, line.malformed);
    return line.used > 0 ? carrier->set(carrier->headers, "baggage", line.text, line.used)
                         : DCTX_OK;
}

const dctx_propagator_t dctx_propagator_baggage_ = {
    .name = "baggage",
    .extract = extract,
    .inject = inject,
    .fields = (const char *const[]){"baggage", NULL},
};
