/* Flight records: what counts as news, frames, files that are cut or damaged, text, replay. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/str.h"
#include "core/record.h"
#include "flight/replay.h"
#include "flight/text.h"

#define CHECK(cond) assert_true(cond)
#define NOW 1000000
#define A 0xaaull
#define B 0xbbull

static char dir[64];
static struct flight_spans spans;
static const struct ha_name self_name = {"pg-0"};

static int setup(void **st)
{
    (void)st;
    snprintf(dir, sizeof dir, "/tmp/pghad-flight.XXXXXX");
    flight_spans_init(&spans);
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static const char *file(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static int teardown(void **st)
{
    static const char *const names[] = {"flight.0", "flight.1", "flight.2", "flight.3", "copy"};
    (void)st;
    flight_spans_done(&spans);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unlink(file(names[i]));
    return rmdir(dir);
}

/* A primary of two members in its turn i, one second apart; the verdict is the core's. */
static void make_turn(struct flight_turn *t, int i)
{
    memset(t, 0, sizeof *t);
    struct view *v = &t->view;
    v->now_ms = NOW + 1000 * i;
    v->set = (struct settings){.lease_ms = 10000, .renew_ms = 2000, .retry_ms = 500,
                               .fence_ms = 7000, .kill_ms = 1000, .request_ms = 2000,
                               .mode = REPL_QUORUM, .k = 1, .members = 2, .stop_ms = 2000,
                               .degrade_ms = 5000, .leave_ms = 15000};
    v->self = (struct self){.volume = A, .system_id = 9, .data = DATA_OK, .durable_epoch = 5,
                            .server_lock = TRI_YES};
    v->self.id = (struct identity){.name = self_name, .uid = "uid-0", .boot = 7};
    struct record r = {.epoch = 5, .rev = 3, .w = 1, .writer = A, .writer_epoch = 5, .timeline = 4};
    record_add(&r, A, &self_name)->in_v = true;
    record_add(&r, B, &(struct ha_name){"pg-1"})->in_v = true;
    v->self.has_record = true;
    v->self.record = r;
    v->lv = (struct lease_view){.known = true, .changed_ms = NOW, .got_ms = NOW, .contact_ms = NOW,
                                .write = WRITE_RENEW, .outcome = OUTCOME_OK, .write_seq = 1,
                                .write_sent_ms = NOW, .write_done_ms = NOW, .write_holder = true,
                                .write_duration_s = 10};
    v->lv.lease = (struct lease){.exists = true, .epoch = 5, .duration_s = 10, .has_record = true,
                                 .holder = v->self.id, .record = r};
    v->st = (struct state_view){.known = true, .exists = true, .system_id = 9, .epoch = 5,
                                .has_record = true, .record = r};
    v->pg = (struct pg){.process = PG_RUNNING, .ours = true, .answers = TRI_YES,
                        .in_recovery = TRI_NO, .position = {4, 200 + (uint64_t)i},
                        .accounted = TRI_YES, .local_timeline = 4, .open = TRI_YES,
                        .closed = TRI_NO, .maybe_writable = true};
    t->memo = (struct memo){.deadline_ms = NOW + 7000, .right_seq = 1, .proven = true,
                            .last_turn_ms = v->now_ms - 10};
    decide(&t->view, &t->memo, &t->verdict);
    flight_clean(&spans, t);
}

/* Frames of turns first to last as one batch. */
static void make_batch(struct buf *b, int first, int last)
{
    static struct flight_turn prev, t;
    buf_init(b, 1 << 20);
    for (int i = first; i <= last; i++) {
        make_turn(&t, i);
        struct flight_meta m = {.run = 77, .seq = (uint64_t)i, .wall_us = 1000000ll * i,
                                .key = i == first};
        CHECK(flight_encode(b, &t, &prev, &m));
        prev = t;
    }
}

static void append(int first, int last)
{
    struct buf b;
    struct err e = {0};
    make_batch(&b, first, last);
    if (!flight_append(dir, &self_name, b.data, b.len, &e))
        fail_msg("%s", e.msg);
    buf_done(&b);
}

