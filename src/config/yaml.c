/* YAML to options. The parser's document tree is walked along the option table: two levels of
 * mappings with known keys, then a scalar, a list of scalars or a map of scalars. Every message names
 * the source and the line (docs/decisions/0010). */
#include <string.h>
#include <yaml.h>

#include "base/str.h"
#include "config/option.h"

struct reader {
    struct config *c;
    yaml_document_t *doc;
    const char *where;
    bool cluster_only;
    struct err *e;
};

static bool fail_at(struct reader *r, const yaml_node_t *n, const char *key, const char *why)
{
    return err_set(r->e, ERR_INVALID, "%s: line %zu: %s: %s", r->where, n->start_mark.line + 1, key,
                   why);
}

static const yaml_node_t *node(struct reader *r, int id)
{
    return yaml_document_get_node(r->doc, id);
}

/* The text of a scalar without NUL inside; NULL otherwise. */
static const char *scalar(const yaml_node_t *n)
{
    if (n->type != YAML_SCALAR_NODE)
        return NULL;
    const char *s = (const char *)n->data.scalar.value;
    return strlen(s) == n->data.scalar.length ? s : NULL;
}

/* Plain null, ~ or nothing at all; quoted text is never null. */
static bool is_null(const yaml_node_t *n)
{
    if (n->type != YAML_SCALAR_NODE || n->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    const char *s = (const char *)n->data.scalar.value;
    return s[0] == '\0' || strcmp(s, "~") == 0 || strcmp(s, "null") == 0;
}

/* libyaml keeps a repeated key; the last one winning silently is how settings get lost. */
static bool check_unique(struct reader *r, const yaml_node_t *map, const char *what)
{
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
        const char *key = scalar(node(r, p->key));
        if (!key)
            return fail_at(r, node(r, p->key), what, "a key must be plain text");
        for (yaml_node_pair_t *q = map->data.mapping.pairs.start; q < p; q++)
            if (strcmp(scalar(node(r, q->key)), key) == 0) {
                char name[160];
                str_format(name, sizeof(name), "%.60s%s%.60s", what, what[0] ? "." : "", key);
                return fail_at(r, node(r, p->key), name, "is given twice");
            }
    }
    return true;
}

static bool read_list(struct reader *r, const struct option *o, const yaml_node_t *n)
{
    struct err why;
    if (n->type != YAML_SEQUENCE_NODE)
        return fail_at(r, n, o->name, "must be a list (lines that begin with \"- \")");
    option_list_clear(o, r->c);
    for (yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++) {
        const yaml_node_t *item = node(r, *i);
        const char *text = scalar(item);
        if (!text || is_null(item))
            return fail_at(r, item, o->name, "each entry of the list must be text");
        if (!option_list_add(o, r->c, text, &why))
            return fail_at(r, item, o->name, why.msg);
    }
    return true;
}

static bool read_map(struct reader *r, const struct option *o, const yaml_node_t *n)
{
    struct err why;
    if (n->type != YAML_MAPPING_NODE)
        return fail_at(r, n, o->name, "must be a mapping (lines of the form \"name: value\")");
    if (!check_unique(r, n, o->name))
        return false;
    for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
        const yaml_node_t *value = node(r, p->value);
        const char *key = scalar(node(r, p->key));
        const char *text = scalar(value);
        if (!text)
            return fail_at(r, value, o->name, "each value must be text or a number");
        if (!option_map_set(o, r->c, key, is_null(value) ? NULL : text, &why))
            return fail_at(r, node(r, p->key), o->name, why.msg);
    }
    return true;
}

static bool read_option(struct reader *r, const struct option *o, const yaml_node_t *n)
{
    struct err why;
    if (r->cluster_only && !(o->flags & OPT_CLUSTER))
        return fail_at(r, n, o->name,
                       "is local to a member and cannot be set for the whole cluster; "
                       "set it in the file");
    if (is_null(n))
        return fail_at(r, n, o->name, "has no value; remove the line to have the default");
    if (o->type == OPT_LIST)
        return read_list(r, o, n);
    if (o->type == OPT_MAP)
        return read_map(r, o, n);
    const char *text = scalar(n);
    if (!text) {
        struct buf b;
        buf_init(&b, 256);
        buf_puts(&b, "must be a single value: ");
        option_allowed(o, &b);
        fail_at(r, n, o->name, buf_str(&b));
        buf_done(&b);
        return false;
    }
    if (!option_parse(o, r->c, text, &why))
        return fail_at(r, n, o->name, why.msg);
    return true;
}

/* "unknown key", with what there is instead. section NULL: the list of sections. */
static bool fail_unknown(struct reader *r, const yaml_node_t *n, const char *section,
                         const char *key)
{
    struct buf b;
    buf_init(&b, 400);
    buf_printf(&b, "unknown %s; known: ", section ? "key" : "section");
    const char *last = "";
    size_t last_n = 0;
    for (size_t i = 0; i < option_count; i++) {
        const char *name = option_table[i].name;
        size_t n_section = strcspn(name, ".");
        if (section) {
            if (strlen(section) == n_section && strncmp(name, section, n_section) == 0) {
                buf_printf(&b, "%s%s", last_n ? ", " : "", name + n_section + 1);
                last_n = 1;
            }
        } else if (last_n != n_section || strncmp(last, name, n_section) != 0) {
            buf_printf(&b, "%s%.*s", last_n ? ", " : "", (int)n_section, name);
            last = name;
            last_n = n_section;
        }
    }
    char full[160];
    str_format(full, sizeof(full), "%.60s%s%.80s", section ? section : "", section ? "." : "", key);
    fail_at(r, n, full, buf_str(&b));
    buf_done(&b);
    return false;
}

