/* The core in single turns: both sides of the boundaries on which safety rests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "healthy.h"

static const char *rule_for(const struct view *v, const struct memo *m, struct verdict *d)
{
    decide(v, m, d);
    return core_rules[d->rule].id;
}

static void core__healthy_primary__serves_until_send_plus_fence(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 0);
    assert_string_equal(rule_for(&v, &m, &d), "serve");
    assert_int_equal(d.deadline_ms, NOW - 500 + 7000); /* from the send, not from the reply */
    assert_true(d.serving);
}

static void core__deadline_passed__fences_although_holder(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 0);
    v.lv.write_sent_ms = NOW - 7000;
    assert_string_equal(rule_for(&v, &m, &d), "lapsed");
    assert_true((d.effects & EFF_FENCE) != 0);
    v.lv.write_sent_ms = NOW - 6999;
    assert_string_equal(rule_for(&v, &m, &d), "serve");
}

static void core__reading_oneself_as_holder__gives_no_right(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 0);
    v.lv.outcome = OUTCOME_NONE;
    assert_string_equal(rule_for(&v, &m, &d), "lapsed");
}

static void core__other_holder_seen__fences_at_once(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 0);
    v.lv.lease.holder = identity_of(1);
    v.lv.lease.epoch = 6;
    assert_string_equal(rule_for(&v, &m, &d), "deposed");
    assert_int_equal(d.deadline_ms, 0);
}

static void core__lease_emptied_or_gone__live_holder_goes_on(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 0);
    m.deadline_ms = NOW + 5000;
    v.lv.lease = (struct lease){.exists = true};
    assert_string_equal(rule_for(&v, &m, &d), "adopt");
    assert_int_equal(d.write.kind, WRITE_ADOPT);
    assert_int_equal(d.write.want.epoch, 5);
    assert_int_equal(d.write.want.record.writer, A);
    v.lv.lease = (struct lease){0};
    assert_string_equal(rule_for(&v, &m, &d), "recreate");
    assert_int_equal(d.write.kind, WRITE_CREATE);
}

/* Its clocks were stopped by the hypervisor: to itself its right is live. */
static void core__newer_acquisition_in_the_config_map__ends_a_right_that_seems_live(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 0);
    m.deadline_ms = NOW + 5000;
    v.lv.lease = (struct lease){.exists = true}; /* stripped by a tool: adopted while nothing is newer */
    assert_string_equal(rule_for(&v, &m, &d), "adopt");
    v.st.epoch = 6;
    assert_string_equal(rule_for(&v, &m, &d), "deposed");
    v.lv.lease.exists = false;
    assert_string_equal(rule_for(&v, &m, &d), "deposed");
    assert_int_equal(d.deadline_ms, 0);
}

static void core__write_sent_before_a_forfeit__restores_nothing(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 0);
    m.forfeit_ms = NOW - 400;
    assert_string_equal(rule_for(&v, &m, &d), "lapsed");
    m.forfeit_ms = NOW - 600;
    assert_string_equal(rule_for(&v, &m, &d), "serve");
}

static void api_away(struct view *v, struct memo *m)
{
    v->lv.outcome = OUTCOME_UNKNOWN;
    v->lv.write_seq = 2;
    v->lv.write_sent_ms = NOW - 2500;
    v->lv.write_done_ms = NOW - 500;
    v->lv.got_ms = NOW - 4000;
    m->proven = true;
    m->right_seq = 1;
    m->deadline_ms = NOW + 3000;
}

static void promise(struct view *v, int i)
{
    v->peer[i].promise_sent_ms = NOW - 20 - i;
    v->peer[i].promise_until_ms = v->peer[i].promise_sent_ms + 10000;
    v->peer[i].promise_epoch = 5;
}

static void core__api_away__every_promise_extends_and_one_missing_does_not(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 0);
    api_away(&v, &m);
    promise(&v, 0);
    rule_for(&v, &m, &d);
    assert_true(d.failsafe);
    assert_int_equal(d.deadline_ms, NOW + 3000);
    promise(&v, 1);
    rule_for(&v, &m, &d);
    assert_int_equal(d.deadline_ms, NOW - 21 + 7000); /* the first request of the round */
    /* Asked for under a profile of 5 s: it carries the share of 5 s, whatever the profile is now. */
    v.peer[0].promise_until_ms = v.peer[0].promise_sent_ms + 5000;
    rule_for(&v, &m, &d);
    assert_int_equal(d.deadline_ms, NOW - 20 + 3500);
}

static void core__lapse_is_final__promises_come_too_late(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 0);
    api_away(&v, &m);
    m.deadline_ms = NOW;
    promise(&v, 0);
    promise(&v, 1);
    assert_string_equal(rule_for(&v, &m, &d), "lapsed");
}

static void core__promise__given_to_the_holder_and_binding(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 1);
    v.in.promise = true;
    v.in.promise_req = (struct peer_request){PEER_PROMISE, identity_of(0), 5, 10000};
    rule_for(&v, &m, &d);
    assert_int_equal(d.promise_ms, 10000);
    /* a candidate of a newer epoch gets no report while the promise binds */
    v.in.promise = false;
    v.in.vote = true;
    v.in.vote_req = (struct peer_request){PEER_VOTE, identity_of(2), 6, 0};
    m = d.memo;
    assert_string_equal(rule_for(&v, &m, &d), "follow");
    v.now_ms = m.promise_until_ms + 1;
    m.last_turn_ms = v.now_ms - 10;
    assert_string_equal(rule_for(&v, &m, &d), "vote");
    /* nor does anybody else get one */
    v.in.promise = true;
    v.in.promise_req.from = identity_of(2);
    rule_for(&v, &m, &d);
    assert_int_equal(d.promise_ms, 0);
}

