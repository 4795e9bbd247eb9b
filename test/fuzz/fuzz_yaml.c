/* Settings as YAML, of the file or of the cluster (first byte), and what can be said of the result. */
#include "base/must.h"
#include "config/option.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {data, size};
    bool cluster_only = input_flag(&in);
    char *text = input_text(in.p, in.n);
    struct config c = {0};
    struct err e = {0};
    for (size_t i = 0; i < option_count; i++)
        option_init(&option_table[i], &c);
    if (config_yaml_apply(&c, "input", text, in.n, cluster_only, &e) &&
        config_finish(&c, true, &e)) {
        struct settings s;
        struct buf b;
        config_settings(&c, &s);
        REQUIRE(s.fence_ms + s.kill_ms < s.lease_ms);
        REQUIRE(s.renew_ms > 0 && s.retry_ms > 0 && s.renew_ms < s.fence_ms);
        buf_init(&b, 1 << 22);
        REQUIRE(config_to_json(&c, &b));
        buf_done(&b);
    } else {
        REQUIRE(e.kind != ERR_NONE && e.msg[0] != '\0');
    }
    config_done(&c);
    free(text);
    return 0;
}
