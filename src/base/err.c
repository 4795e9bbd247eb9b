/* Error values: formatting only, no heap, so that the failure path cannot fail. */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A message that does not fit is cut: it is for people, and half a reason beats none. */
static void format(char *dst, size_t size, const char *fmt, va_list ap)
    __attribute__((format(printf, 3, 0)));

static void format(char *dst, size_t size, const char *fmt, va_list ap)
{
    if (vsnprintf(dst, size, fmt, ap) < 0)
        dst[0] = '\0';
}

bool err_set(struct err *e, enum err_kind kind, const char *fmt, ...)
{
    if (!e)
        return false;
    va_list ap;
    va_start(ap, fmt);
    char msg[sizeof(e->msg)]; /* an argument may point into e->msg */
    format(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    e->kind = kind;
    e->code = 0;
    memcpy(e->msg, msg, sizeof(msg));
    return false;
}

bool err_errno(struct err *e, enum err_kind kind, const char *fmt, ...)
{
    int code = errno;
    if (!e)
        return false;
    va_list ap;
    va_start(ap, fmt);
    char msg[sizeof(e->msg)];
    format(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    char text[128];
    const char *why = strerror_r(code, text, sizeof(text));
    e->kind = kind;
    e->code = code;
    size_t used = strlen(msg);
    memcpy(e->msg, msg, used + 1);
    if (snprintf(e->msg + used, sizeof(e->msg) - used, ": %s", why) < 0)
        e->msg[used] = '\0';
    errno = code;
    return false;
}

bool err_wrap(struct err *e, const char *fmt, ...)
{
    if (!e)
        return false;
    va_list ap;
    va_start(ap, fmt);
    char msg[sizeof(e->msg)];
    format(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    size_t used = strlen(msg);
    if (snprintf(msg + used, sizeof(msg) - used, ": %s", e->msg) < 0)
        msg[used] = '\0';
    memcpy(e->msg, msg, sizeof(msg));
    return false;
}

const char *err_kind_name(enum err_kind kind)
{
    switch (kind) {
    case ERR_NONE:
        return "none";
    case ERR_TRANSIENT:
        return "transient";
    case ERR_TIMEOUT:
        return "timeout";
    case ERR_CONFLICT:
        return "conflict";
    case ERR_DENIED:
        return "denied";
    case ERR_NOT_FOUND:
        return "not-found";
    case ERR_INVALID:
        return "invalid";
    case ERR_CORRUPT:
        return "corrupt";
    case ERR_FATAL:
        return "fatal";
    case ERR_BUG:
        return "bug";
    }
    return "unknown";
}
