/* The alarms that a member shows: what is wrong and does not end by itself. */
#include "agent.h"
#include "base/str.h"

#define FAILED_STARTS 3

static const char does_not_start[] = "PostgreSQL ends again and again before it answers: its own messages "
                                     "in the log of the container say why";

static void add_alarm(struct status *s, const char *name, const char *text)
{
    if (s->alarms_n >= STATUS_ALARMS_MAX)
        return;
    struct status_alarm *x = &s->alarms[s->alarms_n++];
    (void)str_copy(x->name, sizeof x->name, name);
    (void)str_format(x->text, sizeof x->text, "%.150s", text);
}

/* Nobody renews the Lease, this member follows nobody, and others are needed to change that. */
static bool election_waits(const struct agent *a)
{
    bool over = (a->verdict.facts & FACT(COUNTED)) != 0 && !a->verdict.serving &&
                a->view.pg.in_recovery == TRI_YES && !a->view.pg.streaming;
    return a->verdict.waits_for[0] != '\0' && (over || a->memo.elected_epoch != 0);
}

static void alarms_of_settings(const struct agent *a, struct status *s)
{
    if (a->refused[0] != '\0')
        add_alarm(s, "config-refused", a->refused);
    if (pg_collation_differs(a->collation) == TRI_YES)
        add_alarm(s, "collation-changed", pg_collation_text(a->collation));
    if (a->unprepared[0] != '\0')
        add_alarm(s, "server-not-started", a->unprepared);
    if (a->server.failed_starts >= FAILED_STARTS)
        add_alarm(s, "server-does-not-start", does_not_start);
    /* PostgreSQL starts no standby with less than the data directory has seen; every start is one. */
    char text[STATUS_TEXT_SIZE];
    const char *const *raised = pg_conf_raised(a->conf);
    if (raised[0] == NULL || a->server.pid == 0)
        return;
    size_t n = 0;
    while (raised[n] != NULL)
        n++;
    (void)str_format(text, sizeof text, "%s%s stays higher than it is set: the data directory has "
                     "seen more, and a standby needs as much as its primary ever had",
                     raised[0], n > 1 ? " (and others)" : "");
    add_alarm(s, "settings-kept", text);
}

static void alarm_of_pages(const struct agent *a, struct status *s)
{
    const struct pg_facts *f = pg_probe_facts(a->probe);
    char text[STATUS_TEXT_SIZE];
    if (!f->valid || f->damaged == 0)
        return;
    (void)str_format(text, sizeof text, "damaged pages were read here %lld times: clone it anew%s",
                     (long long)f->damaged,
                     f->in_recovery == TRI_NO ? " after a switchover" : " (hactl reinit)");
    add_alarm(s, "data-damaged", text);
}

void fill_alarms(struct agent *a, struct status *s, int64_t now)
{
    char text[STATUS_TEXT_SIZE];
    s->alarms_n = 0;
    if (a->view.lv.lease.record.sealed != 0)
        add_alarm(s, "sealed", "no standby: the loss of the writer's volume would lose data");
    if ((a->verdict.effects & EFF_ALARM) != 0)
        add_alarm(s, rule_of(a)->id, a->dir.why[0] != '\0' ? a->dir.why : rule_of(a)->reason);
    else if (a->verdict.alarm)
        add_alarm(s, "lease-old", "the Lease is older than a copy of its record: it was restored, or "
                                  "changed by somebody else");
    if (election_waits(a)) {
        (void)str_format(text, sizeof text, "no primary: the election waits for %.120s",
                         a->verdict.waits_for);
        add_alarm(s, "waits-for", text);
    }
    if (volume_is_a_copy(a, now, text, sizeof text))
        add_alarm(s, "volume-copied", text);
    if (volume_is_old(a, now, text, sizeof text))
        add_alarm(s, "volume-old", text);
    alarm_of_pages(a, s);
    alarms_of_settings(a, s);
    if (a->rights_missing_n > 0) {
        (void)str_format(text, sizeof text, "forbidden: %s; see hactl doctor", a->rights_missing);
        add_alarm(s, "access-denied", text);
    }
    if (s->failsafe)
        add_alarm(s, "failsafe", "the Lease is not renewed: the right lives by promises");
}

const char *why_not_started(const struct agent *a)
{
    if (a->unprepared[0] != '\0')
        return a->unprepared;
    return a->server.failed_starts >= FAILED_STARTS ? does_not_start : NULL;
}
