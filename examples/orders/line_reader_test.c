#include <criterion/criterion.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "line_reader.h"

static line_reader_t reader;

/* A descriptor that gives `text`, then ends. */
static int source(const char *text, size_t size)
{
    FILE *file = tmpfile();
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(text, 1, size, file), size);
    rewind(file);
    int fd = dup(fileno(file));
    fclose(file);
    return fd;
}

static line_event_t next(line_t *line)
{
    line_event_t event;
    while ((event = line_reader_next(&reader, line)) == LINE_MORE)
        cr_assert(line_reader_fill(&reader));
    return event;
}

static void expect(line_event_t event, uint64_t number, const char *text)
{
    line_t line = {0};
    cr_assert_eq(next(&line), event);
    cr_assert_eq(line.number, number);
    cr_assert_eq(line.size, strlen(text));
    cr_assert_eq(memcmp(line.text, text, strlen(text)), 0);
}

Test(line_reader, numbers_lines_and_takes_a_last_one_without_an_end)
{
    line_t line;
    line_reader_init(&reader, source("one\n\nthree", 10));
    expect(LINE_READ, 1, "one");
    expect(LINE_READ, 2, "");
    expect(LINE_READ, 3, "three");
    cr_assert_eq(next(&line), LINE_END);
    cr_assert_eq(next(&line), LINE_END);
    cr_assert(line_reader_rewind(&reader));
    expect(LINE_READ, 1, "one");
    close(reader.fd);
}

/* Lines of every length around the limit, each between two short ones, whatever the reads are cut into. */
Test(line_reader, tells_the_size_of_a_long_line_and_goes_on)
{
    for (size_t size = LINE_LIMIT - 2; size < LINE_LIMIT + 3; size++) {
        char *text = malloc(size + 6);
        memcpy(text, "a\n", 2);
        memset(text + 2, 'x', size);
        memcpy(text + 2 + size, "\nb\n", 4);
        int fds[2];
        cr_assert_eq(pipe(fds), 0);
        cr_assert_geq(fcntl(fds[1], F_SETPIPE_SZ, 1 << 18), 1 << 17);
        line_reader_init(&reader, fds[0]);
        line_t line;
        size_t total = size + 5, cut = size % 7 + 1;
        cr_assert_eq(write(fds[1], text, cut), (ssize_t)cut);
        cr_assert(line_reader_fill(&reader));
        cr_assert_eq(write(fds[1], text + cut, total - cut), (ssize_t)(total - cut));
        close(fds[1]);
        expect(LINE_READ, 1, "a");
        cr_assert_eq(next(&line), size <= LINE_LIMIT ? LINE_READ : LINE_TOO_LONG);
        cr_assert_eq(line.size, size);
        cr_assert_eq(line.number, 2);
        expect(LINE_READ, 3, "b");
        cr_assert_eq(next(&line), LINE_END);
        close(fds[0]);
        free(text);
    }
}

Test(line_reader, tells_a_long_line_that_has_no_end)
{
    size_t size = 5 * LINE_LIMIT + 17;
    char *text = calloc(1, size);
    line_t line;
    line_reader_init(&reader, source(text, size));
    cr_assert_eq(next(&line), LINE_TOO_LONG);
    cr_assert_eq(line.size, size);
    cr_assert_eq(next(&line), LINE_END);
    close(reader.fd);
    free(text);
}

Test(line_reader, tells_a_failure_and_waits_when_there_is_nothing_yet)
{
    int fds[2];
    line_t line;
    cr_assert_eq(pipe2(fds, O_NONBLOCK), 0);
    line_reader_init(&reader, fds[0]);
    cr_assert(line_reader_fill(&reader));
    cr_assert_eq(line_reader_next(&reader, &line), LINE_MORE);
    cr_assert(!line_reader_rewind(&reader));
    close(fds[0]);
    close(fds[1]);
    line_reader_init(&reader, -1);
    cr_assert(!line_reader_fill(&reader));
}