static void core__promise__voided_for_good_by_a_release(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 1);
    m.promise_epoch = 5;
    m.promise_until_ms = NOW + 9000;
    m.promised_to = name_of(0);
    v.lv.lease.holder = (struct identity){0};
    v.lv.lease.release = (struct release){.valid = true, .epoch = 5, .successor = name_of(1),
                                          .releaser = name_of(2)};
    v.lv.got_ms = NOW;
    assert_string_not_equal(rule_for(&v, &m, &d), "acquire"); /* somebody else's */
    assert_int_equal(d.memo.promise_until_ms, NOW + 9000);
    v.lv.lease.release.releaser = name_of(0);
    assert_string_equal(rule_for(&v, &m, &d), "acquire");
    v.lv.lease.holder = identity_of(1);
    v.lv.lease.release = (struct release){0};
    v.lv.lease.epoch = 6;
    m = d.memo;
    assert_string_equal(rule_for(&v, &m, &d), "elect-detach");
}

/* The state was deleted, and the Lease shows that there was a writer: the pod of its holder, whose volume
 * is empty, initialises nothing beside the data of others. */
static void core__writer_edited_away__is_not_a_new_cluster(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 1);
    v.st = (struct state_view){.known = true};
    v.lv.lease.holder = v.self.id;
    v.self.data = DATA_EMPTY;
    v.self.volume = 99;
    v.self.system_id = v.self.durable_epoch = 0;
    v.self.has_record = false;
    v.pg = (struct pg){.process = PG_DOWN};
    m.deadline_ms = NOW + 5000;
    v.lv.lease.record.writer = 0;
    assert_string_equal(rule_for(&v, &m, &d), "data-lost-release");
    assert_true((d.facts & FACT(CLUSTER_NEW)) == 0);
    v.lv.lease.record.writer_epoch = 0; /* chosen to initialise, and nobody was writer yet */
    assert_string_equal(rule_for(&v, &m, &d), "boot-initdb");
}

/* A member whose name somebody wrote into the Lease gives it back; the writer has not seen that yet. */
static void core__released_by_another_than_the_writer__is_waited_for(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 1);
    v.lv.lease.holder = (struct identity){0};
    v.lv.lease.release = (struct release){.valid = true, .epoch = 5, .releaser = name_of(2), .volume = C};
    v.lv.got_ms = NOW;
    assert_string_not_equal(rule_for(&v, &m, &d), "acquire");
    assert_true((d.facts & FACT(LEASE_EMPTY)) != 0);
    v.lv.lease.release.releaser = name_of(0); /* the writer's pod, whose volume was found empty */
    assert_string_equal(rule_for(&v, &m, &d), "acquire");
    v.lv.lease.release.releaser = name_of(2);
    v.lv.lease.release.volume = A; /* the writer under another name */
    assert_string_equal(rule_for(&v, &m, &d), "acquire");
    v.lv.lease.release.volume = C;
    v.lv.lease.record.writer_epoch = 4; /* nobody became writer in this epoch */
    assert_string_equal(rule_for(&v, &m, &d), "acquire");
    v.lv.lease.record.writer_epoch = 5;
    v.lv.lease.record.writer = 0; /* it was edited away */
    assert_string_not_equal(rule_for(&v, &m, &d), "acquire");
    v.lv.lease.has_record = false;
    assert_true((rule_for(&v, &m, &d), d.facts & FACT(LEASE_RELEASED)) != 0);
}

static void core__promise__refused_while_an_acquisition_may_apply(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 1);
    v.in.promise = true;
    v.in.promise_req = (struct peer_request){PEER_PROMISE, identity_of(0), 5, 10000};
    v.lv.write = WRITE_ACQUIRE;
    v.lv.outcome = OUTCOME_PENDING;
    rule_for(&v, &m, &d);
    assert_int_equal(d.promise_ms, 0);
}

static void expired(struct view *v)
{
    v->lv.changed_ms = NOW - 10000;
    v->lv.got_ms = NOW - 1;
    v->peer[0].received_ms = 0; /* pg-0 is silent */
}

static void core__expired_lease__acquired_only_after_the_whole_count_and_a_read(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 1);
    expired(&v);
    v.lv.got_ms = NOW;
    assert_string_equal(rule_for(&v, &m, &d), "acquire");
    assert_int_equal(d.write.want.epoch, 6);
    assert_int_equal(d.write.want.record.writer, A); /* the record stays as it was */
    v.lv.changed_ms = NOW - 9999;
    assert_string_equal(rule_for(&v, &m, &d), "follow");
    expired(&v);
    v.lv.got_ms = NOW - 200;
    assert_string_not_equal(rule_for(&v, &m, &d), "acquire");
    assert_true((d.effects & EFF_LEASE_GET) != 0);
}

