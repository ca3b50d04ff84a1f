/* dcontext/transport.h - the transport library, whole. */
#ifndef DCONTEXT_TRANSPORT_H
#define DCONTEXT_TRANSPORT_H

#include <dcontext/adapters.h>
#include <dcontext/dcontext.h>
#include <dcontext/link.h>
#include <dcontext/policy.h>
#include <dcontext/seal.h>
#include <dcontext/secure.h>
#include <dcontext/session.h>
#include <dcontext/stamp.h>

#endif
