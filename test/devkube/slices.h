/* The endpointslice controller in small: one EndpointSlice per Service with a selector. */
#ifndef DEVKUBE_SLICES_H
#define DEVKUBE_SLICES_H

#include "devkube/store.h"

/* Brings the slices of a namespace in line with its Services and Pods; call it after a change of
 * either. Writes only what differs. */
void slices_sync(struct store *st, const char *ns);

#endif
