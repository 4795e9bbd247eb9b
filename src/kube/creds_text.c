/* Base64 of PEM texts. */
#include "creds_text.h"

#include <stdint.h>
#include <string.h>

static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool creds_base64(const char *text, struct buf *ret)
{
    uint32_t bits = 0;
    unsigned n = 0, pad = 0;

    for (; *text; text++) {
        if (strchr(" \t\r\n", *text))
            continue;
        if (*text == '=') {
            pad++;
            continue;
        }
        int v = value_of(*text);
        if (v < 0 || pad)
            return false;
        bits = bits << 6 | (uint32_t)v;
        if (++n % 4 == 0) {
            char out[3] = {(char)(bits >> 16 & 0xff), (char)(bits >> 8 & 0xff), (char)(bits & 0xff)};
            if (!buf_put(ret, out, 3))
                return false;
        }
    }
    if (n % 4 == 1 || (n + pad) % 4 != 0 || pad > 2)
        return false;
    if (n % 4 >= 2) {
        bits <<= n % 4 == 2 ? 12 : 6;
        char out[2] = {(char)(bits >> 16 & 0xff), (char)(bits >> 8 & 0xff)};
        if (!buf_put(ret, out, n % 4 - 1))
            return false;
    }
    return ret->len > 0 && !memchr(ret->data, '\0', ret->len);
}

bool creds_to_base64(const char *data, size_t len, struct buf *ret)
{
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

    for (size_t i = 0; i < len; i += 3) {
        uint32_t bits = 0;
        size_t n = len - i < 3 ? len - i : 3;
        char out[4] = {'=', '=', '=', '='};

        for (size_t k = 0; k < n; k++)
            bits |= (uint32_t)(unsigned char)data[i + k] << (16 - 8 * k);
        for (size_t k = 0; k <= n; k++)
            out[k] = set[bits >> (18 - 6 * k) & 63];
        if (!buf_put(ret, out, sizeof(out)))
            return false;
    }
    return true;
}
