/* The agent's side of the link to guard, as a loop source.
 *
 * Requests are sent at once and never block; their result shows in a later status (done_seq,
 * done_result). When guard is gone the agent must exit: nobody fences any more. */
#ifndef PGHAD_LOOP_GUARDLINK_H
#define PGHAD_LOOP_GUARDLINK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/link.h"
#include "base/page.h"
#include "loop/loop.h"

struct guard_link;

/* From the environment that guard gives (LINK_ENV_FD, LINK_ENV_PAGE_FD); NULL on failure. The
 * descriptors become close-on-exec and belong to the link. Asks for a status. */
struct guard_link *guard_link_new(struct err *e);
/* The same from given descriptors, which it owns from here on, also on failure. */
struct guard_link *guard_link_open(int link_fd, int page_fd, struct err *e);
void guard_link_free(struct guard_link *g); /* NULL accepted */
struct loop_source guard_link_source(struct guard_link *g);

bool guard_link_lost(const struct guard_link *g);
/* The last status, borrowed until the next turn; NULL before the first one. */
const struct link_status *guard_link_status(const struct guard_link *g);
/* The fence page, borrowed. The owner calls page_beat() each turn. */
struct fence_page *guard_link_page(const struct guard_link *g);

/* Postgres may be writable, as of the last turn: never false before the status tells that the server is gone
 * (guard says so first and clears the mark then). */
bool guard_link_writable(const struct guard_link *g);

/* Before promoting: sets page.writable and tells guard to watch the deadline. On false nothing may
 * be promoted (the message did not get through); call again in a later turn. */
bool guard_link_arm(struct guard_link *g, struct err *e);
/* After the deadline was lowered: guard sleeps until the one it knew. On false guard has messages
 * unread, which wake it as well, or is gone. */
bool guard_link_watch(struct guard_link *g, struct err *e);

/* Each returns the sequence number of the request, 0 when it could not be sent now. */
uint32_t guard_link_start(struct guard_link *g, const char *bin, const char *data_dir,
                          const char *const *extra, struct err *e);
uint32_t guard_link_signal(struct guard_link *g, int sig, struct err *e);
uint32_t guard_link_kill_servers(struct guard_link *g, uint32_t term_ms, struct err *e);
uint32_t guard_link_request_status(struct guard_link *g, struct err *e);
uint32_t guard_link_exit(struct guard_link *g, int code, struct err *e);

#endif
