/* Any headers as those of every format at once. */
#include "carriers.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_carrier("finagle-http,b3,b3multi,tracecontext,baggage", data, size);
    return 0;
}
