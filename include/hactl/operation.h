/* Operator intents from the giving side: compare-and-swap into the ConfigMap, then follow. */
#ifndef PGHAD_HACTL_OPERATION_H
#define PGHAD_HACTL_OPERATION_H

#include <json-c/json.h>
#include <stdbool.h>

#include "base/err.h"
#include "core/intent.h"
#include "hactl/session.h"

/* Changes the state ConfigMap by compare-and-swap: change() gets its `data` object and may refuse
 * by returning an exit code other than EXIT_DONE (after saying why); it is called anew after each
 * conflict. landed() tells from a fresh copy whether a write of unknown outcome is there. */
struct state_change {
    int (*change)(struct session *s, struct json_object *data, void *arg);
    bool (*landed)(struct json_object *data, void *arg);
    void *arg;
};
int state_update(struct session *s, const struct state_change *c);

/* Reads the ConfigMap; NOT_FOUND when the cluster has no state yet. *ret is owned by the caller. */
bool state_read(struct session *s, struct json_object **ret, struct err *e);

/* Gives the intent (id, epoch, stamps and author are filled in). Exit code 5 when another one is
 * open. */
int operation_give(struct session *s, struct intent *in);

enum follow { FOLLOW_ACCEPTED, FOLLOW_FINAL, FOLLOW_QUIET /* final, and only a failure is said */ };

/* Shows progress until the result is accepted or final; withdraws an order that nobody took. The
 * verdict is said; *ret is the last result seen. */
int operation_follow(struct session *s, const struct intent *in, enum follow until,
                     struct intent_result *ret);

/* One line of phases and their milliseconds, "" when none is known. */
void operation_phases_text(char *dst, size_t size, const struct intent_result *r);

#endif
