/*
 * cross_process.c - context for a child process, as text in an environment variable.
 *
 * The child knows fewer keys than its parent. What it does not know it cannot read, but it travels
 * on, byte for byte, in whatever the child sends.
 */
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include <dcontext/dcontext.h>

#include "must.h"

#define VARIABLE "DCONTEXT"

DCTX_KEY_STRING(request_id, "request-id", DCTX_BROADCAST)
DCTX_KEY_STRING(tenant, "tenant", DCTX_BROADCAST)
DCTX_KEY_STRING(password, "password", DCTX_LOCAL) /* stays in the process */

static void show(const char *who)
{
    char chain[128];
    dctx_chain_format(chain, sizeof(chain));
    printf("%s: tenant=%s, chain %s\n", who, tenant_get_or("-"), chain);
}

static int child(const char *text)
{
    must(DCTX_REGISTER_KEYS(NULL, &tenant));
    must(dctx_registry_freeze(NULL));

    dctx_snapshot_t *snapshot;
    must(dctx_snapshot_from_base64(NULL, text, strlen(text), &snapshot));
    DCTX_ATTACH_SCOPE(snapshot, "report-child");
    dctx_snapshot_unref(&snapshot);
    show("child");

    dctx_snapshot_t *onward;
    must(dctx_capture(&onward));
    for (size_t i = 0; i < dctx_snapshot_unknown_count(onward); i++) {
        dctx_bytes_t name = dctx_snapshot_unknown_name(onward, i);
        printf("child: passes on %.*s unread\n", (int)name.size, (const char *)name.data);
    }
    dctx_snapshot_unref(&onward);
    return 0;
}

static int parent(void)
{
    must(DCTX_REGISTER_KEYS(NULL, &request_id, &tenant, &password));
    must(dctx_registry_freeze(NULL));

    DCTX_SCOPE("report");
    must(request_id_set("r-1"));
    must(tenant_set("acme"));
    must(password_set("hunter2"));
    show("parent");

    dctx_snapshot_t *snapshot;
    char *text;
    must(dctx_capture(&snapshot));
    must(dctx_snapshot_to_base64(snapshot, DCTX_BASE64_URL, &text));
    dctx_snapshot_unref(&snapshot);
    printf("parent: %s=%s\n", VARIABLE, text);
    fflush(stdout);
    int set = setenv(VARIABLE, text, 1);
    dctx_free(text);
    if (set != 0)
        return EXIT_FAILURE;

    char name[] = "cross_process";
    char *argv[] = {name, NULL};
    pid_t pid;
    int status;
    if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ) != 0 ||
        waitpid(pid, &status, 0) != pid)
        return EXIT_FAILURE;
    return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE;
}

int main(void)
{
    const char *text = getenv(VARIABLE);
    return text != NULL ? child(text) : parent();
}