static void core__collations_differ__not_elected_but_the_writer_returns(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 1);
    expired(&v);
    v.lv.got_ms = NOW;
    v.pg.resorted = true;
    assert_true(core_barred(&v));
    assert_string_equal(rule_for(&v, &m, &d), "follow");
    v.set.collation_any = true; /* the operator's word */
    assert_false(core_barred(&v));
    assert_string_equal(rule_for(&v, &m, &d), "acquire");
    v.set.collation_any = false;
    v.lv.lease.record.writer = B;
    assert_string_equal(rule_for(&v, &m, &d), "acquire");
    v.set.nofailover = true; /* a tag is meant for every case */
    assert_string_not_equal(rule_for(&v, &m, &d), "acquire");
}

static void core__no_acquisition__without_enough_members_answering(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 1);
    expired(&v);
    v.lv.got_ms = NOW;
    v.peer[1].received_ms = 0;
    assert_string_not_equal(rule_for(&v, &m, &d), "acquire");
}

static void elected(struct view *v)
{
    v->lv.lease.holder = identity_of(1);
    v->lv.lease.epoch = 6;
    v->self.durable_epoch = 6;
    v->lv.write = WRITE_ACQUIRE;
    v->lv.outcome = OUTCOME_OK;
    v->lv.write_seq = 1;
    v->lv.write_sent_ms = NOW - 30;
    v->lv.write_duration_s = 10;
    v->lv.write_holder = true;
    v->pg.frozen_epoch = 6;
    v->pg.streaming = false;
    v->peer[0].received_ms = 0;
    v->peer[1].state.frozen_epoch = 6;
    v->peer[1].state.durable_epoch = 6;
}

static void core__election__counts_only_frozen_reports(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 1);
    elected(&v);
    assert_string_equal(rule_for(&v, &m, &d), "elect-writer");
    assert_int_equal(d.write.want.record.writer, B);
    assert_int_equal(d.write.want.record.timeline, 5);
    assert_int_equal(record_votes(&d.write.want.record), 3); /* promotion keeps V */
    v.peer[1].state.frozen_epoch = 5;
    assert_string_equal(rule_for(&v, &m, &d), "elect-wait");
    v.peer[1].state.frozen_epoch = 6;
    v.pg.frozen_epoch = 0;
    assert_string_equal(rule_for(&v, &m, &d), "elect-detach");
}

static void core__election__greater_report_goes_first_and_a_rolled_back_one_is_void(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 1);
    elected(&v);
    v.peer[1].state.position.lsn = 201;
    assert_string_equal(rule_for(&v, &m, &d), "elect-yield");
    assert_string_equal(d.write.want.release.successor.s, "pg-2");
    assert_int_equal(d.deadline_ms, 0); /* forfeit */
    v.peer[1].state.position = (struct position){3, 900}; /* older timeline: less, below the record */
    assert_string_equal(rule_for(&v, &m, &d), "elect-wait");
}

/* B won; C, which must not be primary, has the last acknowledged rows. */
static void core__election__difference_is_streamed_from_a_member_that_must_not_be_primary(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 1);
    elected(&v);
    m.elected_epoch = 6;
    m.elected_ms = NOW - 100;
    v.pg.position.lsn = 150;
    v.peer[1].state.nofailover = true;
    assert_string_equal(rule_for(&v, &m, &d), "elect-fetch");
    assert_true((d.effects & EFF_FOLLOW) != 0 && d.write.kind != WRITE_RELEASE);
    assert_true(d.upstream == C && d.epoch == 6);
    assert_string_equal(d.upstream_name.s, "pg-2");
    v.pg.frozen_epoch = 0; /* following ends the freeze */
    v.pg.follows = C;
    v.pg.follows_epoch = 6;
    v.pg.position.lsn = 199;
    assert_string_equal(rule_for(&v, &m, &d), "elect-fetch");
    v.pg.position.lsn = 200;
    assert_string_equal(rule_for(&v, &m, &d), "elect-detach"); /* only a frozen position counts */
    v.pg.frozen_epoch = 6;
    v.pg.follows = 0;
    assert_string_equal(rule_for(&v, &m, &d), "elect-writer");
    assert_int_equal(d.write.want.record.writer, B);
}

static void core__election__what_cannot_be_streamed_in_time_goes_first_after_all(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 1);
    elected(&v);
    m.elected_epoch = 6;
    m.elected_ms = NOW - 15000; /* one and a half lease durations */
    v.pg.position.lsn = 150;
    v.peer[1].state.nofailover = true;
    assert_string_equal(rule_for(&v, &m, &d), "elect-fetch");
    m.elected_ms--;
    v.pg.frozen_epoch = 0;
    v.pg.follows = C;
    v.pg.follows_epoch = 6;
    assert_string_equal(rule_for(&v, &m, &d), "elect-detach");
    v.pg.frozen_epoch = 6;
    assert_string_equal(rule_for(&v, &m, &d), "elect-yield");
    assert_string_equal(d.write.want.release.successor.s, "pg-2");
    m.elected_ms = NOW - 100; /* one that may be primary is not waited for */
    v.peer[1].state.nofailover = false;
    assert_string_equal(rule_for(&v, &m, &d), "elect-yield");
}

/* Rules that the simulator rarely reaches: each needs two mistakes at once, or a hand in the Lease. */
static void core__second_locks__hold_by_themselves(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 1);
    elected(&v);
    v.pg.maybe_writable = true;
    assert_string_equal(rule_for(&v, &m, &d), "rogue-armed");
    assert_true((d.effects & EFF_FENCE) != 0);
    v.pg.maybe_writable = false;
    v.lv.lease.record.writer = C; /* edited by hand */
    v.lv.lease.record.writer_epoch = 6;
    assert_string_equal(rule_for(&v, &m, &d), "elect-foreign");
    assert_int_equal(d.write.kind, WRITE_RELEASE);
    v.lv.lease.record = three();
    v.peer[1].state.refused_epoch = 9; /* it did not answer when we acquired */
    assert_string_equal(rule_for(&v, &m, &d), "elect-again");
    assert_int_equal(d.write.want.epoch, 10);
}

