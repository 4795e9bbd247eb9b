/* What pg_controldata and pg_waldump print. */
#include "fuzz.h"
#include "pg/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pg_control c;
    struct err e = {0};
    uint64_t end;
    char *text = input_text(data, size);
    memset(&c, 0, sizeof(c));
    if (pg_control_parse(&c, text, &e)) {
        REQUIRE(c.system_id != 0);
        REQUIRE(c.timeline > 0);
    }
    (void)pg_waldump_parse(text, &end, &e);
    free(text);
    return 0;
}
