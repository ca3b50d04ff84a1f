/* A link as the I/O actor's wire. */
#include "wire.h"

#include <dcontext/internal.h>

static dctx_error_t bind_link(dctx_wire_t *self, const char *endpoint, const char **ret_endpoint)
{
    return dctx_link_bind(self->link, endpoint, ret_endpoint);
}

static dctx_error_t connect_link(dctx_wire_t *self, const char *peer, const char *endpoint,
                                 const char *key)
{
    return key == NULL ? dctx_link_connect(self->link, peer, endpoint)
                       : dctx_link_connect_curve(self->link, peer, endpoint, key);
}

static dctx_error_t send_by_link(dctx_wire_t *self, const char *peer,
                                 const dctx_link_message_t *message)
{
    return dctx_link_send(self->link, peer, message);
}

static bool is_up(const dctx_wire_t *self, const char *peer)
{
    return dctx_link_peer_is_up(self->link, peer);
}

static bool process(dctx_wire_t *self)
{
    return dctx_link_process(self->link, 0);
}

static uint64_t stamps_refused(const dctx_wire_t *self)
{
    dctx_link_counters_t counters;
    dctx_link_counters_read(self->link, &counters);
    return counters.stamps_refused;
}

static void destroy(dctx_wire_t *self)
{
    dctx_link_destroy(&self->link);
    dctx_release_(self);
}

dctx_error_t dctx_wire_over_zmq_(const dctx_link_options_t *options, dctx_wire_t **ret_wire)
{
    static const dctx_wire_class_t of_links = {.bind = bind_link,
                                               .connect = connect_link,
                                               .send = send_by_link,
                                               .is_up = is_up,
                                               .process = process,
                                               .stamps_refused = stamps_refused,
                                               .destroy = destroy};
    dctx_wire_t *self = dctx_alloc_(sizeof *self);
    if (self == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a link");
    *self = (dctx_wire_t){.class = &of_links};
    dctx_error_t error = dctx_link_new(options, &self->link);
    if (error != DCTX_OK) {
        dctx_release_(self);
        return error;
    }
    *ret_wire = self;
    return DCTX_OK;
}
