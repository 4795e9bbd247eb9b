/* The flight recorder: turns that tell something new, first in memory, then on the volume.
 *
 * The loop never touches the volume for it: a child, forked with the frames it is to write, does,
 * and is spoken to by waitpid only. A volume that hangs costs the turns that memory cannot hold. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "flight/store.h"

#define PENDING_BYTES (192 * 1024)
#define REST_MS 60000      /* a turn that says nothing new, all the same: the ages in it */
#define UNSETTLED_MS 250   /* the same while something is happening */
#define SETTLED_MS 10000   /* nothing new for so long: at rest */
#define GATHER_MS 100      /* frames that wait for the writer together */
#define WRITER_EVERY_MS 500
#define REST_FLUSH_MS 600000
#define RETRY_MS 5000
#define STUCK_MS 5000
#define WRITER_FAILED 126

struct recorder {
    struct flight_spans spans;
    struct flight_turn turn, last, essence;
    uint64_t last_essence;
    bool has_last; /* frames may be differences to it */
    struct flight_meta meta;
    int64_t recorded_ms, news_ms;
    struct buf pending;
    int64_t pending_since_ms, news_pending_ms; /* 0 = none */
    size_t handed_over; /* bytes of pending that the writer has */
    pid_t writer;       /* 0 = none */
    int64_t writer_since_ms, next_writer_ms;
    bool told; /* that writing fails or hangs */
};

static uint64_t hash_of(const struct flight_turn *t)
{
    _Static_assert(sizeof *t % sizeof(uint64_t) == 0, "whole words");
    uint64_t h = 14695981039346656037ull, w;
    for (size_t i = 0; i < sizeof *t; i += sizeof w) {
        memcpy(&w, (const char *)t + i, sizeof w);
        h = (h ^ w) * 1099511628211ull;
        h ^= h >> 29; /* or high bytes would never reach the low ones */
    }
    return h;
}

struct recorder *recorder_new(void)
{
    struct recorder *r = calloc(1, sizeof *r);
    must(r != NULL);
    flight_spans_init(&r->spans);
    buf_init(&r->pending, PENDING_BYTES);
    r->meta.run = (uint64_t)clock_wall_us();
    return r;
}

/* Time itself is news while the Lease is not renewed: an election is decided by silence. */
static bool unsettled(const struct recorder *r, int64_t now)
{
    const struct view *v = &r->turn.view;
    int64_t age = now - v->lv.changed_ms;
    return now - r->news_ms < SETTLED_MS ||
           (age > 2 * v->set.renew_ms && age < 3 * v->set.lease_ms);
}

void recorder_note(struct agent *a, int64_t now, bool held)
{
    struct recorder *r = a->recorder;
    r->meta.seq++;
    r->turn.view = a->view;
    r->turn.memo = a->memo;
    r->turn.verdict = a->verdict;
    flight_clean(&r->spans, &r->turn);
    flight_essence(&r->spans, &r->essence, &r->turn);
    uint64_t essence = hash_of(&r->essence);
    bool news = essence != r->last_essence || held;
    if (news)
        r->news_ms = now;
    int64_t wait_ms = unsettled(r, now) ? UNSETTLED_MS : REST_MS;
    if (!news && r->recorded_ms != 0 && now - r->recorded_ms < wait_ms)
        return;
    r->meta.wall_us = clock_wall_us();
    r->meta.held = held;
    r->meta.key = !r->has_last;
    if (!flight_encode(&r->pending, &r->turn, &r->last, &r->meta)) {
        r->meta.lost++; /* the next one that fits says how many */
        r->has_last = false;
        return;
    }
    r->meta.lost = 0;
    r->last = r->turn;
    r->has_last = true;
    r->last_essence = essence;
    r->recorded_ms = now;
    if (r->pending_since_ms == 0)
        r->pending_since_ms = now;
    if (news && r->news_pending_ms == 0)
        r->news_pending_ms = now;
}

/* The child of a process with one thread may do what it likes, and so may hang for ever. No
 * descriptor stays: a dead agent's sockets must not live on in it. */
_Noreturn static void write_and_exit(const struct agent *a)
{
    const struct recorder *r = a->recorder;
    struct err e = {0};
    if (close_range(3, ~0u, 0) != 0)
        _exit(errno);
    if (flight_append(a->env.state_dir, &a->id.name, r->pending.data, r->pending.len, &e))
        _exit(0);
    _exit(e.code > 0 && e.code < WRITER_FAILED ? e.code : WRITER_FAILED);
}

static void writer_ended(struct recorder *r, int status, int64_t now)
{
    r->writer = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        buf_consume(&r->pending, r->handed_over);
        r->handed_over = 0;
        r->told = false;
        return;
    }
    r->handed_over = 0;
    r->next_writer_ms = now + RETRY_MS;
    if (r->told)
        return;
    r->told = true;
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    log_event(LOG_WARNING, "flight-unwritten", "the flight record could not be written",
              LOG_S("why", code == 0 || code == WRITER_FAILED ? "the writer was ended"
                                                              : strerror(code)));
}

static void reap(struct recorder *r, int64_t now)
{
    int status = 0;
    pid_t got = waitpid(r->writer, &status, WNOHANG);
    if (got == r->writer || (got < 0 && errno == ECHILD)) {
        writer_ended(r, got < 0 ? WRITER_FAILED << 8 : status, now);
    } else if (!r->told && now - r->writer_since_ms > STUCK_MS) {
        r->told = true;
        log_event(LOG_WARNING, "flight-stuck", "the volume does not take the flight record",
                  LOG_I("pending_bytes", (int64_t)r->pending.len));
    }
}

static bool due(const struct recorder *r, int64_t now)
{
    if (r->pending.len == 0 || now < r->next_writer_ms)
        return false;
    return (r->news_pending_ms != 0 && now - r->news_pending_ms >= GATHER_MS) ||
           r->pending.len > PENDING_BYTES / 2 || now - r->pending_since_ms >= REST_FLUSH_MS;
}

void recorder_flush(struct agent *a, int64_t now)
{
    struct recorder *r = a->recorder;
    if (r->writer != 0)
        reap(r, now);
    if (r->writer != 0)
        return;
    if (!due(r, now) && !(a->exiting && r->pending.len > 0)) {
        if (r->news_pending_ms != 0)
            loop_wake_at(a->loop, r->news_pending_ms + GATHER_MS > r->next_writer_ms
                                      ? r->news_pending_ms + GATHER_MS
                                      : r->next_writer_ms);
        return;
    }
    pid_t pid = fork();
    if (pid == 0)
        write_and_exit(a);
    r->next_writer_ms = now + (pid < 0 ? RETRY_MS : WRITER_EVERY_MS);
    if (pid < 0)
        return;
    r->writer = pid;
    r->writer_since_ms = now;
    r->handed_over = r->pending.len;
    r->pending_since_ms = r->news_pending_ms = 0;
    r->has_last = false; /* the next append begins with a key */
}
