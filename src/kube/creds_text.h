/* Text forms of credentials. For this area only. */
#ifndef PGHAD_SRC_KUBE_CREDS_TEXT_H
#define PGHAD_SRC_KUBE_CREDS_TEXT_H

#include <stdbool.h>

#include "base/buf.h"

/* Standard alphabet with padding, white space ignored. False for anything else, for an empty result
 * and for one with NUL bytes. */
bool creds_base64(const char *text, struct buf *ret);
/* Base64 of len bytes, appended; false when it does not fit. */
bool creds_to_base64(const char *data, size_t len, struct buf *ret);

#endif
