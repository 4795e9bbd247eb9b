/* Help, completion and the reference page, all from the tables. */
#include <string.h>

#include "base/str.h"
#include "hactl/args.h"

static void put_wrapped(FILE *f, const char *text, size_t width)
{
    size_t col = 0;

    while (*text) {
        size_t n = strcspn(text, " ");
        if (col > 0 && col + 1 + n > width) {
            fputc('\n', f);
            col = 0;
        }
        if (col > 0)
            col += (size_t)fprintf(f, " ");
        fwrite(text, 1, n, f);
        col += n;
        text += n + (text[n] == ' ');
    }
    fputc('\n', f);
}

static void put_option(FILE *f, enum opt_id id)
{
    const struct opt_def *d = opt_def(id);
    char left[64];

    if (!str_format(left, sizeof(left), "%s%.1s%s--%s%s%s", d->letter ? "-" : "  ",
                    d->letter ? &d->letter : "", d->letter ? ", " : "  ", d->name,
                    d->arg ? " " : "", d->arg ? d->arg : ""))
        return;
    fprintf(f, "  %-26s %s%s%s%s\n", left, d->help, d->words ? " (" : "",
            d->words ? d->words : "", d->words ? ")" : "");
}

static void put_global_options(FILE *f)
{
    fputs("Global options:\n", f);
    for (size_t i = 0; global_opts[i]; i++)
        put_option(f, global_opts[i]);
}

void help_overview(FILE *f)
{
    const struct command *c;

    fputs("hactl: look at and operate a highly available PostgreSQL cluster on Kubernetes\n\n"
          "Usage: hactl [OPTIONS] COMMAND [ARGUMENTS]\n\nCommands:\n",
          f);
    for (size_t i = 0; (c = command_at(i)); i++) {
        char left[64];
        if (str_format(left, sizeof(left), "%s%s%s", c->name, c->alias ? ", " : "",
                       c->alias ? c->alias : ""))
            fprintf(f, "  %-20s %s\n", left, c->help);
    }
    fputc('\n', f);
    put_global_options(f);
    fputs("\nExit codes: 0 done, 1 failed, 2 usage, 3 degraded, 4 unreachable, 5 refused by a "
          "safety check\n",
          f);
}

static void put_usage(FILE *f, const struct command *c)
{
    fprintf(f, "hactl %s%s%s%s", c->name, c->opts[0] ? " [OPTIONS]" : "",
            *c->operands ? " " : "", c->operands);
}

void help_command(FILE *f, const struct command *c)
{
    fputs("Usage: ", f);
    put_usage(f, c);
    fputc('\n', f);
    if (c->alias)
        fprintf(f, "Also: hactl %s\n", c->alias);
    fprintf(f, "\n%c%s.\n\n", (char)(c->help[0] - ('a' <= c->help[0] && c->help[0] <= 'z' ? 32 : 0)),
            c->help + 1);
    put_wrapped(f, c->text, 90);
    if (c->opts[0]) {
        fputs("\nOptions:\n", f);
        for (size_t i = 0; i < COMMAND_OPTS_MAX && c->opts[i]; i++)
            put_option(f, c->opts[i]);
    }
    fputc('\n', f);
    put_global_options(f);
}

/* A vertical bar would end the cell of a Markdown table. */
static void put_cell(FILE *f, const char *s)
{
    for (; *s; s++) {
        if (*s == '|')
            fputc('\\', f);
        fputc(*s, f);
    }
}

static void reference_options(FILE *f, const enum opt_id *ids, size_t max)
{
    fputs("| option | meaning |\n|---|---|\n", f);
    for (size_t i = 0; i < max && ids[i]; i++) {
        const struct opt_def *d = opt_def(ids[i]);
        fputs("| `", f);
        if (d->letter)
            fprintf(f, "-%c`, `", d->letter);
        fprintf(f, "--%s%s%s` | ", d->name, d->arg ? " " : "", d->arg ? d->arg : "");
        put_cell(f, d->help);
        if (d->words) {
            fputs(": `", f);
            put_cell(f, d->words);
            fputc('`', f);
        }
        fputs(" |\n", f);
    }
    fputc('\n', f);
}

