/* Messages between agent and guard: fixed layout, one per packet of a SOCK_SEQPACKET pair.
 *
 * The agent's end is descriptor PGHA_GUARD_FD. Both programs come from one build; another version
 * is refused. Requests carry a sequence number; the status that guard sends says which request was
 * finished last and how. Guard sends a status on every change and on request, and never blocks. */
#ifndef PGHAD_BASE_LINK_H
#define PGHAD_BASE_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/page.h"

#define LINK_VERSION 1u
#define LINK_PATH_SIZE 1024
#define LINK_ARGS_SIZE 4096
#define LINK_ARGS_MAX 48 /* arguments in args */

/* Environment of the agent. */
#define LINK_ENV_FD "PGHA_GUARD_FD"
#define LINK_ENV_PAGE_FD "PGHA_PAGE_FD"

/* Exit codes of a child that never became postgres; PostgreSQL itself uses 0 to 3. */
#define LINK_EXIT_LOCK_HELD 121 /* server.lock belongs to somebody else */
#define LINK_EXIT_LOCK_ERROR 122 /* server.lock cannot be opened or locked */
#define LINK_EXIT_NO_EXEC 127

/* Exit code of an agent whose configuration cannot be used. While guard has started no server it
 * ends the container with it, so that the pod shows it; later postgres goes on being served. */
#define LINK_EXIT_CONFIG 2

enum link_kind {
    LINK_START_POSTGRES = 1,
    LINK_SIGNAL_POSTGRES,
    LINK_KILL_SERVERS,
    LINK_STATUS_REQUEST,
    LINK_WATCH, /* page.writable is set or the deadline lowered: guard looks at the page now */
    LINK_EXIT,  /* orderly end of the container; everything left is killed */
    LINK_STATUS = 64,
};

/* argv of postgres: bin, "-D", data_dir, then args. */
struct link_start {
    char bin[LINK_PATH_SIZE];
    char data_dir[LINK_PATH_SIZE];
    uint32_t nargs;
    char args[LINK_ARGS_SIZE]; /* nargs NUL-terminated strings, one after the other */
};

struct link_signal {
    int32_t sig; /* SIGHUP, SIGUSR1, SIGINT, SIGQUIT or SIGTERM, to the postmaster */
};

/* Ends everything but guard, the agent and the agent's own children, until server.lock is free. */
struct link_kill {
    uint32_t term_ms; /* 0: SIGKILL at once; otherwise SIGTERM first and SIGKILL after this time */
};

struct link_exit {
    int32_t code; /* 0 to 255 */
};

enum link_lock { LINK_LOCK_UNKNOWN, LINK_LOCK_FREE, LINK_LOCK_HELD };

enum link_result {
    LINK_OK,
    LINK_BUSY,       /* a start or kill is under way; repeat later */
    LINK_RUNNING,    /* start: postgres is there already */
    LINK_NOT_RUNNING, /* signal: there is no postgres */
    LINK_STUCK,      /* start: server.lock stays held although everything else was killed */
    LINK_UNKNOWN,    /* start: the volume does not answer whether server.lock is free */
    LINK_STOPPING,   /* start: guard is stopping everything by itself */
    LINK_INVALID,    /* malformed, or a signal that is not allowed */
    LINK_FAILED,     /* fork failed */
};

struct link_status {
    uint32_t done_seq;      /* last request finished, 0: none of this agent */
    uint32_t done_result;   /* enum link_result of it */
    uint32_t task_seq;      /* last start or kill finished or refused: those take a while */
    uint32_t task_result;   /* enum link_result of it */
    int32_t postgres_pid;   /* 0: no postmaster */
    int32_t last_exit;      /* wait status of the last postmaster; -1: none ended yet */
    uint32_t starts;        /* postmasters started since guard started */
    uint32_t server_lock;   /* enum link_lock: is any process of any server alive? */
    uint32_t sweeping;      /* 1 while a kill of leftovers is under way */
    uint32_t fenced;        /* fences since guard started */
    uint32_t terminate;     /* SIGTERM and SIGINT seen: hand over and send LINK_EXIT */
    uint32_t agent_starts;  /* agents started, this one included */
    int64_t terminate_by_ms; /* BOOTTIME when guard stops waiting for LINK_EXIT; 0: not asked */
    char boot_id[PAGE_BOOT_ID_SIZE];
};

struct link_msg {
    uint32_t version;
    uint32_t kind; /* enum link_kind */
    uint32_t seq;  /* requests: > 0, increasing; status: 0 */
    uint32_t size; /* bytes of the packet */
    union {
        struct link_start start;
        struct link_signal signal;
        struct link_kill kill;
        struct link_exit exit;
        struct link_status status;
    } u;
};

/* Bytes of a packet of this kind, 0 when the kind is unknown. */
size_t link_size(uint32_t kind);
/* Fills header fields and zeroes the rest. */
void link_init(struct link_msg *m, enum link_kind kind, uint32_t seq);

enum link_io { LINK_IO_OK, LINK_IO_AGAIN, LINK_IO_CLOSED, LINK_IO_BAD };
/* Neither blocks. CLOSED: the other side is gone. BAD: received something that is no message. */
enum link_io link_send(int fd, const struct link_msg *m);
enum link_io link_recv(int fd, struct link_msg *ret);

/* args of a link_start; extra is NULL-terminated and may be NULL. ERR_INVALID when it does not fit. */
bool link_fill_start(struct link_start *s, const char *bin, const char *data_dir,
                     const char *const *extra, struct err *e);
/* argv of a link_start, pointing into s: room for LINK_ARGS_MAX + 4. False when s is malformed. */
bool link_start_argv(const struct link_start *s, const char **argv);

const char *link_result_name(uint32_t result);
const char *link_lock_name(uint32_t lock);

#endif