static void load(struct flight *f, const char *path)
{
    struct err e = {0};
    if (!flight_load(f, path, &e))
        fail_msg("%s", e.msg);
}

/* The turns are first to last and replay to the same. */
static void expect_turns(const char *path, int first, int last)
{
    static struct flight f;
    static struct flight_cursor c;
    load(&f, path);
    flight_begin(&c, &f);
    for (int i = first; i <= last; i++) {
        CHECK(flight_next(&c));
        assert_int_equal(c.meta.seq, i);
        assert_int_equal(c.turn.view.now_ms, NOW + 1000 * i);
    }
    CHECK(!flight_next(&c));
    assert_int_equal(flight_replay(&f, stdout), 0);
    flight_done(&f);
}

static void read_all(const char *path, struct buf *b)
{
    buf_init(b, 16 << 20);
    CHECK(fd_read_file(path, b, NULL));
}

static void write_all(const char *path, const void *data, size_t len)
{
    CHECK(fd_replace_file(path, data, len, 0600, NULL));
}

static void mark_leaf(void *ctx, const struct leaf *l)
{
    bool *described = ctx;
    for (uint32_t i = l->offset; i < l->offset + l->size; i++) {
        if (described[i])
            fail_msg("%s overlaps another field", l->path);
        described[i] = true;
    }
}

/* That no field is missing in the description is for tools/flight-fields to say; here: what it has
 * is laid out as the compiler laid it out, and holes are no larger than padding is. */
static void fields_cover_the_turn(void **st)
{
    static bool described[sizeof(struct flight_turn)];
    size_t hole = 0;
    (void)st;
    memset(described, 0, sizeof described);
    flight_walk(mark_leaf, described);
    for (size_t i = 0; i < sizeof described; i++) {
        hole = described[i] ? 0 : hole + 1;
        if (hole >= 2 * sizeof(int64_t)) /* the end of one structure, the begin of another */
            fail_msg("bytes before %zu have no field", i);
    }
}

static void cleaning_keeps_fields(void **st)
{
    static struct flight_turn t, u;
    struct flight_leaves leaves;
    (void)st;
    memset(&t, 0xff, sizeof t);
    u = t;
    flight_clean(&spans, &u);
    flight_leaves_init(&leaves);
    for (size_t i = 0; i < leaves.n; i++)
        assert_memory_equal((char *)&t + leaves.v[i].offset, (char *)&u + leaves.v[i].offset,
                            leaves.v[i].size);
    CHECK(memcmp(&t, &u, sizeof t) != 0);
    flight_leaves_done(&leaves);
}

static bool same_essence(const struct flight_turn *a, const struct flight_turn *b)
{
    static struct flight_turn x, y;
    flight_essence(&spans, &x, a);
    flight_essence(&spans, &y, b);
    return memcmp(&x, &y, sizeof x) == 0;
}

static void ages_and_renewals_are_no_news(void **st)
{
    static struct flight_turn t, u;
    (void)st;
    make_turn(&t, 0);
    make_turn(&u, 1); /* later, further in the WAL */
    CHECK(same_essence(&t, &u));
    u.view.lv.outcome = OUTCOME_PENDING;
    u.view.lv.write_seq++;
    u.verdict.facts |= FACT(BUSY);
    u.verdict.effects |= EFF_LEASE_WRITE;
    u.verdict.write.kind = WRITE_RENEW;
    CHECK(same_essence(&t, &u));
    u.view.peer[1].silent_since_ms = u.view.pg.storage_since_ms = u.view.now_ms - 999;
    u.verdict.writer_silent_ms = u.view.peer[0].state.writer_silent_ms = 999;
    CHECK(same_essence(&t, &u));
}

