/* The only reader of clocks in the project. */
#ifndef PGHAD_BASE_CLOCK_H
#define PGHAD_BASE_CLOCK_H

#include <stdint.h>

/* CLOCK_BOOTTIME in ms: counts through suspend, never stepped. Every deadline uses it. */
int64_t clock_boot_ms(void);
int64_t clock_boot_us(void);
/* CLOCK_REALTIME in microseconds since the epoch: for stamps that people read, never for decisions. */
int64_t clock_wall_us(void);

#endif
