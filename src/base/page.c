/* The fence page. Loads and stores of marks only: guard uses this in the fence path. */
#include "base/page.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/must.h"
#include "base/str.h"

/* NULL on error. */
static struct fence_page *map(int fd, struct err *e)
{
    void *at = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    if (at == MAP_FAILED) {
        err_errno(e, ERR_FATAL, "map the fence page");
        return NULL;
    }
    return at;
}

bool page_create(const char *boot_id, int *ret_fd, struct fence_page **ret, struct err *e)
{
    int fd = memfd_create("pghad-fence", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return err_errno(e, ERR_FATAL, "memfd_create");
    if (ftruncate(fd, PAGE_BYTES) != 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        err_errno(e, ERR_FATAL, "size of the fence page");
        fd_close(&fd);
        return false;
    }
    struct fence_page *p = map(fd, e);
    if (!p) {
        fd_close(&fd);
        return false;
    }
    p->version = PAGE_VERSION;
    p->guard_pid = (int32_t)getpid();
    must(str_copy(p->boot_id, sizeof(p->boot_id), boot_id));
    p->magic = PAGE_MAGIC;
    *ret_fd = fd;
    *ret = p;
    return true;
}

int page_read_only(int fd)
{
    char path[40];
    must(str_format(path, sizeof(path), "/proc/self/fd/%d", fd));
    return open(path, O_RDONLY | O_CLOEXEC);
}

bool page_map(int fd, struct fence_page **ret, struct err *e)
{
    /* A shorter file would fault at the first look. */
    off_t size = lseek(fd, 0, SEEK_END);
    if (size < PAGE_BYTES)
        return err_set(e, ERR_INVALID, "the fence page is missing or too short");
    struct fence_page *p = map(fd, e);
    if (!p)
        return false;
    if (p->magic != PAGE_MAGIC || p->version != PAGE_VERSION) {
        err_set(e, ERR_INVALID, "fence page of version %u, this program needs %u",
                (unsigned)p->version, PAGE_VERSION);
        page_unmap(p);
        return false;
    }
    *ret = p;
    return true;
}

void page_unmap(struct fence_page *p)
{
    if (p)
        munmap(p, PAGE_BYTES);
}

int64_t page_deadline_ms(const struct fence_page *p)
{
    return atomic_load(&p->deadline_ms);
}

bool page_writable(const struct fence_page *p)
{
    return atomic_load(&p->writable) != 0;
}

uint32_t page_fenced(const struct fence_page *p)
{
    return atomic_load(&p->fenced);
}

void page_grant(struct fence_page *p, int64_t deadline_ms)
{
    must(deadline_ms > 0);
    atomic_store(&p->deadline_ms, deadline_ms);
}

bool page_extend(struct fence_page *p, int64_t deadline_ms)
{
    int64_t old = atomic_load(&p->deadline_ms);
    if (old == 0 || clock_boot_ms() >= old)
        return false;
    if (deadline_ms <= old)
        return true;
    if (!atomic_compare_exchange_strong(&p->deadline_ms, &old, deadline_ms))
        return false;
    /* This process may have been stopped between the look at the clock and the exchange: then the
     * old deadline has lapsed and the extension must not stand. */
    if (clock_boot_ms() < old)
        return true;
    page_forfeit(p);
    return false;
}

void page_forfeit(struct fence_page *p)
{
    atomic_store(&p->deadline_ms, 0);
}

bool page_overdue(const struct fence_page *p, int64_t now_ms)
{
    return page_writable(p) && now_ms >= page_deadline_ms(p);
}

void page_set_writable(struct fence_page *p)
{
    atomic_store(&p->writable, 1);
}

void page_clear_writable(struct fence_page *p)
{
    atomic_store(&p->writable, 0);
}

uint32_t page_count_fence(struct fence_page *p)
{
    return atomic_fetch_add(&p->fenced, 1) + 1;
}

void page_beat(struct fence_page *p, int64_t now_ms)
{
    atomic_store(&p->agent_beat_ms, now_ms);
}

int64_t page_beat_ms(const struct fence_page *p)
{
    return atomic_load(&p->agent_beat_ms);
}
