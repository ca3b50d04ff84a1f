/* console.h - what the gateway says while it runs, on standard error: notes, and on a terminal one
 * line of progress that is written over and over. Main thread only. */
#ifndef ORDERS_CONSOLE_H
#define ORDERS_CONSOLE_H

#include <stdbool.h>
#include <stdint.h>

enum { CONSOLE_PROGRESS_MS = 100 };

typedef struct console {
    bool quiet; /* neither notes nor progress */
    bool live;  /* standard error is a terminal */
    bool drawn; /* a line of progress stands there now */
    int64_t next_ns;
} console_t;

void console_init(console_t *console, bool quiet);
void console_note(console_t *console, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void console_error(console_t *console, const char *format, ...) /* said even when quiet */
    __attribute__((format(printf, 2, 3)));

/* True when it is time for a new line of progress. */
bool console_due(console_t *console);
void console_progress(console_t *console, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void console_clear(console_t *console);

#endif