static void core__promoted_by_hand__ended_and_its_report_is_void(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 1);
    v.pg.in_recovery = TRI_NO;
    assert_string_equal(rule_for(&v, &m, &d), "rogue");
    v.lv.known = false;
    assert_string_equal(rule_for(&v, &m, &d), "rogue-unarmed");
    healthy(&v, &m, 0);
    v.pg.maybe_writable = false; /* the writer's own, before guard was told */
    assert_string_equal(rule_for(&v, &m, &d), "rogue-unarmed");
    healthy(&v, &m, 1);
    elected(&v);
    v.peer[1].state.position = (struct position){5, 300}; /* the record has allocated 4 */
    assert_string_equal(rule_for(&v, &m, &d), "elect-wait");
    v.peer[1].state.position.timeline = 4;
    assert_string_equal(rule_for(&v, &m, &d), "elect-yield");
}

/* A human promotes the very candidate in the middle of its election: its new timeline is above all
 * that the others report, and holds less. */
static void core__promoted_by_hand_in_its_own_election__is_not_the_greatest(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 1);
    elected(&v);
    v.peer[0].received_ms = NOW - 10; /* A answers, too: two valid reports without our own */
    v.peer[0].sent_ms = NOW - 20;
    v.peer[0].state.frozen_epoch = 6;
    v.peer[0].state.durable_epoch = 6;
    v.pg.position = (struct position){400, 50};
    assert_string_not_equal(rule_for(&v, &m, &d), "elect-writer");
}

/* It may have been the only one that confirmed the writer's last commits. */
static void core__follower_promoted_by_hand__others_pass_it_before_it_is_rewound(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 1);
    v.pg.process = PG_DOWN;
    v.pg.in_recovery = TRI_UNKNOWN;
    v.pg.streaming = false;
    v.pg.diverged = TRI_YES;
    v.lv.lease.record.m[1].flushed.timeline = v.lv.lease.record.timeline;
    v.peer[1].state.streams_from = A;
    v.pg.position = (struct position){400, v.peer[1].state.position.lsn + 1};
    (void)rule_for(&v, &m, &d);
    assert_true((d.effects & EFF_REWIND) == 0);
    v.lv.lease.record.m[1].flushed.timeline--; /* no renewal since it began to follow */
    (void)rule_for(&v, &m, &d);
    assert_true((d.effects & EFF_REWIND) == 0);
    v.peer[1].state.position.lsn++;
    assert_string_equal(rule_for(&v, &m, &d), "rejoin-rewind");
}

/* The server came up on an older timeline and sees none of what it confirmed on the newer one. */
static void core__own_wal_unread__neither_elected_nor_promoted(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 1);
    elected(&v);
    assert_string_equal(rule_for(&v, &m, &d), "elect-writer");
    v.pg.wal_unread = true;
    v.pg.reached_ms = NOW - 4000; /* it may still be replaying */
    assert_string_equal(rule_for(&v, &m, &d), "elect-wait");
    v.pg.reached_ms = NOW - 5000;
    assert_string_equal(rule_for(&v, &m, &d), "reread");
    assert_true((d.effects & EFF_PG_STOP) != 0);
    m = d.memo;
    assert_string_equal(rule_for(&v, &m, &d), "reread"); /* until it is done */
    m = d.memo;
    v.pg.reached_ms = NOW - 39000; /* the next life; it may be copying a database */
    assert_string_equal(rule_for(&v, &m, &d), "elect-wait");
    v.pg.reached_ms = NOW - 40000;
    assert_string_equal(rule_for(&v, &m, &d), "reread");
    v.pg.streaming = true; /* it is on its way */
    assert_string_not_equal(rule_for(&v, &m, &d), "reread");
}

/* PostgreSQL would refuse the promotion, too. */
static void core__settings_below_the_primarys__restarted_in_turn(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 2); /* B goes first */
    const char *quiet = rule_for(&v, &m, &d);
    v.pg.settings_low = true;
    assert_string_equal(rule_for(&v, &m, &d), quiet);
    m = d.memo;
    v.now_ms += 4999;
    assert_string_not_equal(rule_for(&v, &m, &d), "raise-settings");
    v.now_ms += 1;
    assert_string_equal(rule_for(&v, &m, &d), "raise-settings");
    assert_true((d.effects & EFF_PG_STOP) != 0);

    healthy(&v, &m, 1);
    elected(&v);
    v.pg.settings_low = true;
    assert_string_equal(rule_for(&v, &m, &d), "raise-settings");
    v.pg.in_recovery = TRI_NO;
    assert_string_not_equal(rule_for(&v, &m, &d), "raise-settings");
}