static void decisions_and_doubts_are_news(void **st)
{
    static struct flight_turn t, u;
    (void)st;
    make_turn(&t, 0);
    u = t;
    u.verdict.rule++;
    CHECK(!same_essence(&t, &u));
    u = t;
    u.view.lv.outcome = OUTCOME_UNKNOWN;
    CHECK(!same_essence(&t, &u));
    u = t;
    u.verdict.write.kind = WRITE_RELEASE;
    CHECK(!same_essence(&t, &u));
    u = t;
    u.view.peer[1].silent_since_ms = u.view.now_ms - 1000;
    CHECK(!same_essence(&t, &u));
    u = t;
    u.view.peer[0].state.writer_silent_ms = 1000;
    CHECK(!same_essence(&t, &u));
    u = t;
    u.view.pg.storage_since_ms = u.view.now_ms - 1000;
    CHECK(!same_essence(&t, &u));
    u = t;
    u.view.set.lease_ms--;
    CHECK(!same_essence(&t, &u));
    u = t;
    u.memo.forfeit_ms = NOW; /* from never to some time */
    CHECK(!same_essence(&t, &u));
    u = t;
    u.view.peer[3].state.frozen_epoch = 6;
    CHECK(!same_essence(&t, &u));
}

static void appended_turns_come_back(void **st)
{
    (void)st;
    append(1, 5);
    append(6, 9);
    expect_turns(dir, 1, 9);
    expect_turns(file("flight.1"), 1, 9);
}

static void differences_are_small(void **st)
{
    struct buf one, two;
    (void)st;
    make_batch(&one, 1, 1);
    make_batch(&two, 1, 2);
    CHECK(one.len < 2000);
    CHECK(two.len - one.len < 300);
    buf_done(&one);
    buf_done(&two);
}

/* A crash may cut the last frame anywhere, or leave zeros where it should be. */
static void a_torn_tail_is_passed_over_and_cut_off(void **st)
{
    static struct flight f;
    struct buf whole, shorter;
    (void)st;
    make_batch(&shorter, 1, 4);
    append(1, 5);
    read_all(file("flight.1"), &whole);
    size_t keep = FLIGHT_HEADER_BYTES + shorter.len;
    for (size_t cut = keep + 1; cut < whole.len; cut += 7) {
        write_all(file("flight.1"), whole.data, cut);
        load(&f, dir);
        assert_int_equal(f.turns, 4);
        assert_int_equal(f.torn_bytes, cut - keep);
        flight_done(&f);
    }
    memset(whole.data + keep, 0, whole.len - keep);
    write_all(file("flight.1"), whole.data, whole.len);
    expect_turns(dir, 1, 4);
    append(5, 7);
    expect_turns(dir, 1, 7);
    buf_done(&whole);
    buf_done(&shorter);
}

static void damage_is_named_and_refused(void **st)
{
    static struct flight f;
    struct buf b;
    struct err e = {0};
    (void)st;
    append(1, 8);
    read_all(file("flight.1"), &b);
    b.data[b.len / 2] ^= 1;
    write_all(file("flight.1"), b.data, b.len);
    CHECK(!flight_load(&f, dir, &e));
    assert_int_equal(e.kind, ERR_CORRUPT);
    CHECK(strstr(e.msg, file("flight.1")) != NULL && strstr(e.msg, "damaged after frame") != NULL);
    CHECK(!flight_load(&f, file("flight.1"), &e));
    append(9, 10); /* goes on in another file and leaves the damaged one for people */
    expect_turns(file("flight.2"), 9, 10);
    CHECK(!flight_load(&f, dir, &e));
    struct buf after;
    read_all(file("flight.1"), &after);
    assert_int_equal(after.len, b.len);
    buf_done(&after);
    b.data[20] ^= 1; /* the header */
    write_all(file("copy"), b.data, b.len);
    CHECK(!flight_load(&f, file("copy"), &e));
    assert_int_equal(e.kind, ERR_CORRUPT);
    write_all(file("copy"), "no record", 9);
    CHECK(!flight_load(&f, file("copy"), &e));
    CHECK(strstr(e.msg, "not a flight record") != NULL);
    CHECK(!flight_load(&f, file("absent"), &e));
    assert_int_equal(e.kind, ERR_NOT_FOUND);
    buf_done(&b);
}

