#include "names.h"

#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include <dcontext/internal.h>

Test(names, what_is_a_name)
{
    static const char longest[] = "12345678901234567890123456789012345678901234567890123456";
    cr_assert(dctx_name_is_valid("a", 1));
    cr_assert(dctx_name_is_valid("A-z_0.9:x/y", 11));
    cr_assert(dctx_name_is_valid(longest, 56));
    cr_assert(!dctx_name_is_valid("", 0));
    cr_assert(!dctx_name_is_valid("123456789012345678901234567890123456789012345678901234567", 57));
    cr_assert(!dctx_name_is_valid("a b", 3));
    cr_assert(!dctx_name_is_valid("a@b", 3));
    cr_assert(!dctx_name_is_valid("a\0b", 3));
    cr_assert(!dctx_name_is_valid("\xc3\xa9", 2));
}

Test(names, come_and_go)
{
    enum { COUNT = 500 };
    dctx_name_t *all[COUNT];
    dctx_names_t names;
    char text[16];
    dctx_names_init(&names);
    cr_assert_eq(dctx_names_find(&names, "x", 1), 0);
    for (unsigned i = 0; i < COUNT; i++) {
        int length = snprintf(text, sizeof text, "name-%u", i);
        all[i] = dctx_name_new(text, (size_t)length);
        cr_assert_not_null(all[i]);
        cr_assert_eq(dctx_names_add(&names, all[i], i + 1), DCTX_OK);
        cr_assert_eq(strncmp(all[i]->scope, "actor:name-", 11), 0);
    }
    cr_assert_eq(names.count, COUNT);
    dctx_name_t *twin = dctx_name_new("name-7", 6);
    cr_assert_eq(dctx_names_add(&names, twin, 9999), DCTX_ERR_CONFLICT);
    dctx_names_remove(&names, twin);
    cr_assert_eq(dctx_names_find(&names, "name-7", 6), 8, "only the one in it can be taken out");
    dctx_release_(twin);
    for (unsigned i = 0; i < COUNT; i += 2)
        dctx_names_remove(&names, all[i]);
    for (unsigned i = 0; i < COUNT; i++) {
        int length = snprintf(text, sizeof text, "name-%u", i);
        cr_assert_eq(dctx_names_find(&names, text, (size_t)length), i % 2 == 0 ? 0 : i + 1);
    }
    for (unsigned i = 0; i < COUNT; i++)
        dctx_release_(all[i]);
    dctx_names_finish(&names);
}