static void core__promotion__needs_budget_and_preparation(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 1);
    elected(&v);
    v.lv.lease.record.writer = B;
    v.lv.lease.record.writer_epoch = 6;
    v.lv.lease.record.timeline = 5;
    v.lv.lease.record.epoch = 6;
    v.self.record = v.lv.lease.record;
    v.st.epoch = 6;
    v.pg.closed = TRI_YES;
    v.pg.open = TRI_NO;
    v.pg.ssn = ssn_of_record(&v.lv.lease.record, B, false, REPL_QUORUM);
    assert_string_equal(rule_for(&v, &m, &d), "promote");
    assert_int_equal(d.timeline, 5);
    v.pg.wal_unread = true;
    assert_string_equal(rule_for(&v, &m, &d), "promote-replay");
    v.pg.wal_unread = false;
    v.pg.accounted = TRI_NO; /* started anew since its timeline was allocated: nobody has looked yet */
    assert_string_equal(rule_for(&v, &m, &d), "promote-wait");
    v.pg.accounted = TRI_YES;
    v.pg.closed = TRI_UNKNOWN;
    assert_string_equal(rule_for(&v, &m, &d), "prepare");
    v.pg.closed = TRI_YES;
    v.lv.write_sent_ms = NOW - 6000; /* exactly the kill time is left */
    assert_string_equal(rule_for(&v, &m, &d), "promote-wait");
}

static void core__restart_in_place__has_a_limit_when_others_can_elect(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 0);
    v.set.crash_policy = CRASH_RESTART; /* even then: a server that cannot start is no restart */
    v.pg.process = PG_DOWN;
    v.pg.maybe_writable = false;
    v.pg.in_recovery = TRI_UNKNOWN;
    v.pg.position = (struct position){0};
    v.pg.accounted = TRI_NO;
    v.pg.failed_starts = 4;
    m.away_ms = NOW - 60000;
    assert_string_equal(rule_for(&v, &m, &d), "start-holder");
    v.pg.failed_starts = 5;
    assert_string_equal(rule_for(&v, &m, &d), "restart-overdue");
    assert_int_equal(d.write.kind, WRITE_RELEASE);
    assert_int_equal(d.deadline_ms, 0);
    v.peer[0].received_ms = 0; /* one voter left: nobody else could elect */
    assert_string_equal(rule_for(&v, &m, &d), "start-holder");
    v.peer[0].received_ms = NOW - 50;
    v.set.crash_policy = CRASH_AUTO;
    v.pg.failed_starts = 0;
    m.away_ms = NOW - 20000;
    assert_string_equal(rule_for(&v, &m, &d), "start-holder");
    m.away_ms--;
    assert_string_equal(rule_for(&v, &m, &d), "restart-overdue");
}

/* C's server cannot be started and its WAL cannot be read. */
static void core__unreadable_wal__cloned_beside_only_while_the_vote_is_spare(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 2);
    v.pg.process = PG_DOWN;
    v.pg.in_recovery = TRI_UNKNOWN;
    v.pg.position = (struct position){0};
    v.pg.accounted = TRI_NO;
    v.pg.streaming = false;
    v.pg.failed_starts = 3;
    assert_string_equal(rule_for(&v, &m, &d), "start");
    v.pg.wal_missing = true;
    assert_string_equal(rule_for(&v, &m, &d), "rejoin-clone");
    v.peer[1].state.position.lsn = 99; /* B was rolled back: our vote is needed to elect anybody */
    assert_string_equal(rule_for(&v, &m, &d), "start");
    m.diverged_ms = NOW - 15000;
    assert_string_equal(rule_for(&v, &m, &d), "rejoin-clone"); /* beside: the old one is kept */
}

static void core__last_standby_gone__sealed_only_after_the_record(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 0);
    v.pg.n_senders = 0;
    m.unsat_since_ms = NOW - 5000;
    rule_for(&v, &m, &d);
    assert_int_equal(d.write.want.record.sealed, A);
    assert_int_equal(d.ssn.kind, SSN_SET); /* emptied only when the record shows the seal */
    v.set.strict = true;
    rule_for(&v, &m, &d);
    assert_int_equal(d.write.want.record.sealed, 0);
}

/* An agent that has just started knows nobody's address: that is no reason to give up the copies. */
static void core__promoted_while_nobody_could_be_asked__no_seal_before_its_time(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 0);
    v.pg.n_senders = v.n_peers = 0;
    v.pg.open = TRI_NO;
    v.pg.closed = TRI_YES;
    v.pg.promoted_ms = NOW - 10;
    v.pg.promoted_end_lsn = 200;
    rule_for(&v, &m, &d);
    assert_int_equal(d.write.want.record.sealed, 0);
    m = d.memo;
    v.pods_known = true; /* and there is no other pod */
    rule_for(&v, &m, &d);
    assert_int_equal(d.write.want.record.sealed, A);
    v.n_peers = 2;
    for (int i = 0; i < 2; i++)
        v.peer[i].received_ms = v.peer[i].sent_ms = 0;
    rule_for(&v, &m, &d);
    assert_int_equal(d.write.want.record.sealed, 0); /* not asked yet */
    for (int i = 0; i < 2; i++)
        v.peer[i].silent_since_ms = NOW - v.set.retry_ms;
    rule_for(&v, &m, &d);
    assert_int_equal(d.write.want.record.sealed, A);
}

