/* Parsers and renderers of the PostgreSQL area: tables, no server. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "pg/barrier.h"
#include "pg/conf.h"
#include "pg/control.h"
#include "pg/env.h"
#include "pg/facts.h"
#include "pg/history.h"
#include "pg/peer.h"
#include "pg/proctree.h"
#include "pg/state.h"
#include "pg/version.h"

#define CHECK(cond) assert_true(cond)

static void lsn__text__round_trip_or_refused(void **st)
{
    (void)st;
    static const struct {
        const char *text;
        bool ok;
        uint64_t lsn;
    } rows[] = {
        {"0/0", true, 0},
        {"0/1741570", true, 0x1741570},
        {"A/FF", true, 0xA000000FF},
        {"FFFFFFFF/FFFFFFFF", true, UINT64_MAX},
        {"", false, 0},
        {"/", false, 0},
        {"1/", false, 0},
        {"/1", false, 0},
        {"1", false, 0},
        {"1/2/3", false, 0},
        {"1/G", false, 0},
        {"100000000/0", false, 0},
        {"0/100000000", false, 0},
        {" 0/1", false, 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t v = 42;
        char text[20];
        assert_int_equal(pg_lsn_parse(rows[i].text, &v), rows[i].ok);
        if (!rows[i].ok)
            continue;
        CHECK(v == rows[i].lsn);
        pg_lsn_format(text, v);
        assert_string_equal(text, rows[i].text);
    }
    CHECK(!pg_lsn_parse(NULL, &(uint64_t){0}));
}

static void member__name__one_spelling(void **st)
{
    (void)st;
    char name[PG_MEMBER_SIZE];
    pg_member_name(name, 0xAB);
    assert_string_equal(name, "m_00000000000000ab");
    CHECK(pg_member_volume(name) == 0xAB);
    CHECK(pg_member_volume("m_00000000000000AB") == 0);
    CHECK(pg_member_volume("m_ab") == 0);
    CHECK(pg_member_volume("n_00000000000000ab") == 0);
    CHECK(pg_member_volume("m_00000000000000ab0") == 0);
    CHECK(pg_member_volume(NULL) == 0);
    uint64_t a = pg_volume_new(), b = pg_volume_new();
    CHECK(a != 0 && b != 0 && a != b);
}

static void quoting__hostile_values__stay_values(void **st)
{
    (void)st;
    struct buf b;
    buf_init(&b, 1000);
    pg_conninfo_add(&b, "user", "o'h\\ara");
    pg_conninfo_add(&b, "host", "a b");
    assert_string_equal(buf_str(&b), "user='o\\'h\\\\ara' host='a b'");
    buf_clear(&b);
    pg_conf_quote(&b, "a'b\\c");
    assert_string_equal(buf_str(&b), "'a''b\\\\c'");
    buf_clear(&b);
    pg_sql_quote(&b, "a'b");
    assert_string_equal(buf_str(&b), "'a''b'");
    buf_clear(&b);
    pg_sql_quote(&b, "a\\b");
    assert_string_equal(buf_str(&b), " E'a\\\\b'");
    buf_clear(&b);
    pg_sql_ident(&b, "we\"ird");
    assert_string_equal(buf_str(&b), "\"we\"\"ird\"");
    buf_done(&b);
}

static void env__data_dir__state_beside_it(void **st)
{
    (void)st;
    struct pg_env env = {0};
    CHECK(pg_env_set_data_dir(&env, "/vol/pgdata//", NULL));
    assert_string_equal(env.data_dir, "/vol/pgdata");
    assert_string_equal(env.state_dir, "/vol/pghad");
    CHECK(!pg_env_set_data_dir(&env, "pgdata", NULL));
    CHECK(!pg_env_set_data_dir(&env, "/pgdata", NULL));
    CHECK(!pg_env_set_data_dir(&env, "/", NULL));
}

static void version__table__ascending_and_bounded(void **st)
{
    (void)st;
    CHECK(pg_version_find(14) == NULL && pg_version_find(19) == NULL);
    CHECK(!pg_version_find(15)->allow_alter_system && pg_version_find(17)->allow_alter_system);
    uint32_t last = 0;
    for (unsigned i = 0; pg_version_at(i); i++) {
        CHECK(pg_version_at(i)->major > last);
        last = pg_version_at(i)->major;
    }
    assert_int_equal(last, 18);
}

/* ---- pg_controldata, pg_waldump ---- */

