/* The fence page: one page of memory shared by guard and agent.
 *
 * It lives in a memfd that guard creates and every agent inherits (descriptor in PGHA_PAGE_FD).
 * The agent writes the deadline and the writable mark, guard reads them and acts; neither can
 * delay the other. The commit gate maps it in every backend, to look and not to write. All marks are
 * sequentially consistent: they are written a few times a second.
 *
 * The rule: postgres may be writable only while now < deadline_ms. Guard ends every process of the
 * namespace as soon as writable is set and the deadline has passed. */
#ifndef PGHAD_BASE_PAGE_H
#define PGHAD_BASE_PAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define PAGE_BYTES 4096
#define PAGE_MAGIC 0x70676861u
#define PAGE_VERSION 1u
/* Environment of postgres: a descriptor of the page for reading only, which the commit gate maps. */
#define PAGE_ENV_SERVER_FD "PGHA_GATE_FD"
#define PAGE_BOOT_ID_SIZE 40

struct fence_page {
    uint32_t magic;
    uint32_t version;
    char boot_id[PAGE_BOOT_ID_SIZE]; /* random per guard start, 32 hexadecimal digits */
    int32_t guard_pid;               /* 1 */
    uint32_t reserved0;
    _Atomic int64_t deadline_ms;   /* CLOCK_BOOTTIME; 0: no right. Written by the agent; guard sets 0 */
    _Atomic int64_t agent_beat_ms; /* CLOCK_BOOTTIME of the agent's last turn */
    /* "postgres may be writable": set by the agent before it promotes, cleared by guard and only
     * after the last server process is gone. */
    _Atomic uint32_t writable;
    _Atomic uint32_t fenced; /* fences since guard started */
    unsigned char reserved[PAGE_BYTES - 80];
};

_Static_assert(sizeof(struct fence_page) == PAGE_BYTES, "one page");
_Static_assert(offsetof(struct fence_page, deadline_ms) == 56, "layout is shared with the gate");
_Static_assert(offsetof(struct fence_page, writable) == 72, "layout is shared with the gate");

/* A new page in a memfd whose size is sealed (nobody can make guard fault by truncating it).
 * Guard only. *ret_fd is close-on-exec. */
bool page_create(const char *boot_id, int *ret_fd, struct fence_page **ret, struct err *e);
/* Another description of the page, which cannot be made writable by whoever inherits it;
 * close-on-exec. -1 with errno on failure. */
int page_read_only(int fd);
/* Maps an existing page for reading and writing; checks magic and version. */
bool page_map(int fd, struct fence_page **ret, struct err *e);
void page_unmap(struct fence_page *p); /* NULL accepted */

int64_t page_deadline_ms(const struct fence_page *p);
bool page_writable(const struct fence_page *p);
uint32_t page_fenced(const struct fence_page *p);

/* A right given by the lease itself (2xx of a renewal): also after a lapse. deadline_ms > 0. */
void page_grant(struct fence_page *p, int64_t deadline_ms);
/* A right given by promises: extends only a deadline that has not passed, for a lapse is final.
 * Never shortens. On false the deadline has passed, and guard fences if postgres is writable. */
bool page_extend(struct fence_page *p, int64_t deadline_ms);
/* The deadline is "passed" from now on: before a release or hand-over is sent. */
void page_forfeit(struct fence_page *p);

/* Writes must not be possible (any more): writable is set and the deadline has passed at now_ms. */
bool page_overdue(const struct fence_page *p, int64_t now_ms);

void page_set_writable(struct fence_page *p); /* agent, through guard_link_arm() only */
void page_clear_writable(struct fence_page *p); /* guard only, after the last server process */
uint32_t page_count_fence(struct fence_page *p); /* guard only; returns the new number */
void page_beat(struct fence_page *p, int64_t now_ms); /* agent, once a turn */
int64_t page_beat_ms(const struct fence_page *p);

#endif
