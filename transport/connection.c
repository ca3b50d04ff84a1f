#include "connection.h"

#include <errno.h>
#include <string.h>

#include <dcontext/internal.h>

#include "handover.h"

/* A frame is sent once it is this long; a longer record travels alone. */
#define BATCH_BYTES ((size_t)16 * 1024)
#define BATCH_FIRST ((size_t)1024)

typedef enum outcome { TAKEN, BLOCKED, BROKEN } outcome_t;

static dctx_connection_t *make(size_t id_size, dctx_link_counters_t *counters)
{
    dctx_connection_t *connection = dctx_calloc_(1, sizeof(*connection) + id_size);
    if (connection == NULL)
        return NULL;
    connection->counters = counters;
    connection->id_size = id_size;
    connection->pinged_first = INT64_MIN;
    connection->limit = SIZE_MAX;
    connection->leaving = connection->entering = DCTX_CLASS_STRANGER;
    return connection;
}

dctx_error_t dctx_connection_dial_(const char *endpoint, const char *server_key,
                                   const dctx_socket_options_t *options,
                                   dctx_link_counters_t *counters,
                                   dctx_connection_t **ret_connection)
{
    dctx_connection_t *connection = make(0, counters);
    if (connection == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory to dial %.128s", endpoint);
    dctx_error_t error = dctx_socket_open_(ZMQ_DEALER, options, server_key, &connection->socket);
    if (error == DCTX_OK)
        error = dctx_monitor_open_(connection->socket, &connection->monitor);
    if (error == DCTX_OK && zmq_connect(connection->socket, endpoint) != 0)
        error = dctx_endpoint_fail_("dial", endpoint, errno);
    if (error != DCTX_OK) {
        dctx_connection_free_(connection);
        return error;
    }
    *ret_connection = connection;
    return DCTX_OK;
}

dctx_error_t dctx_connection_accept_(void *router, const void *id, size_t id_size,
                                     dctx_link_counters_t *counters,
                                     dctx_connection_t **ret_connection)
{
    dctx_connection_t *connection = make(id_size, counters);
    if (connection == NULL)
        return dctx_fail_(DCTX_ERR_NOMEM, "no memory for a connection");
    connection->socket = router;
    memcpy(connection->id, id, id_size);
    *ret_connection = connection;
    return DCTX_OK;
}

void dctx_connection_close_(dctx_connection_t *connection, int linger_ms)
{
    if (connection->id_size > 0) {
        connection->socket = NULL;
        return;
    }
    if (connection->monitor != NULL)
        dctx_monitor_close_(connection->socket, &connection->monitor);
    dctx_socket_close_(&connection->socket, linger_ms);
}

void dctx_connection_free_(dctx_connection_t *connection)
{
    dctx_connection_close_(connection, 0);
    dctx_snapshot_unref(&connection->base);
    dctx_release_(connection->batch);
    dctx_release_(connection);
}

static outcome_t judge(int error)
{
    return error == EAGAIN || error == EINTR ? BLOCKED : BROKEN;
}

/* Takes over the message whatever comes of it. */
static outcome_t send_message(void *socket, const void *id, size_t id_size, zmq_msg_t *message)
{
    if (id_size > 0 && zmq_send(socket, id, id_size, ZMQ_DONTWAIT | ZMQ_SNDMORE) < 0) {
        outcome_t outcome = judge(errno);
        (void)zmq_msg_close(message);
        return outcome;
    }
    dctx_handover_give_(zmq_msg_data(message));
    if (zmq_msg_send(message, socket, ZMQ_DONTWAIT) < 0) {
        outcome_t outcome = judge(errno);
        (void)zmq_msg_close(message);
        return outcome;
    }
    return TAKEN;
}

static void settle(dctx_connection_t *connection, outcome_t outcome)
{
    connection->blocked = outcome == BLOCKED;
    if (outcome == BROKEN)
        connection->broken = true;
    if (outcome != TAKEN)
        return;
    connection->counters->frames_sent++;
    connection->counters->sent += connection->sent - connection->flushed;
    connection->flushed = connection->sent;
    connection->told = connection->received;
}

void dctx_connection_flush_(dctx_connection_t *connection)
{
    if (connection->batch_size == 0 || connection->broken)
        return;
    zmq_msg_t message;
    if (zmq_msg_init_size(&message, connection->batch_size) != 0) {
        connection->blocked = true;
        return;
    }
    dctx_record_acknowledge_(connection->batch + connection->batch_last, connection->received);
    memcpy(zmq_msg_data(&message), connection->batch, connection->batch_size);
    settle(connection,
           send_message(connection->socket, connection->id, connection->id_size, &message));
    if (!connection->blocked && !connection->broken) {
        connection->batch_size = 0;
        connection->batch_stamp_size = 0;
    }
}

static bool reserve(dctx_connection_t *connection, size_t size)
{
    if (connection->batch_size + size <= connection->batch_capacity)
        return true;
    size_t capacity = connection->batch_capacity > 0 ? connection->batch_capacity : BATCH_FIRST;
    while (capacity < connection->batch_size + size)
        capacity *= 2;
    uint8_t *batch = dctx_alloc_(capacity);
    if (batch == NULL)
        return false;
    if (connection->batch_size > 0)
        memcpy(batch, connection->batch, connection->batch_size);
    dctx_release_(connection->batch);
    connection->batch = batch;
    connection->batch_capacity = capacity;
    return true;
}

/* A record too long to share a frame is written straight into ZeroMQ's memory. */
static bool put_alone(dctx_connection_t *connection, const dctx_record_t *record)
{
    zmq_msg_t message;
    if (zmq_msg_init_size(&message, DCTX_FRAME_HEAD + dctx_record_size_(record)) != 0)
        return false;
    uint8_t *out = zmq_msg_data(&message);
    dctx_frame_begin_(out);
    dctx_record_write_(record, out + DCTX_FRAME_HEAD);
    if (dctx_record_is_message_(record))
        connection->sent++;
    settle(connection,
           send_message(connection->socket, connection->id, connection->id_size, &message));
    if (!connection->blocked && !connection->broken)
        return true;
    if (dctx_record_is_message_(record))
        connection->sent--;
    return false;
}

/* True if the record's context is that of the last record in the frame. */
static bool repeats_stamp(const dctx_connection_t *connection, const dctx_record_t *record)
{
    return record->stamp.size > 0 && record->stamp.size == connection->batch_stamp_size &&
           memcmp(connection->batch + connection->batch_stamp, record->stamp.data,
                  record->stamp.size) == 0;
}

bool dctx_connection_put_(dctx_connection_t *connection, const dctx_record_t *record)
{
    if (connection->blocked || connection->broken)
        return false;
    dctx_record_t copy = *record;
    copy.acknowledged = connection->received;
    copy.sequence = dctx_record_is_message_(record) ? connection->sent + 1 : 0;
    size_t size = dctx_record_size_(&copy);
    if (size > BATCH_BYTES) {
        dctx_connection_flush_(connection);
        if (connection->blocked || connection->broken)
            return false;
        return put_alone(connection, &copy);
    }
    if (!reserve(connection, DCTX_FRAME_HEAD + size))
        return false;
    bool same = repeats_stamp(connection, record);
    if (same) {
        copy.flags |= DCTX_SAME_CONTEXT;
        copy.stamp = (dctx_bytes_t){NULL, 0};
        size = dctx_record_size_(&copy);
    }
    if (connection->batch_size == 0) {
        dctx_frame_begin_(connection->batch);
        connection->batch_size = DCTX_FRAME_HEAD;
    }
    dctx_record_write_(&copy, connection->batch + connection->batch_size);
    connection->batch_last = connection->batch_size;
    if (!same) {
        connection->batch_stamp =
            connection->batch_size + DCTX_RECORD_HEAD + copy.target.size + copy.type.size;
        connection->batch_stamp_size = copy.stamp.size;
    }
    connection->batch_size += size;
    connection->sent += copy.sequence != 0;
    if (connection->batch_size >= BATCH_BYTES)
        dctx_connection_flush_(connection);
    return true;
}

void dctx_connection_answer_(void *router, const void *id, size_t id_size,
                             const dctx_record_t *record)
{
    zmq_msg_t message;
    if (zmq_msg_init_size(&message, DCTX_FRAME_HEAD + dctx_record_size_(record)) != 0)
        return;
    uint8_t *out = zmq_msg_data(&message);
    dctx_frame_begin_(out);
    dctx_record_write_(record, out + DCTX_FRAME_HEAD);
    (void)send_message(router, id, id_size, &message);
}

void dctx_connection_visit_batch_(const dctx_connection_t *connection,
                                  void (*visit)(const dctx_record_t *record, dctx_bytes_t stamp,
                                                void *arg),
                                  void *arg)
{
    dctx_bytes_t stamp = {NULL, 0};
    dctx_record_t record;
    for (size_t at = DCTX_FRAME_HEAD; at < connection->batch_size;) {
        at += dctx_record_read_(connection->batch + at, &record);
        if ((record.flags & DCTX_SAME_CONTEXT) == 0)
            stamp = record.stamp;
        if (dctx_record_is_message_(&record))
            visit(&record, stamp, arg);
    }
}
