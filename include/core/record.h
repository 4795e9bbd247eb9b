/* Arithmetic of positions, identities and the record. Pure. */
#ifndef PGHAD_CORE_RECORD_H
#define PGHAD_CORE_RECORD_H

#include "core/view.h"

bool name_eq(const struct ha_name *a, const struct ha_name *b);
bool name_empty(const struct ha_name *a);
bool identity_eq(const struct identity *a, const struct identity *b);      /* name, uid and boot */
bool identity_same_pod(const struct identity *a, const struct identity *b); /* name and uid */

/* < 0, 0, > 0: timeline of the last flushed record first, then LSN. */
int position_cmp(struct position a, struct position b);

/* < 0, 0, > 0 by (epoch, rev). */
struct version {
    uint64_t epoch, rev;
};
int version_cmp(struct version a, struct version b);
int record_cmp(const struct record *a, const struct record *b);
/* The line of a volume, or NULL. volume 0 is never found. */
const struct record_member *record_find(const struct record *r, uint64_t volume);
const struct record_member *record_find_name(const struct record *r, const struct ha_name *name);
uint8_t record_votes(const struct record *r); /* |V| */
/* Sufficient reports: |V| - W, at least 1 (DESIGN: every set of W + 1 copies meets it). */
uint8_t record_needed(const struct record *r);
/* Adds or finds; NULL when the list is full. */
struct record_member *record_add(struct record *r, uint64_t volume, const struct ha_name *name);
void record_remove(struct record *r, uint64_t volume);

/* The setting that the record asks of the member with this volume. As writer: V without itself
 * with W, empty where W = 0, sealed or async. As anybody else: the same, but unsatisfiable where
 * the writer's would be empty, so that a zombie promotion acknowledges nothing. */
struct ssn ssn_of_record(const struct record *r, uint64_t self, bool writer, enum repl_mode mode);
bool ssn_eq(const struct ssn *a, const struct ssn *b);
bool ssn_has(const struct ssn *s, uint64_t volume);

#endif
