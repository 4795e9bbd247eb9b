/* One JSON object per line on stderr: ts, level, event, msg, then fields.
 *
 * Only agent, guard and hactl log; library code returns errors. Events have a grammar
 * (noun-verb, "lease-acquired") and are emitted on change only. A blocked pipe never blocks the
 * caller: a line that cannot be written at once is dropped and counted, and the next line that gets
 * through carries the count. A line is at most 8 KiB; a longer one is cut and says "cut":true. */
#ifndef PGHAD_BASE_LOG_H
#define PGHAD_BASE_LOG_H

#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

struct log_field {
    const char *key;
    const char *s; /* string value, or NULL when this is a number */
    int64_t i;
};

#define LOG_S(k, v) ((struct log_field){.key = (k), .s = (v)})
#define LOG_I(k, v) ((struct log_field){.key = (k), .i = (int64_t)(v)})

/* Sets the source ("guard", "agent", "hactl") and the least level written. Opens stderr a second
 * time, non-blocking, for this process alone: call it again after replacing descriptor 2. */
void log_setup(const char *source, enum log_level least);
void log_set_level(enum log_level least);
/* A field put on every line from now on (member name); the string is copied, at most 63 bytes. */
void log_set_member(const char *member);
uint64_t log_dropped(void);

void log_write(enum log_level level, const char *event, const char *msg,
               const struct log_field *fields, size_t n);
#ifdef __clang__
/* An event without fields is fine in GNU C and, by another rule, in C23. */
#pragma clang diagnostic ignored "-Wgnu-zero-variadic-macro-arguments"
#endif
#define log_event(level, event, msg, ...)                                                          \
    log_write((level), (event), (msg), (const struct log_field[]){{0}, ##__VA_ARGS__} + 1,         \
              sizeof((const struct log_field[]){{0}, ##__VA_ARGS__}) / sizeof(struct log_field) - 1)

/* Copies a line of a child (PostgreSQL's jsonlog) into the stream as field "record"; what is no
 * JSON object or too long goes into "text" as a string. */
void log_record(const char *event, const char *json_line);

#endif
