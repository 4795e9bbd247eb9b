/* Frames: differences of bytes, lengths, checksums. */
#include "flight/codec.h"

#include <elf.h>
#include <link.h>
#include <string.h>

#include "base/must.h"
#include "base/str.h"

#define FRAME_MAGIC 0x45544c46u /* "FLTE" */
#define FLAG_KEY 1u
#define FLAG_HELD 2u
#define GAP 4 /* equal bytes fewer than this cost less as they are than as a new run */

static const char file_magic[8] = "PGHAFLT";

struct frame_head {
    uint32_t magic, len, crc, flags; /* len: of what follows this head */
    uint64_t run, seq;
    int64_t wall_us;
    uint32_t lost, zero;
};
_Static_assert(sizeof(struct frame_head) == FLIGHT_FRAME_BYTES, "no padding in a frame's head");

struct file_head {
    char magic[8];
    uint32_t format, crc;
    uint64_t layout, policy, turn_size, file_seq;
    char member[HA_NAME_SIZE];
    char build[FLIGHT_BUILD_SIZE];
    uint64_t zero[2];
};
_Static_assert(sizeof(struct file_head) == FLIGHT_HEADER_BYTES, "no padding in a file's head");

uint32_t flight_crc(uint32_t crc, const void *data, size_t len)
{
    static uint32_t table[256];
    if (table[1] == 0) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i;
            for (int k = 0; k < 8; k++)
                c = (c & 1) != 0 ? (c >> 1) ^ 0x82f63b78u : c >> 1; /* Castagnoli, reflected */
            table[i] = c;
        }
    }
    const unsigned char *p = data;
    crc = ~crc;
    while (len-- > 0)
        crc = (crc >> 8) ^ table[(crc ^ *p++) & 0xff];
    return ~crc;
}

/* ---- header ---- */

/* The note that the linker puts into the program (ld --build-id), as hexadecimal digits. */
static int take_build_id(struct dl_phdr_info *info, size_t size, void *arg)
{
    char *dst = arg;
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *ph = &info->dlpi_phdr[i];
        if (ph->p_type != PT_NOTE)
            continue;
        union {
            uintptr_t number;
            const unsigned char *p;
        } at = {.number = info->dlpi_addr + ph->p_vaddr};
        const unsigned char *end = at.p + ph->p_memsz;
        while (at.p + sizeof(ElfW(Nhdr)) <= end) {
            ElfW(Nhdr) n;
            memcpy(&n, at.p, sizeof n);
            const unsigned char *desc = at.p + sizeof n + ((n.n_namesz + 3u) & ~3u);
            for (unsigned k = 0; n.n_type == NT_GNU_BUILD_ID && k < n.n_descsz && k < 8; k++)
                must(str_format(dst + 2 * (size_t)k, 3, "%02x", desc[k]));
            at.p = desc + ((n.n_descsz + 3u) & ~3u);
        }
    }
    return 1; /* the program itself comes first; libraries do not matter */
}

void flight_header_init(struct flight_header *h, const struct ha_name *member, uint64_t file_seq)
{
    char id[17] = "";
    *h = (struct flight_header){.layout = flight_layout_hash(),
                                .policy = flight_policy_hash(),
                                .file_seq = file_seq,
                                .member = *member};
    dl_iterate_phdr(take_build_id, id);
    must(str_format(h->build, sizeof h->build, "%s%s%s", PGHAD_VERSION, id[0] != '\0' ? "+" : "",
                    id));
}

void flight_header_put(unsigned char dst[FLIGHT_HEADER_BYTES], const struct flight_header *h)
{
    struct file_head f = {.format = FLIGHT_FORMAT,
                          .layout = h->layout,
                          .policy = h->policy,
                          .turn_size = sizeof(struct flight_turn),
                          .file_seq = h->file_seq};
    memcpy(f.magic, file_magic, sizeof f.magic);
    memcpy(f.member, h->member.s, sizeof f.member);
    memcpy(f.build, h->build, sizeof f.build);
    f.crc = flight_crc(0, &f, sizeof f);
    memcpy(dst, &f, sizeof f);
}

bool flight_header_get(struct flight_header *h, const void *data, size_t len, struct err *e)
{
    struct file_head f;
    if (len < sizeof f || memcmp(data, file_magic, sizeof file_magic) != 0)
        return err_set(e, ERR_CORRUPT, "this is not a flight record");
    memcpy(&f, data, sizeof f);
    if (f.format != FLIGHT_FORMAT)
        return err_set(e, ERR_INVALID, "a flight record of format %u; this program reads format %d",
                       f.format, FLIGHT_FORMAT);
    uint32_t crc = f.crc;
    f.crc = 0;
    if (flight_crc(0, &f, sizeof f) != crc)
        return err_set(e, ERR_CORRUPT, "the header of the flight record is damaged");
    *h = (struct flight_header){.layout = f.layout, .policy = f.policy, .file_seq = f.file_seq};
    f.member[sizeof f.member - 1] = f.build[sizeof f.build - 1] = '\0';
    memcpy(h->member.s, f.member, sizeof f.member);
    memcpy(h->build, f.build, sizeof f.build);
    if (h->layout == flight_layout_hash() && f.turn_size != sizeof(struct flight_turn))
        return err_set(e, ERR_CORRUPT, "the header of the flight record contradicts itself");
    return true;
}

