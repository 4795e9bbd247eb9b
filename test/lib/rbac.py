"""The proof that a Role allows what its account does, and no more.

Requests, as the API server's audit log tells them (RealKube.proof()), are compared with the Roles in
k8s/base. One that was forbidden, or that the Role of its account does not cover, is a fault; so is a
verb that nothing used, unless a comment at the rule says why it is there, and a comment about a verb
that is used after all:

    # unused by the tests: VERB[, VERB]: REASON

Where the scenarios run in parts, each part leaves what it used in a file, and
`python3 test/lib/rbac.py FILE...` makes the proof of all of them.
"""
import collections
import json
import os
import re
import sys

import yaml

from kubebase import ROOT, rename

MEMBERS = ("k8s/base/rbac.yaml", "pg")
VIEWER = ("k8s/base/access.yaml", "pg-viewer")
OPERATOR = ("k8s/base/access.yaml", "pg-operator")
REASON = re.compile(r"#\s*unused by the tests:\s*([a-z]+(?:,\s*[a-z]+)*):\s*(\S.*)$")
# A name cannot be part of the authorisation of these.
NAMELESS = ("create", "deletecollection")
# What system:basic-user and system:discovery give to every account of a cluster.
EVERYBODY = {("create", "authorization.k8s.io", "selfsubjectaccessreviews"),
             ("create", "authorization.k8s.io", "selfsubjectrulesreviews"),
             ("create", "authentication.k8s.io", "selfsubjectreviews")}
GRACE_S = 0.05  # of the clocks: the log has microseconds, Python's has them too


def user(namespace, account):
    """Name of a ServiceAccount as a user."""
    return f"system:serviceaccount:{namespace}:{account}"


class Rule:
    """One verb on one resource: what the API server authorises."""

    def __init__(self, verb, group, resource, names, reason):
        self.verb, self.group, self.resource = verb, group, resource
        self.names, self.reason = names, reason

    def covers(self, request, cluster):
        """cluster None: its names are not those of a manifest."""
        if (self.verb, self.group, self.resource) != (request["verb"], request["group"],
                                                      request["resource"]):
            return False
        names = rename(self.names, "pg", cluster) if cluster else self.names
        return not names or (self.verb not in NAMELESS and request["name"] in names)

    def object(self):
        return f"{self.resource}.{self.group}" if self.group else self.resource

    def __str__(self):
        return f"{self.verb} {self.object()}{'/' + ','.join(self.names) if self.names else ''}"


def _reasons(lines, first, last):
    """{verb: reason} of the comments in lines[first:last]."""
    found = {}
    for line in lines[first:last]:
        m = REASON.search(line)
        if m:
            found.update(dict.fromkeys(re.split(r",\s*", m.group(1)), m.group(2)))
    return found


def parse(text):
    """{name of a Role: [Rule]} of a manifest."""
    found, lines, past = {}, text.splitlines(), 0
    for node in yaml.compose_all(text):
        role = {k.value: v for k, v in node.value}
        if role["kind"].value != "Role":
            continue
        name = next(v.value for k, v in role["metadata"].value if k.value == "name")
        found[name] = []
        for item in role["rules"].value:
            rule = {k.value: [x.value for x in v.value] for k, v in item.value}
            end = 1 + next(v.start_mark.line for k, v in item.value if k.value == "verbs")
            reasons = _reasons(lines, past, end)
            past = end
            stray = sorted(set(reasons) - set(rule["verbs"]))
            if stray:
                raise ValueError(f"{name}, line {end}: a reason for {', '.join(stray)}, which the "
                                 "rule does not allow")
            found[name] += [Rule(verb, group, resource, rule.get("resourceNames", []),
                                 reasons.get(verb))
                            for group in rule["apiGroups"] for resource in rule["resources"]
                            for verb in rule["verbs"]]
    return found


class Account:
    """A ServiceAccount of a test: whose Role it has, of which cluster. more: Rules that a test added
    to that Role, as the administrator of such a cluster does; names as they are there."""

    def __init__(self, role, cluster, more=()):
        self.role, self.cluster, self.more = role, cluster, list(more)


class Window:
    """A time in which requests may be refused. namespace None: of everybody. beyond: also such as
    the Role does not cover."""

    def __init__(self, begin_s, end_s, namespace=None, beyond=False):
        self.begin_s, self.end_s, self.namespace, self.beyond = begin_s, end_s, namespace, beyond

    def excuses(self, request, covered):
        return (self.begin_s - GRACE_S <= request["time"] <= self.end_s + GRACE_S and
                self.namespace in (None, request["account_ns"]) and (covered or self.beyond))


