#include "console.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "clock.h"

static const int64_t period_ns = CONSOLE_PROGRESS_MS * 1000000ll;

void console_init(console_t *console, bool quiet)
{
    *console = (console_t){
        .quiet = quiet,
        .live = !quiet && isatty(STDERR_FILENO),
        .next_ns = clock_now_ns() + period_ns,
    };
}

void console_clear(console_t *console)
{
    if (!console->drawn)
        return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
    console->drawn = false;
}

static void say(console_t *console, const char *format, va_list arguments)
{
    console_clear(console);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
}

void console_note(console_t *console, const char *format, ...)
{
    if (console->quiet)
        return;
    va_list arguments;
    va_start(arguments, format);
    say(console, format, arguments);
    va_end(arguments);
}

void console_error(console_t *console, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(console, format, arguments);
    va_end(arguments);
}

bool console_due(console_t *console)
{
    return console->live && clock_now_ns() >= console->next_ns;
}

void console_progress(console_t *console, const char *format, ...)
{
    fputs("\r\033[K", stderr);
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fflush(stderr);
    console->drawn = true;
    console->next_ns = clock_now_ns() + period_ns;
}
