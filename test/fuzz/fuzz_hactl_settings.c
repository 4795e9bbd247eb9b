/* One key changed in a text of settings: first line the key, second the value, then the text. */
#include "config/config.h"
#include "fuzz.h"
#include "hactl/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = input_text(data, size);
    char *value = strchr(text, '\n');
    char *body = value != NULL ? strchr(value + 1, '\n') : NULL;
    if (body != NULL) {
        struct buf once, twice;
        struct err e = {0};
        *value++ = '\0';
        *body++ = '\0';
        buf_init(&once, 1 << 20);
        buf_init(&twice, 1 << 20);
        bool valid = config_check_cluster_text(body, &e);
        if (settings_set(body, text, value, &once, &e) && valid &&
            config_check_cluster_text(buf_str(&once), &e) && value[0] != '\0') {
            /* What is set already is set again without a change. */
            REQUIRE(settings_set(buf_str(&once), text, value, &twice, &e));
            REQUIRE(strcmp(buf_str(&once), buf_str(&twice)) == 0);
        }
        buf_done(&once);
        buf_done(&twice);
    }
    free(text);
    return 0;
}
