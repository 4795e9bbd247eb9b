/* JSON of the record and the release, as kept in Lease annotations, in the ConfigMap and on disk.
 *
 * Volume ids are 16 hexadecimal digits, LSNs "X/X", names plain. Decoding is strict and bounded:
 * wrong types, values out of range, too many members and texts that do not fit are errors; unknown
 * keys are ignored, so that a newer member can add some. */
#ifndef PGHAD_KUBE_RECORD_H
#define PGHAD_KUBE_RECORD_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"
#include "core/types.h"

#define RECORD_JSON_MAX 8192
#define RELEASE_JSON_MAX 1024

/* Append to b, compact, on one line; false when it does not fit. */
bool record_encode(const struct record *r, struct buf *b);
bool release_encode(const struct release *r, struct buf *b);
/* *ret is written on success only; ERR_CORRUPT names the key. release.valid is set. */
bool record_decode(const char *json, size_t len, struct record *ret, struct err *e);
bool release_decode(const char *json, size_t len, struct release *ret, struct err *e);

#define IDENTITY_TEXT_SIZE 128
/* "<pod>_<uid>_<boot as 16 hex digits>"; "" for nobody. */
bool identity_format(const struct identity *id, char *dst, size_t size);
/* Never fails: text that is not ours gives uid "?" and its beginning as the name. */
void identity_parse(const char *text, struct identity *ret);

#endif
