#include "net.h"

#include <stdio.h>
#include <string.h>

#include <dcontext/internal.h>

#include "system.h"

enum {
    MILLION = 1000000,
    HEARTBEAT_MS = 1000,
    QUEUE_LIMIT = 65536,
    ENDPOINT_MAX = 128,
    NS_PER_MS = 1000000
};

static const int64_t redial_ns = (int64_t)100 * NS_PER_MS;

/* What comes to an end of a connection. */
typedef enum news_kind {
    NEWS_MESSAGE,
    NEWS_UP,
    NEWS_DOWN,
    NEWS_LOST /* a message that did not come: a gap in the numbers */
} news_kind_t;

typedef struct news {
    struct news *next;
    news_kind_t kind;
    int64_t at;
    const char *reason;          /* static; of NEWS_DOWN */
    dctx_link_message_t message; /* points into `bytes`, without its snapshot */
    dctx_bytes_t stamp;
    unsigned char bytes[];
} news_t;

typedef struct news_queue {
    news_t *first, *last;
    size_t count;
} news_queue_t;

/* One end of a connection: what its port sees. */
typedef struct end {
    dctx_port_t *port; /* NULL: it has gone, or not come */
    bool up;
    news_queue_t coming;
    int64_t last;      /* when what was last put into `coming` arrives */
    news_queue_t held; /* to go out once it is up */
} end_t;

enum { DIALLER = 0, LISTENER = 1 };

struct dctx_cable {
    dctx_cable_t *next;
    end_t ends[2];
    int64_t dial_at;  /* when the dialler tries next; INT64_MAX: it need not */
    bool replaced;    /* the dialler dials somewhere else now */
    bool refused;     /* it was told that the other has another name */
    char peer[64];    /* whom the dialler wants */
    char dialled[64]; /* the dialler's name */
    char endpoint[ENDPOINT_MAX];
};

typedef struct bound {
    struct bound *next;
    char endpoint[ENDPOINT_MAX];
} bound_t;

struct dctx_port {
    dctx_wire_t wire;
    dctx_net_t *net;
    dctx_system_t *system;
    dctx_link_options_t options;
    dctx_port_t *next;
    bound_t *bound;
    uint64_t stamps_refused;
};

/* Two nodes that do not reach each other. */
struct dctx_cut {
    struct dctx_cut *next;
    char one[64], other[64];
};

static dctx_port_t *port_of(const dctx_wire_t *wire)
{
    return (dctx_port_t *)(uintptr_t)wire; /* its first member */
}

static int64_t now_of(const dctx_net_t *net)
{
    return dctx_world_now_(net->world);
}

static uint64_t draw(dctx_net_t *net, uint64_t below)
{
    return dctx_world_random_(net->world) % below;
}

/* ---- queues of news -------------------------------------------------------------------------- */

static void put(news_queue_t *queue, news_t *news)
{
    news->next = NULL;
    if (queue->first == NULL)
        queue->first = news;
    else
        queue->last->next = news;
    queue->last = news;
    queue->count++;
}

static news_t *take(news_queue_t *queue)
{
    news_t *news = queue->first;
    if (news != NULL) {
        queue->first = news->next;
        queue->count--;
    }
    return news;
}

static void drop_all(news_queue_t *queue)
{
    for (news_t *news; (news = take(queue)) != NULL;)
        dctx_release_(news);
}

/* All that is on its way to an end, but for what says whether it is up. */
static void lose_coming(dctx_net_t *net, end_t *end)
{
    news_queue_t kept = {0};
    for (news_t *news; (news = take(&end->coming)) != NULL;) {
        if (news->kind == NEWS_UP || news->kind == NEWS_DOWN) {
            put(&kept, news);
            continue;
        }
        net->counters.lost += news->kind == NEWS_MESSAGE;
        dctx_release_(news);
    }
    end->coming = kept;
}

