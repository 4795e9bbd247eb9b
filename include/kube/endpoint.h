/* The EndpointSlice of a Service without a selector, which nobody but the members writes.
 *
 * A Service with a selector follows labels through the controller manager: two writes for one change
 * of the primary, of which kube-proxy takes the second a second later, and none at all while that
 * controller has lost its own lease or trusts no cache. One compare-and-swap on one object has neither.
 * EndpointSlice: Kubernetes API, discovery.k8s.io/v1; a Service without selector: concepts, Service. */
#ifndef PGHAD_KUBE_ENDPOINT_H
#define PGHAD_KUBE_ENDPOINT_H

#include "kube/client.h"

#define KUBE_PORTS_SIZE 1024 /* of a text to compare: name/protocol/number and a blank for each port */

struct kube_service {
    bool exists, has_selector;
    char name[64];
    char uid[HA_UID_SIZE];
    struct json_object *ports; /* owned: as the slice has them */
    char ports_text[KUBE_PORTS_SIZE];
};
void kube_service_done(struct kube_service *s); /* accepts a zeroed one; zeroes */
struct kube_call *kube_service_get(struct kube *k, const char *name, int64_t deadline_ms);
/* port: of postgres, where the Service names no number. ERR_CORRUPT for what is no Service. */
bool kube_call_service(struct kube_call *c, int64_t port, struct kube_service *ret, struct err *e);

/* The pod that a slice leads to; name "" = nobody. */
struct kube_endpoint {
    struct ha_name pod;
    char uid[HA_UID_SIZE];
    char ip[48];
    char node[256]; /* "" = unknown */
};

struct kube_slice {
    bool exists;
    char rv[KUBE_RV_SIZE];
    char family[8]; /* addressType */
    struct kube_endpoint to; /* the first of its endpoints */
    size_t n;                /* of endpoints */
    char owner[HA_UID_SIZE]; /* of the Service that it was made for */
    char ports_text[KUBE_PORTS_SIZE];
    char foreign[254];       /* another slice that leads the same Service somewhere; "" = none */
};
/* All slices of the Service are asked for, so that a foreign one is seen. */
struct kube_call *kube_slice_list(struct kube *k, const char *service, int64_t deadline_ms);
/* It was made for this Service as it is now. */
bool kube_slice_fits(const struct kube_slice *s, const struct kube_service *of);
/* Compare-and-swap: creates it where *last says that there is none, else replaces that very version. The
 * slice has the name of its Service and goes with it. */
struct kube_call *kube_slice_put(struct kube *k, const struct kube_service *s, const struct kube_slice *last,
                                 const struct kube_endpoint *to, int64_t deadline_ms);
/* The answer to either. service: its name. */
bool kube_call_slice(struct kube_call *c, const char *service, struct kube_slice *ret, struct err *e);

#endif
