/* Results as text: tables, JSON, YAML. */
#ifndef PGHAD_HACTL_RENDER_H
#define PGHAD_HACTL_RENDER_H

#include <json-c/json.h>
#include <stdint.h>
#include <stdio.h>

#include "hactl/cluster.h"
#include "hactl/session.h"

void render_cluster(struct session *s, const struct cluster_view *v);
void render_topology(struct session *s, const struct cluster_view *v);
struct json_object *render_cluster_json(const struct cluster_view *v); /* owned by the caller */
/* JSON or YAML as s->output says; name and table fall to JSON. Puts o. */
void render_document(struct session *s, struct json_object *o);
void render_yaml(FILE *f, struct json_object *o);

/* Control characters replaced: texts come from the network, and a terminal obeys them. */
void put_clean(FILE *f, const char *text);

/* "12 MB", "0", "-" for unknown (< 0). */
const char *bytes_text(char *dst, size_t size, int64_t bytes);
const char *lsn_text(char *dst, size_t size, uint64_t lsn); /* "0/3000060", "-" for 0 */
const char *stamp_text(char *dst, size_t size, int64_t unix_s); /* RFC 3339 UTC */
const char *role_text(enum ha_role role);

/* A simple table: rows of n_columns texts (borrowed while printing). The tree column is the first. */
struct table;
struct table *table_new(struct session *s, const char *const *columns, size_t n_columns, bool tree);
/* On a terminal the column is broken into lines instead of running over its edge. */
void table_wrap(struct table *t, size_t column);
/* parent: index of an earlier row, -1 = none. colour: escape code such as "31", or NULL. */
void table_row(struct table *t, const char *const *cells, int parent, const char *color_code);
void table_print(struct table *t); /* prints on s->out and frees */

#endif
