/* Events of a watch are framed by value: a server may put line ends and chunk ends anywhere. */
#include "frame.h"

#include "base/must.h"
#include "jx.h"

void kube_frame_init(struct kube_frame *f, size_t max)
{
    f->tok = json_tokener_new_ex(JX_DEPTH);
    must(f->tok);
    /* UTF-8 is not checked: json-c takes a chunk that ends inside a character for an error. */
    json_tokener_set_flags(f->tok, JSON_TOKENER_STRICT | JSON_TOKENER_ALLOW_TRAILING_CHARS);
    f->fed = 0;
    f->max = max;
}

void kube_frame_done(struct kube_frame *f)
{
    if (f->tok)
        json_tokener_free(f->tok);
    f->tok = NULL;
}

bool kube_frame_next(struct kube_frame *f, const char *data, size_t len, size_t *used,
                     struct json_object **ret, struct err *e)
{
    struct json_object *o;
    enum json_tokener_error why;
    size_t end;

    *ret = NULL;
    *used = 0;
    /* White space between values is no beginning of one. */
    while (f->fed == 0 && *used < len &&
           (data[*used] == '\n' || data[*used] == '\r' || data[*used] == ' ' ||
            data[*used] == '\t'))
        ++*used;
    if (*used == len)
        return true;
    if (len - *used > INT32_MAX / 2)
        return err_set(e, ERR_CORRUPT, "a chunk of %zu bytes", len);
    o = json_tokener_parse_ex(f->tok, data + *used, (int)(len - *used));
    why = json_tokener_get_error(f->tok);
    end = json_tokener_get_parse_end(f->tok);
    f->fed += end;
    if (f->fed > f->max) {
        json_object_put(o);
        return err_set(e, ERR_CORRUPT, "a value longer than %zu bytes", f->max);
    }
    *used += end;
    if (why == json_tokener_continue)
        return true;
    if (why != json_tokener_success)
        return err_set(e, ERR_CORRUPT, "not JSON: %s", json_tokener_error_desc(why));
    f->fed = 0;
    json_tokener_reset(f->tok);
    if (!json_object_is_type(o, json_type_object)) {
        json_object_put(o);
        return err_set(e, ERR_CORRUPT, "not a JSON object");
    }
    *ret = o;
    return true;
}
