/* Prints the rule table: for people, for the golden file, as a diagram. */
#ifndef PGHAD_AGENT_RULES_H
#define PGHAD_AGENT_RULES_H

#include <stdio.h>

int rules_print_text(FILE *f);    /* exit status: 0, or 1 when writing failed */
int rules_print_mermaid(FILE *f);

#endif
