/* Every field of a turn. Written by tools/flight-fields from the headers of the core (make fields). */
#include "fields.h"

#define ONE(type, f)                                                                               \
    {#f, offsetof(type, f), sizeof(((type *)0)->f), 1, KIND_OF(((type *)0)->f), NULL, 0}
#define MANY(s, f)                                                                                 \
    {#f, offsetof(struct s, f), sizeof(((struct s *)0)->f[0]),                                     \
     sizeof(((struct s *)0)->f) / sizeof(((struct s *)0)->f[0]), KIND_OF(((struct s *)0)->f[0]),   \
     NULL, 0}
#define TEXT(s, f) {#f, offsetof(struct s, f), sizeof(((struct s *)0)->f), 1, LEAF_TEXT, NULL, 0}
#define NAME(s, f) TEXT(s, f)
#define SUB(s, f, sub)                                                                             \
    {#f, offsetof(struct s, f), sizeof(((struct s *)0)->f), 1, LEAF_UINT, sub##_fields,            \
     sizeof sub##_fields / sizeof sub##_fields[0]}
#define SUBS(s, f, sub)                                                                            \
    {#f, offsetof(struct s, f), sizeof(((struct s *)0)->f[0]),                                     \
     sizeof(((struct s *)0)->f) / sizeof(((struct s *)0)->f[0]), LEAF_UINT, sub##_fields,          \
     sizeof sub##_fields / sizeof sub##_fields[0]}
/* Enumerations are unsigned: none of the core's has a negative value. */
#define KIND_OF(x) _Generic((x), bool: LEAF_BOOL, int64_t: LEAF_INT, int32_t: LEAF_INT, default: LEAF_UINT)

static const struct field position_fields[] = {
    ONE(struct position, timeline), ONE(struct position, lsn),
};

static const struct field identity_fields[] = {
    NAME(identity, name), TEXT(identity, uid), ONE(struct identity, boot),
};

static const struct field record_member_fields[] = {
    ONE(struct record_member, volume), NAME(record_member, name), ONE(struct record_member, in_v),
    ONE(struct record_member, in_next), SUB(record_member, flushed, position),
};

static const struct field record_fields[] = {
    ONE(struct record, epoch), ONE(struct record, rev), ONE(struct record, w),
    ONE(struct record, has_next), ONE(struct record, next_w), ONE(struct record, sealed),
    ONE(struct record, writer), ONE(struct record, writer_epoch), ONE(struct record, timeline),
    ONE(struct record, strict), ONE(struct record, n), SUBS(record, m, record_member),
};

static const struct field release_fields[] = {
    ONE(struct release, valid), ONE(struct release, epoch), NAME(release, releaser),
    ONE(struct release, volume), SUB(release, end, position), NAME(release, successor),
};

static const struct field lease_fields[] = {
    ONE(struct lease, exists), ONE(struct lease, fresh), ONE(struct lease, epoch),
    ONE(struct lease, duration_s), SUB(lease, holder, identity), SUB(lease, release, release),
    SUB(lease, record, record), ONE(struct lease, has_record),
};

static const struct field peer_state_fields[] = {
    SUB(peer_state, id, identity), ONE(struct peer_state, volume),
    ONE(struct peer_state, system_id), ONE(struct peer_state, data),
    ONE(struct peer_state, process), ONE(struct peer_state, in_recovery),
    SUB(peer_state, position, position), ONE(struct peer_state, durable_epoch),
    ONE(struct peer_state, frozen_epoch), ONE(struct peer_state, refused_epoch),
    ONE(struct peer_state, promised_epoch), ONE(struct peer_state, promise_ms),
    ONE(struct peer_state, record_epoch), ONE(struct peer_state, record_rev),
    ONE(struct peer_state, lease_epoch), ONE(struct peer_state, streams_from),
    ONE(struct peer_state, nofailover), ONE(struct peer_state, paused),
    ONE(struct peer_state, priority), ONE(struct peer_state, written_ago_ms),
    ONE(struct peer_state, write_end), ONE(struct peer_state, writer_silent_ms),
    NAME(peer_state, rule),
};

static const struct field peer_request_fields[] = {
    ONE(struct peer_request, ask), SUB(peer_request, from, identity),
    ONE(struct peer_request, epoch), ONE(struct peer_request, promise_ms),
};

static const struct field intent_fields[] = {
    ONE(struct intent, id), ONE(struct intent, kind), ONE(struct intent, epoch),
    ONE(struct intent, created_s), ONE(struct intent, expires_s), NAME(intent, target),
    ONE(struct intent, force), ONE(struct intent, accept_loss), TEXT(intent, created_by),
};

static const struct field intent_result_fields[] = {
    ONE(struct intent_result, id), ONE(struct intent_result, kind),
    ONE(struct intent_result, state), ONE(struct intent_result, phase),
    ONE(struct intent_result, updated_s), MANY(intent_result, phase_ms),
    ONE(struct intent_result, total_ms), ONE(struct intent_result, write_gap_ms),
    NAME(intent_result, primary), TEXT(intent_result, message), TEXT(intent_result, hint),
};

static const struct field settings_fields[] = {
    ONE(struct settings, lease_ms), ONE(struct settings, renew_ms), ONE(struct settings, retry_ms),
    ONE(struct settings, fence_ms), ONE(struct settings, kill_ms), ONE(struct settings, request_ms),
    ONE(struct settings, mode), ONE(struct settings, k), ONE(struct settings, strict),
    ONE(struct settings, failsafe), ONE(struct settings, early_ms),
    ONE(struct settings, degrade_ms), ONE(struct settings, leave_ms), ONE(struct settings, stop_ms),
    ONE(struct settings, crash_policy), ONE(struct settings, switchover_lag_bytes),
    ONE(struct settings, members), ONE(struct settings, priority), ONE(struct settings, nofailover),
    ONE(struct settings, collation_any),
};

static const struct field self_fields[] = {
    SUB(self, id, identity), ONE(struct self, ordinal), ONE(struct self, volume),
    ONE(struct self, system_id), ONE(struct self, data), ONE(struct self, durable_epoch),
    ONE(struct self, has_record), SUB(self, record, record), ONE(struct self, started_ms),
    ONE(struct self, fenced), ONE(struct self, server_lock), ONE(struct self, terminate),
};

static const struct field ssn_fields[] = {
    ONE(struct ssn, kind), ONE(struct ssn, mode), ONE(struct ssn, w), ONE(struct ssn, n),
    MANY(ssn, volume),
};

static const struct field walsender_fields[] = {
    ONE(struct walsender, volume), ONE(struct walsender, streaming),
    ONE(struct walsender, flushed_lsn), ONE(struct walsender, caught_up),
};

static const struct field pg_fields[] = {
    ONE(struct pg, process), ONE(struct pg, ours), ONE(struct pg, crashed),
    ONE(struct pg, failed_starts), ONE(struct pg, clean), ONE(struct pg, answers),
    ONE(struct pg, in_recovery), ONE(struct pg, maybe_writable), ONE(struct pg, looked_ms),
    SUB(pg, position, position), ONE(struct pg, accounted), ONE(struct pg, wal_unread),
    ONE(struct pg, reached_ms), ONE(struct pg, resorted), ONE(struct pg, settings_low),
    ONE(struct pg, local_timeline), ONE(struct pg, frozen_epoch), ONE(struct pg, follows),
    ONE(struct pg, follows_epoch), ONE(struct pg, streaming),
    ONE(struct pg, not_streaming_since_ms), ONE(struct pg, receiver_timeline),
    ONE(struct pg, diverged), ONE(struct pg, history_holds), ONE(struct pg, wal_missing),
    SUB(pg, ssn, ssn), ONE(struct pg, strict), ONE(struct pg, strict_now),
    ONE(struct pg, ssn_in_force), ONE(struct pg, ssn_proof_lsn), ONE(struct pg, n_senders),
    SUBS(pg, sender, walsender), ONE(struct pg, closed), ONE(struct pg, open),
    ONE(struct pg, promoted_end_lsn), ONE(struct pg, promoted_ms), ONE(struct pg, checkpoint_ms),
    ONE(struct pg, op), ONE(struct pg, op_state), ONE(struct pg, op_failures),
    ONE(struct pg, op_since_ms), ONE(struct pg, stop_since_ms), ONE(struct pg, storage_since_ms),
};

static const struct field lease_view_fields[] = {
    ONE(struct lease_view, known), SUB(lease_view, lease, lease),
    ONE(struct lease_view, changed_ms), ONE(struct lease_view, got_ms),
    ONE(struct lease_view, contact_ms), ONE(struct lease_view, get_pending),
    ONE(struct lease_view, write), ONE(struct lease_view, outcome),
    ONE(struct lease_view, write_seq), ONE(struct lease_view, write_sent_ms),
    ONE(struct lease_view, write_done_ms), ONE(struct lease_view, write_duration_s),
    ONE(struct lease_view, write_holder),
};

static const struct field state_view_fields[] = {
    ONE(struct state_view, known), ONE(struct state_view, exists),
    ONE(struct state_view, system_id), ONE(struct state_view, epoch),
    ONE(struct state_view, has_record), SUB(state_view, record, record),
    ONE(struct state_view, paused),
};

static const struct field peer_fields[] = {
    NAME(peer, name), ONE(struct peer, pod_known), ONE(struct peer, leaving),
    SUB(peer, state, peer_state), ONE(struct peer, received_ms), ONE(struct peer, sent_ms),
    ONE(struct peer, silent_since_ms), ONE(struct peer, promise_sent_ms),
    ONE(struct peer, promise_until_ms), ONE(struct peer, promise_epoch),
};

static const struct field inbox_fields[] = {
    ONE(struct inbox, vote), SUB(inbox, vote_req, peer_request), ONE(struct inbox, promise),
    SUB(inbox, promise_req, peer_request),
};

static const struct field view_fields[] = {
    ONE(struct view, now_ms), SUB(view, set, settings), SUB(view, self, self), SUB(view, pg, pg),
    SUB(view, lv, lease_view), SUB(view, st, state_view), ONE(struct view, pods_known),
    ONE(struct view, n_peers), SUBS(view, peer, peer), SUB(view, in, inbox),
    ONE(struct view, label), SUB(view, intent, intent), ONE(struct view, intent_expired),
};

/* A structure without a name in struct memo. */
#define GONE __typeof__(((struct memo *)0)->gone[0])
static const struct field gone_fields[] = {
    ONE(GONE, volume), ONE(GONE, since_ms),
};

static const struct field memo_fields[] = {
    ONE(struct memo, deadline_ms), ONE(struct memo, forfeit_ms), ONE(struct memo, right_seq),
    ONE(struct memo, proven), ONE(struct memo, last_turn_ms), ONE(struct memo, count_from_ms),
    ONE(struct memo, counted_ms), ONE(struct memo, promise_epoch),
    ONE(struct memo, promise_until_ms), NAME(memo, promised_to), ONE(struct memo, acquired_epoch),
    ONE(struct memo, held_epoch), ONE(struct memo, named_epoch), ONE(struct memo, bypass_epoch),
    SUB(memo, bypass_end, position), ONE(struct memo, accepted_epoch),
    ONE(struct memo, refused_max), ONE(struct memo, elected_ms), ONE(struct memo, elected_epoch),
    ONE(struct memo, unsat_since_ms), SUBS(memo, gone, gone), ONE(struct memo, handover_intent),
    ONE(struct memo, handover_target), ONE(struct memo, handover_epoch),
    ONE(struct memo, handover_ms), ONE(struct memo, stop_ms), ONE(struct memo, rolled_back),
    ONE(struct memo, preflight_intent), ONE(struct memo, preflight_ms),
    ONE(struct memo, dead_intent), ONE(struct memo, restart_intent),
    ONE(struct memo, reinit_intent), ONE(struct memo, reinit_volume), ONE(struct memo, reinit_ms),
    ONE(struct memo, diverged_ms), ONE(struct memo, lineage_epoch), ONE(struct memo, pg_fault_ms),
    ONE(struct memo, rereads), ONE(struct memo, reread_at_ms), ONE(struct memo, settings_low_ms),
    ONE(struct memo, away_ms), SUB(memo, pending, record), ONE(struct memo, has_pending),
    ONE(struct memo, loose_told), ONE(struct memo, failsafe_since_ms), ONE(struct memo, last_rule),
};

static const struct field lease_write_fields[] = {
    ONE(struct lease_write, kind), SUB(lease_write, want, lease),
};

static const struct field verdict_fields[] = {
    ONE(struct verdict, rule), ONE(struct verdict, facts), ONE(struct verdict, effects),
    SUB(verdict, write, lease_write), ONE(struct verdict, deadline_ms), ONE(struct verdict, epoch),
    ONE(struct verdict, store_epoch), ONE(struct verdict, store_record),
    ONE(struct verdict, upstream), ONE(struct verdict, provisional), NAME(verdict, upstream_name),
    SUB(verdict, ssn, ssn), ONE(struct verdict, timeline), ONE(struct verdict, target),
    ONE(struct verdict, promise_ms), ONE(struct verdict, refused_epoch),
    ONE(struct verdict, endpoint), ONE(struct verdict, serving), ONE(struct verdict, failsafe),
    ONE(struct verdict, strict), ONE(struct verdict, writer_silent_ms), ONE(struct verdict, alarm),
    ONE(struct verdict, slots_settled), SUB(verdict, result, intent_result),
    TEXT(verdict, waits_for), ONE(struct verdict, wake_at_ms), SUB(verdict, memo, memo),
};

static const struct field turn_fields[] = {
    SUB(flight_turn, view, view), SUB(flight_turn, memo, memo), SUB(flight_turn, verdict, verdict),
};

const struct field *flight_fields(size_t *n)
{
    *n = sizeof turn_fields / sizeof turn_fields[0];
    return turn_fields;
}
