/* A watch stream: the first byte says how it is chunked and what is watched, the rest is the stream.
 * However the chunks fall, the same events come out. */
#include <json-c/json.h>

#include "../../src/kube/frame.h"
#include "../../src/kube/jx.h"
#include "../../src/kube/watched.h"
#include "fuzz.h"

#define FRAME_MAX 65536

static uint64_t rejected;

static void take(struct watched *w, struct json_object *event, int64_t now)
{
    struct err e = {0};
    const char *type = jx_text(jx_get(event, "type"));
    struct json_object *o = jx_get(event, "object");
    if (type == NULL || o == NULL)
        return;
    if (strcmp(type, "MERGE") == 0)
        (void)watched_merge(w, o, now - 1, now, &e);
    else if (strcmp(type, "LIST") == 0)
        (void)watched_list(w, o, now - 1, now, &e);
    else
        (void)watched_event(w, o, strcmp(type, "DELETED") == 0, now, &e);
    REQUIRE(strlen(watched_rv(w)) < KUBE_RV_SIZE);
    (void)watched_overdue(w, now);
}

/* Returns how many events were cut out of the stream. */
static unsigned run(enum watched_kind kind, const char *text, size_t len, size_t chunk)
{
    struct watched w = {.kind = kind, .name = "db", .role_label = "pghad.io/role",
                        .rejected = &rejected};
    struct kube_frame f = {0};
    struct err e = {0};
    unsigned n = 0;
    bool good = true;
    kube_frame_init(&f, FRAME_MAX);
    for (size_t at = 0; good && at < len;) {
        size_t part = len - at < chunk ? len - at : chunk;
        /* A copy of just this part, so that reading past it is seen. */
        char *copy = input_text((const uint8_t *)text + at, part);
        for (size_t off = 0; good && off < part;) {
            struct json_object *o = NULL;
            size_t used = 0;
            good = kube_frame_next(&f, copy + off, part - off, &used, &o, &e);
            REQUIRE(used <= part - off);
            REQUIRE(!good || used > 0 || o != NULL);
            off += used;
            if (good && o != NULL) {
                n++;
                take(&w, o, 1000 + (int64_t)n * 100);
            }
            if (good)
                json_object_put(o);
        }
        free(copy);
        at += part;
    }
    kube_frame_done(&f);
    watched_done(&w);
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    uint8_t how = input_byte(&in);
    enum watched_kind kind = (enum watched_kind)(how % 3);
    char *text = input_text(in.p, in.n);
    unsigned whole = run(kind, text, in.n, in.n > 0 ? in.n : 1);
    unsigned parts = run(kind, text, in.n, 1 + (how >> 4));
    REQUIRE(whole == parts);
    free(text);
    return 0;
}
