/* Growable byte buffer with a mandatory maximum; always NUL-terminated after an append. */
#ifndef PGHAD_BASE_BUF_H
#define PGHAD_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data; /* owned; NULL when empty */
    size_t len;
    size_t cap;
    size_t max;    /* bytes, without the NUL */
    bool overflow; /* an append did not fit; the content is what fitted before */
};

void buf_init(struct buf *b, size_t max);
void buf_done(struct buf *b);  /* frees; accepts a zeroed or finished buffer */
void buf_clear(struct buf *b); /* empties, keeps the memory */
/* Appends return false and set overflow when the maximum would be passed; nothing is truncated. */
bool buf_put(struct buf *b, const void *data, size_t len);
bool buf_puts(struct buf *b, const char *s);
bool buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_consume(struct buf *b, size_t len); /* drops the first len bytes */
const char *buf_str(const struct buf *b);    /* never NULL */

#endif