static void put_foreign(const char *name, uint64_t file_seq, const void *frames, size_t len)
{
    struct flight_header h;
    unsigned char head[FLIGHT_HEADER_BYTES];
    struct buf b;
    flight_header_init(&h, &self_name, file_seq);
    h.layout ^= 1;
    assert_true(str_copy(h.build, sizeof h.build, "9.9.9+feed"));
    flight_header_put(head, &h);
    buf_init(&b, 1 << 20);
    CHECK(buf_put(&b, head, sizeof head) && buf_put(&b, frames, len));
    write_all(file(name), b.data, b.len);
    buf_done(&b);
}

/* An upgrade leaves files of the old layout in the directory: told, and passed over. */
static void another_layout_is_named_and_refused(void **st)
{
    static struct flight f;
    struct buf b;
    struct err e = {0};
    (void)st;
    make_batch(&b, 1, 3);
    put_foreign("flight.1", 1, b.data, b.len);
    CHECK(!flight_load(&f, file("flight.1"), &e));
    assert_int_equal(e.kind, ERR_INVALID);
    CHECK(strstr(e.msg, "9.9.9+feed") != NULL && strstr(e.msg, "flight.1") != NULL);
    CHECK(!flight_load(&f, dir, &e));
    assert_int_equal(e.kind, ERR_INVALID);
    append(4, 6);
    CHECK(access(file("flight.2"), F_OK) == 0);
    load(&f, dir);
    assert_int_equal(f.turns, 3);
    assert_int_equal(f.foreign_files, 1);
    flight_done(&f);
    expect_turns(dir, 4, 6);
    buf_done(&b);
}

static void the_volume_taken_is_bounded(void **st)
{
    static struct flight f;
    static struct flight_cursor c;
    struct buf b;
    struct stat s;
    uint64_t written = 0, next = 1;
    (void)st;
    while (written < 7 * FLIGHT_FILE_BYTES) {
        static struct flight_turn t;
        buf_init(&b, 1 << 20);
        for (int i = 0; i < 60; i++, next++) {
            make_turn(&t, (int)next);
            CHECK(flight_encode(&b, &t, NULL, &(struct flight_meta){.run = 1, .seq = next}));
        }
        CHECK(flight_append(dir, &self_name, b.data, b.len, NULL));
        written += b.len;
        buf_done(&b);
    }
    off_t total = 0;
    for (int i = 0; i < FLIGHT_FILES; i++) {
        char name[32];
        snprintf(name, sizeof name, "flight.%d", i);
        CHECK(stat(file(name), &s) == 0);
        CHECK(s.st_size <= FLIGHT_FILE_BYTES);
        total += s.st_size;
    }
    CHECK(total <= 4 << 20);
    CHECK(total > 3 << 20); /* and what is kept is worth its name */
    load(&f, dir);
    flight_begin(&c, &f);
    CHECK(flight_next(&c));
    for (uint64_t seq = c.meta.seq + 1; seq < next; seq++) {
        CHECK(flight_next(&c));
        assert_int_equal(c.meta.seq, seq);
    }
    CHECK(!flight_next(&c));
    flight_done(&f);
}

/* A writer that was killed half-way is followed by one with the same frames and some more. */
static void what_was_written_already_is_not_written_twice(void **st)
{
    struct buf part, rest;
    struct flight_meta m;
    (void)st;
    make_batch(&part, 1, 3);
    size_t cut = flight_frame(part.data, part.len, &m) + 100;
    append(100, 101); /* of the same run, to have a file */
    unlink(file("flight.1"));
    struct flight_header h;
    unsigned char head[FLIGHT_HEADER_BYTES];
    flight_header_init(&h, &self_name, 1);
    flight_header_put(head, &h);
    buf_init(&rest, 1 << 20);
    CHECK(buf_put(&rest, head, sizeof head) && buf_put(&rest, part.data, cut));
    write_all(file("flight.1"), rest.data, rest.len);
    append(1, 6);
    expect_turns(dir, 1, 6);
    buf_done(&part);
    buf_done(&rest);
}

static char *text_of(const struct flight *f)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    CHECK(out != NULL && flight_to_text(f, false, out));
    fclose(out);
    return text;
}