static void core__slots__settled_only_when_every_member_shows_its_volume(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 0);
    v.set.members = 3;
    rule_for(&v, &m, &d);
    assert_true(d.slots_settled);
    v.peer[1].state.data = DATA_PARTIAL;
    rule_for(&v, &m, &d);
    assert_false(d.slots_settled);
    v.peer[1].state.data = DATA_OK;
    v.peer[1].state.volume = 77; /* copied anew, not listed yet */
    rule_for(&v, &m, &d);
    assert_false(d.slots_settled);
    v.peer[1].state.volume = C;
    v.peer[0].sent_ms = NOW - 60000;
    rule_for(&v, &m, &d);
    assert_false(d.slots_settled);
    v.set.members = 2; /* it was taken away: fewer are expected, its pod is deleted */
    v.pods_known = true;
    v.peer[0].pod_known = false;
    rule_for(&v, &m, &d);
    assert_false(d.slots_settled); /* its volume is listed: it may come back */
    assert_false(core_is_gone(&v, &v.peer[0]));
    v.lv.lease.record.m[1] = v.lv.lease.record.m[2];
    v.lv.lease.record.n = 2;
    v.pods_known = false;
    rule_for(&v, &m, &d);
    assert_false(d.slots_settled);
    v.pods_known = true;
    rule_for(&v, &m, &d);
    assert_true(d.slots_settled);
    healthy(&v, &m, 0);
    v.set.members = 4;
    rule_for(&v, &m, &d);
    assert_false(d.slots_settled);
}

static void core__renewal__records_no_position_that_may_split_a_record(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 0);
    v.lv.write_sent_ms = NOW - 2000;
    v.lv.write_done_ms = NOW - 1990;
    v.pg.position.lsn = 0x50012A8;
    v.pg.sender[0].flushed_lsn = 0x5002000; /* a page was sent, not a record */
    v.pg.sender[1].flushed_lsn = 0x50012A8;
    rule_for(&v, &m, &d);
    assert_int_equal(d.write.kind, WRITE_RENEW);
    const struct record *r = &d.write.want.record;
    assert_int_equal(record_find(r, A)->flushed.lsn, 0x50012A8);
    assert_int_equal(record_find(r, B)->flushed.lsn, record_find(&v.lv.lease.record, B)->flushed.lsn);
    assert_int_equal(record_find(r, C)->flushed.lsn, 0x50012A8);
}

static void core__raising_w__set_first_and_recorded_when_proved(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 0);
    v.set.k = 2;
    rule_for(&v, &m, &d);
    assert_int_equal(d.ssn.w, 2);
    assert_int_equal(d.write.kind, WRITE_NONE);
    v.pg.ssn = d.ssn;
    v.pg.ssn_in_force = true;
    v.pg.ssn_proof_lsn = 201;
    rule_for(&v, &m, &d);
    assert_int_equal(d.write.kind, WRITE_NONE); /* nobody has flushed 201 yet */
    v.pg.ssn_proof_lsn = 200;
    rule_for(&v, &m, &d);
    assert_int_equal(d.write.want.record.w, 2);
}

static void core__open_outcome__leaves_the_setting_alone(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 0);
    v.lv.lease.record.w = v.self.record.w = 0;
    v.pg.ssn.w = 1; /* set first, recorded by a write whose reply was lost */
    v.set.k = 0;
    m.has_pending = true;
    m.proven = true;
    m.deadline_ms = NOW + 5000;
    m.right_seq = 1;
    v.lv.outcome = OUTCOME_UNKNOWN;
    v.lv.got_ms = NOW - 100;
    rule_for(&v, &m, &d);
    assert_true(ssn_eq(&d.ssn, &v.pg.ssn));
}

static void core__switchover__refused_with_the_reason(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 0);
    v.intent = (struct intent){.id = 77, .kind = INTENT_SWITCHOVER, .epoch = 5,
                               .target = name_of(1)};
    v.peer[0].state.nofailover = true;
    rule_for(&v, &m, &d);
    assert_int_equal(d.result.id, 0); /* answers must have been asked for since */
    v.peer[0].sent_ms = v.peer[1].sent_ms = NOW;
    rule_for(&v, &m, &d);
    assert_int_equal(d.result.state, INTENT_REFUSED);
    assert_non_null(strstr(d.result.message, "pg-1"));
    assert_non_null(strstr(d.result.message, "nofailover"));
    m = d.memo;
    rule_for(&v, &m, &d);
    assert_int_equal(d.result.id, 0); /* said once */
    memset(&m, 0, sizeof m);
    m.last_turn_ms = NOW - 10;
    v.peer[0].state.nofailover = false;
    assert_string_equal(rule_for(&v, &m, &d), "handover-prepare");
    assert_int_equal(d.target, B);
    struct view w = v;
    w.pg.n_senders = 1; /* it says that it streams, and no walsender here knows of it */
    w.pg.sender[0] = v.pg.sender[1];
    rule_for(&w, &m, &d);
    assert_int_equal(d.result.state, INTENT_REFUSED);
    assert_non_null(strstr(d.result.message, "does not stream"));
}

