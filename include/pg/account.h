/* initdb asks the system for the name of its user. Platforms that choose the uid of a pod give it
 * none; then libnss_wrapper, where the image has it, answers for the system. Only initdb needs it: the
 * server and the other tools go by number. */
#ifndef PGHAD_PG_ACCOUNT_H
#define PGHAD_PG_ACCOUNT_H

#include "pg/env.h"

#define PG_ACCOUNT_SIZE (PG_PATH_SIZE + 24)

struct pg_account {
    char preload[PG_ACCOUNT_SIZE], passwd[PG_ACCOUNT_SIZE], group[PG_ACCOUNT_SIZE];
    const char *extra[4]; /* NAME=value for the child, ended by NULL; empty where nothing is needed */
};

/* Writes the two files into the state directory if they are needed. ERR_NOT_FOUND: this uid has no
 * account and there is no libnss_wrapper. extra points into *a. */
bool pg_account_make(const struct pg_env *env, struct pg_account *a, struct err *e);

#endif
