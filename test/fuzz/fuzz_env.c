/* The environment, one variable a line. Variables that name files are left out: a file is no input. */
#include "config/config.h"
#include "fuzz.h"

#define LINES_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = input_text(data, size);
    char *line[LINES_MAX], *env[LINES_MAX + 1];
    size_t n = input_lines(text, line, LINES_MAX), kept = 0;
    struct config c = {0};
    struct err e = {0};
    for (size_t i = 0; i < n; i++)
        if (strstr(line[i], "_FILE=") == NULL)
            env[kept++] = line[i];
    env[kept] = NULL;
    struct config_sources s = {.file = "/dev/null", .env = env, .check_only = (size & 1) != 0};
    if (config_load(&c, &s, &e)) {
        struct config_changes ch = {0};
        REQUIRE(config_reload(&c, &s, &ch, &e));
        REQUIRE(ch.n == 0);
        config_changes_done(&ch);
    } else {
        REQUIRE(e.kind != ERR_NONE);
    }
    config_done(&c);
    free(text);
    return 0;
}