static const char control_text[] =
    "pg_control version number:            1300\n"
    "Catalog version number:               202209061\n"
    "Database system identifier:           18446744073709551615\n"
    "Database cluster state:               in archive recovery\n"
    "pg_control last modified:             Sat Nov 21 04:53:27 2026\n"
    "Latest checkpoint location:           0/17414F8\n"
    "Latest checkpoint's REDO location:    0/1741400\n"
    "Latest checkpoint's REDO WAL file:    000000010000000000000001\n"
    "Latest checkpoint's TimeLineID:       3\n"
    "Latest checkpoint's PrevTimeLineID:   1\n"
    "Minimum recovery ending location:     0/2000000\n"
    "Min recovery ending loc's timeline:   4\n"
    "wal_log_hints setting:                on\n"
    "max_connections setting:              100\n"
    "max_worker_processes setting:         8\n"
    "max_wal_senders setting:              10\n"
    "max_prepared_xacts setting:           0\n"
    "max_locks_per_xact setting:           64\n"
    "Bytes per WAL segment:                16777216\n"
    "Data page checksum version:           0\n";

static void control__good__all_fields(void **st)
{
    (void)st;
    struct pg_control c;
    CHECK(pg_control_parse(&c, control_text, NULL));
    CHECK(c.system_id == UINT64_MAX && c.catalog_version == 202209061);
    CHECK(c.state == PG_CONTROL_ARCHIVE_RECOVERY && c.timeline == 3);
    CHECK(c.checkpoint_lsn == 0x17414F8 && c.redo_lsn == 0x1741400);
    CHECK(c.min_recovery_lsn == 0x2000000 && c.min_recovery_timeline == 4);
    CHECK(c.segment_bytes == 16777216 && !c.checksums && c.log_hints);
    CHECK(c.max_connections == 100 && c.max_worker_processes == 8 && c.max_wal_senders == 10);
    CHECK(c.max_prepared_xacts == 0 && c.max_locks_per_xact == 64);
}

/* Each line is needed, once, and with a value of its kind. */
static void control__floor__the_later_of_checkpoint_and_consistency(void **st)
{
    (void)st;
    struct pg_control c = {.timeline = 3, .redo_lsn = 0x900, .checkpoint_lsn = 0x1000};
    CHECK(pg_control_floor(&c).timeline == 3 && pg_control_floor(&c).lsn == 0x1000);
    c.min_recovery_timeline = 3;
    c.min_recovery_lsn = 0x2000;
    CHECK(pg_control_floor(&c).lsn == 0x2000);
    c.min_recovery_timeline = 2; /* of before the checkpoint */
    CHECK(pg_control_floor(&c).timeline == 3 && pg_control_floor(&c).lsn == 0x1000);
    c.min_recovery_timeline = 4;
    c.min_recovery_lsn = 0x800;
    CHECK(pg_control_floor(&c).timeline == 4 && pg_control_floor(&c).lsn == 0x800);
}

