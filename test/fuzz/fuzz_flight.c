/* Flight records: as a file, or as what a frame with a right checksum holds; then everything that
 * reads one. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/must.h"
#include "base/str.h"
#include "flight/replay.h"
#include "flight/story.h"
#include "flight/text.h"
#include "fuzz.h"

static void read_record(const void *data, size_t len)
{
    static struct flight f;
    static struct flight_cursor c;
    char path[40];
    struct err e = {0};
    int fd = memfd_create("record", MFD_CLOEXEC);
    must(fd >= 0 && fd_write_all(fd, data, len, &e));
    must(str_format(path, sizeof path, "/proc/self/fd/%d", fd));
    if (flight_load(&f, path, &e)) {
        FILE *out = fopen("/dev/null", "w");
        must(out != NULL);
        (void)flight_replay(&f, out);
        (void)flight_to_text(&f, false, out);
        flight_tell_story(out, &f);
        (void)flight_seek(&c, &f, 0);
        flight_tell_turn(out, &c);
        fclose(out);
        flight_done(&f);
    }
    fd_close(&fd);
}

/* Its head is that of a real frame; length and checksum are made to fit. */
static void read_frame(const uint8_t *data, size_t len)
{
    static const struct flight_turn zero;
    static unsigned char room[FLIGHT_HEADER_BYTES + FLIGHT_FRAME_BYTES + 65536];
    struct flight_header h;
    struct buf b;
    uint32_t len32 = (uint32_t)len, crc = 0;
    if (len > 65536)
        return;
    flight_header_init(&h, &(struct ha_name){"pg-0"}, 1);
    flight_header_put(room, &h);
    buf_init(&b, 4096);
    must(flight_encode(&b, &zero, NULL, &(struct flight_meta){.run = 1, .seq = 1, .key = true}));
    unsigned char *head = room + FLIGHT_HEADER_BYTES;
    memcpy(head, b.data, FLIGHT_FRAME_BYTES);
    memcpy(head + 4, &len32, sizeof len32);
    memcpy(head + 8, &crc, sizeof crc);
    if (len > 0)
        memcpy(head + FLIGHT_FRAME_BYTES, data, len);
    crc = flight_crc(0, head, FLIGHT_FRAME_BYTES + len);
    memcpy(head + 8, &crc, sizeof crc);
    read_record(room, FLIGHT_HEADER_BYTES + FLIGHT_FRAME_BYTES + len);
    buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 0 && data[0] == 1)
        read_frame(data + 1, size - 1);
    else
        read_record(data, size);
    return 0;
}
