/* The command line: one table of options and one of commands serve the parser, help, completion
 * and docs/reference/hactl.md, so that they cannot differ. */
#ifndef PGHAD_HACTL_ARGS_H
#define PGHAD_HACTL_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

/* Exit codes. Scripts rely on them. */
enum exit_code {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,
    EXIT_USAGE = 2,
    EXIT_DEGRADED = 3,    /* answered, but the cluster is not as it should be */
    EXIT_UNREACHABLE = 4, /* the API (or the member asked) did not answer or let us in */
    EXIT_REFUSED = 5,     /* a safety check said no; nothing was changed */
};

enum opt_id {
    OPT_NONE, /* ends a list */
    OPT_KUBECONFIG,
    OPT_CONTEXT,
    OPT_NAMESPACE,
    OPT_CLUSTER,
    OPT_OUTPUT,
    OPT_SOCKET,
    OPT_TIMEOUT,
    OPT_NO_COLOR,
    OPT_HELP,
    OPT_WATCH,
    OPT_TO,
    OPT_FORCE,
    OPT_DRY_RUN,
    OPT_ACCEPT_LOSS,
    OPT_WAIT,
    OPT_SET,
    OPT_APPLY,
    OPT_FOR,
    OPT_ROLE,
    OPT_REPLICA,
    OPT_USER,
    OPT_DBNAME,
    OPT_DNS,
    OPT_CLUSTER_WIDE,
    OPT_FILE,
    OPT_AT,
    OPT_WHAT_IF,
    OPT_IMAGE,
    OPT_CONTAINER,
    OPT_COUNT,
};

/* What the argument of an option or an operand is, for checks and completion. */
enum arg_kind { ARG_NONE, ARG_TEXT, ARG_FILE, ARG_MEMBER, ARG_WORD, ARG_SECONDS };

struct opt_def {
    const char *name; /* without dashes */
    char letter;      /* 0 = none */
    enum arg_kind kind;
    const char *arg;   /* name of the argument in help; NULL for a flag */
    const char *words; /* ARG_WORD: allowed values, separated by '|' */
    const char *help;
    bool repeats; /* may be given several times (--set) */
};

struct session;

#define COMMAND_OPTS_MAX 8

struct command {
    const char *name;
    const char *alias;    /* NULL = none */
    const char *operands; /* for help: "[POD]", "" = none */
    enum arg_kind operand_kind;
    int min, max;       /* number of operands */
    bool pass;          /* everything after the verb's options or "--" goes to another program */
    const char *help;   /* one line */
    const char *text;   /* paragraphs for `help VERB` and the reference */
    enum opt_id opts[COMMAND_OPTS_MAX];
    int (*run)(struct session *s); /* returns an exit code */
};

#define ARGS_OPERANDS_MAX 64
#define ARGS_SETS_MAX 32

struct args {
    const struct command *command;  /* NULL: none given */
    const char *value[OPT_COUNT];   /* NULL = not given; "" for flags; borrowed from argv */
    const char *set[ARGS_SETS_MAX]; /* --set, in order */
    size_t sets;
    const char *operand[ARGS_OPERANDS_MAX];
    size_t operands;
    int64_t timeout_ms; /* --timeout; 0 = the command's default */
};

const struct opt_def *opt_def(enum opt_id id);
extern const enum opt_id global_opts[]; /* ends with OPT_NONE */
const struct command *command_at(size_t i); /* NULL after the last */
const struct command *command_find(const char *name);
/* The name that is meant by a mistyped one, or NULL: at most two edits away. */
const char *nearest_word(const char *given, const char *const *words, size_t n);

/* Options may stand anywhere before "--"; values as "--name value", "--name=value", "-n value",
 * "-nvalue". ERR_INVALID with a text that says what is allowed. */
bool args_parse(struct args *a, int argc, char *const argv[], struct err *e);
static inline bool args_has(const struct args *a, enum opt_id id)
{
    return a->value[id] != NULL;
}

/* Seconds, or a number with ms, s, m or h. */
bool duration_parse(const char *s, int64_t *ret_ms);

void help_overview(FILE *f);
void help_command(FILE *f, const struct command *c);
void help_reference(FILE *f); /* Markdown */
bool help_completion(FILE *f, const char *shell); /* bash, zsh or fish; false for another */

#endif
