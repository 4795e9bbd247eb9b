/* One run of hactl: where it reads and writes, and the connection to the API. */
#ifndef PGHAD_HACTL_SESSION_H
#define PGHAD_HACTL_SESSION_H

#include <stdbool.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"
#include "hactl/args.h"

struct api;

enum output { OUTPUT_TABLE, OUTPUT_WIDE, OUTPUT_JSON, OUTPUT_YAML, OUTPUT_NAME };

struct session {
    struct args args;
    FILE *in, *out, *err; /* borrowed */
    bool in_tty, out_tty;
    bool color; /* on out */
    enum output output;
    struct api *api;     /* NULL until session_connect */
    char cluster[64];    /* found by session_connect */
    int64_t deadline_ms; /* BOOTTIME, of the whole command; 0 = none */
};

/* Runs a command line and returns its exit code. */
int hactl_run(int argc, char *const argv[], FILE *in, FILE *out, FILE *err);

/* Connects and finds the cluster (--cluster, PGHA_CLUSTER, else the only one in the namespace).
 * On failure says why on err and returns the exit code, else EXIT_DONE. */
int session_connect(struct session *s);

/* "hactl: what\n" and, if hint is not NULL, "  hint\n" on err; returns code. */
int session_fail(struct session *s, int code, const char *hint, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The exit code that fits the kind of an error, after saying it. */
int session_fail_err(struct session *s, const char *doing, const struct err *e);

/* What is said on err between both is kept instead: it may be no end yet. */
struct hush {
    FILE *err;  /* borrowed */
    char *text; /* NUL-terminated after session_speak, to be freed */
    size_t n;
};
void session_hush(struct session *s, struct hush *h);
void session_speak(struct session *s, struct hush *h);

/* Asks on err, reads a line from in. Without a terminal on in the answer is no, and says so. */
bool session_confirm(struct session *s, const char *question);

/* Default deadline for commands that wait; counts from now. */
void session_set_deadline(struct session *s, int64_t default_ms);

/* ANSI sequences, "" without colour. */
const char *color_on(const struct session *s, const char *code); /* "31", "1;32", … */
const char *color_off(const struct session *s);

#endif
