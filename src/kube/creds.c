/* The bearer token: read by path each time, since the kubelet swaps a symlink. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/must.h"
#include "internal.h"

bool kube_token_clean(const char *text, size_t len, struct buf *ret)
{
    while (len && strchr(" \t\r\n", text[len - 1]))
        len--;
    while (len && strchr(" \t\r\n", *text)) {
        text++;
        len--;
    }
    /* It becomes part of a header line. */
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] <= ' ' || (unsigned char)text[i] >= 127)
            return false;
    return len > 0 && buf_put(ret, text, len);
}

static bool read_token(struct kube *k, struct err *e)
{
    struct buf file, clean;
    bool ok;

    buf_init(&file, KUBE_TOKEN_MAX);
    buf_init(&clean, KUBE_TOKEN_MAX);
    ok = fd_read_file(k->cfg.token_file, &file, e);
    if (ok && !kube_token_clean(buf_str(&file), file.len, &clean))
        ok = err_set(e, ERR_INVALID, "%s holds no token", k->cfg.token_file);
    if (ok) {
        free(k->token);
        k->token = strdup(buf_str(&clean));
        must(k->token);
    }
    if (file.data)
        explicit_bzero(file.data, file.len);
    if (clean.data)
        explicit_bzero(clean.data, clean.len);
    buf_done(&file);
    buf_done(&clean);
    return ok;
}

bool kube_creds_refresh(struct kube *k, bool force, struct err *e)
{
    int64_t now = clock_boot_ms();

    if (!k->cfg.token_file)
        return true;
    if (!force && k->token && now - k->token_read_ms < KUBE_TOKEN_REREAD_MS)
        return true;
    k->token_err = (struct err){0};
    if (read_token(k, &k->token_err)) {
        k->token_read_ms = now;
        return true;
    }
    /* The old one may still be good; a file that is being replaced is back in a moment. */
    k->token_read_ms = now - KUBE_TOKEN_REREAD_MS + 1000;
    if (k->token)
        return true;
    if (e)
        *e = k->token_err;
    return false;
}