/* Scaled down by two, the primary among them: who goes as well is no successor. */
static void core__handover__not_to_who_leaves(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 0);
    v.self.terminate = 1;
    assert_string_equal(rule_for(&v, &m, &d), "handover-prepare");
    uint64_t first = d.target;
    struct peer *p = v.peer[0].state.volume == first ? &v.peer[0] : &v.peer[1];
    p->leaving = true;
    memset(&m, 0, sizeof m);
    m.last_turn_ms = NOW - 10;
    assert_string_equal(rule_for(&v, &m, &d), "handover-prepare");
    assert_true(d.target != 0 && d.target != first);
    p->leaving = false; /* told a moment too late: chosen again while nothing has stopped */
    memset(&m, 0, sizeof m);
    m.last_turn_ms = NOW - 10;
    rule_for(&v, &m, &d);
    assert_true(d.target == first);
    p->leaving = true;
    m = d.memo;
    assert_string_equal(rule_for(&v, &m, &d), "handover-prepare");
    assert_true(d.target != 0 && d.target != first);
    v.self.terminate = 0;
    memset(&m, 0, sizeof m);
    m.last_turn_ms = NOW - 10;
    v.intent = (struct intent){.id = 78, .kind = INTENT_SWITCHOVER, .epoch = 5, .target = p->name};
    rule_for(&v, &m, &d);
    m = d.memo;
    v.peer[0].sent_ms = v.peer[1].sent_ms = NOW;
    rule_for(&v, &m, &d);
    assert_int_equal(d.result.state, INTENT_REFUSED);
    assert_non_null(strstr(d.result.message, "being deleted"));
}

static void core__foreign_data__never_started(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 1);
    v.pg.process = PG_DOWN;
    v.self.system_id = 8;
    assert_string_equal(rule_for(&v, &m, &d), "data-bad");
    assert_true((d.effects & (EFF_PG_START | EFF_CLONE | EFF_REWIND)) == 0);
}

static void core__bootstrap__only_when_every_member_is_empty(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 0);
    v.pg = (struct pg){.process = PG_DOWN};
    v.self.data = DATA_EMPTY;
    v.self.system_id = 0;
    v.self.has_record = false;
    v.self.durable_epoch = 0;
    v.st = (struct state_view){.known = true};
    v.lv = (struct lease_view){.known = true, .changed_ms = NOW - 20000, .got_ms = NOW};
    for (int i = 0; i < 2; i++) {
        v.peer[i].state.data = DATA_EMPTY;
        v.peer[i].state.system_id = 0;
    }
    m.count_from_ms = NOW - 20000;
    assert_string_equal(rule_for(&v, &m, &d), "boot-create");
    v.peer[1].state.data = DATA_OK;
    v.peer[1].state.system_id = 9;
    assert_string_equal(rule_for(&v, &m, &d), "boot-wait");
    v.peer[1].state.data = DATA_EMPTY;
    v.peer[1].received_ms = 0;
    assert_string_equal(rule_for(&v, &m, &d), "boot-wait");
}

/* A standby whose container was restarted while the API is away. */
static void core__api_never_reached__the_writer_of_the_own_epoch_is_followed(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 1);
    v.lv = (struct lease_view){.contact_ms = 0};
    v.st = (struct state_view){.known = false};
    v.pg.follows = 0;
    v.pg.streaming = false;
    assert_string_equal(rule_for(&v, &m, &d), "follow-blind");
    assert_true(d.upstream == A && d.epoch == 5);
    assert_string_equal(d.upstream_name.s, "pg-0");
    assert_int_equal(d.effects & (EFF_OPEN | EFF_LABEL_REPLICA | EFF_PROMOTE), 0);
    assert_int_equal(d.store_epoch, 0);
    struct view w = v;
    w.peer[1].state.durable_epoch = 6; /* pg-2 has followed a newer epoch */
    assert_string_equal(rule_for(&w, &m, &d), "lease-unknown");
    w = v;
    w.peer[0].state.in_recovery = TRI_YES; /* the writer is a standby now */
    assert_string_equal(rule_for(&w, &m, &d), "lease-unknown");
    w = v;
    w.peer[0].state.system_id = 10; /* a member of another cluster at that address */
    assert_string_equal(rule_for(&w, &m, &d), "lease-unknown");
    w = v;
    w.peer[0].sent_ms = NOW - 60000; /* no answer of late */
    assert_string_equal(rule_for(&w, &m, &d), "lease-unknown");
    w = v;
    w.self.durable_epoch = 6; /* detached for a newer epoch already */
    assert_string_equal(rule_for(&w, &m, &d), "lease-unknown");
    w = v;
    w.self.volume = A; /* the writer itself: it resumes by the Lease only */
    assert_string_equal(rule_for(&w, &m, &d), "lease-unknown");
}

/* PostgreSQL counts what a receiver has flushed, also on a timeline that the primary has left. */
static void core__follow__confirms_only_with_wal_that_is_the_writers(void **s)
{
    (void)s;
    struct view v, w;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 1);
    v.pg.receiver_timeline = 0;
    assert_string_equal(rule_for(&v, &m, &d), "follow");
    assert_false(d.provisional); /* its WAL ends on the timeline that only this writer has */
    w = v;
    w.pg.accounted = TRI_NO; /* nobody has looked what lies behind */
    rule_for(&w, &m, &d);
    assert_true(d.provisional);
    assert_true((d.effects & EFF_FOLLOW) != 0);
    w.pg.receiver_timeline = 3;
    rule_for(&w, &m, &d);
    assert_true(d.provisional);
    w.pg.receiver_timeline = 4; /* PostgreSQL itself has found the way there */
    rule_for(&w, &m, &d);
    assert_false(d.provisional);

    v.pg.position = (struct position){3, 200};
    v.lv.lease.record.m[0].flushed = (struct position){3, 200};
    rule_for(&v, &m, &d);
    assert_false(d.provisional); /* the writer was elected with as much */
    v.pg.position.lsn = 201;
    rule_for(&v, &m, &d);
    assert_true(d.provisional);
    v.pg.position.lsn = 100;
    v.lv.lease.record.m[0].flushed.timeline = 4;
    rule_for(&v, &m, &d);
    assert_true(d.provisional);
    v.pg.history_holds = true;
    rule_for(&v, &m, &d);
    assert_false(d.provisional);
}

