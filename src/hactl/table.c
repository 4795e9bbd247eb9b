/* Tables by libsmartcols. */
#include "hactl/render.h"

#include <libsmartcols.h>
#include <locale.h>
#include <langinfo.h>
#include <stdlib.h>

#include "base/must.h"
#include "base/str.h"

#define ROWS_MAX 256

struct table {
    struct session *s;
    struct libscols_table *t; /* owned */
    struct libscols_line *row[ROWS_MAX]; /* borrowed from t */
    size_t rows, columns;
};

struct table *table_new(struct session *s, const char *const *columns, size_t n_columns, bool tree)
{
    struct table *t = calloc(1, sizeof(*t));

    must(t && (t->t = scols_new_table()));
    t->s = s;
    t->columns = n_columns;
    scols_table_set_termforce(t->t, s->out_tty ? SCOLS_TERMFORCE_AUTO : SCOLS_TERMFORCE_NEVER);
    scols_table_enable_colors(t->t, s->color);
    scols_table_set_column_separator(t->t, "  ");
    scols_table_enable_ascii(t->t, !str_eq(nl_langinfo(CODESET), "UTF-8"));
    for (size_t i = 0; i < n_columns; i++)
        must(scols_table_new_column(t->t, columns[i], 0, tree && i == 0 ? SCOLS_FL_TREE : 0));
    return t;
}

void table_wrap(struct table *t, size_t column)
{
    struct libscols_column *c = scols_table_get_column(t->t, column);

    if (c && t->s->out_tty)
        scols_column_set_flags(c, scols_column_get_flags(c) | SCOLS_FL_WRAP);
}

void table_row(struct table *t, const char *const *cells, int parent, const char *color_code)
{
    struct libscols_line *line;
    char sequence[16];

    if (t->rows == ROWS_MAX)
        return;
    line = scols_table_new_line(t->t, parent >= 0 ? t->row[parent] : NULL);
    must(line);
    t->row[t->rows++] = line;
    for (size_t i = 0; i < t->columns; i++)
        must(scols_line_set_data(line, i, cells[i] && cells[i][0] ? cells[i] : "-") == 0);
    if (color_code && t->s->color &&
        str_format(sequence, sizeof(sequence), "\033[%sm", color_code))
        scols_line_set_color(line, sequence);
}

void table_print(struct table *t)
{
    char *text = NULL;

    if (t->rows > 0 && scols_print_table_to_string(t->t, &text) == 0 && text)
        fprintf(t->s->out, "%s%s", text, text[0] && t->rows ? "\n" : "");
    free(text);
    scols_unref_table(t->t);
    free(t);
}
