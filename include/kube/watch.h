/* The latest state of one Lease, one ConfigMap or the pods of a selector, by list and watch.
 *
 * A watch is a hint: it tells when to look. Rights rest on linearizable reads and on 2xx writes,
 * whose results are merged in with kube_watch_merge so that there is one view. Order of versions is
 * decided by receipt and equality of resourceVersions, never by their numbers. */
#ifndef PGHAD_KUBE_WATCH_H
#define PGHAD_KUBE_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "kube/client.h"

struct kube_watch;

/* idle_ms: a stream silent for that long is closed and the state listed again (Lease: about three
 * renewals; others: above 60 s, the server's bookmarks). Never NULL. */
struct kube_watch *kube_watch_lease(struct kube *k, const char *name, int64_t idle_ms);
struct kube_watch *kube_watch_configmap(struct kube *k, const char *name, int64_t idle_ms);
struct kube_watch *kube_watch_pods(struct kube *k, const char *selector, const char *role_label,
                                   int64_t idle_ms);
void kube_watch_free(struct kube_watch *w); /* NULL accepted */
/* The role of a Lease watch changes the pace at which silence is noticed. */
void kube_watch_set_idle(struct kube_watch *w, int64_t idle_ms);

bool kube_watch_known(const struct kube_watch *w);     /* read at least once, present or absent */
bool kube_watch_connected(const struct kube_watch *w); /* a stream is open and answered */
uint64_t kube_watch_generation(const struct kube_watch *w); /* raised by each change */
/* BOOTTIME when the present version was first received; a version that comes again, with the events
 * that follow an old list, keeps its time. */
int64_t kube_watch_changed_ms(const struct kube_watch *w);
int64_t kube_watch_taken_ms(const struct kube_watch *w); /* BOOTTIME when it was last taken over */
int64_t kube_watch_contact_ms(const struct kube_watch *w);  /* last byte understood; 0 = never */
/* BOOTTIME when the last linearizable read or 2xx write that gave the present state was sent;
 * 0 = the state came by an event since. */
int64_t kube_watch_got_ms(const struct kube_watch *w);
const struct err *kube_watch_error(const struct kube_watch *w); /* last failure; kind NONE = none */

/* The state; valid until the next turn of the loop or merge. Only for a watch of that kind. */
const struct kube_lease *kube_watch_get_lease(const struct kube_watch *w);
const struct kube_configmap *kube_watch_get_configmap(const struct kube_watch *w);
const struct kube_pods *kube_watch_get_pods(const struct kube_watch *w);

/* Takes over the result of a finished GET, POST, PUT or PATCH of the watched object: its object
 * after a 2xx, its absence after a GET's 404. False (nothing done) for anything else. */
bool kube_watch_merge(struct kube_watch *w, struct kube_call *c);
/* Lists again at once. */
void kube_watch_refresh(struct kube_watch *w);

#endif
