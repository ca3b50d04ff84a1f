/* dcontext/actors.h - the actor library, whole. */
#ifndef DCONTEXT_ACTORS_H
#define DCONTEXT_ACTORS_H

#include <dcontext/actor.h>
#include <dcontext/dcontext.h>
#include <dcontext/group.h>
#include <dcontext/executor.h>
#include <dcontext/future.h>
#include <dcontext/handling.h>
#include <dcontext/router.h>
#include <dcontext/metrics.h>
#include <dcontext/retry.h>
#include <dcontext/sockets.h>
#include <dcontext/stream.h>
#include <dcontext/supervise.h>
#include <dcontext/system.h>
#include <dcontext/testing.h>
#include <dcontext/timer.h>
#include <dcontext/typed.h>

#endif