static void core__follow__a_lineage_is_proved_once_in_an_epoch(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 1);
    rule_for(&v, &m, &d);
    m = d.memo;
    v.pg.accounted = TRI_NO;
    rule_for(&v, &m, &d);
    assert_false(d.provisional);
    m.lineage_epoch = 4;
    rule_for(&v, &m, &d);
    assert_true(d.provisional);
    m.lineage_epoch = 5;
    v.peer[1].state.streams_from = 0; /* too few others have it for a repair now */
    v.pg.diverged = TRI_YES;
    assert_string_equal(rule_for(&v, &m, &d), "follow");
    assert_true(d.provisional);
    assert_int_equal(d.memo.lineage_epoch, 0);
    v.pg.diverged = TRI_UNKNOWN;
    rule_for(&v, &m, &d);
    assert_false(d.provisional);
    v.pg.local_timeline = 5; /* somebody has promoted it by hand since */
    rule_for(&v, &m, &d);
    assert_true(d.provisional);
}

static void core__replica__admits_nobody_before_its_wal_is_the_writers(void **s)
{
    (void)s;
    struct view v;
    struct memo m;
    struct verdict d;
    healthy(&v, &m, 1);
    v.pg.open = TRI_NO;
    rule_for(&v, &m, &d);
    assert_true((d.effects & EFF_OPEN) != 0);
    v.pg.accounted = TRI_NO;
    rule_for(&v, &m, &d);
    assert_true((d.effects & EFF_OPEN) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(core__follow__confirms_only_with_wal_that_is_the_writers),
        cmocka_unit_test(core__follow__a_lineage_is_proved_once_in_an_epoch),
        cmocka_unit_test(core__replica__admits_nobody_before_its_wal_is_the_writers),
        cmocka_unit_test(core__healthy_primary__serves_until_send_plus_fence),
        cmocka_unit_test(core__deadline_passed__fences_although_holder),
        cmocka_unit_test(core__reading_oneself_as_holder__gives_no_right),
        cmocka_unit_test(core__other_holder_seen__fences_at_once),
        cmocka_unit_test(core__lease_emptied_or_gone__live_holder_goes_on),
        cmocka_unit_test(core__newer_acquisition_in_the_config_map__ends_a_right_that_seems_live),
        cmocka_unit_test(core__write_sent_before_a_forfeit__restores_nothing),
        cmocka_unit_test(core__api_away__every_promise_extends_and_one_missing_does_not),
        cmocka_unit_test(core__lapse_is_final__promises_come_too_late),
        cmocka_unit_test(core__promise__given_to_the_holder_and_binding),
        cmocka_unit_test(core__promise__voided_for_good_by_a_release),
        cmocka_unit_test(core__writer_edited_away__is_not_a_new_cluster),
        cmocka_unit_test(core__released_by_another_than_the_writer__is_waited_for),
        cmocka_unit_test(core__promise__refused_while_an_acquisition_may_apply),
        cmocka_unit_test(core__expired_lease__acquired_only_after_the_whole_count_and_a_read),
        cmocka_unit_test(core__collations_differ__not_elected_but_the_writer_returns),
        cmocka_unit_test(core__no_acquisition__without_enough_members_answering),
        cmocka_unit_test(core__election__counts_only_frozen_reports),
        cmocka_unit_test(core__election__greater_report_goes_first_and_a_rolled_back_one_is_void),
        cmocka_unit_test(core__election__difference_is_streamed_from_a_member_that_must_not_be_primary),
        cmocka_unit_test(core__election__what_cannot_be_streamed_in_time_goes_first_after_all),
        cmocka_unit_test(core__second_locks__hold_by_themselves),
        cmocka_unit_test(core__promoted_by_hand__ended_and_its_report_is_void),
        cmocka_unit_test(core__promoted_by_hand_in_its_own_election__is_not_the_greatest),
        cmocka_unit_test(core__follower_promoted_by_hand__others_pass_it_before_it_is_rewound),
        cmocka_unit_test(core__settings_below_the_primarys__restarted_in_turn),
        cmocka_unit_test(core__own_wal_unread__neither_elected_nor_promoted),
        cmocka_unit_test(core__promotion__needs_budget_and_preparation),
        cmocka_unit_test(core__restart_in_place__has_a_limit_when_others_can_elect),
        cmocka_unit_test(core__unreadable_wal__cloned_beside_only_while_the_vote_is_spare),
        cmocka_unit_test(core__last_standby_gone__sealed_only_after_the_record),
        cmocka_unit_test(core__promoted_while_nobody_could_be_asked__no_seal_before_its_time),
        cmocka_unit_test(core__slots__settled_only_when_every_member_shows_its_volume),
        cmocka_unit_test(core__renewal__records_no_position_that_may_split_a_record),
        cmocka_unit_test(core__raising_w__set_first_and_recorded_when_proved),
        cmocka_unit_test(core__open_outcome__leaves_the_setting_alone),
        cmocka_unit_test(core__switchover__refused_with_the_reason),
        cmocka_unit_test(core__api_never_reached__the_writer_of_the_own_epoch_is_followed),
        cmocka_unit_test(core__handover__not_to_who_leaves),
        cmocka_unit_test(core__foreign_data__never_started),
        cmocka_unit_test(core__bootstrap__only_when_every_member_is_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
