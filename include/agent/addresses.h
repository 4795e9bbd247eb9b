/* Text of the file that keeps the members' addresses over a restart: "<name> <address>" lines. */
#ifndef PGHAD_AGENT_ADDRESSES_H
#define PGHAD_AGENT_ADDRESSES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "core/types.h"

struct address {
    struct ha_name name;
    char ip[48]; /* IPv4 or IPv6, numeric */
};

struct addresses {
    size_t n;
    struct address v[HA_MEMBERS_MAX];
};

/* False when any byte is not as it would be written; *ret is not to be used then. */
bool addresses_parse(const char *text, struct addresses *ret);
bool addresses_format(const struct addresses *x, struct buf *b); /* false: b is too small */

#endif
