/* Positions, numbers, names, quoting and URLs: one text through every small parser. */
#include "../../src/http/origin.h"
#include "../../src/kube/creds_text.h"
#include "../../src/kube/internal.h"
#include "base/str.h"
#include "config/option.h"
#include "fuzz.h"
#include "hactl/cluster.h"
#include "pg/env.h"

static void positions(const char *text)
{
    uint64_t lsn, again, volume;
    char out[20], member[PG_MEMBER_SIZE];
    if (pg_lsn_parse(text, &lsn)) {
        pg_lsn_format(out, lsn);
        REQUIRE(pg_lsn_parse(out, &again) && again == lsn);
        REQUIRE(cluster_lsn(text) == lsn);
    } else {
        REQUIRE(cluster_lsn(text) == 0);
    }
    volume = pg_member_volume(text);
    if (volume != 0) {
        pg_member_name(member, volume);
        REQUIRE(strcmp(member, text) == 0);
    }
}

static void numbers(const char *text)
{
    int64_t n;
    uint64_t h;
    char copy[8], time[40];
    if (str_to_i64(text, -1000, 1000, &n))
        REQUIRE(n >= -1000 && n <= 1000);
    if (str_to_i64(text, INT64_MIN, INT64_MAX, &n))
        REQUIRE(!str_microtime(time, sizeof(time), n) || strlen(time) == 27);
    if (str_to_hex64(text, &h))
        REQUIRE(strlen(text) >= 1 && strlen(text) <= 16);
    REQUIRE(str_copy(copy, sizeof(copy), text) == (strlen(text) < sizeof(copy)));
}

static void quoting(const char *text)
{
    struct buf b;
    buf_init(&b, 1 << 20);
    pg_conf_quote(&b, text);
    pg_sql_quote(&b, text);
    pg_sql_ident(&b, text);
    pg_conninfo_add(&b, "k", text);
    kube_escape(&b, text);
    REQUIRE(!b.overflow);
    buf_clear(&b);
    (void)creds_base64(text, &b);
    buf_clear(&b);
    (void)kube_token_clean(text, strlen(text), &b);
    buf_done(&b);
}

/* Every option takes the text or refuses it; what it took, it prints so that it takes it again. */
static void options(const char *text)
{
    struct config c = {0}, again = {0};
    for (size_t i = 0; i < option_count; i++) {
        const struct option *o = &option_table[i];
        struct err e = {0};
        struct buf b;
        if (o->type == OPT_LIST || o->type == OPT_MAP)
            continue;
        option_init(o, &c);
        option_init(o, &again);
        buf_init(&b, 1 << 20);
        if (option_parse(o, &c, text, &e)) {
            option_print(o, &c, &b);
            REQUIRE(option_parse(o, &again, buf_str(&b), &e));
            REQUIRE(option_equal(o, &c, &again));
        } else {
            REQUIRE(e.kind != ERR_NONE);
        }
        buf_done(&b);
        option_free(o, &c);
        option_free(o, &again);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = input_text(data, size);
    uint64_t origin = 1;
    struct http_request r = {.url = text};
    positions(text);
    numbers(text);
    quoting(text);
    options(text);
    if (http_origin(&r, &origin, NULL))
        REQUIRE(origin != 0);
    free(text);
    return 0;
}