static void text_comes_back(void **st)
{
    static struct flight f, g;
    struct buf b;
    (void)st;
    append(1, 6);
    load(&f, dir);
    char *text = text_of(&f);
    CHECK(strstr(text, "\nview.lv.lease.holder.name=pg-0\n") != NULL);
    CHECK(strstr(text, "\nview.self.record.m.1.volume=187\n") != NULL);
    CHECK(strstr(text, "LEASE_MINE,PG_PRIMARY") != NULL);
    write_all(file("copy"), text, strlen(text));
    expect_turns(file("copy"), 1, 6);
    load(&g, file("copy"));
    char *again = text_of(&g);
    CHECK(strcmp(strchr(text, '='), strchr(again, '=')) == 0);
    flight_done(&g);
    buf_init(&b, 1 << 20);
    CHECK(flight_export(&f, &b));
    write_all(file("copy"), b.data, b.len);
    expect_turns(file("copy"), 1, 6);
    buf_done(&b);
    flight_done(&f);
    free(text);
    free(again);
}

static void bad_text_is_named_by_line(void **st)
{
    static struct flight f;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"pghad-flight 1\nmember pg-0\nview.now_ms=1\n", "line 3: neither"},
        {"pghad-flight 1\nturn 1 1\n", "line 2: not a turn's line"},
        {"pghad-flight 1\nturn 1 1 1\nview.nothing=1\n", "line 3: there is no field view.nothing"},
        {"pghad-flight 1\nturn 1 1 1\nview.n_peers=256\n", "line 3: view.n_peers"},
        {"pghad-flight 1\nturn 1 1 1\nverdict.rule=nonsense\n", "line 3: verdict.rule"},
        {"pghad-flight 1\nturn 1 1 1\nverdict.facts=RIGHT,WRONG\n", "line 3: verdict.facts"},
        {"pghad-flight 1\nturn 1 1 1\nview.paused\n", "line 3: neither"},
        {"pghad-flight 1\nturn 1 1 1\nview.n_peers=17\n", "line 3: this turn makes no sense"},
        {"pghad-flight 1\n", "empty"},
        {"pghad-flight 2\n", "not a flight record"},
    };
    (void)st;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err e = {0};
        write_all(file("copy"), cases[i].text, strlen(cases[i].text));
        CHECK(!flight_load(&f, file("copy"), &e));
        if (strstr(e.msg, cases[i].says) == NULL || strstr(e.msg, "/copy") == NULL)
            fail_msg("case %zu: \"%s\" does not say \"%s\"", i, e.msg, cases[i].says);
    }
}

/* Sound frames of a content that would lead the core astray. */
static void senseless_turns_are_refused(void **st)
{
    static struct flight f;
    static struct flight_turn t;
    (void)st;
    for (int i = 0; i < 4; i++) {
        struct buf b;
        struct err e = {0};
        make_turn(&t, 1);
        if (i == 0)
            t.view.lv.lease.record.n = HA_MEMBERS_MAX + 1;
        else if (i == 1)
            memset(t.view.peer[2].name.s, 'x', HA_NAME_SIZE);
        else if (i == 2)
            memset(&t.view.st.paused, 2, 1);
        else
            t.verdict.rule = (uint32_t)core_rule_count;
        buf_init(&b, 1 << 20);
        CHECK(flight_encode(&b, &t, NULL, &(struct flight_meta){.run = 1, .seq = 1}));
        CHECK(flight_append(dir, &self_name, b.data, b.len, &e));
        CHECK(!flight_load(&f, dir, &e));
        CHECK(strstr(e.msg, "makes no sense") != NULL);
        unlink(file("flight.1"));
        buf_done(&b);
    }
}