static void control__damaged__named(void **st)
{
    (void)st;
    struct pg_control c;
    struct err e;
    static const char *const keys[] = {
        "Catalog version number", "Database system identifier", "Database cluster state",
        "Latest checkpoint location", "Latest checkpoint's REDO location",
        "Latest checkpoint's TimeLineID", "Minimum recovery ending location",
        "Min recovery ending loc's timeline", "wal_log_hints setting", "Bytes per WAL segment",
        "Data page checksum version", "max_connections setting", "max_prepared_xacts setting"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        char text[2048];
        const char *at = strstr(control_text, keys[i]);
        const char *end = strchr(at, '\n') + 1;
        snprintf(text, sizeof(text), "%.*s%s", (int)(at - control_text), control_text, end);
        CHECK(!pg_control_parse(&c, text, &e) && e.kind == ERR_CORRUPT && strstr(e.msg, keys[i]));
        snprintf(text, sizeof(text), "%s%.*s", control_text, (int)(end - at), at);
        CHECK(!pg_control_parse(&c, text, &e) && strstr(e.msg, "twice"));
        snprintf(text, sizeof(text), "%.*s%s:  x?\n%s", (int)(at - control_text), control_text,
                 keys[i], end);
        CHECK(!pg_control_parse(&c, text, &e) && strstr(e.msg, "x?"));
    }
    CHECK(!pg_control_parse(&c, "", &e));
    char text[2048];
    snprintf(text, sizeof(text), "WARNING: Calculated CRC checksum does not match\n%s",
             control_text);
    CHECK(!pg_control_parse(&c, text, &e) && strstr(e.msg, "CRC"));
}

static void waldump__stats__end_or_reason(void **st)
{
    (void)st;
    uint64_t end = 0;
    struct err e;
    CHECK(pg_waldump_parse("WAL statistics between 0/1000028 and 1/1741570:\nType  N\n", &end, &e));
    CHECK(end == 0x101741570);
    CHECK(!pg_waldump_parse("", &end, &e) && e.kind == ERR_NOT_FOUND);
    CHECK(!pg_waldump_parse("rmgr: XLOG", &end, &e) && e.kind == ERR_NOT_FOUND);
    CHECK(!pg_waldump_parse("WAL statistics between 0/1 and 0/2", &end, &e));
    CHECK(e.kind == ERR_CORRUPT);
    CHECK(!pg_waldump_parse("WAL statistics between 0/1 and zz:\n", &end, &e));
    CHECK(e.kind == ERR_CORRUPT);
}

/* ---- histories ---- */

static const char history4[] = "1\t0/3000000\tno recovery target specified\n"
                               "# a comment\n\n"
                               "3\t0/5000000\tbefore 2026-11-21 10:00:00\n";

static void history__good__questions(void **st)
{
    (void)st;
    struct pg_history h;
    CHECK(pg_history_parse(&h, 4, history4, NULL));
    CHECK(h.n == 2 && !h.placeholder);
    CHECK(pg_history_contains(&h, 1, 0x3000000));
    CHECK(!pg_history_contains(&h, 1, 0x3000001));
    CHECK(!pg_history_contains(&h, 2, 0x1));
    CHECK(pg_history_contains(&h, 3, 0x4000000) && pg_history_contains(&h, 4, UINT64_MAX));
    CHECK(!pg_history_contains(&h, 5, 1));
    CHECK(pg_history_timeline_of(&h, 0x3000000) == 1);
    CHECK(pg_history_timeline_of(&h, 0x3000001) == 3);
    CHECK(pg_history_timeline_of(&h, 0x5000000) == 3);
    CHECK(pg_history_timeline_of(&h, 0x5000001) == 4);
    CHECK(pg_history_end_of(&h, 4) == UINT64_MAX && pg_history_end_of(&h, 2) == 0);
    CHECK(pg_history_parse(&h, 1, NULL, NULL) && h.n == 0);
}

/* A cluster that lives for years: the newest branches are kept, the rest is of nobody's interest. */
static void history__long__the_newest_branches_are_kept(void **st)
{
    (void)st;
    const uint32_t own = 5000;
    struct pg_history h;
    struct buf b;
    struct err e;
    buf_init(&b, PG_HISTORY_TEXT_MAX);
    for (uint32_t tl = 1; tl < own; tl++)
        buf_printf(&b, "%u\t0/%X\tno recovery target specified\n", tl, tl * 0x100);
    if (!pg_history_parse(&h, own, buf_str(&b), &e))
        fail_msg("%s", e.msg);
    const uint32_t first = own - PG_HISTORY_MAX;
    CHECK(h.n == PG_HISTORY_MAX && h.branch[0].timeline == first);
    CHECK(pg_history_contains(&h, first, first * 0x100));
    CHECK(pg_history_timeline_of(&h, first * 0x100) == first);
    CHECK(pg_history_timeline_of(&h, own * 0x100) == own);
    CHECK(!pg_history_contains(&h, first - 1, 1));
    CHECK(pg_history_timeline_of(&h, (first - 1) * 0x100) == 0);
    buf_done(&b);
}

