/* What every target shares. A target reads its input, calls the product's own parser, and requires
 * what must hold for any input: no crash, and what was accepted survives writing and reading again.
 * The same file is linked with libFuzzer (make fuzz) and with corpus_main.c (make fuzz-corpus). */
#ifndef PGHAD_TEST_FUZZ_H
#define PGHAD_TEST_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(cond)                                                                              \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #cond);              \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* A copy with a NUL behind it, so that reading past the end is seen by the address sanitizer; to be
 * freed by the caller. */
static inline char *input_text(const uint8_t *data, size_t size)
{
    char *s = malloc(size + 1);
    REQUIRE(s != NULL);
    if (size > 0)
        memcpy(s, data, size);
    s[size] = '\0';
    return s;
}

/* Bytes taken one after the other; zeros when they are used up. */
struct input {
    const uint8_t *p;
    size_t n;
};

static inline uint8_t input_byte(struct input *in)
{
    if (in->n == 0)
        return 0;
    in->n--;
    return *in->p++;
}

static inline uint64_t input_bytes(struct input *in, unsigned n)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < n; i++)
        v = v << 8 | input_byte(in);
    return v;
}

/* 0 to below - 1. */
static inline unsigned input_below(struct input *in, unsigned below)
{
    return input_byte(in) % below;
}

static inline bool input_flag(struct input *in)
{
    return (input_byte(in) & 1) != 0;
}

/* Cuts text at each line feed, in place; returns the number of parts, at most max. */
static inline size_t input_lines(char *text, char **ret, size_t max)
{
    size_t n = 0;
    for (char *p = text; p != NULL && n < max;) {
        char *end = strchr(p, '\n');
        ret[n++] = p;
        if (end != NULL)
            *end++ = '\0';
        p = end;
    }
    return n;
}

#endif
