/* Selector grammar: terms joined by commas; =, ==, !=, in (..), notin (..), key, !key for labels;
 * =, ==, != for fields. */
#include "devkube/selector.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/str.h"

#define TERMS_MAX 16
#define VALUES_MAX 16

enum op { OP_IN, OP_NOT_IN, OP_EXISTS, OP_MISSING };

struct term {
    bool field;
    enum op op;
    char key[320];
    size_t n;
    char values[VALUES_MAX][256];
};

struct selector {
    size_t n;
    struct term terms[TERMS_MAX];
};

static void skip_blanks(const char **p)
{
    while (isspace((unsigned char)**p))
        (*p)++;
}

static bool take(const char **p, const char *token)
{
    skip_blanks(p);
    size_t n = strlen(token);
    if (strncmp(*p, token, n) != 0)
        return false;
    *p += n;
    return true;
}

/* A word up to one of the stop characters or a blank; may be empty. */
static bool take_word(const char **p, const char *stops, char *dst, size_t size)
{
    skip_blanks(p);
    size_t n = 0;
    while ((*p)[n] && !strchr(stops, (*p)[n]) && !isspace((unsigned char)(*p)[n]))
        n++;
    if (n >= size)
        return false;
    memcpy(dst, *p, n);
    dst[n] = '\0';
    *p += n;
    return true;
}

static bool take_set(const char **p, struct term *t)
{
    if (!take(p, "("))
        return false;
    do {
        if (t->n == VALUES_MAX || !take_word(p, ",)", t->values[t->n], sizeof(t->values[0])))
            return false;
        t->n++;
    } while (take(p, ","));
    return take(p, ")");
}

static bool take_operator(const char **p, struct term *t)
{
    skip_blanks(p);
    bool set = false;
    if (take(p, "!=")) {
        t->op = OP_NOT_IN;
    } else if (take(p, "==") || take(p, "=")) {
        t->op = OP_IN;
    } else if (!t->field && take(p, "notin")) {
        t->op = OP_NOT_IN;
        set = true;
    } else if (!t->field && take(p, "in")) {
        t->op = OP_IN;
        set = true;
    } else {
        return !t->field;
    }
    if (set)
        return take_set(p, t);
    t->n = 1;
    return take_word(p, ",", t->values[0], sizeof(t->values[0]));
}

static bool parse(struct selector *s, const char *text, bool field, struct err *e)
{
    const char *p = text;
    skip_blanks(&p);
    while (*p) {
        if (s->n == TERMS_MAX)
            return err_set(e, ERR_INVALID, "too many selector terms");
        struct term *t = &s->terms[s->n++];
        t->field = field;
        t->op = !field && p[0] == '!' && p[1] != '=' && take(&p, "!") ? OP_MISSING : OP_EXISTS;
        bool ok = take_word(&p, "=!,()", t->key, sizeof(t->key)) && t->key[0] != '\0';
        if (ok && t->op == OP_EXISTS)
            ok = take_operator(&p, t);
        skip_blanks(&p);
        if (!ok || (*p && *p != ','))
            return err_set(e, ERR_INVALID, "unable to parse requirement: found '%s'", p);
        if (*p == ',')
            p++;
        skip_blanks(&p);
    }
    return true;
}

static bool selectable(const struct resource *res, const char *field)
{
    if (str_eq(field, "metadata.name") || (res->namespaced && str_eq(field, "metadata.namespace")))
        return true;
    for (const char *const *f = res->fields; *f; f++) {
        if (str_eq(*f, field))
            return true;
    }
    return false;
}

static bool refuse_field(const struct resource *res, const char *field, struct err *e)
{
    if (*res->fields)
        return err_set(e, ERR_INVALID, "field label not supported: %s", field);
    return err_set(e, ERR_INVALID,
                   "\"%s\" is not a known field selector: only \"metadata.name\"%s", field,
                   res->namespaced ? ", \"metadata.namespace\"" : "");
}

struct selector *selector_new(const struct resource *res, const char *labels, const char *fields,
                              struct err *e)
{
    struct selector *s = calloc(1, sizeof(*s));
    must(s);
    bool ok = (!labels || parse(s, labels, false, e)) && (!fields || parse(s, fields, true, e));
    for (size_t i = 0; ok && i < s->n; i++) {
        if (s->terms[i].field && !selectable(res, s->terms[i].key))
            ok = refuse_field(res, s->terms[i].key, e);
    }
    if (!ok) {
        selector_free(s);
        return NULL;
    }
    return s;
}

void selector_free(struct selector *s)
{
    free(s);
}

static bool term_match(const struct term *t, const struct json_object *o)
{
    const char *v = NULL;
    if (t->field) {
        v = jx_str_or(o, t->key, "");
    } else {
        v = jx_value(jx_get(jx_path(o, "metadata.labels"), t->key));
    }
    if (t->op == OP_EXISTS || t->op == OP_MISSING)
        return (v != NULL) == (t->op == OP_EXISTS);
    bool in = false;
    for (size_t i = 0; v && i < t->n; i++)
        in = in || str_eq(v, t->values[i]);
    return in == (t->op == OP_IN);
}

bool selector_match(const struct selector *s, const struct json_object *o)
{
    for (size_t i = 0; s && i < s->n; i++) {
        if (!term_match(&s->terms[i], o))
            return false;
    }
    return true;
}

const char *selector_name(const struct selector *s)
{
    for (size_t i = 0; s && i < s->n; i++) {
        const struct term *t = &s->terms[i];
        if (t->field && t->op == OP_IN && t->n == 1 && str_eq(t->key, "metadata.name"))
            return t->values[0];
    }
    return NULL;
}
