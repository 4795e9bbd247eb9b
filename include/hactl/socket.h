/* The cluster as one agent sees it, over the unix socket in its pod: for when the API is away. */
#ifndef PGHAD_HACTL_SOCKET_H
#define PGHAD_HACTL_SOCKET_H

#include "hactl/cluster.h"
#include "hactl/session.h"

/* As cluster_gather, from the agent's /status and /cluster. */
int socket_gather(struct session *s, struct cluster_view *v);

/* A document of the agent (path such as "/history"); NULL after the message. Owned by the caller. */
struct json_object *socket_document(struct session *s, const char *path);

#endif
