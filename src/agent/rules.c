/* The policy as text and as a diagram, straight from the table that decides. */
#include "agent/rules.h"

#include "core/core.h"

static void print_facts(FILE *f, const char *label, uint64_t mask)
{
    if (mask == 0)
        return;
    fprintf(f, "    %-6s", label);
    for (int i = 0; i < FACT_COUNT; i++)
        if ((mask >> i & 1) != 0)
            fprintf(f, " %s", fact_name((enum fact_bit)i));
    fputc('\n', f);
}

static void print_effects(FILE *f, const struct rule *r)
{
    if (r->effects == 0 && r->write == WRITE_NONE)
        return;
    fputs("    does  ", f);
    for (unsigned i = 0; i < 32; i++)
        if ((r->effects >> i & 1) != 0)
            fprintf(f, " %s", effect_name(i));
    if (r->write != WRITE_NONE)
        fprintf(f, " lease:%s", write_kind_name(r->write));
    fputc('\n', f);
}

int rules_print_text(FILE *f)
{
    for (size_t i = 0; i < core_rule_count; i++) {
        const struct rule *r = &core_rules[i];
        fprintf(f, "%2zu %s\n    %s\n", i + 1, r->id, r->reason);
        print_facts(f, "all", r->all);
        print_facts(f, "any", r->any);
        print_facts(f, "none", r->none);
        print_effects(f, r);
    }
    fputs("\nFacts\n", f);
    for (int i = 0; i < FACT_COUNT; i++)
        fprintf(f, "    %-16s %s\n", fact_name((enum fact_bit)i), fact_text((enum fact_bit)i));
    return ferror(f) != 0;
}

static void mermaid_condition(FILE *f, const struct rule *r)
{
    bool first = true;
    for (int i = 0; i < FACT_COUNT; i++) {
        const char *sign = (r->all >> i & 1) != 0    ? ""
                           : (r->any >> i & 1) != 0  ? "?"
                           : (r->none >> i & 1) != 0 ? "not "
                                                     : NULL;
        if (sign == NULL)
            continue;
        fprintf(f, "%s%s%s", first ? "" : "<br/>", sign, fact_name((enum fact_bit)i));
        first = false;
    }
    if (first)
        fputs("always", f);
}

int rules_print_mermaid(FILE *f)
{
    fputs("flowchart TD\n", f);
    for (size_t i = 0; i < core_rule_count; i++) {
        const struct rule *r = &core_rules[i];
        fprintf(f, "    c%zu{\"", i);
        mermaid_condition(f, r);
        fprintf(f, "\"} -->|yes| r%zu[\"%s\"]\n", i, r->id);
        if (i + 1 < core_rule_count)
            fprintf(f, "    c%zu -->|no| c%zu\n", i, i + 1);
    }
    return ferror(f) != 0;
}
