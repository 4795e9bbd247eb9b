/* Error values: what failed, why, and what kind of failure it is. No heap.
 *
 * Functions that can fail return bool and take a `struct err *` that is written only on failure.
 * The kind drives policy (retry, report, give up); the message is for people. */
#ifndef PGHAD_BASE_ERR_H
#define PGHAD_BASE_ERR_H

#include <stdbool.h>

enum err_kind {
    ERR_NONE,
    ERR_TRANSIENT, /* worth another try: network, 5xx, 401/403/429 within the deadline */
    ERR_TIMEOUT,   /* the deadline of this operation passed; the outcome is unknown */
    ERR_CONFLICT,  /* compare-and-swap lost, or the outcome is unknown and must be read back */
    ERR_DENIED,    /* authentication or permission */
    ERR_NOT_FOUND,
    ERR_INVALID, /* input that a person or a peer must correct */
    ERR_CORRUPT, /* damaged data on disk or on the wire */
    ERR_FATAL,   /* the operating system refuses something we cannot do without */
    ERR_BUG,
};

struct err {
    enum err_kind kind;
    int code; /* errno, HTTP status or exit status, 0 when there is none */
    char msg[512];
};

/* Fills *e and returns false, so that a failure is one line: return err_set(e, ...). e may be NULL. */
bool err_set(struct err *e, enum err_kind kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* As err_set, with errno's text appended and its number in code. */
bool err_errno(struct err *e, enum err_kind kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "context: " before the message, keeps kind and code, returns false. */
bool err_wrap(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

const char *err_kind_name(enum err_kind kind);

#endif
