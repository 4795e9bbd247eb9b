/* The tables of options and commands: everything that the command line has is a line here. */
#include "hactl/commands.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "hactl/args.h"

static const struct opt_def opts[OPT_COUNT] = {
    [OPT_KUBECONFIG] = {"kubeconfig", 0, ARG_FILE, "FILE", NULL,
                        "kubeconfig (default: $KUBECONFIG, ~/.kube/config, in a pod its account)",
                        false},
    [OPT_CONTEXT] = {"context", 0, ARG_TEXT, "NAME", NULL, "context of the kubeconfig", false},
    [OPT_NAMESPACE] = {"namespace", 'n', ARG_TEXT, "NS", NULL, "namespace of the cluster", false},
    [OPT_CLUSTER] = {"cluster", 'c', ARG_TEXT, "NAME", NULL,
                     "cluster (default: $PGHA_CLUSTER, else the only one in the namespace)", false},
    [OPT_OUTPUT] = {"output", 'o', ARG_WORD, "FORMAT", "table|wide|json|yaml|name",
                    "how results are written", false},
    [OPT_SOCKET] = {"socket", 0, ARG_FILE, "PATH", NULL,
                    "ask the agent on this unix socket instead of the Kubernetes API (read only)",
                    false},
    [OPT_TIMEOUT] = {"timeout", 0, ARG_SECONDS, "TIME", NULL,
                     "give up after this time, as 30, 30s or 2m", false},
    [OPT_NO_COLOR] = {"no-color", 0, ARG_NONE, NULL, NULL,
                      "no colour, also on a terminal (as NO_COLOR)", false},
    [OPT_HELP] = {"help", 'h', ARG_NONE, NULL, NULL, "help on the command", false},
    [OPT_WATCH] = {"watch", 'w', ARG_NONE, NULL, NULL, "keep showing, until interrupted", false},
    [OPT_TO] = {"to", 0, ARG_MEMBER, "POD", NULL, "the member that shall be primary", false},
    [OPT_FORCE] = {"force", 0, ARG_NONE, NULL, NULL,
                   "do not ask, and skip soft refusals such as lag; never a safety rule", false},
    [OPT_DRY_RUN] = {"dry-run", 0, ARG_NONE, NULL, NULL, "check and say what would be done", false},
    [OPT_ACCEPT_LOSS] = {"accept-data-loss", 0, ARG_NONE, NULL, NULL,
                         "go on with what the target has, though voters that may have more are lost", false},
    [OPT_WAIT] = {"wait", 0, ARG_NONE, NULL, NULL, "wait until it is done", false},
    [OPT_SET] = {"set", 's', ARG_TEXT, "KEY=VALUE", NULL,
                 "set one key (dotted path); KEY= alone removes it; may be repeated", true},
    [OPT_APPLY] = {"apply", 0, ARG_FILE, "FILE", NULL, "take the settings from FILE, - for stdin",
                   false},
    [OPT_FOR] = {"for", 0, ARG_WORD, "STATE", "primary|replica|synced", "what to wait for", false},
    [OPT_ROLE] = {"role", 'r', ARG_WORD, "ROLE", "primary|replica|any",
                  "which members to connect to (default: primary)", false},
    [OPT_REPLICA] = {"replica", 0, ARG_NONE, NULL, NULL,
                     "prefer a replica, else the primary (as --role replica)", false},
    [OPT_USER] = {"user", 'U', ARG_TEXT, "NAME", NULL,
                  "database user (default: $PGUSER, else the cluster's superuser)", false},
    [OPT_DBNAME] = {"db", 'd', ARG_TEXT, "NAME", NULL,
                    "database (default: $PGDATABASE, else the cluster's first one)", false},
    [OPT_DNS] = {"dns", 0, ARG_NONE, NULL, NULL,
                 "names of the headless Service instead of pod addresses", false},
    [OPT_CLUSTER_WIDE] = {"cluster-wide", 0, ARG_NONE, NULL, NULL,
                          "check FILE as cluster-wide settings, as edit-config does", false},
    [OPT_FILE] = {"file", 'f', ARG_FILE, "FILE", NULL,
                  "the flight record: written by record (- for stdout), read by explain", false},
    [OPT_AT] = {"at", 0, ARG_TEXT, "TIME", NULL,
                "the decision in force then: 2026-11-21T08:00:00Z, or how long ago, as 5m", false},
    [OPT_WHAT_IF] = {"what-if", 0, ARG_TEXT, "KEY=VALUE", NULL,
                     "decide the recorded turns with another setting; may be repeated", true},
    [OPT_IMAGE] = {"image", 0, ARG_TEXT, "IMAGE", NULL, "the image that every member shall run", false},
    [OPT_CONTAINER] = {"container", 0, ARG_TEXT, "NAME", NULL,
                       "container of --image (default: kubectl's default one, else postgres)", false},
};

