/* One or two kubeconfig files (cut at a byte 1), YAML or JSON, resolved as hactl and the agent do. */
#include "../../src/kube/kubeconfig.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = input_text(data, size), *cut = strchr(text, 1);
    size_t first = cut != NULL ? (size_t)(cut - text) : size;
    struct kube_config c = {0}, d = {0};
    struct kubeconfig *k = kubeconfig_new();
    struct err e = {0};
    if (kube_config_parse(&c, text, first, "input", "/", NULL, &e))
        REQUIRE(c.server != NULL);
    else
        REQUIRE(e.kind != ERR_NONE);
    kube_config_done(&c);
    bool ok = kubeconfig_add_text(k, text, first, "input", "/", &e);
    if (ok && cut != NULL)
        ok = kubeconfig_add_text(k, cut + 1, size - first - 1, "second", "/b", &e);
    if (ok && kubeconfig_resolve(k, "db", &d, &e))
        REQUIRE(d.server != NULL);
    kube_config_done(&d);
    kubeconfig_free(k);
    free(text);
    return 0;
}
