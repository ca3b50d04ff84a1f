#include "name.h"

const char *dctx_name_show_(const void *name, size_t size, char buffer[DCTX_NAME_SHOWN_SIZE])
{
    const uint8_t *bytes = name;
    size_t shown = size < 48 ? size : 48;
    for (size_t i = 0; i < shown; i++)
        buffer[i] = bytes[i] >= 0x20 && bytes[i] < 0x7f ? (char)bytes[i] : '?';
    if (shown < size) {
        memcpy(buffer + shown, "...", 3);
        shown += 3;
    }
    buffer[shown] = '\0';
    return buffer;
}