void help_reference(FILE *f)
{
    const struct command *c;

    fputs("# hactl\n\nGenerated from the command table: `make docs-hactl`.\n\n"
          "`hactl [OPTIONS] COMMAND [ARGUMENTS]`; also `kubectl hactl`. Options may stand before "
          "or after the command.\n\n## Global options\n\n",
          f);
    reference_options(f, global_opts, OPT_COUNT);
    fputs("## Exit codes\n\n| code | meaning |\n|---|---|\n| 0 | done |\n| 1 | failed |\n"
          "| 2 | usage, or a faulty settings file |\n| 3 | degraded |\n"
          "| 4 | the API or the member asked is unreachable |\n"
          "| 5 | refused by a safety check; nothing was changed |\n\n## Environment\n\n"
          "`KUBECONFIG`, `PGHA_CLUSTER` (cluster), `NO_COLOR`, `VISUAL` and `EDITOR`.\n\n"
          "## Commands\n\n",
          f);
    for (size_t i = 0; (c = command_at(i)); i++) {
        fprintf(f, "### %s\n\n`", c->name);
        put_usage(f, c);
        fprintf(f, "`%s%s%s: %s.\n\n", c->alias ? " (also `" : "", c->alias ? c->alias : "",
                c->alias ? "`)" : "", c->help);
        put_wrapped(f, c->text, 110);
        fputc('\n', f);
        if (c->opts[0])
            reference_options(f, c->opts, COMMAND_OPTS_MAX);
    }
}

/* Words of a '|' list, separated by blanks. */
/* "a|b" as "a b"; brackets around what may be left out are not part of it. */
static void put_words(FILE *f, const char *words)
{
    for (; *words; words++) {
        if (*words != '[' && *words != ']')
            fputc(*words == '|' ? ' ' : *words, f);
    }
}

static void bash_options(FILE *f, const enum opt_id *ids, size_t max)
{
    for (size_t i = 0; i < max && ids[i]; i++)
        fprintf(f, " --%s", opt_def(ids[i])->name);
}

/* Member names are asked from the cluster itself; silence when it cannot be reached. */
static void completion_bash(FILE *f)
{
    const struct command *c;

    fputs("_hactl_members() { hactl list -o name --timeout 2s 2>/dev/null; }\n"
          "_hactl() {\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb= i\n"
          "    COMPREPLY=()\n    case $prev in\n",
          f);
    for (enum opt_id id = OPT_NONE + 1; id < OPT_COUNT; id++) {
        const struct opt_def *d = opt_def(id);
        if (d->kind == ARG_NONE)
            continue;
        fprintf(f, "    --%s", d->name);
        if (d->letter)
            fprintf(f, "|-%c", d->letter);
        fputs(") ", f);
        if (d->kind == ARG_WORD) {
            fputs("COMPREPLY=($(compgen -W '", f);
            put_words(f, d->words);
            fputs("' -- \"$cur\"))", f);
        } else if (d->kind == ARG_FILE) {
            fputs("COMPREPLY=($(compgen -f -- \"$cur\"))", f);
        } else if (d->kind == ARG_MEMBER) {
            fputs("COMPREPLY=($(compgen -W \"$(_hactl_members)\" -- \"$cur\"))", f);
        } else {
            fputc(':', f); /* a text of the user's own */
        }
        fputs("; return ;;\n", f);
    }
    fputs("    esac\n    for ((i = 1; i < COMP_CWORD; i++)); do\n        case ${COMP_WORDS[i]} in\n"
          "        ",
          f);
    for (size_t i = 0; (c = command_at(i)); i++)
        fprintf(f, "%s%s%s%s", i ? "|" : "", c->name, c->alias ? "|" : "",
                c->alias ? c->alias : "");
    fputs(") verb=${COMP_WORDS[i]}; break ;;\n        esac\n    done\n    local words='", f);
    bash_options(f, global_opts, OPT_COUNT);
    fputs("'\n    case $verb in\n    '') words+=' ", f);
    for (size_t i = 0; (c = command_at(i)); i++)
        fprintf(f, "%s ", c->name);
    fputs("' ;;\n", f);
    for (size_t i = 0; (c = command_at(i)); i++) {
        fprintf(f, "    %s%s%s) words+='", c->name, c->alias ? "|" : "", c->alias ? c->alias : "");
        bash_options(f, c->opts, COMMAND_OPTS_MAX);
        if (c->operand_kind == ARG_WORD) {
            fputc(' ', f);
            put_words(f, c->operands);
        } else if (c->operand_kind == ARG_FILE) {
            fputs(" check", f);
        }
        fputc('\'', f);
        if (c->operand_kind == ARG_MEMBER)
            fputs("; words+=\" $(_hactl_members)\"", f);
        fputs(" ;;\n", f);
    }
    fputs("    esac\n    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n", f);
    fputs("    [[ $verb == config && $cur != -* ]] && COMPREPLY+=($(compgen -f -- \"$cur\"))\n"
          "    return 0\n}\ncomplete -F _hactl hactl kubectl-hactl\n",
          f);
}

