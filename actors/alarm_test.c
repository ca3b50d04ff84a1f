/* Alarms: each rings once or was cancelled, in order, and none holds up a stop. */
#include "alarm.h"

#include <string.h>

#include <criterion/criterion.h>

#include "fixture.h"
#include "system.h"

typedef struct bell {
    dctx_alarm_t alarm;
    gate_t gate;
    bool over;
    bool again; /* to be set again once */
    int *order; /* how many have rung so far */
    int place;
} bell_t;

static void strike(dctx_alarm_t *alarm, dctx_system_t *system, dctx_runner_t *runner, bool over)
{
    bell_t *bell = (bell_t *)(void *)alarm;
    cr_assert(over || dctx_runner_of(system) == runner);
    bell->over = over;
    if (bell->order != NULL)
        bell->place = ++*bell->order;
    if (bell->again && !over) {
        bell->again = false;
        cr_assert_eq(dctx_alarm_set_(system, alarm, dctx_now_(system)), DCTX_OK);
    }
    gate_pass(&bell->gate);
}

static bell_t a_bell(void)
{
    return (bell_t){.alarm = {.ring = strike}, .gate = GATE_INIT};
}

Test(alarm, they_ring_in_order, .init = fixture_init, .timeout = 30)
{
    dctx_system_t *system = start(NULL);
    bell_t bells[3] = {a_bell(), a_bell(), a_bell()};
    int order = 0;
    int64_t now = dctx_now_(system);
    for (int i = 0; i < 3; i++) {
        bells[i].order = &order;
        cr_assert_eq(dctx_alarm_set_(system, &bells[i].alarm, now + 30000000 - i * 10000000),
                     DCTX_OK);
    }
    for (int i = 0; i < 3; i++) {
        cr_assert(gate_wait(&bells[i].gate, 1));
        cr_assert_eq(bells[i].place, 3 - i);
        cr_assert(!bells[i].over);
    }
    cr_assert_geq(dctx_now_(system), now + 30000000);
    bells[0].again = true;
    cr_assert_eq(dctx_alarm_set_(system, &bells[0].alarm, now), DCTX_OK, "a past one rings soon");
    cr_assert(gate_wait(&bells[0].gate, 3));
    finish(&system);
}

Test(alarm, a_cancelled_one_does_not_ring, .init = fixture_init, .timeout = 30)
{
    dctx_system_t *system = start(NULL);
    bell_t never = a_bell(), later = a_bell();
    cr_assert(!dctx_alarm_cancel_(system, &never.alarm), "it is not set");
    int64_t now = dctx_now_(system);
    cr_assert_eq(dctx_alarm_set_(system, &never.alarm, now + 20000000), DCTX_OK);
    cr_assert_eq(dctx_alarm_set_(system, &later.alarm, now + 40000000), DCTX_OK);
    cr_assert(dctx_alarm_cancel_(system, &never.alarm));
    cr_assert(gate_wait(&later.gate, 1));
    cr_assert(!dctx_alarm_cancel_(system, &later.alarm), "it has rung");
    finish(&system);
    cr_assert_eq(gate_count(&never.gate), 0);
}

Test(alarm, stop_ends_what_is_left, .init = fixture_init, .timeout = 30)
{
    dctx_system_t *system = start(NULL);
    bell_t bells[8];
    for (int i = 0; i < 8; i++) {
        bells[i] = a_bell();
        cr_assert_eq(dctx_alarm_set_(system, &bells[i].alarm, INT64_MAX - (i & 1)), DCTX_OK);
    }
    cr_assert_eq(dctx_system_stop(system, WAIT_MS, NULL), DCTX_OK);
    for (int i = 0; i < 8; i++) {
        cr_assert_eq(gate_count(&bells[i].gate), 1);
        cr_assert(bells[i].over);
    }
    cr_assert_eq(dctx_alarm_set_(system, &bells[0].alarm, 0), DCTX_ERR_STOPPED);
    cr_assert(!dctx_timer_is_set(&bells[0].alarm.node));
    finish(&system);
}

/* A stop hastens those for which messages wait; others are over with the system, as ever. */
Test(alarm, a_pressing_one_rings_when_the_system_begins_to_stop, .init = fixture_init,
     .timeout = 30)
{
    dctx_system_t *system = start(NULL);
    bell_t pressing = a_bell(), plain = a_bell(), late = a_bell(), never = a_bell();
    pressing.alarm.pressing = late.alarm.pressing = never.alarm.pressing = true;
    cr_assert_eq(dctx_alarm_set_(system, &pressing.alarm, INT64_MAX), DCTX_OK);
    cr_assert_eq(dctx_alarm_set_(system, &plain.alarm, INT64_MAX), DCTX_OK);
    cr_assert_eq(dctx_alarm_set_(system, &never.alarm, INT64_MAX), DCTX_OK);
    cr_assert(dctx_alarm_cancel_(system, &never.alarm));
    dctx_alarms_hasten_(system);
    cr_assert(gate_wait(&pressing.gate, 1));
    cr_assert(!pressing.over);
    cr_assert_eq(dctx_alarm_set_(system, &late.alarm, INT64_MAX), DCTX_OK);
    cr_assert(gate_wait(&late.gate, 1));
    cr_assert(!late.over);
    cr_assert_eq(gate_count(&plain.gate), 0);
    finish(&system);
    cr_assert(plain.over);
    cr_assert_eq(gate_count(&never.gate), 0);
}

/* ---- from many threads ----------------------------------------------------------------------- */

typedef struct setter {
    dctx_system_t *system;
    long cancelled, rung;
} setter_t;

static void *set_and_cancel(void *arg)
{
    setter_t *setter = arg;
    bell_t bell = a_bell();
    for (int i = 0; i < 2000; i++) {
        cr_assert_eq(dctx_alarm_set_(setter->system, &bell.alarm,
                                     dctx_now_(setter->system) + (i % 3) * 1000),
                     DCTX_OK);
        if (dctx_alarm_cancel_(setter->system, &bell.alarm))
            setter->cancelled++;
        else
            cr_assert(gate_wait(&bell.gate, ++setter->rung));
    }
    cr_assert_eq(gate_count(&bell.gate), setter->rung);
    return NULL;
}

Test(alarm, from_many_threads_each_rings_or_was_cancelled, .init = fixture_init, .timeout = 60)
{
    dctx_system_t *system = start(NULL);
    pthread_t threads[4];
    setter_t setters[4];
    for (int i = 0; i < 4; i++) {
        setters[i] = (setter_t){.system = system};
        cr_assert_eq(pthread_create(&threads[i], NULL, set_and_cancel, &setters[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        cr_assert_eq(setters[i].cancelled + setters[i].rung, 2000);
    }
    finish(&system);
}
