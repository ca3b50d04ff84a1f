/* Any headers as a stamp in base64. */
#include "carriers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_carrier("dctx", data, size);
    return 0;
}