static void put_fish_text(FILE *f, const char *s)
{
    for (; *s; s++) {
        if (*s == '\'' || *s == '\\')
            fputc('\\', f);
        fputc(*s, f);
    }
}

static void fish_option(FILE *f, enum opt_id id, const char *verb, const char *alias)
{
    const struct opt_def *d = opt_def(id);

    fputs("complete -c hactl", f);
    if (verb)
        fprintf(f, " -n '__fish_seen_subcommand_from %s %s'", verb, alias ? alias : "");
    fprintf(f, " -l %s", d->name);
    if (d->letter)
        fprintf(f, " -s %c", d->letter);
    if (d->kind == ARG_FILE)
        fputs(" -r -F", f);
    else if (d->kind != ARG_NONE)
        fputs(" -x", f);
    if (d->kind == ARG_WORD) {
        fputs(" -a '", f);
        put_words(f, d->words);
        fputc('\'', f);
    } else if (d->kind == ARG_MEMBER) {
        fputs(" -a '(hactl list -o name --timeout 2s 2>/dev/null)'", f);
    }
    fputs(" -d '", f);
    put_fish_text(f, d->help);
    fputs("'\n", f);
}

static void completion_fish(FILE *f)
{
    const struct command *c;

    fputs("complete -c hactl -f\n", f);
    for (size_t i = 0; global_opts[i]; i++)
        fish_option(f, global_opts[i], NULL, NULL);
    for (size_t i = 0; (c = command_at(i)); i++) {
        fprintf(f, "complete -c hactl -n __fish_use_subcommand -a %s -d '", c->name);
        put_fish_text(f, c->help);
        fputs("'\n", f);
        for (size_t j = 0; j < COMMAND_OPTS_MAX && c->opts[j]; j++)
            fish_option(f, c->opts[j], c->name, c->alias);
        if (c->operand_kind == ARG_MEMBER)
            fprintf(f,
                    "complete -c hactl -n '__fish_seen_subcommand_from %s' -a "
                    "'(hactl list -o name --timeout 2s 2>/dev/null)'\n",
                    c->name);
        if (c->operand_kind == ARG_WORD) {
            fprintf(f, "complete -c hactl -n '__fish_seen_subcommand_from %s' -a '", c->name);
            put_words(f, c->operands);
            fputs("'\n", f);
        }
        if (c->operand_kind == ARG_FILE)
            fprintf(f, "complete -c hactl -n '__fish_seen_subcommand_from %s' -F -a check\n",
                    c->name);
    }
}

bool help_completion(FILE *f, const char *shell)
{
    if (str_eq(shell, "fish")) {
        completion_fish(f);
        return true;
    }
    if (str_eq(shell, "zsh")) /* zsh runs bash's function through its own adapter */
        fputs("#compdef hactl\nautoload -U +X bashcompinit && bashcompinit\n", f);
    else if (!str_eq(shell, "bash"))
        return false;
    completion_bash(f);
    return true;
}
