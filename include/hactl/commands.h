/* The verbs. Each returns an exit code and has said what went wrong. */
#ifndef PGHAD_HACTL_COMMANDS_H
#define PGHAD_HACTL_COMMANDS_H

#include <stdbool.h>

struct session;

int cmd_list(struct session *s);
int cmd_topology(struct session *s);
int cmd_switchover(struct session *s);
int cmd_failover(struct session *s);
int cmd_pause(struct session *s);
int cmd_resume(struct session *s);
int cmd_restart(struct session *s);
int cmd_reload(struct session *s);
int cmd_reinit(struct session *s);
int cmd_rollout(struct session *s);
int cmd_history(struct session *s);
int cmd_explain(struct session *s);
int cmd_record(struct session *s);
int cmd_doctor(struct session *s);
/* explain with --at, --what-if or --file: from a flight record, not from the cluster. */
bool explain_wants_record(const struct session *s);
int explain_record(struct session *s);
int cmd_show_config(struct session *s);
int cmd_edit_config(struct session *s);
int cmd_config(struct session *s);
int cmd_wait(struct session *s);
int cmd_dsn(struct session *s);
int cmd_psql(struct session *s);
int cmd_completion(struct session *s);
int cmd_version(struct session *s);
int cmd_help(struct session *s);

#endif
