/* Bounded strings and strict number parsing: a value that does not fit is an error, never cut. */
#ifndef PGHAD_BASE_STR_H
#define PGHAD_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Copies s into dst of size bytes; false (dst = "") when it does not fit. */
bool str_copy(char *dst, size_t size, const char *s);
/* printf into dst; false (dst = "") when it does not fit. */
bool str_format(char *dst, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
bool str_eq(const char *a, const char *b); /* NULL equals only NULL */
bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);

/* Whole string, decimal, no leading blanks or plus sign, within [min, max]. */
bool str_to_i64(const char *s, int64_t min, int64_t max, int64_t *ret);
/* Exactly 1 to 16 hexadecimal digits. */
bool str_to_hex64(const char *s, uint64_t *ret);

/* Kubernetes MicroTime from microseconds since the epoch: UTC, exactly six fraction digits
 * (kubernetes/apimachinery, MicroTime: any other number of digits is refused with 400). */
bool str_microtime(char *dst, size_t size, int64_t unix_us);

#endif