const enum opt_id global_opts[] = {
    OPT_KUBECONFIG, OPT_CONTEXT, OPT_NAMESPACE, OPT_CLUSTER, OPT_OUTPUT,
    OPT_SOCKET,     OPT_TIMEOUT, OPT_NO_COLOR,  OPT_HELP,    OPT_NONE,
};

static const struct command commands[] = {
    {.name = "list",
     .alias = "status",
     .operands = "",
     .help = "members with role, state, timeline and lag",
     .text = "Exits with 3 when the cluster is degraded: no primary, a member that is not running "
             "or not streaming, or a sealed primary. LAG is the WAL that the member has not "
             "received yet; numbers come from the members themselves when they can be reached, "
             "else from the last status they published, marked with ~; one that "
             "alone does not answer is shown so. With --watch "
             "the view is renewed until interrupted.",
     .opts = {OPT_WATCH},
     .run = cmd_list},
    {.name = "topology",
     .operands = "",
     .help = "members as a tree of who streams from whom",
     .text = "Exit codes as for list.",
     .run = cmd_topology},
    {.name = "switchover",
     .operands = "",
     .help = "planned change of the primary, without loss",
     .text = "Without --to the best standby is taken. Shows the topology, asks, hands the order to "
             "the primary, streams its progress, and ends with a verdict: done or failed with the "
             "milliseconds of each phase, or refused with the reason (exit code 5, nothing was "
             "changed). The topology after is shown once the former primary streams, at most 5 s "
             "later. --dry-run checks what can be seen from here and orders nothing.",
     .opts = {OPT_TO, OPT_FORCE, OPT_DRY_RUN},
     .run = cmd_switchover},
    {.name = "failover",
     .alias = "promote",
     .operands = "",
     .help = "make a member primary when the primary is gone",
     .text = "For a cluster without a primary that answers; where there is one, this is a "
             "switchover that does not insist on its help. The target is promoted only with "
             "sufficient reports of the other members. Where too few of them are left, the order is "
             "refused and says what the target lacks as far as that is known; --accept-data-loss "
             "then goes on with the target's copy. It replaces the reports and nothing else: the "
             "Lease of the old primary is waited for, and a voter that answers and has more goes "
             "first.",
     .opts = {OPT_TO, OPT_FORCE, OPT_DRY_RUN, OPT_ACCEPT_LOSS},
     .run = cmd_failover},
    {.name = "pause",
     .operands = "",
     .help = "no automatic failover until resume",
     .text = "The primary keeps its Lease and serves; nobody is promoted, also when it dies. "
             "Fencing stays in force. --wait stays until every member that has a pod knows it.",
     .opts = {OPT_WAIT},
     .run = cmd_pause},
    {.name = "resume",
     .operands = "",
     .help = "automatic failover again",
     .text = "Ends what pause began. --wait stays until every member that has a pod knows it.",
     .opts = {OPT_WAIT},
     .run = cmd_resume},
    {.name = "restart",
     .operands = "[POD]",
     .operand_kind = ARG_MEMBER,
     .max = 1,
     .help = "restart postgres of a member, or of all one by one",
     .text = "Without POD the replicas are restarted one after the other, each streaming again "
             "before the next, and the primary last. With POD the command ends when the member has "
             "accepted; --wait stays until it serves again.",
     .opts = {OPT_WAIT, OPT_FORCE},
     .run = cmd_restart},
    {.name = "rollout",
     .operands = "[restart]",
     .operand_kind = ARG_WORD,
     .max = 1,
     .help = "replace the pods one by one: another image, a new template, or a restart",
     .text = "Replicas first, each until it streams and votes again and commits have the copies that "
             "they had before; then a switchover to one of them; the old primary last. --image "
             "changes the StatefulSet's template; `rollout restart` stamps it; without either the "
             "pods that differ from the template as it is are replaced. Nothing is stored: what is "
             "left to do is the pods whose revision is not the newest, so after Ctrl-C or a failure "
             "the same command goes on where it was. A StatefulSet with RollingUpdate is set to "
             "OnDelete meanwhile, since its controller goes by number; its strategy is put back at "
             "the end. --timeout is for each member (default 10m). A member that does not come back "
             "ends the rollout with exit code 1, those after it are not touched; refused (5) is one "
             "without a primary, of a paused cluster, or with a member that is unwell. --dry-run "
             "says the order and asks the API server whether it would be allowed.",
     .opts = {OPT_IMAGE, OPT_CONTAINER, OPT_FORCE, OPT_DRY_RUN},
     .run = cmd_rollout},
    {.name = "reload",
     .operands = "[POD]",
     .operand_kind = ARG_MEMBER,
     .max = 1,
     .help = "read the settings again",
     .text = "Without POD every member reloads, one after the other, each with its own verdict: done, or "
             "failed with the fault that its file has. It always waits; --wait is accepted.",
     .opts = {OPT_WAIT},
     .run = cmd_reload},
    {.name = "reinit",
     .operands = "POD",
     .operand_kind = ARG_MEMBER,
     .min = 1,
     .max = 1,
     .help = "replace a replica's data directory by a new copy",
     .text = "Refused for the primary and where the member may hold the last copy of an "
             "acknowledged write.",
     .opts = {OPT_WAIT, OPT_FORCE},
     .run = cmd_reinit},
    {.name = "history",
     .operands = "",
     .help = "changes of the primary: when, why, how long, what was lost",
     .text = "Oldest first. GAP is how long at most nobody could write: from the last moment at which "
             "the old primary could acknowledge a write, or the noticing of its crash, until the new "
             "one admitted clients. The new primary measures it by its own clock; the old one tells "
             "it how long ago it could last write. Where the old primary vanished, its last answer "
             "counts, which may be a second too early; without any answer the gap is left out. LOST "
             "is 0 where it is proved that no acknowledged write was lost, and left out otherwise. "
             "With -o wide the milliseconds of each phase.",
     .run = cmd_history},
    {.name = "explain",
     .operands = "[POD]",
     .operand_kind = ARG_MEMBER,
     .max = 1,
     .help = "the rule in force on each member and its last decisions",
     .text = "The rule and its reason are what each member published. The recent decisions are "
             "asked from POD (default: the primary), which must be reachable from here. "
             "With --file, --at or --what-if the flight record of a member is read instead: the "
             "copy given, else that of the pod in which hactl runs. It tells the story: each "
             "change of the rule, and marked with * what changed around it (the Lease, reports, "
             "orders, crashes); with --at what was known then, which rule fired and why, and which "
             "rules were one fact away; with --what-if where other settings would have decided "
             "otherwise.",
     .opts = {OPT_FILE, OPT_AT, OPT_WHAT_IF},
     .run = cmd_explain},
    {.name = "record",
     .operands = "[POD]",
     .operand_kind = ARG_MEMBER,
     .max = 1,
     .help = "copy the flight record of a member: what it saw and decided",
     .text = "In a pod its own record is read from the volume, also when the agent is down; that of "
             "another POD comes through `kubectl exec`. The copy is for explain --file and for "
             "pghad --replay. It holds names, positions and settings, no secrets.",
     .opts = {OPT_FILE},
     .run = cmd_record},
    {.name = "doctor",
     .operands = "",
     .help = "what is wrong with the objects of the cluster, and how to mend it",
     .text = "Reads the StatefulSet, its settings and Secrets, Services, PodDisruptionBudgets, "
             "autoscalers, nodes, the rights of the members' account, the latency of the API server as "
             "seen from here, and the clocks of the members; judges them without changing anything. "
             "One row per finding: ok, warning, error or unknown (what this account may not read), "
             "what was found, why it matters, and the remedy. Of Secrets only the names of their keys "
             "are used. Exits with 0 when nothing is worse than a warning, with 3 when there is an "
             "error, with 4 when the StatefulSets cannot be read. The ClusterRole view suffices for "
             "all but Secrets, Roles, nodes and reviews of access. -o json has all rows; -o name the "
             "checks with a warning or an error.",
     .run = cmd_doctor},
    {.name = "show-config",
     .operands = "",
     .help = "the cluster-wide settings",
     .text = "As kept in the ConfigMap; with -o json as an object with that text.",
     .run = cmd_show_config},
    {.name = "edit-config",
     .operands = "",
     .help = "change the cluster-wide settings",
     .text = "Opens $VISUAL, $EDITOR or vi. The text is checked against the option table before "
             "anything is written; the difference is shown and confirmed. It is written only if "
             "nobody changed the settings in the meantime.",
     .opts = {OPT_SET, OPT_APPLY, OPT_FORCE, OPT_DRY_RUN},
     .run = cmd_edit_config},
    {.name = "config",
     .operands = "check [FILE]",
     .operand_kind = ARG_FILE,
     .min = 1,
     .max = 2,
     .help = "check a settings file",
     .text = "`config check` reads FILE (default: /etc/pghad/pghad.yaml) as the daemon does and "
             "names file, line, key and what is allowed. PostgreSQL's own parameters are judged by "
             "the server of postgres.bin_dir, else of PATH, else the newest below "
             "/usr/lib/postgresql (postgres -C); where none is installed that part is not checked, "
             "and it says so. Exit code 2 for a faulty file.",
     .opts = {OPT_CLUSTER_WIDE},
     .run = cmd_config},
    {.name = "wait",
     .operands = "",
     .help = "wait until the cluster has a primary, a replica, or is synced",
     .text = "primary: a member that holds the Lease and is writable. replica: also a replica that "
             "streams. synced: every commit has the copies that the settings ask for. For init "
             "containers and scripts; default timeout 5m.",
     .opts = {OPT_FOR},
     .run = cmd_wait},
    {.name = "dsn",
     .operands = "",
     .help = "a libpq URI that finds the right member",
     .text = "All members with target_session_attrs (read-write, with --replica prefer-standby): "
             "libpq tries them until one fits.",
     .opts = {OPT_ROLE, OPT_REPLICA, OPT_USER, OPT_DBNAME, OPT_DNS},
     .run = cmd_dsn},
    {.name = "psql",
     .operands = "[-- ARGUMENTS]",
     .max = ARGS_OPERANDS_MAX,
     .pass = true,
     .help = "psql on the primary, or on a replica with --role",
     .text = "Runs psql from PATH with the connection string of dsn; what follows -- goes to psql.",
     .opts = {OPT_ROLE, OPT_REPLICA, OPT_USER, OPT_DBNAME, OPT_DNS},
     .run = cmd_psql},
    {.name = "completion",
     .operands = "bash|zsh|fish",
     .operand_kind = ARG_WORD,
     .min = 1,
     .max = 1,
     .help = "completion script for a shell",
     .text = "For example: source <(hactl completion bash)",
     .run = cmd_completion},
    {.name = "version",
     .operands = "",
     .help = "version of hactl and of the members",
     .text = "Members are listed when a cluster can be found.",
     .run = cmd_version},
    {.name = "help",
     .operands = "[COMMAND]",
     .operand_kind = ARG_TEXT,
     .max = 1,
     .help = "this help, or help on a command",
     .text = "`help --output=name` lists the commands.",
     .run = cmd_help},
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

const struct opt_def *opt_def(enum opt_id id)
{
    return &opts[id];
}

const struct command *command_at(size_t i)
{
    return i < COUNT(commands) ? &commands[i] : NULL;
}

const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < COUNT(commands); i++) {
        if (str_eq(commands[i].name, name) || (commands[i].alias && str_eq(commands[i].alias, name)))
            return &commands[i];
    }
    return NULL;
}
