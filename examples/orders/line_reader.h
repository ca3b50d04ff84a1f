/*
 * line_reader.h - lines from a descriptor, in bounded memory.
 *
 * A line longer than LINE_LIMIT is read past, not stored: it comes as LINE_TOO_LONG with its number
 * and size. Never waits: when it wants more input it says so, and the caller polls.
 */
#ifndef ORDERS_LINE_READER_H
#define ORDERS_LINE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LINE_LIMIT = 64 * 1024 };

typedef struct line_reader {
    int fd;
    bool ended;        /* no more input will come */
    uint64_t number;   /* of the line returned last; the first is 1 */
    uint64_t bytes;    /* read so far */
    size_t begin, end; /* what of the buffer is not used yet */
    uint64_t skipped;  /* bytes of the too long line that is being read past; 0: none is */
    char buffer[LINE_LIMIT + 1];
} line_reader_t;

typedef enum line_event {
    LINE_READ,     /* a line, without its end */
    LINE_TOO_LONG, /* size only */
    LINE_MORE,     /* fill first */
    LINE_END
} line_event_t;

typedef struct line {
    const char *text; /* until the next call */
    uint64_t size;
    uint64_t number;
} line_t;

void line_reader_init(line_reader_t *reader, int fd);
line_event_t line_reader_next(line_reader_t *reader, line_t *ret_line);

/* One read(2). False on an error, with errno; a descriptor that has nothing yet is none. */
bool line_reader_fill(line_reader_t *reader);

/* Begin again at the first line. False when the input cannot be rewound. */
bool line_reader_rewind(line_reader_t *reader);

#endif
