/* Flight records on the command line of pghad; each returns the exit code: 0, 1, or 2 for a record
 * that cannot be read. path: a record, its text form, or the state directory of a member. */
#ifndef PGHAD_AGENT_FLIGHT_H
#define PGHAD_AGENT_FLIGHT_H

#include <stdbool.h>

/* 1: a verdict is not the recorded one. */
int flight_command_replay(const char *path);
/* The text form. anew: with the verdicts of this program in place of the recorded ones. */
int flight_command_text(const char *path, bool anew);

#endif
