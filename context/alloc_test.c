#include <criterion/criterion.h>

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <dcontext/runtime.h>

#include "alloc.h"

static int allocated;
static int released;
static bool refuse;

static void *count_allocate(size_t size)
{
    if (refuse)
        return NULL;
    allocated++;
    void *block = malloc(size);
    if (block != NULL)
        memset(block, 0xa5, size);
    return block;
}

static void count_release(void *block)
{
    released++;
    free(block);
}

static const dctx_allocator_t counting = {count_allocate, count_release};

static void begin(void)
{
    allocated = released = 0;
    refuse = false;
    dctx_set_allocator(&counting);
}

static void end(void)
{
    dctx_set_allocator(NULL);
}

Test(alloc, malloc_and_free_are_the_default)
{
    char *block = dctx_alloc_(100);
    cr_assert_not_null(block);
    memset(block, 1, 100);
    dctx_release_(block);
    dctx_release_(NULL);
    dctx_free(NULL);
}

Test(alloc, a_size_of_zero_gives_a_block)
{
    void *block = dctx_alloc_(0);
    cr_assert_not_null(block);
    dctx_free(block);
    block = dctx_calloc_(0, 8);
    cr_assert_not_null(block);
    dctx_free(block);
}

Test(alloc, sizes_that_no_object_has_are_refused)
{
    /* Volatile, or the compiler warns of just what is tested. */
    volatile size_t huge = SIZE_MAX, half = SIZE_MAX / 2 + 1;
    cr_assert_null(dctx_alloc_(huge));
    cr_assert_null(dctx_alloc_(half));
    cr_assert_null(dctx_calloc_(half, 2));
    cr_assert_null(dctx_calloc_(huge, huge));
    cr_assert_null(dctx_calloc_(half, 1));
    cr_assert_null(dctx_strndup_("", huge));
}

Test(alloc, calloc_gives_zeroed_memory)
{
    unsigned char *block = dctx_calloc_(10, 10);
    for (int i = 0; i < 100; i++)
        cr_assert_eq(block[i], 0);
    dctx_release_(block);
}

Test(alloc, another_allocator_sees_every_call, .init = begin, .fini = end)
{
    void *a = dctx_alloc_(10);
    unsigned char *b = dctx_calloc_(3, 5);
    char *c = dctx_strndup_("abcdef", 3);
    cr_assert_eq(allocated, 3);
    for (int i = 0; i < 15; i++)
        cr_assert_eq(b[i], 0);
    cr_assert_str_eq(c, "abc");
    dctx_release_(a);
    dctx_release_(b);
    dctx_free(c);
    dctx_free(NULL);
    cr_assert_eq(released, 3);
}

Test(alloc, what_the_allocator_refuses_is_null, .init = begin, .fini = end)
{
    refuse = true;
    cr_assert_null(dctx_alloc_(1));
    cr_assert_null(dctx_calloc_(1, 1));
    cr_assert_null(dctx_strndup_("a", 1));
    cr_assert_eq(allocated, 0);
}

Test(alloc, strndup_ends_with_a_nul)
{
    char *empty = dctx_strndup_(NULL, 0);
    cr_assert_str_eq(empty, "");
    dctx_free(empty);
}
