/* PostgreSQL's own opinion of its parameters: `postgres -C` reads them as the server would. */
#ifndef PGHAD_HACTL_PGCHECK_H
#define PGHAD_HACTL_PGCHECK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "config/config.h"

#define PGCHECK_FAULTS_MAX 32

struct pgcheck_fault {
    char name[128];
    char text[512]; /* what the server says, without its time stamp */
};

struct pgcheck {
    char program[256]; /* the server that was asked, "" = none is installed */
    size_t n;
    struct pgcheck_fault fault[PGCHECK_FAULTS_MAX];
};

/* The server of postgres.bin_dir, else the first in PATH, else the newest below root (NULL: where
 * Debian keeps them). False with *e when it could not be asked; without a server true and program
 * "". */
bool pgcheck_run(const struct config *c, const char *root, struct pgcheck *ret, struct err *e);

#endif
