/*
 * The stand-in for Criterion's runner: each test in a forked child with a time limit, so that a
 * crash, a sanitizer's exit or a leak found at exit fails that test and no other. The parent stays
 * single-threaded, so that forking is safe under ThreadSanitizer.
 */
#include <criterion/criterion.h>

#include <errno.h>
#include <fnmatch.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Sanitizers and valgrind slow a program down by a factor; the tests' own limits are for plain
 * builds. */
#define TIMEOUT_DEFAULT 60.0
#define TIMEOUT_FACTOR  5.0

enum { EXIT_FAILED = 1 };

static struct cr_test_ *first_test;
static struct cr_test_ **last_test = &first_test;

/* Written by any thread of a test; the main thread reads it after the test, which has joined or
 * abandoned them by then. */
static int failures;
static pid_t test_pid;
static pthread_t test_thread;
static jmp_buf *test_end;

void cr_register_(struct cr_test_ *test)
{
    *last_test = test;
    last_test = &test->next;
}

static void report(const char *file, int line, const char *what, const char *format, va_list args)
{
    char text[1024];
    __atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED);
    vsnprintf(text, sizeof text, format, args);
    fprintf(stderr, "[----] %s:%d: Assertion failed: %s%s%s\n", file, line, what,
            text[1] != '\0' ? ": " : "", text + 1);
}

void cr_report_(const char *file, int line, const char *what, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    report(file, line, what, format, args);
    va_end(args);
}

void cr_report_strings_(const char *file, int line, const char *what, const char *actual,
                        const char *expected, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    report(file, line, what, format, args);
    va_end(args);
    fprintf(stderr, "[----]   actual   `%s`\n[----]   expected `%s`\n",
            actual != NULL ? actual : "(null)", expected != NULL ? expected : "(null)");
}

void cr_abort_(void)
{
    /* Only the test's own thread, in the test's own process, can go back to the runner's frame. */
    if (getpid() == test_pid && pthread_equal(pthread_self(), test_thread) && test_end != NULL)
        longjmp(*test_end, 1);
    fflush(NULL);
    _exit(EXIT_FAILED);
}

/* Runs a test in this process. True if no assertion failed. */
static bool run_here(const struct cr_test_ *test)
{
    jmp_buf end;
    failures = 0;
    test_pid = getpid();
    test_thread = pthread_self();
    test_end = &end;
    if (setjmp(end) == 0) {
        if (test->init != NULL)
            test->init();
        test->run();
    }
    if (test->fini != NULL && setjmp(end) == 0)
        test->fini();
    test_end = NULL;
    return __atomic_load_n(&failures, __ATOMIC_RELAXED) == 0;
}

static void run_child(const struct cr_test_ *test, int done, const sigset_t *mask)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* A group of its own, so that whatever the test leaves running can be ended with it. */
    setpgid(0, 0);
    sigprocmask(SIG_SETMASK, mask, NULL);
    if (!run_here(test)) {
        /* What a failed test left behind is no leak of the code under test. */
        fflush(NULL);
        _exit(EXIT_FAILED);
    }
    /* A test that calls exit(0) half way must not pass: only here it is known to have ended. */
    if (write(done, "p", 1) != 1)
        _exit(EXIT_FAILED);
    close(done);
    exit(0); /* the leak checkers run here and change the status */
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Waits for the child to end; false if the time ran out. Being told to stop ends the child and
 * us. */
static bool wait_child(pid_t child, double deadline, const sigset_t *signals)
{
    for (;;) {
        siginfo_t info = {0};
        if (waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            info.si_pid == child)
            return true;
        double left = deadline - now();
        if (left <= 0)
            return false;
        struct timespec t = {.tv_sec = (time_t)left};
        t.tv_nsec = (long)((left - (double)t.tv_sec) * 1e9);
        int signal_number = sigtimedwait(signals, NULL, &t);
        if (signal_number == SIGTERM || signal_number == SIGINT) {
            kill(-child, SIGKILL);
            kill(child, SIGKILL);
            _exit(128 + signal_number);
        }
    }
}

typedef enum outcome { PASSED, FAILED, CRASHED } outcome_t;