def _tell(r):
    return (f"{r['user']} {r['verb']} {r['resource']}"
            f"{'.' + r['group'] if r['group'] else ''}/{r['name'] or '*'} in {r['namespace']!r}: "
            f"{r['code']}")


class Proof:
    """texts: {path: text of a manifest}, for tests of this itself."""

    def __init__(self, accounts, windows, texts=None):
        """accounts: {user name: Account}; those of other ServiceAccounts are faults."""
        self.accounts, self.windows = accounts, windows
        self.roles = {}
        for path in sorted({path for path, _ in (MEMBERS, VIEWER, OPERATOR)}):
            if texts and path in texts:
                text = texts[path]
            else:
                with open(os.path.join(ROOT, path)) as f:
                    text = f.read()
            for name, rules in parse(text).items():
                self.roles[path, name] = rules
        self.count = collections.Counter()  # by Rule
        self.faults = collections.Counter()  # by text
        self.excused = self.free = self.granted = 0

    def add(self, request):
        user = request["user"]
        if not user.startswith("system:serviceaccount:"):
            return
        account = self.accounts.get(user)
        if account is None:
            self.faults[f"no Role is known for {_tell(request)}"] += 1
            return
        request = {**request, "account_ns": user.split(":")[2]}
        rule, granted = None, False
        if request["namespace"] == request["account_ns"]:
            rule = next((r for r in self.roles[account.role]
                         if r.covers(request, account.cluster)), None)
            granted = any(r.covers(request, None) for r in account.more)
        if request["code"] == 403:
            if any(w.excuses(request, rule is not None or granted) for w in self.windows):
                self.excused += 1
            else:
                self.faults[f"forbidden: {_tell(request)}"] += 1
        elif rule is not None:
            self.count[rule] += 1
        elif granted:
            self.granted += 1
        elif request["resource"].startswith("/") or \
                (request["verb"], request["group"], request["resource"]) in EVERYBODY:
            self.free += 1
        else:
            self.faults[f"beyond the Role {account.role[1]}: {_tell(request)}"] += 1

    def save(self, path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            json.dump({key: self.count[r] for key, r in self._rules()}, f)

    def take(self, path):
        """Adds what another proof saved."""
        with open(path, encoding="utf-8") as f:
            found = json.load(f)
        for key, r in self._rules():
            self.count[r] += found.pop(key, 0)
        self.faults.update({f"{path}: no Role has {key}": 1 for key in found})

    def _rules(self):
        for (path, name), rules in self.roles.items():
            for r in rules:
                yield f"{path} {name} {r}", r

    def unused(self):
        """Faults of verbs without a request, and of reasons that are none any more."""
        for (path, name), rules in self.roles.items():
            for r in rules:
                if not self.count[r] and not r.reason:
                    yield (f"{path}: nothing used \"{r}\" of Role {name}: take it away, or say why it "
                           f"is there: # unused by the tests: {r.verb}: REASON")
                elif self.count[r] and r.reason:
                    yield (f"{path}: \"{r}\" of Role {name} was used {self.count[r]} times, its "
                           "comment says that it is unused")

    def verdict(self, whole):
        """All faults as lines. whole: everything that uses the Roles has run."""
        found = [f"{text} ({n} times)" if n > 1 else text for text, n in self.faults.items()]
        return found + list(self.unused() if whole else ())

    def table(self):
        rows = [("ROLE", "VERB", "RESOURCE", "NAMES", "REQUESTS")]
        for (_, name), rules in self.roles.items():
            rows += [(name, r.verb, r.object(), ",".join(r.names) or "any",
                      str(self.count[r]) + (f"  unused: {r.reason}" if r.reason else ""))
                     for r in rules]
        width = [max(len(r[i]) for r in rows) for i in range(4)]
        for r in rows:
            yield "  ".join([*(c.ljust(w) for c, w in zip(r, width)), r[4]])
        yield f"refused as a scenario or an outage meant it: {self.excused}"
        if self.granted:
            yield f"by rules that a scenario added to its Role: {self.granted}"
        if self.free:
            yield f"what every account may ask: {self.free}"


def main(paths):
    """The proof of what was saved; ends as a layer of the tests does."""
    proof = Proof({}, [])
    missing = [p for p in paths if not os.path.exists(p)]
    for p in paths:
        if p not in missing:
            proof.take(p)
    print("\n".join(proof.table()))
    faults = [f"{p} is missing: that part did not come to its end" for p in missing] or proof.verdict(whole=True)
    for fault in faults:
        print(f"failed: RBAC proof: {fault}")
    print(f"{0 if faults else 1} passed, {len(faults)} failed")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
