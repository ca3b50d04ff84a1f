/*
 * How an actor of another node ended, as that node says: whatever it says is an exit, and one that
 * comes over again as it is. No more memory is taken than the input and what every exit may have
 * are worth.
 */
#include "exit.h"
#include "exit_wire.h"
#include "keys.h"
#include "watch.h"

static dctx_writer_t *write_exit(const dctx_exit_t *exit)
{
    dctx_writer_t *writer = NULL;
    MUST(dctx_writer_new(1 << 20, &writer) == DCTX_OK);
    dctx_exit_write_(exit, DCTX_EXIT_TEXT_MAX, writer);
    MUST(dctx_writer_error(writer) == DCTX_OK);
    return writer;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool installed;
    if (!installed)
        watch_install();
    installed = true;
    size_t before = watch_live_blocks();
    dctx_exit_t *exit = dctx_exit_read_((dctx_bytes_t){data, size}, "orders@there", "there");
    MUST(exit != NULL && dctx_exit_kind(exit) != 0);
    char line[64];
    unsigned count = 0;
    size_t length = dctx_exit_format(exit, line, sizeof line);
    MUST(length > 0);
    for (const dctx_exit_t *each = exit; each != NULL; each = dctx_exit_cause(each))
        count++;
    MUST(count <= 33);
    dctx_writer_t *written = write_exit(exit);
    dctx_exit_t *again = dctx_exit_read_(dctx_writer_bytes(written), "orders@there", "there");
    dctx_writer_t *rewritten = write_exit(again);
    dctx_bytes_t one = dctx_writer_bytes(written), two = dctx_writer_bytes(rewritten);
    MUST(one.size == two.size && memcmp(one.data, two.data, one.size) == 0);
    dctx_writer_destroy(&written);
    dctx_writer_destroy(&rewritten);
    dctx_exit_unref(&exit);
    dctx_exit_unref(&again);
    MUST(watch_live_blocks() == before);
    return 0;
}
