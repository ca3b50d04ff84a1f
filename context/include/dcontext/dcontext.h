/*
 * dcontext/dcontext.h - the context core, whole. Transport and actors have headers of their own:
 * <dcontext/transport.h> and <dcontext/actors.h>.
 */
#ifndef DCONTEXT_DCONTEXT_H
#define DCONTEXT_DCONTEXT_H

#include <dcontext/cancel.h>
#include <dcontext/carrier.h>
#include <dcontext/clock.h>
#include <dcontext/context.h>
#include <dcontext/contexts.h>
#include <dcontext/error.h>
#include <dcontext/key.h>
#include <dcontext/registry.h>
#include <dcontext/runtime.h>
#include <dcontext/snapshot.h>
#include <dcontext/type.h>

#endif