static void history__bad__refused_with_line(void **st)
{
    (void)st;
    static const struct {
        uint32_t tl;
        const char *text, *say;
    } rows[] = {
        {2, "", "no branch"},
        {2, "1\tx/y\n", "line 1"},
        {2, "1\n", "line 1"},
        {2, "0\t0/1\n", "line 1"},
        {2, "2\t0/1\n", "ascend"},
        {4, "2\t0/3\n1\t0/4\n", "line 2"},
        {4, "1\t0/3\n1\t0/4\n", "ascend"},
        {4, "1\t0/5\n2\t0/4\n", "positions"},
        {0, "", "timeline 0"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct pg_history h;
        struct err e;
        CHECK(!pg_history_parse(&h, rows[i].tl, rows[i].text, &e));
        if (!strstr(e.msg, rows[i].say))
            fail_msg("row %zu says: %s", i, e.msg);
    }
}

static struct pg_history make(uint32_t tl, const char *text)
{
    struct pg_history h;
    CHECK(pg_history_parse(&h, tl, text, NULL));
    return h;
}

static void history__forks__common_part(void **st)
{
    (void)st;
    struct pg_history one = make(1, NULL), two = make(2, "1\t0/200\n"),
                      three = make(3, "1\t0/100\n"), four = make(4, "1\t0/200\n2\t0/300\n"),
                      five = make(5, "1\t0/200\n2\t0/250\n");
    struct position p = pg_history_fork(&one, &two);
    CHECK(p.timeline == 1 && p.lsn == 0x200);
    p = pg_history_fork(&two, &three);
    CHECK(p.timeline == 1 && p.lsn == 0x100);
    p = pg_history_fork(&two, &four);
    CHECK(p.timeline == 2 && p.lsn == 0x300);
    p = pg_history_fork(&five, &four);
    CHECK(p.timeline == 2 && p.lsn == 0x250);
    p = pg_history_fork(&four, &four);
    CHECK(p.timeline == 4 && p.lsn == UINT64_MAX);
}

static void peer__divergence__by_history_and_end(void **st)
{
    (void)st;
    struct pg_peer_facts f = {.timeline = 3, .flushed_lsn = 0x900};
    CHECK(pg_history_parse(&f.history, 3, "1\t0/200\n2\t0/300\n", NULL));
    static const struct {
        uint32_t tl;
        uint64_t lsn;
        enum tri diverged;
    } rows[] = {
        {1, 0x200, TRI_NO},  {1, 0x201, TRI_YES}, {2, 0x300, TRI_NO},      {2, 0x301, TRI_YES},
        {3, 0x900, TRI_NO},  {3, 0x901, TRI_YES}, {4, 0x100, TRI_YES},     {0, 0x100, TRI_UNKNOWN},
        {3, 0, TRI_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct position p = {.timeline = rows[i].tl, .lsn = rows[i].lsn};
        assert_int_equal(pg_peer_diverged(&f, p), rows[i].diverged);
    }
}

/* ---- facts ---- */

static void facts__senders__parsed_strictly(void **st)
{
    (void)st;
    struct pg_facts f = {0};
    struct err e;
    CHECK(pg_facts_parse_senders(
        &f,
        "10\tm_00000000000000aa\trepl\tstreaming\tquorum\t0/20\t0/10\t0/8\t5\t7\n"
        "11\tm_00000000000000aa\trepl\tstreaming\tasync\t0/20\t0/9\t\t5\t8\n"
        "12\tpg_basebackup\trepl\tbackup\tasync\t\t\t\t0\t9",
        &e));
    CHECK(f.n_senders == 3 && f.sender[0].volume == 0xaa && f.sender[0].streaming);
    CHECK(f.sender[1].replay_lsn == 0 && f.sender[2].volume == 0 && !f.sender[2].streaming);
    /* Two connections of one member: the one that is behind counts. */
    CHECK(pg_facts_sender(&f, 0xaa)->pid == 11 && pg_facts_sender(&f, 0) == NULL);
    uint64_t v[] = {0xaa, 0xaa, 0xbb};
    assert_int_equal(pg_facts_flushed(&f, 9, v, 3), 1);
    assert_int_equal(pg_facts_flushed(&f, 10, v, 3), 0);
    CHECK(pg_facts_parse_senders(&f, NULL, &e) && f.n_senders == 0);
    static const char *const bad[] = {
        "x\ta\tb\tc\td\t\t\t\t0\t0", "1\ta\tb\tc\td\t\t\t\t0", "1\ta\tb\tc\td\t0/z\t\t\t0\t0",
        "1\ta\tb\tc\td\t\t\t\t0\t0\tmore"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CHECK(!pg_facts_parse_senders(&f, bad[i], &e) && e.kind == ERR_CORRUPT);
}

static void facts__slots__only_physical_ones_are_members(void **st)
{
    (void)st;
    struct pg_facts f = {0};
    CHECK(pg_facts_parse_slots(&f, "m_00000000000000aa\tt\tf\t0/10\tf\tf\n"
                                   "m_00000000000000bb\tf\tt\t\tt\tt\nother\tt\tt\t0/1\tf\tf",
                               NULL));
    CHECK(!f.slot[0].perishable && f.slot[1].perishable && !f.slot[2].perishable);
    CHECK(f.n_slots == 3 && pg_facts_slot(&f, 0xaa)->restart_lsn == 0x10);
    CHECK(pg_facts_slot(&f, 0xbb) == NULL && f.slot[1].lost && f.slot[2].volume == 0);
    CHECK(!pg_facts_parse_slots(&f, "a\tx\tf\t0/10\tf\tf", NULL));
}

static void proctree__titles__kinds(void **st)
{
    (void)st;
    static const struct {
        const char *title, *cluster;
        enum pg_child kind;
    } rows[] = {
        {"postgres: walreceiver streaming 0/3000148", "", PG_CHILD_WALRECEIVER},
        {"postgres: c: walreceiver", "c", PG_CHILD_WALRECEIVER},
        {"postgres: c: startup recovering 000000020000000000000003", "c", PG_CHILD_STARTUP},
        {"postgres: c: checkpointer", "c", PG_CHILD_CHECKPOINTER},
        {"postgres: c: walsender repl 127.0.0.1(5) streaming 0/1", "c", PG_CHILD_WALSENDER},
        {"postgres: c: postgres app [local] idle", "c", PG_CHILD_BACKEND},
        {"postgres: c: walreceiverx app [local] idle", "c", PG_CHILD_BACKEND},
        {"postgres: c: background writer", "c", PG_CHILD_AUX},
        /* an unexpected cluster name must not make a walreceiver look like a backend */
        {"postgres: d: walreceiver", "c", PG_CHILD_UNKNOWN},
        {"/usr/lib/postgresql/15/bin/postgres -D /data", "c", PG_CHILD_UNKNOWN},
        {"", "c", PG_CHILD_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_int_equal(pg_proctree_kind(rows[i].title, rows[i].cluster), rows[i].kind);
    struct pg_proctree t = {.alive = true};
    CHECK(pg_proctree_has_walreceiver(&t) == TRI_NO);
    t.n[PG_CHILD_UNKNOWN] = 1;
    CHECK(pg_proctree_has_walreceiver(&t) == TRI_UNKNOWN);
    t.n[PG_CHILD_WALRECEIVER] = 1;
    CHECK(pg_proctree_has_walreceiver(&t) == TRI_YES);
    t = (struct pg_proctree){.alive = false};
    CHECK(pg_proctree_has_walreceiver(&t) == TRI_UNKNOWN);
}

/* ---- synchronous_standby_names ---- */

static void ssn__render_and_parse__same(void **st)
{
    (void)st;
    static const struct {
        struct pg_ssn s;
        const char *text;
    } rows[] = {
        {{.kind = PG_SSN_EMPTY}, ""},
        {{.kind = PG_SSN_UNSATISFIABLE}, "ANY 1 (pghad_none)"},
        {{.kind = PG_SSN_SET, .mode = REPL_QUORUM, .w = 1, .n = 2, .volume = {0xa, 0xb}},
         "ANY 1 (\"m_000000000000000a\", \"m_000000000000000b\")"},
        {{.kind = PG_SSN_SET, .mode = REPL_SYNC, .w = 2, .n = 2, .volume = {0xa, UINT64_MAX}},
         "FIRST 2 (\"m_000000000000000a\", \"m_ffffffffffffffff\")"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buf b;
        struct pg_ssn back;
        buf_init(&b, 4096);
        CHECK(pg_ssn_render(&b, &rows[i].s, NULL));
        assert_string_equal(buf_str(&b), rows[i].text);
        pg_ssn_parse(&back, rows[i].text);
        CHECK(back.kind == rows[i].s.kind && back.w == rows[i].s.w && back.n == rows[i].s.n);
        CHECK(back.mode == rows[i].s.mode || back.kind != PG_SSN_SET);
        CHECK(memcmp(back.volume, rows[i].s.volume, sizeof(back.volume)) == 0);
        buf_done(&b);
    }
    static const char *const other[] = {
        "*", "ANY 1 (a)", "ANY 0 (\"m_000000000000000a\")", "ANY 2 (\"m_000000000000000a\")",
        "ANY 1 (\"m_000000000000000a\",\"m_000000000000000b\")", "ANY 1 (\"m_000000000000000a\"",
        "ANY 1 ()", "1 (\"m_000000000000000a\")", "ANY 1 (\"m_000000000000000A\")"};
    for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
        struct pg_ssn s;
        pg_ssn_parse(&s, other[i]);
        assert_int_equal(s.kind, PG_SSN_OTHER);
    }
}

static void ssn__impossible__refused_and_names_fit(void **st)
{
    (void)st;
    struct buf b;
    buf_init(&b, 4096);
    struct pg_ssn s = {.kind = PG_SSN_SET, .mode = REPL_QUORUM, .w = 0, .n = 1, .volume = {1}};
    CHECK(!pg_ssn_render(&b, &s, NULL));
    s.w = 2;
    CHECK(!pg_ssn_render(&b, &s, NULL));
    s = (struct pg_ssn){.kind = PG_SSN_SET, .mode = REPL_QUORUM, .w = 1, .n = 2, .volume = {1, 1}};
    CHECK(!pg_ssn_render(&b, &s, NULL));
    s.volume[1] = 0;
    CHECK(!pg_ssn_render(&b, &s, NULL));
    s = (struct pg_ssn){.kind = PG_SSN_SET, .mode = REPL_ASYNC, .w = 1, .n = 1, .volume = {1}};
    CHECK(!pg_ssn_render(&b, &s, NULL));
    s.kind = PG_SSN_OTHER;
    CHECK(!pg_ssn_render(&b, &s, NULL));
    /* All members: fits facts, and every name is below PostgreSQL's 63 bytes. */
    s = (struct pg_ssn){.kind = PG_SSN_SET, .mode = REPL_QUORUM, .w = 15, .n = 16};
    for (unsigned i = 0; i < 16; i++)
        s.volume[i] = UINT64_MAX - i;
    buf_clear(&b);
    CHECK(pg_ssn_render(&b, &s, NULL) && b.len < PG_SSN_SIZE);
    CHECK(PG_MEMBER_SIZE - 1 <= 63);
    buf_done(&b);
}

/* ---- durable state ---- */

static struct pg_state sample_state(void)
{
    struct pg_state s = {.epoch = 7, .volume = 0xabc, .system_id = UINT64_MAX, .has_record = true};
    s.record = (struct record){.epoch = 7, .rev = 3, .w = 1, .has_next = true, .next_w = 2,
                               .sealed = 0xabc, .writer = 0xabc, .writer_epoch = 6, .timeline = 9,
                               .n = 2};
    s.record.m[0] = (struct record_member){.volume = 0xabc, .name = {"pg-0"}, .in_v = true,
                                           .flushed = {.timeline = 9, .lsn = 0x123456789a}};
    s.record.m[1] = (struct record_member){.volume = 0xdef, .name = {"pg-1"}, .in_next = true};
    return s;
}

/* Field by field: what is between them is not theirs. */
static void same_state(const struct pg_state *a, const struct pg_state *b)
{
    const struct record *x = &a->record, *y = &b->record;
    CHECK(a->epoch == b->epoch && a->volume == b->volume && a->system_id == b->system_id &&
          a->has_record == b->has_record);
    CHECK(x->epoch == y->epoch && x->rev == y->rev && x->w == y->w && x->has_next == y->has_next &&
          x->next_w == y->next_w && x->sealed == y->sealed && x->writer == y->writer &&
          x->writer_epoch == y->writer_epoch && x->timeline == y->timeline && x->strict == y->strict && x->n == y->n);
    for (int i = 0; i < HA_MEMBERS_MAX; i++) {
        const struct record_member *m = &x->m[i], *o = &y->m[i];
        CHECK(m->volume == o->volume && strcmp(m->name.s, o->name.s) == 0 && m->in_v == o->in_v &&
              m->in_next == o->in_next && m->flushed.timeline == o->flushed.timeline &&
              m->flushed.lsn == o->flushed.lsn);
    }
}

static void state__round_trip__equal(void **st)
{
    (void)st;
    struct pg_state s = sample_state(), back;
    struct buf b;
    buf_init(&b, 8192);
    CHECK(pg_state_format(&b, &s, NULL));
    struct err e = {0};
    if (!pg_state_parse(&back, buf_str(&b), &e))
        fail_msg("%s", e.msg);
    same_state(&s, &back);
    buf_clear(&b);
    s = (struct pg_state){.epoch = 1};
    CHECK(pg_state_format(&b, &s, NULL) && pg_state_parse(&back, buf_str(&b), NULL));
    same_state(&s, &back);
    buf_done(&b);
}

/* No single byte may change, be lost or be doubled without being noticed. */
static void state__any_damage__refused(void **st)
{
    (void)st;
    struct pg_state s = sample_state(), back;
    struct buf b;
    struct err e;
    buf_init(&b, 8192);
    CHECK(pg_state_format(&b, &s, NULL));
    for (size_t i = 0; i < b.len; i++) {
        char text[8192];
        memcpy(text, b.data, b.len + 1);
        text[i] = (char)(text[i] ^ 1);
        CHECK(!pg_state_parse(&back, text, &e) && e.kind == ERR_CORRUPT);
        memmove(text + i, b.data + i + 1, b.len - i);
        CHECK(!pg_state_parse(&back, text, &e) && e.kind == ERR_CORRUPT);
        memcpy(text, b.data, i);
        text[i] = '\0';
        CHECK(!pg_state_parse(&back, text, &e) && e.kind == ERR_CORRUPT);
    }
    buf_done(&b);
}

/* ---- barrier ---- */

static struct pg_facts look(int64_t at_ms, const char *fresh, int64_t fresh_ms)
{
    struct pg_facts f = {.valid = true, .at_ms = at_ms, .fresh_ms = fresh_ms, .n_senders = 2};
    snprintf(f.fresh_ssn, sizeof(f.fresh_ssn), "%s", fresh);
    f.sender[0] = (struct pg_sender){.pid = 1, .start_us = 10, .reply_us = 100};
    f.sender[1] = (struct pg_sender){.pid = 2, .start_us = 20, .reply_us = 100};
    return f;
}

static void barrier__needs_two_replies_of_each_older_walsender(void **st)
{
    (void)st;
    struct pg_barrier b;
    pg_barrier_begin(&b, "new", false, 100);
    struct pg_facts f = look(200, "old", 150);
    pg_barrier_feed(&b, &f);
    CHECK(!b.armed);
    f = look(210, "new", 90); /* a session from before the change proves nothing */
    pg_barrier_feed(&b, &f);
    CHECK(!b.armed);
    f = look(220, "new", 215);
    pg_barrier_feed(&b, &f);
    CHECK(b.armed && !pg_barrier_in_force(&b, 0));
    f.sender[0].reply_us = f.sender[1].reply_us = 101;
    pg_barrier_feed(&b, &f);
    pg_barrier_feed(&b, &f);
    CHECK(!pg_barrier_in_force(&b, 0));
    f.sender[0].reply_us = 102;
    pg_barrier_feed(&b, &f);
    CHECK(!pg_barrier_in_force(&b, 0));
    f.sender[1].start_us = 21; /* replaced by a new one */
    pg_barrier_feed(&b, &f);
    CHECK(pg_barrier_in_force(&b, 0));
}

static void barrier__from_empty__needs_a_later_checkpoint(void **st)
{
    (void)st;
    struct pg_barrier b;
    pg_barrier_begin(&b, "new", true, 100);
    CHECK(pg_barrier_checkpoint_after(&b) == 0);
    struct pg_facts f = look(220, "new", 215);
    f.n_senders = 0;
    pg_barrier_feed(&b, &f);
    CHECK(pg_barrier_checkpoint_after(&b) == 215);
    CHECK(!pg_barrier_in_force(&b, 0) && !pg_barrier_in_force(&b, 214));
    CHECK(pg_barrier_in_force(&b, 215));
}

static void barrier__too_many_walsenders__no_proof(void **st)
{
    (void)st;
    struct pg_barrier b;
    pg_barrier_begin(&b, "new", false, 100);
    struct pg_facts f = look(220, "new", 215);
    f.n_senders = 0;
    f.senders_cut = true;
    pg_barrier_feed(&b, &f);
    CHECK(!pg_barrier_in_force(&b, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lsn__text__round_trip_or_refused),
        cmocka_unit_test(member__name__one_spelling),
        cmocka_unit_test(quoting__hostile_values__stay_values),
        cmocka_unit_test(env__data_dir__state_beside_it),
        cmocka_unit_test(version__table__ascending_and_bounded),
        cmocka_unit_test(control__good__all_fields),
        cmocka_unit_test(control__floor__the_later_of_checkpoint_and_consistency),
        cmocka_unit_test(control__damaged__named),
        cmocka_unit_test(waldump__stats__end_or_reason),
        cmocka_unit_test(history__good__questions),
        cmocka_unit_test(history__long__the_newest_branches_are_kept),
        cmocka_unit_test(history__bad__refused_with_line),
        cmocka_unit_test(history__forks__common_part),
        cmocka_unit_test(peer__divergence__by_history_and_end),
        cmocka_unit_test(facts__senders__parsed_strictly),
        cmocka_unit_test(facts__slots__only_physical_ones_are_members),
        cmocka_unit_test(proctree__titles__kinds),
        cmocka_unit_test(ssn__render_and_parse__same),
        cmocka_unit_test(ssn__impossible__refused_and_names_fit),
        cmocka_unit_test(state__round_trip__equal),
        cmocka_unit_test(state__any_damage__refused),
        cmocka_unit_test(barrier__needs_two_replies_of_each_older_walsender),
        cmocka_unit_test(barrier__from_empty__needs_a_later_checkpoint),
        cmocka_unit_test(barrier__too_many_walsenders__no_proof),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
