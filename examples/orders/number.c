#include "number.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

bool number_parse(const char *name, const char *text, uint64_t most, uint64_t *ret_number)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || text[0] < '0' || text[0] > '9' || number < 1 ||
        number > most) {
        fprintf(stderr, "%s: --%s wants a number from 1 to %llu, not '%s'\n",
                program_invocation_short_name, name, (unsigned long long)most, text);
        return false;
    }
    *ret_number = number;
    return true;
}
