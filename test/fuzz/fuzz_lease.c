/* The Lease as the API server sends it; what was read can be written back and read again. */
#include <json-c/json.h>

#include "fuzz.h"
#include "kube/lease.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kube_lease l = {0}, again = {0};
    struct err e = {0};
    char *text = input_text(data, size);
    if (kube_lease_parse(text, size, &l, &e)) {
        struct buf b;
        struct lease want = l.lease;
        want.duration_s = 10;
        buf_init(&b, KUBE_LEASE_MAX * 2);
        if (kube_lease_build(&l, &want, 1700000000000000, &b, &e) && b.len < KUBE_LEASE_MAX) {
            REQUIRE(kube_lease_parse(buf_str(&b), b.len, &again, &e));
            REQUIRE(again.lease.epoch == want.epoch);
            if (strcmp(l.lease.holder.uid, "?") != 0)
                REQUIRE(memcmp(&again.lease.holder, &want.holder, sizeof(want.holder)) == 0);
            REQUIRE(again.lease.has_record == want.has_record);
        }
        buf_done(&b);
    } else {
        REQUIRE(e.kind != ERR_NONE);
    }
    kube_lease_done(&l);
    kube_lease_done(&again);
    free(text);
    return 0;
}
