/* The control paths /devkube/...: faults, outage, log and counts. */
#ifndef DEVKUBE_CONTROL_H
#define DEVKUBE_CONTROL_H

#include "devkube/api.h"
#include "devkube/server.h"

bool control_is_path(const char *path);
void control_handle(struct server *sv, const struct api_request *rq, struct reply *rp);

#endif