/* How long something takes from node to node. */
static int64_t travel_time(dctx_net_t *net)
{
    int64_t jitter = net->manners.jitter_ns;
    return net->manners.delay_ns + (jitter > 0 ? (int64_t)draw(net, (uint64_t)jitter + 1) : 0);
}

static void post(end_t *end, news_t *news, int64_t at)
{
    end->last = news->at = at > end->last ? at : end->last;
    put(&end->coming, news);
}

/* News without content; they may come without memory too, later: then the end is told at once. */
static bool tell(end_t *end, news_kind_t kind, int64_t at, const char *reason)
{
    news_t *news = dctx_calloc_(1, sizeof *news);
    if (news == NULL)
        return false;
    news->kind = kind;
    news->reason = reason;
    post(end, news, at);
    return true;
}

static unsigned char *append(unsigned char *to, dctx_bytes_t *bytes, dctx_bytes_t from)
{
    if (from.size > 0)
        memcpy(to, from.data, from.size);
    *bytes = (dctx_bytes_t){.data = to, .size = from.size};
    return to + from.size;
}

/* A message as it travels: its context encoded, as on a real wire. */
static dctx_error_t pack(const dctx_link_message_t *message, news_t **ret_news)
{
    dctx_bytes_t stamp = {0};
    if (message->snapshot != NULL && !dctx_snapshot_is_empty(message->snapshot)) {
        dctx_error_t error = dctx_snapshot_encode(message->snapshot, &stamp);
        if (error != DCTX_OK)
            return error;
    }
    news_t *news = dctx_alloc_(sizeof *news + message->target.size + message->type.size +
                               message->payload.size + stamp.size);
    if (news == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a message");
    *news = (news_t){.kind = NEWS_MESSAGE, .message = *message};
    unsigned char *to = append(news->bytes, &news->message.target, message->target);
    to = append(to, &news->message.type, message->type);
    to = append(to, &news->message.payload, message->payload);
    (void)append(to, &news->stamp, stamp);
    news->message.snapshot = NULL;
    *ret_news = news;
    return DCTX_OK;
}

/* ---- who reaches whom ------------------------------------------------------------------------ */

static struct dctx_cut **find_cut(dctx_net_t *net, const char *one, const char *other)
{
    struct dctx_cut **place = &net->cuts;
    while (*place != NULL) {
        bool same = strcmp((*place)->one, one) == 0 && strcmp((*place)->other, other) == 0;
        bool turned = strcmp((*place)->one, other) == 0 && strcmp((*place)->other, one) == 0;
        if (same || turned)
            break;
        place = &(*place)->next;
    }
    return place;
}

static bool is_cut(dctx_net_t *net, const dctx_cable_t *cable)
{
    return *find_cut(net, cable->dialled, cable->peer) != NULL;
}

static const char *name_of(const dctx_port_t *port)
{
    return port->system->name;
}

static dctx_port_t *find_bound(dctx_net_t *net, const char *endpoint)
{
    for (dctx_port_t *port = net->ports; port != NULL; port = port->next) {
        for (bound_t *bound = port->bound; bound != NULL; bound = bound->next) {
            if (strcmp(bound->endpoint, endpoint) == 0)
                return port;
        }
    }
    return NULL;
}

static const char *peer_of(const dctx_cable_t *cable, int which)
{
    return which == DIALLER ? cable->peer : cable->dialled;
}

/* The end by which a port reaches a peer: rather one that is up. */
static dctx_cable_t *find_cable(const dctx_port_t *port, const char *peer, int *ret_which)
{
    dctx_cable_t *found = NULL;
    for (dctx_cable_t *cable = port->net->cables; cable != NULL; cable = cable->next) {
        for (int which = 0; which < 2; which++) {
            const end_t *end = &cable->ends[which];
            if (end->port != port || strcmp(peer_of(cable, which), peer) != 0 || cable->replaced)
                continue;
            if (found == NULL || end->up) {
                found = cable;
                *ret_which = which;
            }
        }
    }
    return found;
}

static int64_t dead_after(const dctx_port_t *port)
{
    int64_t heartbeat = port->options.heartbeat_ms > 0 ? port->options.heartbeat_ms : HEARTBEAT_MS;
    int64_t ms = port->options.dead_after_ms > 0 ? port->options.dead_after_ms : 3 * heartbeat;
    return ms * NS_PER_MS;
}

/* ---- up and down ----------------------------------------------------------------------------- */

/* What arrives at one end leaves the other. Counts on the end being up, or soon to be. */
static void send_news(dctx_net_t *net, dctx_cable_t *cable, int from, news_t *news)
{
    end_t *to = &cable->ends[1 - from];
    net->counters.sent++;
    if (to->port == NULL || is_cut(net, cable)) {
        net->counters.lost++;
        dctx_release_(news);
        return;
    }
    if (net->manners.lose > 0 && draw(net, MILLION) < net->manners.lose) {
        net->counters.lost++;
        news->kind = NEWS_LOST;
    }
    post(to, news, now_of(net) + travel_time(net));
}

static void rise(dctx_net_t *net, dctx_cable_t *cable, int which)
{
    end_t *end = &cable->ends[which];
    if (end->up || end->port == NULL)
        return;
    end->up = true;
    for (news_t *news; (news = take(&end->held)) != NULL;)
        send_news(net, cable, which, news);
    end->port->options.on_peer(peer_of(cable, which), DCTX_PEER_UP, NULL, end->port->options.arg);
}

/* What was held for a peer that will not come back by this connection. */
static void give_back(dctx_cable_t *cable, int which, dctx_port_t *port)
{
    for (news_t *news; (news = take(&cable->ends[which].held)) != NULL;) {
        news->message.snapshot = port->system->empty;
        port->options.on_undelivered(peer_of(cable, which), &news->message, DCTX_ERR_UNREACHABLE,
                                     port->options.arg);
        dctx_release_(news);
    }
}

static void fall(dctx_net_t *net, dctx_cable_t *cable, int which, const char *reason)
{
    end_t *end = &cable->ends[which];
    bool was_up = end->up;
    dctx_port_t *port = end->port;
    end->up = false;
    if (which == DIALLER && !cable->replaced)
        cable->dial_at = now_of(net) + travel_time(net);
    if (which == LISTENER && port != NULL)
        give_back(cable, which, port);
    if (which == LISTENER)
        end->port = NULL; /* it comes back when it is dialled */
    if (was_up && port != NULL)
        port->options.on_peer(peer_of(cable, which), DCTX_PEER_DOWN, reason, port->options.arg);
}

/* Breaks a connection; both ends notice after a while. What is on its way is lost. */
static void break_cable(dctx_net_t *net, dctx_cable_t *cable, bool silently, const char *reason)
{
    for (int which = 0; which < 2; which++) {
        end_t *end = &cable->ends[which];
        lose_coming(net, end);
        if (end->port == NULL)
            continue;
        int64_t after = silently ? dead_after(end->port) : travel_time(net);
        if ((end->up || end->coming.first != NULL) &&
            !tell(end, NEWS_DOWN, now_of(net) + after, reason))
            fall(net, cable, which, reason);
    }
}

static void try_to_dial(dctx_net_t *net, dctx_cable_t *cable)
{
    end_t *end = &cable->ends[DIALLER], *other = &cable->ends[LISTENER];
    dctx_port_t *port = find_bound(net, cable->endpoint);
    cable->dial_at = now_of(net) + redial_ns;
    /* One that has not noticed yet that the last connection broke has to, first. */
    if (port == NULL || is_cut(net, cable) || other->port != NULL)
        return;
    if (strcmp(name_of(port), cable->peer) != 0) {
        if (!cable->refused)
            end->port->options.on_peer(cable->peer, DCTX_PEER_REFUSED, "it has another name",
                                       end->port->options.arg);
        cable->refused = true;
        return;
    }
    other->port = port;
    if (!tell(other, NEWS_UP, now_of(net) + travel_time(net), NULL)) {
        other->port = NULL;
        return;
    }
    cable->dial_at = INT64_MAX;
    rise(net, cable, DIALLER);
}

/* ---- a round --------------------------------------------------------------------------------- */

static void hand_over(dctx_port_t *port, const char *peer, news_t *news)
{
    dctx_snapshot_t *snapshot = NULL;
    if (news->stamp.size > 0 && dctx_snapshot_decode(port->system->registry, news->stamp.data,
                                                     news->stamp.size, &snapshot) != DCTX_OK)
        port->stamps_refused++;
    news->message.snapshot = snapshot != NULL ? snapshot : port->system->empty;
    port->net->counters.delivered++;
    port->options.on_message(peer, &news->message, port->options.arg);
    dctx_snapshot_unref(&snapshot);
}

static void take_news(dctx_port_t *port, dctx_cable_t *cable, int which, news_t *news)
{
    dctx_net_t *net = port->net;
    switch (news->kind) {
    case NEWS_MESSAGE:
        if (cable->ends[which].up)
            hand_over(port, peer_of(cable, which), news);
        else
            net->counters.lost++;
        if (net->manners.sever > 0 && draw(net, MILLION) < net->manners.sever)
            break_cable(net, cable, false, "the connection broke");
        break;
    case NEWS_UP:
        rise(net, cable, which);
        break;
    case NEWS_DOWN:
        fall(net, cable, which, news->reason);
        break;
    case NEWS_LOST:
    default:
        break; /* a link counts the gap, and goes on */
    }
    dctx_release_(news);
}

/* The end of a port where something is due; NULL: nowhere. */
static dctx_cable_t *find_due(const dctx_port_t *port, int *ret_which, bool *ret_dial)
{
    int64_t now = now_of(port->net);
    for (dctx_cable_t *cable = port->net->cables; cable != NULL; cable = cable->next) {
        for (int which = 0; which < 2; which++) {
            const end_t *end = &cable->ends[which];
            if (end->port != port)
                continue;
            *ret_which = which;
            *ret_dial = which == DIALLER && cable->dial_at <= now;
            if (*ret_dial || (end->coming.first != NULL && end->coming.first->at <= now))
                return cable;
        }
    }
    return NULL;
}

static void clear_away(dctx_net_t *net)
{
    dctx_cable_t **place = &net->cables;
    while (*place != NULL) {
        dctx_cable_t *cable = *place;
        const end_t *dialler = &cable->ends[DIALLER];
        bool dialled = dialler->port != NULL &&
                       (!cable->replaced || dialler->up || dialler->coming.first != NULL);
        if (dialled || cable->ends[LISTENER].port != NULL) {
            place = &cable->next;
            continue;
        }
        *place = cable->next;
        for (int which = 0; which < 2; which++) {
            drop_all(&cable->ends[which].coming);
            drop_all(&cable->ends[which].held);
        }
        dctx_release_(cable);
    }
}

/* One piece of news: who else may run comes between two of them. */
static bool process(dctx_wire_t *self)
{
    dctx_port_t *port = port_of(self);
    int which = 0;
    bool dial = false;
    dctx_cable_t *cable = find_due(port, &which, &dial);
    if (cable != NULL && dial)
        try_to_dial(port->net, cable);
    else if (cable != NULL)
        take_news(port, cable, which, take(&cable->ends[which].coming));
    clear_away(port->net);
    return cable != NULL;
}

int64_t dctx_net_due_(const dctx_wire_t *wire)
{
    const dctx_port_t *port = port_of(wire);
    int64_t due = INT64_MAX;
    for (dctx_cable_t *cable = port->net->cables; cable != NULL; cable = cable->next) {
        for (int which = 0; which < 2; which++) {
            const end_t *end = &cable->ends[which];
            if (end->port != port)
                continue;
            if (end->coming.first != NULL && end->coming.first->at < due)
                due = end->coming.first->at;
            if (which == DIALLER && cable->dial_at < due)
                due = cable->dial_at;
        }
    }
    return due;
}

/* ---- as the I/O actor sees it ---------------------------------------------------------------- */

static dctx_error_t bind_port(dctx_wire_t *self, const char *endpoint, const char **ret_endpoint)
{
    dctx_port_t *port = port_of(self);
    size_t length = strlen(endpoint);
    if (length == 0 || length > ENDPOINT_MAX - 16)
        return dctx_fail_(DCTX_ERR_INVALID, "an endpoint has 1 to %d bytes", ENDPOINT_MAX - 16);
    bound_t *bound = dctx_alloc_(sizeof *bound);
    if (bound == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for an endpoint");
    if (endpoint[length - 1] == '*')
        snprintf(bound->endpoint, sizeof bound->endpoint, "%.*s%u", (int)length - 1, endpoint,
                 ++port->net->endpoints);
    else
        snprintf(bound->endpoint, sizeof bound->endpoint, "%s", endpoint);
    if (find_bound(port->net, bound->endpoint) != NULL) {
        dctx_release_(bound);
        return dctx_fail_(DCTX_ERR_IO, "the endpoint %s is in use in this world", endpoint);
    }
    bound->next = port->bound;
    port->bound = bound;
    if (ret_endpoint != NULL)
        *ret_endpoint = bound->endpoint;
    return DCTX_OK;
}

static dctx_error_t connect_port(dctx_wire_t *self, const char *peer, const char *endpoint,
                                 const char *key)
{
    dctx_port_t *port = port_of(self);
    if (key != NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "there is no CURVE in a test world");
    if (!dctx_node_name_is_valid(peer, strlen(peer)) || strlen(endpoint) >= ENDPOINT_MAX)
        return dctx_fail_(DCTX_ERR_INVALID, "no name of a node, or an endpoint that is too long");
    dctx_cable_t *cable = dctx_calloc_(1, sizeof *cable);
    if (cable == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a connection");
    for (dctx_cable_t *each = port->net->cables; each != NULL; each = each->next) {
        if (each->ends[DIALLER].port != port || strcmp(each->peer, peer) != 0 || each->replaced)
            continue;
        cable->ends[DIALLER].held = each->ends[DIALLER].held;
        each->ends[DIALLER].held = (news_queue_t){0};
        break_cable(port->net, each, false, "it is dialled elsewhere");
        each->replaced = true;
    }
    cable->ends[DIALLER].port = port;
    cable->dial_at = now_of(port->net) + travel_time(port->net);
    snprintf(cable->peer, sizeof cable->peer, "%s", peer);
    snprintf(cable->dialled, sizeof cable->dialled, "%s", name_of(port));
    snprintf(cable->endpoint, sizeof cable->endpoint, "%s", endpoint);
    dctx_cable_t **place = &port->net->cables;
    while (*place != NULL)
        place = &(*place)->next;
    *place = cable;
    return DCTX_OK;
}

static dctx_error_t send_by_port(dctx_wire_t *self, const char *peer,
                                 const dctx_link_message_t *message)
{
    dctx_port_t *port = port_of(self);
    int which = 0;
    dctx_cable_t *cable = find_cable(port, peer, &which);
    if (cable == NULL)
        return dctx_fail_(DCTX_ERR_UNREACHABLE, "node %s is not dialled, and has not dialled us",
                          peer);
    end_t *end = &cable->ends[which];
    size_t limit = port->options.queue_limit > 0 ? port->options.queue_limit : QUEUE_LIMIT;
    if (!end->up && end->held.count >= limit)
        return dctx_fail_(DCTX_ERR_FULL, "%zu messages are held for node %s", limit, peer);
    news_t *news = NULL;
    dctx_error_t error = pack(message, &news);
    if (error != DCTX_OK)
        return error;
    if (end->up)
        send_news(port->net, cable, which, news);
    else
        put(&end->held, news);
    return DCTX_OK;
}

static bool is_up(const dctx_wire_t *self, const char *peer)
{
    int which = 0;
    dctx_cable_t *cable = find_cable(port_of(self), peer, &which);
    return cable != NULL && cable->ends[which].up;
}

static uint64_t stamps_refused(const dctx_wire_t *self)
{
    return port_of(self)->stamps_refused;
}

/* Says good-bye after what is on its way. */
static void leave(dctx_port_t *port, dctx_cable_t *cable, int which)
{
    end_t *end = &cable->ends[which], *other = &cable->ends[1 - which];
    lose_coming(port->net, end);
    drop_all(&end->coming);
    drop_all(&end->held);
    *end = (end_t){.last = end->last};
    if (which == DIALLER)
        cable->dial_at = INT64_MAX;
    if (other->port != NULL && (other->up || other->coming.first != NULL) &&
        !tell(other, NEWS_DOWN, now_of(port->net) + travel_time(port->net), "it said good-bye"))
        fall(port->net, cable, 1 - which, "it said good-bye");
}

static void destroy(dctx_wire_t *self)
{
    dctx_port_t *port = port_of(self);
    dctx_net_t *net = port->net;
    for (dctx_cable_t *cable = net->cables; cable != NULL; cable = cable->next) {
        for (int which = 0; which < 2; which++) {
            if (cable->ends[which].port == port)
                leave(port, cable, which);
        }
    }
    clear_away(net);
    dctx_port_t **place = &net->ports;
    while (*place != port)
        place = &(*place)->next;
    *place = port->next;
    for (bound_t *bound = port->bound, *next; bound != NULL; bound = next) {
        next = bound->next;
        dctx_release_(bound);
    }
    dctx_release_(port);
}

dctx_error_t dctx_net_wire_(dctx_net_t *net, dctx_system_t *system,
                            const dctx_link_options_t *options, dctx_wire_t **ret_wire)
{
    static const dctx_wire_class_t of_ports = {.bind = bind_port,
                                               .connect = connect_port,
                                               .send = send_by_port,
                                               .is_up = is_up,
                                               .process = process,
                                               .stamps_refused = stamps_refused,
                                               .destroy = destroy};
    if (options->certificate != NULL || options->curve != NULL || options->policy != NULL)
        return dctx_fail_(DCTX_ERR_INVALID, "there are no policies and no CURVE in a test world");
    dctx_port_t *port = dctx_calloc_(1, sizeof *port);
    if (port == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a node of a test world");
    port->wire.class = &of_ports;
    port->net = net;
    port->system = system;
    port->options = *options;
    port->next = net->ports;
    net->ports = port;
    *ret_wire = &port->wire;
    return DCTX_OK;
}

/* ---- as the world sees it -------------------------------------------------------------------- */

void dctx_net_init(dctx_net_t *net, dctx_test_world_t *world)
{
    *net = (dctx_net_t){.world = world,
                        .manners = {.delay_ns = NS_PER_MS / 2, .jitter_ns = NS_PER_MS / 2}};
}

void dctx_net_finish(dctx_net_t *net)
{
    clear_away(net);
    for (struct dctx_cut *cut = net->cuts, *next; cut != NULL; cut = next) {
        next = cut->next;
        dctx_release_(cut);
    }
}

dctx_error_t dctx_net_cut_(dctx_net_t *net, const char *one, const char *other)
{
    if (*find_cut(net, one, other) != NULL)
        return DCTX_OK;
    struct dctx_cut *cut = dctx_calloc_(1, sizeof *cut);
    if (cut == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory to part two nodes");
    snprintf(cut->one, sizeof cut->one, "%s", one);
    snprintf(cut->other, sizeof cut->other, "%s", other);
    cut->next = net->cuts;
    net->cuts = cut;
    for (dctx_cable_t *cable = net->cables; cable != NULL; cable = cable->next) {
        if (is_cut(net, cable))
            break_cable(net, cable, true, "it went silent");
    }
    return DCTX_OK;
}

void dctx_net_heal_(dctx_net_t *net, const char *one, const char *other)
{
    struct dctx_cut **place = find_cut(net, one, other), *cut = *place;
    if (cut == NULL)
        return;
    *place = cut->next;
    dctx_release_(cut);
}
