/* Documents from a snapshot. Pure; field names are an interface and do not change.
 *
 * Times are RFC 3339 in UTC, LSNs "1/A0", volumes and boots 16 hexadecimal digits, what is not known is
 * null. Every JSON document carries age_ms, the age of the snapshot at now_ms. */
#ifndef PGHAD_HTTP_RENDER_H
#define PGHAD_HTTP_RENDER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "http/server.h"
#include "http/status.h"

#define RENDER_MAX (512 * 1024) /* bytes of one document; a full snapshot needs a tenth of it */

bool render_status(const struct status *s, int64_t now_ms, struct buf *b);
bool render_cluster(const struct status *s, int64_t now_ms, struct buf *b);
bool render_history(const struct status *s, int64_t now_ms, struct buf *b);
bool render_explain(const struct status *s, int64_t now_ms, struct buf *b);

/* Prometheus text format 0.0.4, or OpenMetrics 1.0. */
bool render_metrics(const struct status *s, const struct http_server_stats *h, int64_t now_ms,
                    bool openmetrics, struct buf *b);

const char *role_name(enum ha_role r);
const char *sync_name(enum status_sync s);

#endif
