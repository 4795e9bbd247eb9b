/* What libcurl is told of one request, and what it gives back while the answer arrives. */
#include "client_parts.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "base/must.h"
#include "base/str.h"
#include "origin.h"

#define HEADER_BYTES_MAX 65536
#define CONN_MAX_AGE_S 60L /* below the API server's 90 s, so that it never closes first */
#define CA_CACHE_S 60L     /* a replaced CA file counts soon; libcurl's own value is a day */
#define USER_TIMEOUT_MS 10000

/* ---- what libcurl calls ---- */

static curl_socket_t on_open(void *ctx, curlsocktype purpose, struct curl_sockaddr *a)
{
    struct http_client *c = ctx;

    (void)purpose;
    c->connects++;
    /* libcurl 7.88 does not set it, and postgres must not inherit a connection to the API. */
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static int on_sockopt(void *ctx, curl_socket_t fd, curlsocktype purpose)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);
    int user_timeout = USER_TIMEOUT_MS, count = 3;

    (void)ctx;
    (void)purpose;
    if (getsockname(fd, (struct sockaddr *)&ss, &len) == 0 && ss.ss_family != AF_UNIX) {
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout, sizeof(user_timeout));
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
    }
    return CURL_SOCKOPT_OK;
}

static size_t on_header(char *data, size_t size, size_t n, void *ctx)
{
    struct http_call *call = ctx;
    size_t len = size * n;
    const char *type = NULL;
    long status = 0;

    call->header_bytes += len;
    if (call->header_bytes > HEADER_BYTES_MAX)
        return 0;
    if (len > 2 || data[0] != '\r')
        return len;
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200)
        return len;
    call->result.status = (int)status;
    curl_easy_getinfo(call->easy, CURLINFO_CONTENT_TYPE, &type);
    if (type)
        str_copy(call->result.content_type, sizeof(call->result.content_type), type);
    return len;
}

static size_t on_body(char *data, size_t size, size_t n, void *ctx)
{
    struct http_call *call = ctx;

    if (buf_put(&call->result.body, data, size * n))
        return size * n;
    call->too_long = true;
    return 0;
}

/* ---- what it is told ---- */

static void set_blob(CURL *h, CURLoption option, const char *pem)
{
    union {
        const char *in;
        void *out;
    } p = {.in = pem}; /* libcurl only reads it */
    struct curl_blob blob = {.data = p.out, .len = strlen(pem), .flags = CURL_BLOB_NOCOPY};

    curl_easy_setopt(h, option, &blob);
}

static void set_tls(CURL *h, const struct http_tls *t)
{
    curl_easy_setopt(h, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(h, CURLOPT_CA_CACHE_TIMEOUT, CA_CACHE_S);
    if (!t)
        return;
    if (t->ca_pem || t->ca_file) {
        /* The compiled-in directory of public CAs would be trusted as well. */
        curl_easy_setopt(h, CURLOPT_CAPATH, NULL);
        curl_easy_setopt(h, CURLOPT_CAINFO, t->ca_pem ? NULL : t->ca_file);
    }
    if (t->ca_pem)
        set_blob(h, CURLOPT_CAINFO_BLOB, t->ca_pem);
    if (t->cert_pem)
        set_blob(h, CURLOPT_SSLCERT_BLOB, t->cert_pem);
    else if (t->cert_file)
        curl_easy_setopt(h, CURLOPT_SSLCERT, t->cert_file);
    if (t->key_pem)
        set_blob(h, CURLOPT_SSLKEY_BLOB, t->key_pem);
    else if (t->key_file)
        curl_easy_setopt(h, CURLOPT_SSLKEY, t->key_file);
    curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, t->insecure ? 0L : 1L);
    curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, t->insecure ? 0L : 2L);
}

static void append(struct curl_slist **list, const char *line)
{
    struct curl_slist *grown = curl_slist_append(*list, line);

    must(grown);
    *list = grown;
}

static void set_method(CURL *h, const struct http_request *r)
{
    if (str_eq(r->method, "HEAD")) {
        curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
        return;
    }
    if (r->body || str_eq(r->method, "POST")) {
        curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_len);
        curl_easy_setopt(h, CURLOPT_COPYPOSTFIELDS, r->body ? r->body : "");
    }
    if (r->body || !str_eq(r->method, "GET"))
        curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, r->method);
}

void client_set_transport(struct http_call *call, const struct http_request *r, bool fresh)
{
    CURL *h = call->easy;

    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    if (r->proxy || !r->proxy_of_env || http_to_loopback(r)) {
        curl_easy_setopt(h, CURLOPT_PROXY, r->proxy ? r->proxy : "");
        curl_easy_setopt(h, CURLOPT_NOPROXY, ""); /* or libcurl asks the environment for one that was named */
    }
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS,
                     (long)(r->connect_ms > 0 ? r->connect_ms : HTTP_CONNECT_MS));
    curl_easy_setopt(h, CURLOPT_MAXAGE_CONN, CONN_MAX_AGE_S);
    curl_easy_setopt(h, CURLOPT_FRESH_CONNECT, fresh ? 1L : 0L);
    curl_easy_setopt(h, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(h, CURLOPT_TCP_KEEPIDLE, 5L);
    curl_easy_setopt(h, CURLOPT_TCP_KEEPINTVL, 3L);
    curl_easy_setopt(h, CURLOPT_OPENSOCKETFUNCTION, on_open);
    curl_easy_setopt(h, CURLOPT_OPENSOCKETDATA, call->client);
    curl_easy_setopt(h, CURLOPT_SOCKOPTFUNCTION, on_sockopt);
    if (r->unix_socket)
        curl_easy_setopt(h, CURLOPT_UNIX_SOCKET_PATH, r->unix_socket);
    if (r->connect_to) {
        char line[300];
        must(str_format(line, sizeof(line), "::%.260s", r->connect_to)); /* any host, any port */
        append(&call->connect_to, line);
        curl_easy_setopt(h, CURLOPT_CONNECT_TO, call->connect_to);
    }
    set_tls(h, r->tls);
}

void client_set_request(struct http_call *call, const struct http_request *r)
{
    CURL *h = call->easy;

    curl_easy_setopt(h, CURLOPT_URL, r->url);
    set_method(h, r);
    append(&call->headers, "Expect:");
    for (size_t i = 0; r->headers && r->headers[i]; i++)
        append(&call->headers, r->headers[i]);
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, call->headers);
    curl_easy_setopt(h, CURLOPT_USERAGENT, call->client->user_agent);
    if (r->user_password) {
        curl_easy_setopt(h, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        curl_easy_setopt(h, CURLOPT_USERPWD, r->user_password);
    }
    curl_easy_setopt(h, CURLOPT_PRIVATE, call);
    curl_easy_setopt(h, CURLOPT_ERRORBUFFER, call->error);
    curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(h, CURLOPT_HEADERDATA, call);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, call);
}