static outcome_t judge(const struct cr_test_ *test, bool in_time, int status, bool done,
                       double seconds)
{
    const char *suite = test->suite, *name = test->name;
    if (!in_time) {
        fprintf(stderr, "[FAIL] %s::%s: Timed out. (%.2fs)\n", suite, name, seconds);
        return CRASHED;
    }
    if (WIFSIGNALED(status)) {
        fprintf(stderr, "[FAIL] %s::%s: CRASH! (%s)\n", suite, name, strsignal(WTERMSIG(status)));
        return CRASHED;
    }
    int code = WEXITSTATUS(status);
    if (code == 0 && done)
        return PASSED;
    if (code == EXIT_FAILED && !done)
        fprintf(stderr, "[FAIL] %s::%s: (%.2fs)\n", suite, name, seconds);
    else if (done)
        fprintf(stderr,
                "[FAIL] %s::%s: passed, but its process exited with %d: see the report above\n",
                suite, name, code);
    else
        fprintf(stderr, "[FAIL] %s::%s: exited with %d before it ended\n", suite, name, code);
    return FAILED;
}

static outcome_t run_forked(const struct cr_test_ *test, double timeout)
{
    int done[2];
    sigset_t signals, mask;
    if (pipe(done) != 0) {
        perror("pipe");
        return CRASHED;
    }
    sigemptyset(&signals);
    sigaddset(&signals, SIGCHLD);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigprocmask(SIG_BLOCK, &signals, &mask);
    fflush(NULL);
    double begin = now();
    pid_t child = fork();
    if (child == 0) {
        close(done[0]);
        run_child(test, done[1], &mask);
    }
    close(done[1]);
    outcome_t outcome = CRASHED;
    if (child < 0) {
        perror("fork");
    } else {
        int status = 0;
        char byte = 0;
        setpgid(child, child); /* whichever of the two comes first */
        bool in_time = wait_child(child, begin + timeout, &signals);
        /* Not reaped yet, so the group's number is still ours. */
        kill(-child, SIGKILL);
        kill(child, SIGKILL);
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
            continue;
        outcome = judge(test, in_time, status, read(done[0], &byte, 1) == 1, now() - begin);
    }
    close(done[0]);
    sigprocmask(SIG_SETMASK, &mask, NULL);
    return outcome;
}

static bool matches(const struct cr_test_ *test, const char *filter)
{
    char id[256];
    snprintf(id, sizeof id, "%s/%s", test->suite, test->name);
    return filter == NULL || fnmatch(filter, id, 0) == 0;
}

static int usage(const char *program, int status)
{
    fprintf(status == 0 ? stdout : stderr,
            "usage: %s [--list] [--filter SUITE/NAME] [--timeout SECONDS] [--no-fork] [--verbose]\n"
            "  --filter   run the tests whose suite/name matches the shell pattern\n"
            "  --timeout  for tests that set none (default %g)\n"
            "  --no-fork  run in this process, without a time limit: for debuggers\n",
            program, TIMEOUT_DEFAULT);
    return status;
}

int main(int argc, char **argv)
{
    const char *filter = NULL;
    double timeout = TIMEOUT_DEFAULT;
    bool list = false, fork_each = true, verbose = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--filter") == 0 && i + 1 < argc)
            filter = argv[++i];
        else if (strncmp(argv[i], "--filter=", 9) == 0)
            filter = argv[i] + 9;
        else if (strcmp(argv[i], "--timeout") == 0 && i + 1 < argc)
            timeout = strtod(argv[++i], NULL);
        else if (strcmp(argv[i], "--list") == 0)
            list = true;
        else if (strcmp(argv[i], "--no-fork") == 0)
            fork_each = false;
        else if (strcmp(argv[i], "--verbose") == 0)
            verbose = true;
        else
            return usage(argv[0], strcmp(argv[i], "--help") == 0 ? 0 : 2);
    }

    unsigned count[3] = {0};
    for (const struct cr_test_ *test = first_test; test != NULL; test = test->next) {
        if (!matches(test, filter))
            continue;
        if (list) {
            printf("%s/%s%s\n", test->suite, test->name, test->disabled ? " (disabled)" : "");
            continue;
        }
        if (test->disabled) {
            if (verbose)
                fprintf(stderr, "[SKIP] %s::%s: disabled\n", test->suite, test->name);
            continue;
        }
        if (verbose)
            fprintf(stderr, "[RUN ] %s::%s\n", test->suite, test->name);
        outcome_t outcome;
        if (fork_each)
            outcome =
                run_forked(test, (test->timeout > 0 ? test->timeout : timeout) * TIMEOUT_FACTOR);
        else
            outcome = run_here(test) ? PASSED : FAILED;
        if (verbose && outcome == PASSED)
            fprintf(stderr, "[PASS] %s::%s\n", test->suite, test->name);
        count[outcome]++;
    }
    if (list)
        return 0;
    unsigned failing = count[FAILED] + count[CRASHED];
    fprintf(stderr, "[====] Synthesis: Tested: %u | Passing: %u | Failing: %u | Crashing: %u \n",
            count[PASSED] + failing, count[PASSED], failing, count[CRASHED]);
    return failing == 0 ? 0 : EXIT_FAILED;
}
