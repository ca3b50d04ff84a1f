/* orders - the shop's program: one node with the actors "orders" and "pricing". */
#include "server.h"

static const char help[] =
    "Usage: orders --inventory ENDPOINT [--bind ENDPOINT] [--verbose]\n"
    "\n"
    "Checks orders: asks inventory for each line and pricing for the whole. The node is called\n"
    "\"shop\", its actors \"orders\" and \"pricing\". Prints one line, \"listening ENDPOINT\", "
    "once it\n"
    "can be dialled. Inventory may come later, go away, and come back.\n"
    "\n"
    "  --inventory ENDPOINT  where the node \"warehouse\" listens\n"
    "  --bind ENDPOINT       where to listen; default tcp://127.0.0.1:* (a free port)\n"
    "  --dead-after MS       take a node that is silent for so long as gone; default 3000\n"
    "  --tied                end with standard input, and leave Ctrl-C to the parent\n"
    "  --verbose             log everything, not just warnings\n"
    "\n"
    "Stops on SIGINT and SIGTERM. Exit status: 0 stopped as asked, 2 cannot start.\n";

int main(int argc, char **argv)
{
    static const server_t server = {.help = help, .needs_inventory = true, .start = orders_start};
    return server_main(&server, argc, argv);
}
