/* The option table: the one place that knows names, types, bounds, defaults, flags and help. */
#ifndef PGHAD_CONFIG_OPTION_H
#define PGHAD_CONFIG_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "config/config.h"

enum option_type {
    OPT_BOOL,     /* bool */
    OPT_INT,      /* int64_t */
    OPT_DURATION, /* int64_t ms; text needs a unit: ms, s, min, h */
    OPT_BYTES,    /* int64_t; text may have kB, MB, GB, TB (powers of 1024, as PostgreSQL) */
    OPT_STRING,   /* char * */
    OPT_PATH,     /* char *, absolute or "" */
    OPT_ENUM,     /* int, index into words */
    OPT_LIST,     /* struct config_list */
    OPT_MAP,      /* struct config_map */
};

enum {
    OPT_RELOAD = 1,   /* takes effect without a restart of the member */
    OPT_CLUSTER = 2,  /* may be set in the cluster-wide settings */
    OPT_PROFILE = 4,  /* default depends on lease.profile */
    OPT_ENV_FILE = 8, /* env_alias may also be given as <alias>_FILE, a file with the value */
};

struct option {
    const char *name; /* section.key */
    enum option_type type;
    unsigned flags;
    size_t offset;            /* in struct config */
    int64_t min, max;         /* value; for strings and lists the length */
    const char *def;          /* text of the default */
    const char *const *words; /* OPT_ENUM: NULL-terminated */
    const char *env_alias;    /* variable of the image that is honoured below the file, or NULL */
    const char *shape;        /* what the text must look like, for people; NULL = by type */
    bool (*check)(const char *key, const char *value); /* strings, list and map entries; key for maps */
    const char *help;
};

extern const struct option option_table[];
extern const size_t option_count;

const struct option *option_find(const char *name); /* NULL when there is none */
bool option_section_exists(const char *section);

/* Values. Parsers write only on success; messages name the value and what is allowed, not the place. */
void option_init(const struct option *o, struct config *c);      /* to the default */
void option_free(const struct option *o, struct config *c);
void option_copy(const struct option *o, struct config *to, const struct config *from);
bool option_equal(const struct option *o, const struct config *a, const struct config *b);
bool option_parse(const struct option *o, struct config *c, const char *text, struct err *e);
void option_print(const struct option *o, const struct config *c, struct buf *b);
void option_allowed(const struct option *o, struct buf *b); /* "10 to 60000 ms", "one of a, b" */

/* Lists: replaced as a whole, so clear first. Maps: merged; value NULL removes. */
void option_list_clear(const struct option *o, struct config *c);
bool option_list_add(const struct option *o, struct config *c, const char *value, struct err *e);
bool option_map_set(const struct option *o, struct config *c, const char *key, const char *value,
                    struct err *e);

/* Reads YAML text of one source into c. where names the source in messages; cluster_only refuses keys
 * that are not cluster-wide. */
bool config_yaml_apply(struct config *c, const char *where, const char *text, size_t len,
                       bool cluster_only, struct err *e);
/* One value as YAML (lists and maps from the environment). */
bool config_yaml_value(struct config *c, const struct option *o, const char *where,
                       const char *text, struct err *e);

/* Environment: what the image defines (below the file), and PGHA_SECTION_KEY (above all). */
bool config_env_image(struct config *c, char *const *env, struct err *e);
bool config_env_pgha(struct config *c, char *const *env, struct err *e);

/* Fills what is derived (profile numbers, names), then checks relations between options. */
bool config_finish(struct config *c, bool check_only, struct err *e);

#endif
