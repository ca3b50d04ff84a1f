/* text.h - text that came from outside, checked before it is kept, sent on or printed. */
#ifndef ORDERS_TEXT_H
#define ORDERS_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* True for valid UTF-8 without control characters, which could take over a terminal. */
bool text_is_clean(const char *text, size_t size);

/* Copies `size` bytes and a NUL into a field of `capacity` bytes. False, and nothing copied, when
 * the text is not clean or does not fit whole: a shortened order id would be another order's. */
bool text_put(char *field, size_t capacity, const char *text, size_t size);

/* Cuts to fit; for labels and reasons only. */
void text_cut(char *field, size_t capacity, const char *text);

/* "12,345" into a buffer of TEXT_COUNT_SIZE bytes; returns it. */
enum { TEXT_COUNT_SIZE = 32 };
const char *text_count(char *buffer, uint64_t count);

/* "EUR 129.90" into a buffer of TEXT_MONEY_SIZE bytes; returns it. */
enum { TEXT_MONEY_SIZE = 40 };
const char *text_money(char *buffer, const char *currency, int64_t cents);

#endif
