/* Log lines. No heap, no locale, no time zone file: guard uses this too.
 *
 * The stream is shared with PostgreSQL, so O_NONBLOCK must not be set on it, and readiness by
 * poll() is gone as soon as another process fills the pipe. Where possible the stream is therefore
 * opened a second time, non-blocking, for this process alone. */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"

#define LINE_MAX_BYTES 8192
#define TAIL_ROOM 24 /* ,"cut":true}\n and some */

enum log_way {
    WAY_SHARED, /* pipe or terminal that could not be opened again */
    WAY_OWN,    /* our own non-blocking description */
    WAY_SOCKET,
    WAY_FILE, /* regular files do not block in the sense of poll() */
};

static struct {
    char source[16];
    char member[64];
    enum log_level least;
    enum log_way way;
    int own_fd;
    bool torn; /* the last write was partial: the next line starts on a fresh line */
    uint64_t dropped;
    uint64_t told; /* value of dropped last put on a line */
} lg = {.source = "pghad", .least = LOG_INFO, .own_fd = -1};

struct line {
    char s[LINE_MAX_BYTES];
    size_t len;
    bool cut;
};

static struct line line; /* one thread per process */

static void put(struct line *l, const char *s, size_t len)
{
    if (l->cut || len > LINE_MAX_BYTES - TAIL_ROOM - l->len) {
        l->cut = true;
        return;
    }
    memcpy(l->s + l->len, s, len);
    l->len += len;
}

static void puts_(struct line *l, const char *s)
{
    put(l, s, strlen(s));
}

/* Length of the UTF-8 sequence at s, 0 when it is not one (RFC 3629: no overlong forms, no
 * surrogates): what comes from children need not be UTF-8, what we write must be. */
static size_t utf8_len(const unsigned char *s)
{
    unsigned char c = s[0];
    size_t n = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    if ((c == 0xe0 && s[1] < 0xa0) || (c == 0xed && s[1] > 0x9f) || (c == 0xf0 && s[1] < 0x90) ||
        (c == 0xf4 && s[1] > 0x8f))
        return 0;
    return n;
}

static void put_escaped(struct line *l, const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    while (*s && !l->cut) {
        char esc[8];
        size_t n = utf8_len(s);
        if (n == 0) {
            puts_(l, "\\ufffd");
            s++;
        } else if (*s == '"' || *s == '\\') {
            esc[0] = '\\';
            esc[1] = (char)*s++;
            put(l, esc, 2);
        } else if (*s == '\n') {
            puts_(l, "\\n");
            s++;
        } else if (*s == '\t') {
            puts_(l, "\\t");
            s++;
        } else if (*s < 0x20 || *s == 0x7f) {
            if (str_format(esc, sizeof(esc), "\\u%04x", (unsigned)*s))
                puts_(l, esc);
            s++;
        } else {
            put(l, (const char *)s, n);
            s += n;
        }
    }
}

/* A string value. When it is cut, what fitted stays and the closing quote is added in the tail. */
static void put_string(struct line *l, const char *s)
{
    if (l->cut || l->len + 2 > LINE_MAX_BYTES - TAIL_ROOM) {
        l->cut = true;
        return;
    }
    l->s[l->len++] = '"';
    put_escaped(l, s);
    l->s[l->len++] = '"'; /* TAIL_ROOM has room for it */
}

static void put_key(struct line *l, const char *key)
{
    size_t mark = l->len;
    if (l->len > 1)
        put(l, ",", 1);
    put(l, "\"", 1);
    put_escaped(l, key);
    put(l, "\":", 2);
    /* Room for a value too: a key without one would not be JSON. */
    if (l->len + 24 > LINE_MAX_BYTES - TAIL_ROOM)
        l->cut = true;
    if (l->cut)
        l->len = mark;
}

static void put_field(struct line *l, const char *key, const char *s, int64_t i)
{
    put_key(l, key);
    if (l->cut)
        return;
    if (s) {
        put_string(l, s);
        return;
    }
    char num[24];
    if (str_format(num, sizeof(num), "%lld", (long long)i))
        puts_(l, num);
}

