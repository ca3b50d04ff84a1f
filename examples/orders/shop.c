#include "shop.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>

#include "text.h"

enum { START_MS = 10000, STOP_MS = 1200, STOP_EMBEDDED_MS = 500 };

static int start_embedded(shop_t *shop)
{
    service_t *inventory = &shop->services[0], *orders = &shop->services[1];
    service_options_t options = {.bind = "inproc://" WAREHOUSE_NODE,
                                 .dead_after_ms = shop->options->dead_after_ms};
    dctx_error_t error = inventory_start(&options, inventory);
    options.bind = "inproc://" SHOP_NODE;
    options.inventory = inventory->endpoint;
    if (error == DCTX_OK)
        error = orders_start(&options, orders);
    if (error != DCTX_OK) {
        console_error(shop->console, "gateway: cannot start: %s: %s", dctx_strerror(error),
                      dctx_error_detail());
        return 2;
    }
    text_cut(shop->endpoint, sizeof shop->endpoint, orders->endpoint);
    return 0;
}

static int start_child(shop_t *shop, const char *name, const char *inventory, child_t **ret_child)
{
    child_t *child = &shop->children[shop->child_count];
    child_init(child, name, inventory, shop->options->dead_after_ms);
    child->verbose = shop->options->verbose;
    if (!child_start(child)) {
        console_error(shop->console, "gateway: cannot start %s: %s", child->path, strerror(errno));
        return 2;
    }
    shop->child_count++;
    int signal = 0;
    switch (child_await(child, shop->signal_fd, START_MS, &signal)) {
    case CHILD_READY:
        break;
    case CHILD_INTERRUPTED:
        return 128 + signal;
    case CHILD_ENDED:
        console_error(shop->console, "gateway: %s ended before it listened", name);
        return 2;
    case CHILD_LATE:
        console_error(shop->console, "gateway: %s does not listen after %d s", name,
                      START_MS / 1000);
        return 2;
    }
    console_note(shop->console, "started %s, process %d, at %s", name, (int)child->pid,
                 child->endpoint);
    *ret_child = child;
    return 0;
}

static int start_children(shop_t *shop)
{
    child_t *inventory = NULL, *orders = NULL;
    int status = start_child(shop, "inventory", NULL, &inventory);
    if (status == 0)
        status = start_child(shop, "orders", inventory->endpoint, &orders);
    if (status == 0)
        text_cut(shop->endpoint, sizeof shop->endpoint, orders->endpoint);
    return status;
}

int shop_start(shop_t *shop, const options_t *options, console_t *console, int signal_fd)
{
    *shop = (shop_t){.options = options, .console = console, .signal_fd = signal_fd};
    if (options->embedded)
        return start_embedded(shop);
    if (options->orders == NULL)
        return start_children(shop);
    text_cut(shop->endpoint, sizeof shop->endpoint, options->orders);
    return 0;
}

static void say_how_it_ended(shop_t *shop, const child_t *child, int status)
{
    if (WIFSIGNALED(status))
        console_note(shop->console, "%s was killed: %s", child->name, strsignal(WTERMSIG(status)));
    else
        console_note(shop->console, "%s ended with status %d", child->name, WEXITSTATUS(status));
}

static void start_again(shop_t *shop, child_t *child)
{
    if (!shop->options->restart)
        console_note(shop->console, "to start it again: %s --bind %s%s%s", child->path,
                     child->endpoint, child->inventory[0] != '\0' ? " --inventory " : "",
                     child->inventory);
    else if (!child->listened) /* and would end again */
        console_note(shop->console, "%s ended before it listened, and stays down", child->name);
    else if (!child_start(child))
        console_note(shop->console, "cannot start %s again: %s", child->name, strerror(errno));
    else
        console_note(shop->console, "started %s again, process %d", child->name, (int)child->pid);
}

void shop_children(shop_t *shop)
{
    int status;
    for (int i = 0; i < shop->child_count; i++) {
        child_t *child = &shop->children[i];
        if (!child_reap(child, &status))
            continue;
        say_how_it_ended(shop, child, status);
        start_again(shop, child);
    }
}

void shop_stop(shop_t *shop)
{
    children_stop(shop->children, shop->child_count, shop->signal_fd, STOP_MS);
    service_stop(&shop->services[1], STOP_EMBEDDED_MS);
    service_stop(&shop->services[0], STOP_EMBEDDED_MS);
}
