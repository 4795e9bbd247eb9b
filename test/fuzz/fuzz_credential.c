/* What a credential plugin prints: taken whole, or refused with everything as it was. */
#include "../../src/kube/kubeconfig.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = input_text(data, size);
    struct kube_config c = {.token = strdup("old")};
    struct err e = {0};
    if (kube_exec_take(&c, text, size, &e)) {
        REQUIRE(c.token != NULL && c.token[0] != '\0');
        for (const char *p = c.token; *p != '\0'; p++)
            REQUIRE(*p > ' ' && *p < 127); /* it becomes a header */
        REQUIRE((c.cert_pem != NULL) == (c.key_pem != NULL));
        REQUIRE(c.cert_pem != NULL || strcmp(c.token, "old") != 0 || strstr(text, "old") != NULL);
    } else {
        REQUIRE(e.kind != ERR_NONE);
        REQUIRE(strcmp(c.token, "old") == 0 && c.cert_pem == NULL && c.key_pem == NULL);
    }
    kube_config_done(&c);
    free(text);
    return 0;
}
