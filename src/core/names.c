/* Words of effects and lease writes, the same in every output. */
#include "core/core.h"

const char *effect_name(unsigned bit)
{
    static const char *const names[] = {
        "lease-get", "lease-write", "fence", "promises", "votes", "peers", "pg-start", "pg-stop",
        "detach", "follow", "initdb", "clone", "rewind", "walend", "sync-set", "close", "open",
        "strip", "label-primary", "label-replica", "unlabel", "end-clients", "promote",
        "checkpoint", "drop-senders", "state", "slots", "exit", "alarm",
    };
    return bit < sizeof names / sizeof names[0] ? names[bit] : "?";
}

const char *write_kind_name(enum write_kind k)
{
    switch (k) {
    case WRITE_NONE:
        return "";
    case WRITE_CREATE:
        return "create";
    case WRITE_RENEW:
        return "renew";
    case WRITE_ACQUIRE:
        return "acquire";
    case WRITE_TAKEOVER:
        return "takeover";
    case WRITE_WRITER:
        return "writer";
    case WRITE_ADOPT:
        return "adopt";
    case WRITE_RELEASE:
        return "release";
    }
    return "?";
}
