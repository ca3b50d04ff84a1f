/* Any headers as W3C baggage. */
#include "carriers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_carrier("baggage", data, size);
    return 0;
}
