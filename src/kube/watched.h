/* The state behind one watch, apart from how it is fetched: which version is the newest. */
#ifndef PGHAD_SRC_KUBE_WATCHED_H
#define PGHAD_SRC_KUBE_WATCHED_H

#include "kube/client.h"

#define SEEN_MAX 64
#define SEEN_RENEWED_SIZE 40
#define AWAIT_MS 2000

enum watched_kind { WATCHED_LEASE, WATCHED_CONFIGMAP, WATCHED_PODS };

/* A version of the object that was received once. */
struct seen {
    char rv[KUBE_RV_SIZE];
    char renewed[SEEN_RENEWED_SIZE]; /* renewTime of a Lease: a number may come again, a write does not */
    int64_t first_ms;
};

/* Versions have no order that a client may compute, so the order comes from what is certain: events
 * arrive in order; a linearizable read sent after a version was received is not older than it; a
 * version that has been seen and is no longer the present one is older. */
struct watched {
    enum watched_kind kind;
    char name[256]; /* of the object; "" for pods */
    char role_label[256];
    bool known;
    uint64_t generation;
    int64_t taken_ms; /* when the present state was taken over */
    /* When it was received for the first time. An old list followed by the events since does not make
     * it young: a holder that is dead would seem to renew with each such list. */
    int64_t changed_ms;
    int64_t got_ms;
    struct kube_lease lease;
    struct kube_configmap configmap;
    struct kube_pods pods;
    struct seen seen[SEEN_MAX]; /* ring */
    unsigned seen_next;
    bool awaiting; /* the stream lags behind a merged result: events up to it are old */
    bool await_absence;
    char await_rv[KUBE_RV_SIZE];
    int64_t await_until_ms;
    uint64_t *rejected; /* counter, borrowed */
};

enum watched_verdict {
    WATCHED_SAME,      /* agrees with the present state */
    WATCHED_NEWER,     /* taken over */
    WATCHED_OLDER,     /* dropped */
    WATCHED_AMBIGUOUS, /* dropped; only a new list can tell */
    WATCHED_DAMAGED,
};

void watched_done(struct watched *w);
/* Version of the present state; "" when it does not exist. */
const char *watched_rv(const struct watched *w);

/* obj NULL: it does not exist. A linearizable read or 2xx write, sent at sent_ms. */
enum watched_verdict watched_merge(struct watched *w, struct json_object *obj, int64_t sent_ms,
                                   int64_t done_ms, struct err *e);
/* All objects of a list (not for the pods of a stream). */
enum watched_verdict watched_list(struct watched *w, struct json_object *list, int64_t sent_ms,
                                  int64_t done_ms, struct err *e);
/* One event of the stream: ADDED or MODIFIED (gone false), DELETED (gone true). */
enum watched_verdict watched_event(struct watched *w, struct json_object *obj, bool gone,
                                   int64_t now_ms, struct err *e);
/* The stream did not deliver in time what a merged result promised. */
bool watched_overdue(const struct watched *w, int64_t now_ms);

#endif
