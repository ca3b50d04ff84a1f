/* signals.h - signals as events on a descriptor, so that nothing is ever done inside a signal
 * handler. */
#ifndef ORDERS_SIGNALS_H
#define ORDERS_SIGNALS_H

/* Blocks SIGINT, SIGTERM and SIGCHLD in this thread and those it starts, so call it before any
 * is. */
void signals_block(void);

/* A descriptor that gives the signals listed, up to a 0, out of those blocked; -1 on an error. */
int signals_open(const int *signals);

/* The next signal that came; 0 if there is none. Does not wait. */
int signals_next(int fd);

#endif
