#include "actors_peers.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

/* A round takes milliseconds, the memory of a million actors seconds. */
enum { ANSWER_MS = 60000 };

peer_t peers[PEER_COUNT] = {{.suffix = "vs_caf"}, {.suffix = "vs_erlang"}, {.suffix = "vs_go"}};

static char erlang_path[] = BENCH_PEERS_DIR;
static char *const commands[PEER_COUNT][16] = {
    {(char[]){BENCH_PEERS_DIR "/peer_caf"}},
    {(char[]){"erl"}, (char[]){"+S"}, (char[]){"2:2"}, (char[]){"+P"}, (char[]){"2000000"},
     (char[]){"-noshell"}, (char[]){"-pa"}, erlang_path, (char[]){"-s"}, (char[]){"bench_peer"},
     (char[]){"main"}},
    {(char[]){BENCH_PEERS_DIR "/peer_go"}},
};
static const char *const needs[PEER_COUNT] = {
    BENCH_PEERS_DIR "/peer_caf", BENCH_PEERS_DIR "/bench_peer.beam", BENCH_PEERS_DIR "/peer_go"};

static void start(peer_t *peer, char *const command[])
{
    int to[2], from[2];
    BENCH_REQUIRE(pipe2(to, O_CLOEXEC) == 0 && pipe2(from, O_CLOEXEC) == 0);
    peer->pid = fork();
    BENCH_REQUIRE(peer->pid >= 0);
    if (peer->pid == 0) {
        dup2(to[0], 0);
        dup2(from[1], 1);
        execvp(command[0], command);
        _exit(127);
    }
    close(to[0]);
    close(from[1]);
    peer->to = fdopen(to[1], "w");
    peer->from = fdopen(from[0], "r");
    BENCH_REQUIRE(peer->to != NULL && peer->from != NULL);
}

void peers_start(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < PEER_COUNT; i++) {
        if (access(needs[i], R_OK) == 0)
            start(&peers[i], commands[i]);
        else
            fprintf(stderr, "no %s lines: `./dev setup peers` installs what they need\n",
                    peers[i].suffix);
    }
}

static void stop(peer_t *peer)
{
    fclose(peer->to);
    fclose(peer->from);
    BENCH_REQUIRE(waitpid(peer->pid, NULL, 0) == peer->pid);
    peer->pid = 0;
}

void peers_stop(void)
{
    for (int i = 0; i < PEER_COUNT; i++) {
        if (peers[i].pid != 0)
            stop(&peers[i]);
    }
}

/* A peer is asked one thing at a time and answers with one line: nothing waits in the stream. */
static bool answers(peer_t *peer, uint64_t *ret_answer)
{
    struct pollfd from = {fileno(peer->from), POLLIN, 0};
    return poll(&from, 1, ANSWER_MS) == 1 && fscanf(peer->from, "%" SCNu64, ret_answer) == 1;
}

uint64_t peer_ask(peer_t *peer, const char *line, uint64_t count)
{
    uint64_t answer;
    if (peer->pid == 0)
        return PEER_GONE;
    if (fprintf(peer->to, "%s %" PRIu64 "\n", line, count) > 0 && fflush(peer->to) == 0 &&
        answers(peer, &answer))
        return answer;
    fprintf(stderr, "no more %s lines: no answer to \"%s %" PRIu64 "\" in %d s\n", peer->suffix,
            line, count, ANSWER_MS / 1000);
    kill(peer->pid, SIGKILL);
    stop(peer);
    return PEER_GONE;
}

void peer_run(void *peer_line, uint64_t count)
{
    peer_line_t *self = peer_line;
    bench_took(peer_ask(self->peer, self->line, count));
}

static void pin(pid_t pid, const cpu_set_t *cores)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *threads = opendir(path);
    if (threads == NULL)
        return;
    for (struct dirent *each; (each = readdir(threads)) != NULL;) {
        pid_t thread = (pid_t)strtol(each->d_name, NULL, 10);
        if (thread > 0)
            (void)sched_setaffinity(thread, sizeof *cores, cores);
    }
    closedir(threads);
}

void cores_use_one(bool one)
{
    static cpu_set_t all;
    static bool known;
    if (!known)
        BENCH_REQUIRE(sched_getaffinity(0, sizeof all, &all) == 0);
    known = true;
    cpu_set_t cores = all;
    if (one) {
        int first = 0;
        while (!CPU_ISSET(first, &all))
            first++;
        CPU_ZERO(&cores);
        CPU_SET(first, &cores);
    }
    pin(getpid(), &cores);
    for (int i = 0; i < PEER_COUNT; i++) {
        if (peers[i].pid != 0)
            pin(peers[i].pid, &cores);
    }
}
