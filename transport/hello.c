#include "hello.h"

#include <string.h>

bool dctx_node_name_is_valid_(const char *name, size_t size)
{
    if (size == 0 || size > DCTX_NODE_NAME_MAX)
        return false;
    for (size_t i = 0; i < size; i++) {
        char c = name[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!word && c != '_' && c != '.' && c != '-')
            return false;
    }
    return true;
}

void dctx_hello_encode_(const dctx_hello_t *hello, dctx_writer_t *writer)
{
    dctx_write_map(writer, 3 + (hello->limit != 0) + (hello->kinds != 0) + (hello->to[0] != '\0'));
    dctx_write_cstr(writer, "node");
    dctx_write_cstr(writer, hello->node);
    dctx_write_cstr(writer, "incarnation");
    dctx_write_uint(writer, hello->incarnation);
    dctx_write_cstr(writer, "window");
    dctx_write_uint(writer, hello->window);
    if (hello->limit != 0) {
        dctx_write_cstr(writer, "limit");
        dctx_write_uint(writer, hello->limit);
    }
    if (hello->kinds != 0) {
        dctx_write_cstr(writer, "kinds");
        dctx_write_uint(writer, hello->kinds);
    }
    if (hello->to[0] != '\0') {
        dctx_write_cstr(writer, "to");
        dctx_write_cstr(writer, hello->to);
    }
}

static void read_name(dctx_reader_t *reader, char name[DCTX_NODE_NAME_MAX + 1])
{
    dctx_bytes_t text = dctx_read_str(reader);
    if (name[0] != '\0' || !dctx_node_name_is_valid_(text.data, text.size)) {
        dctx_reader_fail(reader, DCTX_ERR_MALFORMED);
        return;
    }
    memcpy(name, text.data, text.size);
    name[text.size] = '\0';
}

static bool is(dctx_bytes_t key, const char *name)
{
    return key.size == strlen(name) && memcmp(key.data, name, key.size) == 0;
}

dctx_error_t dctx_hello_decode_(dctx_bytes_t payload, dctx_hello_t *ret_hello)
{
    dctx_reader_t reader;
    dctx_hello_t hello = {.window = 0};
    bool has_window = false;
    dctx_reader_init(&reader, payload.data, payload.size);
    uint32_t count = dctx_read_map(&reader);
    for (uint32_t i = 0; i < count && dctx_reader_error(&reader) == DCTX_OK; i++) {
        if (dctx_reader_peek(&reader) != DCTX_ITEM_STR) {
            dctx_read_skip(&reader);
            dctx_read_skip(&reader);
            continue;
        }
        dctx_bytes_t key = dctx_read_str(&reader);
        if (is(key, "node")) {
            read_name(&reader, hello.node);
        } else if (is(key, "to")) {
            read_name(&reader, hello.to);
        } else if (is(key, "incarnation")) {
            if (hello.incarnation != 0)
                dctx_reader_fail(&reader, DCTX_ERR_MALFORMED);
            hello.incarnation = dctx_read_uint(&reader);
        } else if (is(key, "window")) {
            uint64_t window = dctx_read_uint(&reader);
            if (has_window)
                dctx_reader_fail(&reader, DCTX_ERR_MALFORMED);
            hello.window = window > UINT32_MAX ? UINT32_MAX : (uint32_t)window;
            has_window = true;
        } else if (is(key, "limit")) {
            if (hello.limit != 0)
                dctx_reader_fail(&reader, DCTX_ERR_MALFORMED);
            hello.limit = dctx_read_uint(&reader);
        } else if (is(key, "kinds")) {
            uint64_t kinds = dctx_read_uint(&reader);
            if (hello.kinds != 0)
                dctx_reader_fail(&reader, DCTX_ERR_MALFORMED);
            hello.kinds = kinds > UINT8_MAX ? UINT8_MAX : (uint8_t)kinds;
        } else {
            dctx_read_skip(&reader);
        }
    }
    if (dctx_reader_end(&reader) != DCTX_OK || hello.node[0] == '\0' || hello.incarnation == 0 ||
        !has_window)
        return DCTX_ERR_MALFORMED;
    *ret_hello = hello;
    return DCTX_OK;
}
