/* Any headers as B3, of both forms. */
#include "carriers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_carrier("b3,b3multi", data, size);
    return 0;
}