static ssize_t write_once(const char *s, size_t len)
{
    if (lg.way == WAY_OWN)
        return write(lg.own_fd, s, len);
    if (lg.way == WAY_SOCKET)
        return send(STDERR_FILENO, s, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (lg.way == WAY_FILE)
        return write(STDERR_FILENO, s, len);
    struct iovec iov = {.iov_base = (void *)(uintptr_t)s, .iov_len = len};
    ssize_t n = pwritev2(STDERR_FILENO, &iov, 1, -1, RWF_NOWAIT);
    if (n >= 0 || errno != EOPNOTSUPP)
        return n;
    struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT)) {
        errno = EAGAIN;
        return -1;
    }
    return write(STDERR_FILENO, s, len);
}

static void finish(struct line *l)
{
    if (!l->cut && lg.dropped != lg.told)
        put_field(l, "dropped_lines", NULL, (int64_t)lg.dropped);
    static const char cut_tail[] = ",\"cut\":true";
    if (l->cut) {
        memcpy(l->s + l->len, cut_tail, sizeof(cut_tail) - 1);
        l->len += sizeof(cut_tail) - 1;
    }
    l->s[l->len++] = '}';
    l->s[l->len++] = '\n';
    const char *start = l->s;
    size_t len = l->len;
    if (!lg.torn) { /* the first byte is a newline kept for a torn stream */
        start++;
        len--;
    }
    int saved = errno;
    ssize_t n = write_once(start, len);
    if (n == (ssize_t)len) {
        lg.torn = false;
        lg.told = lg.dropped;
    } else {
        if (n > 0)
            lg.torn = true;
        lg.dropped++;
    }
    errno = saved;
}

static const char *level_name(enum log_level level)
{
    switch (level) {
    case LOG_DEBUG:
        return "debug";
    case LOG_INFO:
        return "info";
    case LOG_WARNING:
        return "warning";
    case LOG_ERROR:
        return "error";
    }
    return "error";
}

static void begin(struct line *l, enum log_level level, const char *event)
{
    l->len = 0;
    l->cut = false;
    puts_(l, "\n{");
    char stamp[40];
    if (!str_microtime(stamp, sizeof(stamp), clock_wall_us()))
        stamp[0] = '\0';
    puts_(l, "\"ts\":");
    put_string(l, stamp);
    put_field(l, "level", level_name(level), 0);
    put_field(l, "source", lg.source, 0);
    if (lg.member[0])
        put_field(l, "member", lg.member, 0);
    put_field(l, "event", event, 0);
}

void log_setup(const char *source, enum log_level least)
{
    if (!str_copy(lg.source, sizeof(lg.source), source))
        memcpy(lg.source, "pghad", 6);
    lg.least = least;
    fd_close(&lg.own_fd);
    lg.torn = false;
    lg.way = WAY_SHARED;
    struct stat st;
    if (fstat(STDERR_FILENO, &st) != 0)
        return;
    if (S_ISREG(st.st_mode)) {
        lg.way = WAY_FILE; /* a second description would have its own offset */
    } else if (S_ISSOCK(st.st_mode)) {
        lg.way = WAY_SOCKET;
    } else {
        lg.own_fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
        if (lg.own_fd >= 0)
            lg.way = WAY_OWN;
    }
}

void log_set_level(enum log_level least)
{
    lg.least = least;
}

void log_set_member(const char *member)
{
    if (!str_copy(lg.member, sizeof(lg.member), member))
        lg.member[0] = '\0';
}

uint64_t log_dropped(void)
{
    return lg.dropped;
}

void log_write(enum log_level level, const char *event, const char *msg,
               const struct log_field *fields, size_t n)
{
    if (level < lg.least)
        return;
    begin(&line, level, event);
    put_field(&line, "msg", msg, 0);
    for (size_t i = 0; i < n; i++)
        put_field(&line, fields[i].key, fields[i].s, fields[i].i);
    finish(&line);
}

void log_record(const char *event, const char *json_line)
{
    size_t len = strlen(json_line);
    while (len > 0 && (json_line[len - 1] == '\n' || json_line[len - 1] == '\r'))
        len--;
    begin(&line, LOG_INFO, event);
    bool object = len >= 2 && json_line[0] == '{' && json_line[len - 1] == '}';
    if (object && !memchr(json_line, '\n', len) && line.len + len + 64 < LINE_MAX_BYTES) {
        put_key(&line, "record");
        put(&line, json_line, len);
    } else {
        /* Plain text, or an object too long to stay whole: as a string, so that the line is JSON. */
        put_field(&line, "text", json_line, 0);
    }
    finish(&line);
}
