/* Any bytes as Finagle's Mux pairs: extracted, injected, and from then on the same. */
#include "carriers.h"

static dctx_writer_t *pass(const void *data, size_t size, dctx_carrier_report_t *ret_report)
{
    dctx_snapshot_t *snapshot = NULL;
    dctx_writer_t *writer = NULL;
    dctx_bytes_t bytes;
    MUST(dctx_mux_extract(fuzz_carrier_registry(), data, size, &snapshot, ret_report) == DCTX_OK);
    MUST(dctx_snapshot_encode(snapshot, &bytes) == DCTX_OK);
    MUST(dctx_writer_new(1 << 20, &writer) == DCTX_OK);
    MUST(dctx_mux_inject(snapshot, writer) == DCTX_OK);
    dctx_snapshot_unref(&snapshot);
    return writer;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    dctx_carrier_report_t report;
    dctx_writer_t *first = pass(data, size, &report);
    dctx_bytes_t one = dctx_writer_bytes(first);
    dctx_writer_t *second = pass(one.data, one.size, &report);
    dctx_bytes_t two = dctx_writer_bytes(second);
    MUST(one.size == two.size && (one.size == 0 || memcmp(one.data, two.data, one.size) == 0));
    MUST(report.over_limit == 0);
    dctx_writer_destroy(&first);
    dctx_writer_destroy(&second);
    MUST(dctx_is_empty());
    return 0;
}
