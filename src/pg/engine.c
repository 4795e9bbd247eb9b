/* One loop source for the whole area: connections first, then the machines that wait for them. */
#include "pg/engine.h"

#include <stdlib.h>

#include "base/must.h"

struct pg_engine {
    struct loop *loop;
    struct pg_driver *head;
    struct pg_driver *cursor; /* next one of the walk in progress */
};

struct pg_engine *pg_engine_new(struct loop *l)
{
    struct pg_engine *g = calloc(1, sizeof(*g));
    must(g != NULL);
    g->loop = l;
    return g;
}

void pg_engine_free(struct pg_engine *g)
{
    free(g);
}

struct loop *pg_engine_loop(struct pg_engine *g)
{
    return g->loop;
}

void pg_engine_add(struct pg_engine *g, struct pg_driver *d)
{
    d->next = g->head;
    g->head = d;
}

/* A walk may remove any driver, also the one it would visit next: the cursor moves on. */
void pg_engine_remove(struct pg_engine *g, struct pg_driver *d)
{
    for (struct pg_driver **p = &g->head; *p; p = &(*p)->next) {
        if (*p != d)
            continue;
        if (g->cursor == d)
            g->cursor = d->next;
        *p = d->next;
        d->next = NULL;
        return;
    }
}

static void engine_prepare(void *ctx, struct loop *l)
{
    struct pg_engine *g = ctx;
    for (struct pg_driver *d = g->head; d; d = g->cursor) {
        g->cursor = d->next;
        if (d->prepare)
            d->prepare(d->ctx, l);
    }
}

static void walk(struct pg_engine *g, struct loop *l, enum pg_driver_kind kind)
{
    for (struct pg_driver *d = g->head; d; d = g->cursor) {
        g->cursor = d->next;
        if (d->kind == kind)
            d->dispatch(d->ctx, l);
    }
}

static void engine_dispatch(void *ctx, struct loop *l)
{
    walk(ctx, l, PG_DRIVER_CONN);
    walk(ctx, l, PG_DRIVER_MACHINE);
}

struct loop_source pg_engine_source(struct pg_engine *g)
{
    return (struct loop_source){
        .name = "pg", .ctx = g, .prepare = engine_prepare, .dispatch = engine_dispatch};
}
