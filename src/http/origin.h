/* Where a request goes. For this area only. */
#ifndef PGHAD_SRC_HTTP_ORIGIN_H
#define PGHAD_SRC_HTTP_ORIGIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "http/client.h"

/* Checks the URL (ERR_INVALID: not one, or a name that would have to be looked up) and gives a number
 * for scheme, host, port and the way to get there; never 0. */
bool http_origin(const struct http_request *r, uint64_t *origin, struct err *e);

/* "localhost" or an address of this machine alone: as for kubectl, no proxy stands before it. */
bool http_to_loopback(const struct http_request *r);

#endif
