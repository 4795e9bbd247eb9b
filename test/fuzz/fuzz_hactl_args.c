/* A command line of hactl, one argument a line. */
#include "fuzz.h"
#include "hactl/args.h"

#define ARGV_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = input_text(data, size);
    char *argv[ARGV_MAX + 1];
    static char name[] = "hactl";
    argv[0] = name;
    size_t n = 1 + input_lines(text, argv + 1, ARGV_MAX - 1);
    struct args a;
    struct err e = {0};
    int64_t ms;
    if (duration_parse(argv[1], &ms))
        REQUIRE(ms >= 0);
    memset(&a, 0, sizeof(a));
    argv[n] = NULL;
    if (args_parse(&a, (int)n, argv, &e)) {
        REQUIRE(a.sets <= ARGS_SETS_MAX && a.operands <= ARGS_OPERANDS_MAX);
        if (a.command != NULL && !a.command->pass && !args_has(&a, OPT_HELP))
            REQUIRE(a.operands <= (size_t)a.command->max);
        REQUIRE(a.timeout_ms >= 0);
    } else {
        REQUIRE(e.kind == ERR_INVALID && e.msg[0] != '\0');
    }
    free(text);
    return 0;
}
