/* Where a request goes, checked before libcurl sees it. */
#include "origin.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <string.h>
#include <strings.h>

#include "base/must.h"
#include "base/str.h"

static bool is_literal(const char *host)
{
    struct in6_addr v6;
    struct in_addr v4;
    char inner[64];
    size_t len = strlen(host);

    if (host[0] == '[' && len > 2 && len - 2 < sizeof(inner)) {
        memcpy(inner, host + 1, len - 2);
        inner[len - 2] = '\0';
        return inet_pton(AF_INET6, inner, &v6) == 1;
    }
    return inet_pton(AF_INET, host, &v4) == 1 || inet_pton(AF_INET6, host, &v6) == 1;
}

/* "host:port" without the port. */
static bool dialled(char *host, size_t size, const char *connect_to)
{
    const char *colon = strrchr(connect_to, ':');
    size_t len = colon ? (size_t)(colon - connect_to) : strlen(connect_to);

    return str_format(host, size, "%.*s", (int)len, connect_to);
}

/* Neither an address nor a name that libcurl knows without asking anybody. */
static bool needs_lookup(const char *host, const char *connect_to)
{
    char dial[256];

    if (connect_to) {
        if (!dialled(dial, sizeof(dial), connect_to))
            return true;
        host = dial;
    }
    return !is_literal(host) && strcasecmp(host, "localhost") != 0;
}

static uint64_t hash_parts(const char *const *parts, size_t n)
{
    uint64_t h = 14695981039346656037u;

    for (size_t i = 0; i < n; i++) {
        for (const char *s = parts[i] ? parts[i] : ""; *s; s++)
            h = (h ^ (unsigned char)*s) * 1099511628211u;
        h = (h ^ 0xff) * 1099511628211u;
    }
    return h ? h : 1;
}

bool http_origin(const struct http_request *r, uint64_t *origin, struct err *e)
{
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL, *port = NULL;
    bool ok = false;

    must(u);
    if (curl_url_set(u, CURLUPART_URL, r->url, CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) != CURLUE_OK) {
        err_set(e, ERR_INVALID, "\"%.200s\" is not a URL", r->url);
    } else if (!str_eq(scheme, "http") && !str_eq(scheme, "https")) {
        err_set(e, ERR_INVALID, "\"%.200s\" is neither http nor https", r->url);
    } else if (!r->may_resolve && !r->unix_socket && needs_lookup(host, r->connect_to)) {
        err_set(e, ERR_INVALID, "host \"%.200s\" is a name; an address is needed",
                r->connect_to ? r->connect_to : host);
    } else {
        const char *parts[] = {scheme, host, port, r->connect_to, r->unix_socket};
        *origin = hash_parts(parts, sizeof(parts) / sizeof(parts[0]));
        ok = true;
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(u);
    return ok;
}

bool http_to_loopback(const struct http_request *r)
{
    CURLU *u = curl_url();
    char *host = NULL, dial[256];

    must(u);
    bool ok = curl_url_set(u, CURLUPART_URL, r->url, 0) == CURLUE_OK &&
              curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK;
    const char *to = ok ? host : "";
    if (r->connect_to && dialled(dial, sizeof(dial), r->connect_to))
        to = dial;
    bool loopback = strcasecmp(to, "localhost") == 0 || str_eq(to, "[::1]") ||
                    (is_literal(to) && str_starts(to, "127."));
    curl_free(host);
    curl_url_cleanup(u);
    return loopback;
}

bool http_url_check(const char *url, const char *connect_to, bool may_resolve, struct err *e)
{
    struct http_request r = {.url = url, .connect_to = connect_to, .may_resolve = may_resolve};
    uint64_t origin;

    return http_origin(&r, &origin, e);
}
