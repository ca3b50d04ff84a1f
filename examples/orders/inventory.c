/* inventory - the warehouse's program: one node, one actor. */
#include "server.h"

static const char help[] =
    "Usage: inventory [--bind ENDPOINT] [--verbose]\n"
    "\n"
    "Answers whether there is enough of an article. The node is called \"warehouse\", its\n"
    "actor \"inventory\". Prints one line, \"listening ENDPOINT\", once it can be dialled.\n"
    "\n"
    "  --bind ENDPOINT   where to listen; default tcp://127.0.0.1:* (a free port)\n"
    "  --dead-after MS   take a node that is silent for so long as gone; default 3000\n"
    "  --tied            end with standard input, and leave Ctrl-C to the parent\n"
    "  --verbose         log everything, not just warnings\n"
    "\n"
    "Stops on SIGINT and SIGTERM. Exit status: 0 stopped as asked, 2 cannot start.\n";

int main(int argc, char **argv)
{
    static const server_t server = {
        .help = help, .needs_inventory = false, .start = inventory_start};
    return server_main(&server, argc, argv);
}
