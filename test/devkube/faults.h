/* Rules that make the server misbehave for some requests.
 *
 * A request rule fires for a request (the first rule that fires wins); a stream rule, one with
 * freeze_watch or truncate_history, acts on watches that are open or about to be. */
#ifndef DEVKUBE_FAULTS_H
#define DEVKUBE_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

#include "devkube/api.h"
#include "devkube/reply.h"
#include "devkube/store.h"

struct faults;

/* Who asks for what; patterns of rules are shell globs, several joined by commas. */
struct fault_key {
    const char *source; /* address of the client, without port */
    const char *user;
    const char *verb;
    const char *resource;
    const char *ns;
    const char *name;
};

struct fault_effects {
    bool refuse;           /* reset the connection; at accept when only `source` is given */
    bool drop_before;      /* reset without committing */
    bool drop_after;       /* commit, then reset */
    bool half_open;        /* never answer; with commit after committing */
    bool chunk1;           /* body in one-byte chunks */
    bool truncate;         /* half of the body, then the end of the connection */
    bool garbage;          /* 200 with a body that is not JSON */
    bool commit;           /* commit before answering `status` or hanging */
    bool ignore_timeout;   /* delay_before_ms may outlast ?timeout= and still commit */
    bool stale_list;       /* reads see the objects as they were when the rule was made */
    bool freeze_watch;     /* stream: silent, without end, while the rule stands */
    bool truncate_history; /* stream: ERROR event 410, then the end */
    int64_t delay_before_ms;
    int64_t delay_after_ms;
    int64_t status; /* answer this code */
    int64_t retry_after;
    int64_t huge; /* body of that many MiB */
    char message[256];
    struct store *stale; /* a reference when stale_list; the receiver drops it */
};

struct faults *faults_new(struct store *st);
void faults_free(struct faults *f);

/* Adds the rule described by o (borrowed); false: rp holds the 400, else the 201. */
bool faults_add(struct faults *f, const struct json_object *o, struct reply *rp);
struct json_object *faults_render(const struct faults *f); /* owned by the caller */
void faults_clear(struct faults *f);
bool faults_remove(struct faults *f, int64_t id); /* false when there is none */

bool faults_fire(struct faults *f, const struct fault_key *k, struct fault_effects *ret);
/* True when a connection from there is to be refused before it says anything. */
bool faults_refuse(struct faults *f, const char *source);
bool faults_frozen(const struct faults *f, const struct fault_key *k);
bool faults_expire(struct faults *f, const struct fault_key *k);

/* The answer of a rule with `status`: what the real server says with that code. */
void faults_answer(const struct fault_effects *fx, const struct api_request *rq, struct reply *rp);

#endif
