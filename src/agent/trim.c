/* Gives memory back that only the start, or an episode that is over, has needed.
 *
 * Each of three dozen shared libraries leaves pages resident that were touched once, by the dynamic
 * linker or by an initialisation. Segments that are never written are equal to their file: without a
 * mapping they cost nothing, and a page that is needed again comes back from the page cache. */
#include <link.h>
#include <malloc.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent.h"

#define FIRST_MS 5000   /* after the start; the connections that stay are made by then */
#define EVERY_MS 60000

/* Text that the dynamic linker has changed is no longer equal to the file. */
static bool has_changed_text(const struct dl_phdr_info *i)
{
    for (size_t k = 0; k < i->dlpi_phnum; k++) {
        if (i->dlpi_phdr[k].p_type != PT_DYNAMIC)
            continue;
        const ElfW(Dyn) *d = (const void *)(i->dlpi_addr + i->dlpi_phdr[k].p_vaddr);
        for (; d->d_tag != DT_NULL; d++)
            if (d->d_tag == DT_TEXTREL || (d->d_tag == DT_FLAGS && (d->d_un.d_val & DF_TEXTREL)))
                return true;
        return false;
    }
    return true; /* cannot be told */
}

static int forget_pages(struct dl_phdr_info *i, size_t size, void *ctx)
{
    uintptr_t page = *(const uintptr_t *)ctx;
    (void)size;
    if (has_changed_text(i))
        return 0;
    for (size_t k = 0; k < i->dlpi_phnum; k++) {
        const ElfW(Phdr) *p = &i->dlpi_phdr[k];
        if (p->p_type != PT_LOAD || (p->p_flags & PF_W) != 0)
            continue;
        uintptr_t from = (i->dlpi_addr + p->p_vaddr) & ~(page - 1);
        uintptr_t to = (i->dlpi_addr + p->p_vaddr + p->p_memsz) & ~(page - 1);
        if (to > from) /* the vdso is no file and refuses: no harm */
            (void)madvise((void *)from, to - from, MADV_DONTNEED);
    }
    return 0;
}

void agent_trim(struct agent *a, int64_t now)
{
    bool at_rest = now - a->seen.rule_since_ms >= FIRST_MS && now >= a->hot_until_ms;
    /* What an episode needed goes when it is over, not with the next minute. */
    bool changed = a->seen.rule_since_ms > a->trim_next_ms - EVERY_MS;
    if (!at_rest || (now < a->trim_next_ms && !changed))
        return;
    a->trim_next_ms = now + EVERY_MS;
    (void)malloc_trim(0);
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    (void)dl_iterate_phdr(forget_pages, &page);
}
