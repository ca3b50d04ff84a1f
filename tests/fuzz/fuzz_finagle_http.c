/* Any headers as Finagle's. */
#include "carriers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_carrier("finagle-http", data, size);
    return 0;
}
