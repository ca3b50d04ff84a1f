/* call.h - an HTTP call that carries the thread's context along. */
#ifndef EXAMPLES_HTTP_CALL_H
#define EXAMPLES_HTTP_CALL_H

#include <stddef.h>

#include <dcontext/dcontext.h>

/*
 * Calls the URL (http or https) under the scope `name`, in a span of its own: a POST of the body as JSON, or a GET
 * without one. Gives up when the context's deadline passes, after ten seconds at the latest.
 *
 * Returns the HTTP status, or 0 with the reason in *ret_text. *ret_text is text to free(), or NULL when there is no
 * memory. The answer is cut at a mebibyte.
 */
long call_url(const char *name, const char *url, const char *body, char **ret_text);

#endif
