/* Settings as text: one key changed in place, so that comments survive, and differences shown. */
#ifndef PGHAD_HACTL_SETTINGS_H
#define PGHAD_HACTL_SETTINGS_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "hactl/session.h"

/* Writes text with section.key or section.key.entry set to value (a YAML value; "" removes the key)
 * to ret. Only block style can be edited in place: ERR_INVALID says so otherwise. */
bool settings_set(const char *text, const char *path, const char *value, struct buf *ret,
                  struct err *e);

/* The line (from 1) on which that key stands; 0 when it is not there in block style. */
size_t settings_line(const char *text, const char *path);

/* A unified difference with three lines of context on s->out; false when there is none. */
bool settings_diff(struct session *s, const char *before, const char *after);

#endif
