#include "inflight.h"

#include <string.h>

#include <dcontext/internal.h>

enum { FIRST = 64 };

static size_t hash(const char *peer, uint64_t correlation)
{
    uint64_t h = correlation * UINT64_C(0x9e3779b97f4a7c15);
    for (const char *p = peer; *p != '\0'; p++)
        h = (h ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
    return (size_t)(h >> 32);
}

static dctx_flight_t **bucket(dctx_inflight_t *inflight, const char *peer, uint64_t correlation)
{
    return &inflight->buckets[hash(peer, correlation) & (inflight->capacity - 1)];
}

/* More buckets, if there is memory: they are but shorter ways. False: there are none at all. */
static bool grow(dctx_inflight_t *inflight)
{
    size_t capacity = inflight->capacity == 0 ? FIRST : inflight->capacity * 4;
    dctx_flight_t **buckets = dctx_calloc_(capacity, sizeof(dctx_flight_t *));
    if (buckets == NULL)
        return inflight->buckets != NULL;
    dctx_inflight_t grown = {.buckets = buckets, .capacity = capacity, .count = inflight->count};
    for (size_t i = 0; i < inflight->capacity; i++) {
        for (dctx_flight_t *flight = inflight->buckets[i], *next; flight != NULL; flight = next) {
            dctx_flight_t **head = bucket(&grown, flight->peer, flight->correlation);
            next = flight->next;
            flight->next = *head;
            *head = flight;
        }
    }
    dctx_release_(inflight->buckets);
    *inflight = grown;
    return true;
}

void dctx_flight_free(dctx_flight_t *flight)
{
    dctx_cancel_unref(&flight->work);
    dctx_release_(flight);
}

void dctx_inflight_finish(dctx_inflight_t *inflight)
{
    for (size_t i = 0; i < inflight->capacity; i++) {
        for (dctx_flight_t *flight = inflight->buckets[i], *next; flight != NULL; flight = next) {
            next = flight->next;
            dctx_flight_free(flight);
        }
    }
    dctx_release_(inflight->buckets);
    *inflight = (dctx_inflight_t){0};
}

dctx_cancel_t *dctx_inflight_add(dctx_inflight_t *inflight, const char *peer, uint64_t correlation)
{
    if (inflight->count >= inflight->capacity && !grow(inflight))
        return NULL;
    dctx_flight_t *flight = dctx_calloc_(1, sizeof *flight);
    if (flight == NULL)
        return NULL;
    if (dctx_cancel_new_under(NULL, &flight->work) != DCTX_OK) {
        dctx_release_(flight);
        return NULL;
    }
    flight->correlation = correlation;
    strncpy(flight->peer, peer, sizeof flight->peer - 1);
    dctx_flight_t **head = bucket(inflight, flight->peer, correlation);
    flight->next = *head;
    *head = flight;
    inflight->count++;
    return dctx_cancel_ref(flight->work);
}

/* Where the flight hangs; NULL: there is none. */
static dctx_flight_t **place(dctx_inflight_t *inflight, const char *peer, uint64_t correlation)
{
    if (inflight->buckets == NULL)
        return NULL;
    dctx_flight_t **at = bucket(inflight, peer, correlation);
    while (*at != NULL && ((*at)->correlation != correlation || strcmp((*at)->peer, peer) != 0))
        at = &(*at)->next;
    return *at != NULL ? at : NULL;
}

dctx_cancel_t *dctx_inflight_find(dctx_inflight_t *inflight, const char *peer, uint64_t correlation)
{
    dctx_flight_t **at = place(inflight, peer, correlation);
    return at != NULL ? (*at)->work : NULL;
}

bool dctx_inflight_remove(dctx_inflight_t *inflight, const char *peer, uint64_t correlation)
{
    dctx_flight_t **at = place(inflight, peer, correlation);
    if (at == NULL)
        return false;
    dctx_flight_t *flight = *at;
    *at = flight->next;
    inflight->count--;
    dctx_flight_free(flight);
    return true;
}

dctx_flight_t *dctx_inflight_take_peer(dctx_inflight_t *inflight, const char *peer)
{
    dctx_flight_t *taken = NULL;
    for (size_t i = 0; i < inflight->capacity; i++) {
        dctx_flight_t **at = &inflight->buckets[i];
        while (*at != NULL) {
            dctx_flight_t *flight = *at;
            if (strcmp(flight->peer, peer) != 0) {
                at = &flight->next;
                continue;
            }
            *at = flight->next;
            flight->next = taken;
            taken = flight;
            inflight->count--;
        }
    }
    return taken;
}
