#include "line_reader.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

void line_reader_init(line_reader_t *reader, int fd)
{
    reader->fd = fd;
    reader->ended = false;
    reader->number = 0;
    reader->bytes = 0;
    reader->begin = reader->end = 0;
    reader->skipped = 0;
}

/* Takes `size` bytes and, if it is there, the newline after them. */
static line_event_t take(line_reader_t *reader, size_t size, line_t *ret_line)
{
    uint64_t skipped = reader->skipped;
    *ret_line = (line_t){
        .text = reader->buffer + reader->begin, .size = skipped + size, .number = ++reader->number};
    reader->begin += size;
    if (reader->begin < reader->end)
        reader->begin++;
    reader->skipped = 0;
    return skipped + size > LINE_LIMIT ? LINE_TOO_LONG : LINE_READ;
}

line_event_t line_reader_next(line_reader_t *reader, line_t *ret_line)
{
    size_t size = reader->end - reader->begin;
    const char *from = reader->buffer + reader->begin;
    const char *newline = size > 0 ? memchr(from, '\n', size) : NULL;
    if (newline != NULL)
        return take(reader, (size_t)(newline - from), ret_line);
    if (size > LINE_LIMIT || reader->skipped > 0) {
        reader->skipped += size;
        reader->begin = reader->end = 0;
        size = 0;
    }
    if (!reader->ended)
        return LINE_MORE;
    if (size == 0 && reader->skipped == 0)
        return LINE_END;
    return take(reader, size, ret_line);
}

bool line_reader_fill(line_reader_t *reader)
{
    size_t kept = reader->end - reader->begin;
    memmove(reader->buffer, reader->buffer + reader->begin, kept);
    reader->begin = 0;
    reader->end = kept;
    ssize_t size = read(reader->fd, reader->buffer + kept, sizeof reader->buffer - kept);
    if (size < 0)
        return errno == EINTR || errno == EAGAIN;
    reader->ended = size == 0;
    reader->end += (size_t)size;
    reader->bytes += (uint64_t)size;
    return true;
}

bool line_reader_rewind(line_reader_t *reader)
{
    if (lseek(reader->fd, 0, SEEK_SET) != 0)
        return false;
    uint64_t bytes = reader->bytes;
    line_reader_init(reader, reader->fd);
    reader->bytes = bytes;
    return true;
}
