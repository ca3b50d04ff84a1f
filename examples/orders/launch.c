#include "launch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "signals.h"
#include "text.h"

extern char **environ;

static void beside_ourselves(const char *name, char *path)
{
    char self[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
    self[size > 0 ? size : 0] = '\0';
    /* A path that is cut does not exist, and that is what spawning it will say. */
    if (snprintf(path, PATH_MAX, "%s/%s", dirname(self), name) >= PATH_MAX)
        path[0] = '\0';
}

void child_init(child_t *child, const char *name, const char *inventory, int64_t dead_after_ms)
{
    *child = (child_t){.name = name, .stdin_fd = -1, .stdout_fd = -1};
    beside_ourselves(name, child->path);
    if (inventory != NULL)
        text_cut(child->inventory, sizeof child->inventory, inventory);
    if (dead_after_ms > 0)
        snprintf(child->dead_after, sizeof child->dead_after, "%" PRId64, dead_after_ms);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* An error number. The child begins with no signal blocked and with the two ends of pipes as its
 * input and output; all else is closed on exec. */
static int spawn(child_t *child, char **arguments, int input, int output)
{
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    int error = posix_spawn_file_actions_init(&files);
    if (error != 0)
        return error;
    error = posix_spawnattr_init(&attributes);
    if (error == 0) {
        posix_spawnattr_setsigmask(&attributes, &none);
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
        error = posix_spawn_file_actions_adddup2(&files, input, STDIN_FILENO);
        if (error == 0)
            error = posix_spawn_file_actions_adddup2(&files, output, STDOUT_FILENO);
        if (error == 0)
            error = posix_spawn(&child->pid, child->path, &files, &attributes, arguments, environ);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&files);
    return error;
}

enum { ARGUMENTS = 10 }; /* the program, --tied, --verbose, three options with a value, NULL */

static void set_arguments(child_t *child, char *arguments[ARGUMENTS])
{
    /* posix_spawn() wants words that could be written to. */
    static char tied[] = "--tied", verbose[] = "--verbose", bind[] = "--bind",
                inventory[] = "--inventory", dead_after[] = "--dead-after";
    char *const options[][2] = {
        {bind, child->endpoint}, {inventory, child->inventory}, {dead_after, child->dead_after}};
    *arguments++ = child->path;
    *arguments++ = tied;
    if (child->verbose)
        *arguments++ = verbose;
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (options[i][1][0] == '\0')
            continue;
        *arguments++ = options[i][0];
        *arguments++ = options[i][1];
    }
    *arguments = NULL;
}

bool child_start(child_t *child)
{
    char *arguments[ARGUMENTS];
    set_arguments(child, arguments);
    int input[2] = {-1, -1}, output[2] = {-1, -1};
    int error = 0;
    if (pipe2(input, O_CLOEXEC) != 0 || pipe2(output, O_CLOEXEC) != 0)
        error = errno;
    else
        error = spawn(child, arguments, input[0], output[1]);
    close_fd(&input[0]);
    close_fd(&output[1]);
    if (error != 0) {
        close_fd(&input[1]);
        close_fd(&output[0]);
        child->pid = 0;
        errno = error;
        return false;
    }
    child->stdin_fd = input[1];
    child->stdout_fd = output[0];
    child->listened = false;
    return true;
}

/* Milliseconds to `deadline_ns`, for poll(). */
static int left_ms(int64_t deadline_ns)
{
    int64_t left = (deadline_ns - clock_now_ns() + 999999) / 1000000;
    return left > 0 ? (int)left : 0;
}

child_news_t child_await(child_t *child, int signal_fd, int64_t timeout_ms, int *ret_signal)
{
    static const char word[] = "listening ";
    char line[sizeof word + ENDPOINT_SIZE];
    size_t size = 0;
    int64_t deadline_ns = clock_now_ns() + timeout_ms * 1000000;
    struct pollfd events[] = {{.fd = child->stdout_fd, .events = POLLIN},
                              {.fd = signal_fd, .events = POLLIN}};
    for (;;) {
        int ready = poll(events, 2, left_ms(deadline_ns));
        if (ready == 0)
            return CHILD_LATE;
        /* That a child has ended shows as the end of its output. */
        for (int signal; (signal = signals_next(signal_fd)) != 0;)
            if (signal != SIGCHLD) {
                *ret_signal = signal;
                return CHILD_INTERRUPTED;
            }
        if (ready < 0 || events[0].revents == 0)
            continue;
        ssize_t got = read(child->stdout_fd, line + size, sizeof line - 1 - size);
        if (got <= 0)
            return CHILD_ENDED;
        size += (size_t)got;
        line[size] = '\0';
        char *end = strchr(line, '\n');
        if (end == NULL)
            continue;
        *end = '\0';
        if (strncmp(line, word, sizeof word - 1) != 0)
            return CHILD_ENDED;
        text_cut(child->endpoint, sizeof child->endpoint, line + sizeof word - 1);
        child->listened = true;
        return CHILD_READY;
    }
}

static void forget(child_t *child)
{
    child->pid = 0;
    close_fd(&child->stdin_fd);
    close_fd(&child->stdout_fd);
}

bool child_reap(child_t *child, int *ret_status)
{
    if (child->pid == 0 || waitpid(child->pid, ret_status, WNOHANG) != child->pid)
        return false;
    /* Its one line is still in the pipe when nobody waited for it. The writing end is closed: this does not wait. */
    char byte;
    child->listened = child->listened || read(child->stdout_fd, &byte, 1) == 1;
    forget(child);
    return true;
}

static bool any_running(child_t *children, int count)
{
    bool running = false;
    int status;
    for (int i = 0; i < count; i++) {
        child_reap(&children[i], &status);
        running = running || children[i].pid != 0;
    }
    return running;
}

void children_stop(child_t *children, int count, int signal_fd, int64_t timeout_ms)
{
    int64_t deadline_ns = clock_now_ns() + timeout_ms * 1000000;
    struct pollfd ended = {.fd = signal_fd, .events = POLLIN};
    for (int i = 0; i < count; i++)
        close_fd(&children[i].stdin_fd);
    /* SIGCHLD wakes the poll; a second Ctrl-C does too, and changes nothing. */
    while (any_running(children, count) && left_ms(deadline_ns) > 0) {
        poll(&ended, 1, left_ms(deadline_ns));
        while (signals_next(signal_fd) != 0)
            continue;
    }
    for (int i = 0; i < count; i++) {
        if (children[i].pid == 0)
            continue;
        kill(children[i].pid, SIGKILL);
        waitpid(children[i].pid, NULL, 0);
        forget(&children[i]);
    }
}
