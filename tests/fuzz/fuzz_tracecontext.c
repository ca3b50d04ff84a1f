/* Any headers as W3C Trace Context. */
#include "carriers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_carrier("tracecontext", data, size);
    return 0;
}
