/* The file of the other members' addresses. */
#include "agent/addresses.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct addresses a;
    char *text = input_text(data, size);
    memset(&a, 0, sizeof(a));
    (void)addresses_parse(text, &a);
    free(text);
    return 0;
}
