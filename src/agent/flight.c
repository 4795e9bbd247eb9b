/* Flight records on the command line of pghad. */
#include "agent/flight.h"

#include <stdio.h>
#include <string.h>

#include "flight/replay.h"
#include "flight/text.h"

/* A record of an agent or its directory: every decision again. */
int flight_command_replay(const char *path)
{
    struct flight f;
    struct err e = {0};
    struct flight_header own;
    if (!flight_load(&f, path, &e)) {
        fprintf(stderr, "pghad: %s\n", e.msg);
        return 2;
    }
    size_t differ = flight_replay(&f, stdout);
    flight_header_init(&own, &f.header.member, 0);
    printf("%zu turns of %s replayed: %zu differ\n", f.turns,
           f.header.member.s[0] != '\0' ? f.header.member.s : "?", differ);
    if (f.torn_bytes > 0)
        printf("the record ends in the middle of a turn: %zu bytes are left out\n", f.torn_bytes);
    if (f.foreign_files > 0)
        printf("%u files of another build are left out\n", f.foreign_files);
    if (differ > 0 && strcmp(own.build, f.header.build) != 0)
        printf("recorded by build %s, replayed by %s\n", f.header.build, own.build);
    flight_done(&f);
    return differ > 0 || fflush(stdout) != 0;
}

int flight_command_text(const char *path, bool anew)
{
    struct flight f;
    struct err e = {0};
    if (!flight_load(&f, path, &e)) {
        fprintf(stderr, "pghad: %s\n", e.msg);
        return 2;
    }
    bool ok = flight_to_text(&f, anew, stdout);
    flight_done(&f);
    return ok ? 0 : 1;
}