static void a_different_verdict_is_shown(void **st)
{
    static struct flight f;
    static struct flight_turn t;
    struct buf b;
    char *said = NULL;
    size_t len = 0;
    (void)st;
    make_turn(&t, 1);
    t.verdict.epoch = 42;
    t.verdict.memo.refused_max = 8;
    buf_init(&b, 1 << 20);
    CHECK(flight_encode(&b, &t, NULL, &(struct flight_meta){.run = 1, .seq = 1}));
    CHECK(flight_append(dir, &self_name, b.data, b.len, NULL));
    load(&f, dir);
    FILE *out = open_memstream(&said, &len);
    assert_int_equal(flight_replay(&f, out), 1);
    fclose(out);
    CHECK(strstr(said, "verdict.epoch: recorded \"42\", now \"5\"") != NULL);
    CHECK(strstr(said, "verdict.memo.refused_max: recorded \"8\", now \"0\"") != NULL);
    free(said);
    flight_done(&f);
    buf_done(&b);
}

static uint32_t rule_named(const char *id)
{
    for (uint32_t i = 0; i < core_rule_count; i++)
        if (strcmp(core_rules[i].id, id) == 0)
            return i;
    fail_msg("no rule %s", id);
    return 0;
}

static void near_rules_are_those_one_fact_away(void **st)
{
    static struct flight_turn t;
    struct flight_near near[64];
    bool deposed = false, lapsed = false;
    (void)st;
    make_turn(&t, 1);
    CHECK((t.verdict.facts & (FACT(RIGHT) | FACT(WRITABLE))) == (FACT(RIGHT) | FACT(WRITABLE)));
    size_t n = flight_near(t.verdict.facts, t.verdict.rule, near, 64);
    for (size_t i = 0; i < n; i++) {
        CHECK(near[i].rule < t.verdict.rule);
        CHECK((near[i].missing == 0) != (near[i].present == 0));
        if (near[i].rule == rule_named("deposed"))
            deposed = near[i].missing == FACT(DEPOSED);
        if (near[i].rule == rule_named("lapsed"))
            lapsed = near[i].present == FACT(RIGHT);
        CHECK(near[i].rule != rule_named("data-unknown")); /* nothing of it held */
    }
    CHECK(deposed && lapsed);
}

struct seen {
    size_t n;
    struct flight_stretch first;
};

static void on_stretch(void *ctx, const struct flight_stretch *s)
{
    struct seen *seen = ctx;
    if (seen->n++ == 0)
        seen->first = *s;
}

static bool fence_of(void *ctx, const struct settings *was, struct settings *now, struct err *e)
{
    const int64_t *fence_ms = ctx;
    (void)e;
    *now = *was;
    now->fence_ms = *fence_ms;
    return true;
}

/* The last renewal was sent in turn 0: with a fence of 7 s turn 6 still serves, with 3 s turn 3 does
 * not. */
static void other_settings_decide_otherwise(void **st)
{
    static struct flight f;
    int64_t fence_ms = 7000;
    struct flight_settings set = {fence_of, &fence_ms};
    struct seen seen = {0};
    size_t turns, differ;
    (void)st;
    append(1, 6);
    load(&f, dir);
    CHECK(flight_what_if(&f, &set, on_stretch, &seen, &turns, &differ, NULL));
    assert_int_equal(turns, 6);
    assert_int_equal(differ, 0);
    assert_int_equal(seen.n, 0);
    fence_ms = 3000;
    CHECK(flight_what_if(&f, &set, on_stretch, &seen, &turns, &differ, NULL));
    assert_int_equal(differ, 4);
    assert_int_equal(seen.n, 1);
    assert_int_equal(seen.first.from_us, 3000000);
    assert_int_equal(seen.first.to_us, 6000000);
    assert_int_equal(seen.first.other, rule_named("lapsed"));
    flight_done(&f);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(fields_cover_the_turn),
        T(cleaning_keeps_fields),
        T(ages_and_renewals_are_no_news),
        T(decisions_and_doubts_are_news),
        T(appended_turns_come_back),
        T(differences_are_small),
        T(a_torn_tail_is_passed_over_and_cut_off),
        T(damage_is_named_and_refused),
        T(another_layout_is_named_and_refused),
        T(the_volume_taken_is_bounded),
        T(what_was_written_already_is_not_written_twice),
        T(text_comes_back),
        T(bad_text_is_named_by_line),
        T(senseless_turns_are_refused),
        T(a_different_verdict_is_shown),
        T(near_rules_are_those_one_fact_away),
        T(other_settings_decide_otherwise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