static bool read_section(struct reader *r, const char *section, const yaml_node_t *n)
{
    if (is_null(n))
        return true; /* every key of it is commented out */
    if (n->type != YAML_MAPPING_NODE)
        return fail_at(r, n, section, "is a section: its settings go on indented lines below it");
    if (!check_unique(r, n, section))
        return false;
    for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
        const yaml_node_t *kn = node(r, p->key);
        char name[128];
        const struct option *o = NULL;
        if (str_format(name, sizeof(name), "%s.%s", section, scalar(kn)))
            o = option_find(name);
        if (!o)
            return fail_unknown(r, kn, section, scalar(kn));
        if (!read_option(r, o, node(r, p->value)))
            return false;
    }
    return true;
}

static bool read_document(struct reader *r)
{
    const yaml_node_t *root = yaml_document_get_root_node(r->doc);
    if (!root || is_null(root))
        return true;
    if (root->type != YAML_MAPPING_NODE)
        return fail_at(r, root, "settings", "must be sections (\"postgres:\") with keys below them");
    if (!check_unique(r, root, ""))
        return false;
    for (yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top;
         p++) {
        const yaml_node_t *kn = node(r, p->key);
        const char *section = scalar(kn);
        if (!option_section_exists(section))
            return fail_unknown(r, kn, NULL, section);
        if (!read_section(r, section, node(r, p->value)))
            return false;
    }
    return true;
}

static bool fail_parser(const char *where, const yaml_parser_t *p, struct err *e)
{
    if (p->error == YAML_MEMORY_ERROR)
        return err_set(e, ERR_FATAL, "%s: out of memory", where);
    /* Errors of the reader (bad UTF-8) carry an offset instead of a mark. */
    size_t line = p->problem_mark.line + 1;
    return err_set(e, ERR_INVALID, "%s: line %zu: not valid YAML: %s%s%s", where, line,
                   p->problem ? p->problem : "unreadable", p->context ? ", " : "",
                   p->context ? p->context : "");
}

/* Loads the first document of a parser and refuses a second one. */
static bool load_one(yaml_parser_t *p, yaml_document_t *doc, const char *where, struct err *e)
{
    if (!yaml_parser_load(p, doc))
        return fail_parser(where, p, e);
    if (!yaml_document_get_root_node(doc))
        return true;
    yaml_document_t more;
    bool ok = yaml_parser_load(p, &more);
    if (!ok) {
        fail_parser(where, p, e);
    } else {
        const yaml_node_t *root = yaml_document_get_root_node(&more);
        if (root) {
            err_set(e, ERR_INVALID, "%s: line %zu: only one YAML document is allowed", where,
                    root->start_mark.line + 1);
            ok = false;
        }
        yaml_document_delete(&more);
    }
    if (!ok)
        yaml_document_delete(doc);
    return ok;
}

/* Runs read over the document in text; r->doc is set meanwhile. */
static bool with_document(struct reader *r, const char *text, size_t len,
                          bool (*read)(struct reader *, const void *), const void *arg)
{
    yaml_parser_t parser;
    yaml_document_t doc;
    if (len > CONFIG_TEXT_MAX)
        return err_set(r->e, ERR_INVALID, "%s: larger than %d bytes", r->where, CONFIG_TEXT_MAX);
    if (!yaml_parser_initialize(&parser))
        return err_set(r->e, ERR_FATAL, "%s: out of memory", r->where);
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    bool ok = load_one(&parser, &doc, r->where, r->e);
    if (ok) {
        r->doc = &doc;
        ok = read(r, arg);
        r->doc = NULL;
        yaml_document_delete(&doc);
    }
    yaml_parser_delete(&parser);
    return ok;
}

static bool read_all(struct reader *r, const void *arg)
{
    (void)arg;
    return read_document(r);
}

bool config_yaml_apply(struct config *c, const char *where, const char *text, size_t len,
                       bool cluster_only, struct err *e)
{
    struct reader r = {.c = c, .where = where, .cluster_only = cluster_only, .e = e};
    return with_document(&r, text, len, read_all, NULL);
}

static bool read_one(struct reader *r, const void *arg)
{
    const struct option *o = arg;
    const yaml_node_t *root = yaml_document_get_root_node(r->doc);
    if (!root)
        return err_set(r->e, ERR_INVALID, "%s: %s: has no value", r->where, o->name);
    return read_option(r, o, root);
}

bool config_yaml_value(struct config *c, const struct option *o, const char *where,
                       const char *text, struct err *e)
{
    struct reader r = {.c = c, .where = where, .e = e};
    return with_document(&r, text, strlen(text), read_one, o);
}
