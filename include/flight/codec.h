/* The binary form of a flight record: a header, then frames. Each frame is one turn, either whole (a
 * key) or as the difference to the frame before it, with its length and checksum (CRC-32C).
 *
 * Structures are written as they lie in memory, padding zeroed: a record is read by programs of the
 * same layout only (the header has its hash); the text form (flight/text.h) lives longer. */
#ifndef PGHAD_FLIGHT_CODEC_H
#define PGHAD_FLIGHT_CODEC_H

#include "base/buf.h"
#include "base/err.h"
#include "flight/layout.h"

#define FLIGHT_FORMAT 1
#define FLIGHT_BUILD_SIZE 64

struct flight_meta {
    uint64_t run;    /* of one agent process */
    uint64_t seq;    /* of the turn in its run, from 1; turns that tell nothing new have no frame */
    int64_t wall_us; /* 1970 */
    uint32_t lost;   /* turns before this one that should have been recorded and were not */
    bool key;
    bool held;       /* decided, not acted on: the agent had stood still and looked first */
};

struct flight_header {
    uint64_t layout, policy;
    uint64_t file_seq;
    struct ha_name member;
    char build[FLIGHT_BUILD_SIZE];
};

#define FLIGHT_HEADER_BYTES 192
#define FLIGHT_FRAME_BYTES 48 /* without the turn */

/* This program's: version, and the linker's build id where there is one. */
void flight_header_init(struct flight_header *h, const struct ha_name *member, uint64_t file_seq);
void flight_header_put(unsigned char dst[FLIGHT_HEADER_BYTES], const struct flight_header *h);
/* ERR_CORRUPT: no header, or damaged; ERR_INVALID: of another format. Any layout is accepted. */
bool flight_header_get(struct flight_header *h, const void *data, size_t len, struct err *e);

/* Appends a frame. prev: the turn of the frame before, NULL (or meta->key) for a key. Both turns
 * have zeroed padding (flight_clean). */
bool flight_encode(struct buf *b, const struct flight_turn *turn, const struct flight_turn *prev,
                   const struct flight_meta *m);

/* Bytes of the frame at data, 0 when there is no whole and sound one. */
size_t flight_frame(const void *data, size_t len, struct flight_meta *m);
/* turn: in the one before (ignored by a key), out this one. False: its content makes no sense. */
bool flight_decode(const void *data, size_t len, struct flight_turn *turn, struct flight_meta *m);

struct flight_scan {
    size_t end;        /* after the last sound frame */
    size_t frames;
    bool damaged;      /* unsound bytes with sound frames after them: not a torn tail */
    struct flight_meta last;
};
/* data begins with the first frame. */
struct flight_scan flight_scan(const void *data, size_t len);

uint32_t flight_crc(uint32_t crc, const void *data, size_t len);

#endif