/* ---- frames ---- */

static bool put_number(struct buf *b, size_t v)
{
    unsigned char c[10];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7)
        c[n++] = (unsigned char)(v | 0x80);
    c[n++] = (unsigned char)v;
    return buf_put(b, c, n);
}

static bool get_number(const unsigned char **p, const unsigned char *end, size_t *ret)
{
    size_t v = 0;
    for (unsigned shift = 0; *p < end && shift < 28; shift += 7) {
        unsigned char c = *(*p)++;
        v |= (size_t)(c & 0x7f) << shift;
        if (c < 0x80) {
            *ret = v;
            return true;
        }
    }
    return false;
}

/* Runs: bytes to leave as they are, bytes to replace, the new bytes. */
static bool put_difference(struct buf *b, const unsigned char *now, const unsigned char *was)
{
    size_t at = 0, size = sizeof(struct flight_turn);
    bool ok = true;
    for (;;) {
        size_t from = at;
        while (from < size && now[from] == was[from])
            from++;
        if (from == size)
            return ok;
        size_t to = from + 1;
        for (size_t same = 0, i = to; i < size && same < GAP; i++) {
            same = now[i] == was[i] ? same + 1 : 0;
            if (same == 0)
                to = i + 1;
        }
        ok = ok && put_number(b, from - at) && put_number(b, to - from) &&
             buf_put(b, now + from, to - from);
        at = to;
    }
}

bool flight_encode(struct buf *b, const struct flight_turn *turn, const struct flight_turn *prev,
                   const struct flight_meta *m)
{
    static const struct flight_turn zero;
    struct frame_head h = {.magic = FRAME_MAGIC, .run = m->run, .seq = m->seq,
                           .wall_us = m->wall_us, .lost = m->lost};
    size_t begin = b->len;
    bool key = m->key || prev == NULL;
    h.flags = (key ? FLAG_KEY : 0) | (m->held ? FLAG_HELD : 0);
    bool ok = buf_put(b, &h, sizeof h) &&
              put_difference(b, (const void *)turn, key ? (const void *)&zero : (const void *)prev);
    if (!ok) {
        b->len = begin;
        return false;
    }
    h.len = (uint32_t)(b->len - begin - sizeof h);
    memcpy(b->data + begin, &h, sizeof h);
    h.crc = flight_crc(0, b->data + begin, b->len - begin);
    memcpy(b->data + begin, &h, sizeof h);
    return true;
}

size_t flight_frame(const void *data, size_t len, struct flight_meta *m)
{
    struct frame_head h;
    if (len < sizeof h)
        return 0;
    memcpy(&h, data, sizeof h);
    if (h.magic != FRAME_MAGIC || h.len > len - sizeof h)
        return 0;
    uint32_t crc = h.crc;
    h.crc = 0;
    uint32_t have = flight_crc(0, &h, sizeof h);
    if (flight_crc(have, (const char *)data + sizeof h, h.len) != crc)
        return 0;
    *m = (struct flight_meta){.run = h.run, .seq = h.seq, .wall_us = h.wall_us, .lost = h.lost,
                              .key = (h.flags & FLAG_KEY) != 0,
                              .held = (h.flags & FLAG_HELD) != 0};
    return sizeof h + h.len;
}

bool flight_decode(const void *data, size_t len, struct flight_turn *turn, struct flight_meta *m)
{
    size_t n = flight_frame(data, len, m);
    if (n == 0)
        return false;
    const unsigned char *p = (const unsigned char *)data + sizeof(struct frame_head);
    const unsigned char *end = (const unsigned char *)data + n;
    if (m->key)
        memset(turn, 0, sizeof *turn);
    for (size_t at = 0, skip, fresh; p < end; at += fresh) {
        if (!get_number(&p, end, &skip) || !get_number(&p, end, &fresh) ||
            skip > sizeof *turn - at || fresh > sizeof *turn - at - skip ||
            fresh > (size_t)(end - p))
            return false;
        at += skip;
        memcpy((char *)turn + at, p, fresh);
        p += fresh;
    }
    return true;
}

static bool sound_frame_after(const char *data, size_t len)
{
    static const uint32_t magic = FRAME_MAGIC;
    struct flight_meta m;
    for (const char *p = data; p < data + len; p++) {
        p = memmem(p, (size_t)(data + len - p), &magic, sizeof magic);
        if (p == NULL)
            return false;
        if (flight_frame(p, (size_t)(data + len - p), &m) > 0)
            return true;
    }
    return false;
}

struct flight_scan flight_scan(const void *data, size_t len)
{
    struct flight_scan s = {0};
    const char *p = data;
    size_t n;
    if (len == 0)
        return s; /* data may be NULL */
    while ((n = flight_frame(p + s.end, len - s.end, &s.last)) > 0) {
        s.end += n;
        s.frames++;
    }
    if (s.end < len)
        s.damaged = sound_frame_after(p + s.end + 1, len - s.end - 1);
    return s;
}
