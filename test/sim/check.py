#!/usr/bin/env python3
"""The simulator itself: deterministic, resumable, strict about its options.

    check.py SIM

Prints one line for each check that failed; the number of checks is in the last line.
"""
import os
import re
import signal
import subprocess
import sys
import tempfile

SIM = sys.argv[1]

# Episodes that failed once, and what was wrong: for as long as a seed means the same they pass.
FAILED_ONCE = {
    2872524: "the last writer waited for the votes of volumes that had been cloned anew",
    9999750: "the same, with an older volume of its own in the record",
    8768226: "candidates that could not be elected went first again and again, and the last writer never",
    4562426: "a Lease put back to a shorter duration was counted by what it said then",
    7677427: "a holder by hand was elected in an epoch whose writer had been edited away",
    396007: "the same, and the edited-away writer followed nobody for ever",
    7329442: "an empty holder initialised although the record listed members with data",
    3615995: "a member stored the record of a Lease that it had not read since its start",
    2877517: "a cluster was not adopted because of a server that did not start",
    760124: "the judge took W from the record of a later writer than the one that had asked nobody",
    436050: "the model let a walsender use an older setting after the promotion",
    1736417: "all voters had been promoted by hand, and nobody said so",
    6408879: "a member rewound what it had confirmed: it had a vote, and not heard of it",
    4158669: "the model was slow to deliver questions in the calm, too, until a short silence had passed",
    7199751: "the judge forbade an old primary that was succeeded early to admit readers, too, before its deadline",
    7646153: "an operator's case that came about only after the members had looked whole was not taken to one",
    9622133: "an operator's case was not taken to one where the old writer had put its own record back",
    3744301: "the model promoted by hand to a number that was given out later",
}
failed = []


def sim(*args):
    return subprocess.run([SIM, *args], capture_output=True, text=True, timeout=120)


def expect(what, held):
    if not held:
        failed.append(what)
        print(f"FAILED {what}")


def report(*runs):
    """The report of one tally after these runs."""
    with tempfile.TemporaryDirectory() as d:
        for args in runs:
            sim("--mix", "--tally", f"{d}/tally", *args)
        return sim("--report", f"{d}/tally").stdout


def interrupted(tally):
    p = subprocess.Popen([SIM, "--mix", "--seeds", "1-100000000", "--tally", tally, "--jobs", "2"],
                         stdout=subprocess.PIPE, text=True)
    try:
        while not os.path.exists(tally):
            if p.poll() is not None:
                return ""
        p.send_signal(signal.SIGTERM)
        return p.communicate(timeout=60)[0]
    finally:
        p.kill()
        p.wait()


def another_core(tally):
    with open(tally) as f:
        text = f.read()
    with open(tally, "w") as f:
        f.write(re.sub(r"(?m)^core .*$", "core 0123456789ab", text))
    return "core 0123456789ab: another one" in sim("--report", tally).stdout and \
        sim("--mix", "--seeds", "1", "--tally", tally).returncode == 2


def again(tally):
    """A failure that passes now is told as mended, one of other options is left."""
    with open(tally) as f:
        text = f.read()
    with open(tally, "w") as f:
        f.write(text.replace("failed 0\n", "failed 2\n") +
                "failure mix seed 7: liveness gone\nfailure quorum-members3-k1 seed 7: liveness gone\n")
    r = sim("--mix", "--again", "--tally", tally)
    told = sim("--report", tally).stdout
    return r.returncode == 1 and "mix seed 7, mended: liveness gone\n" in told and \
        "quorum-members3-k1 seed 7: liveness gone\n" in told and told.endswith(" 1 failed\n")


def main():
    one, two = (sim("--mix", "--seeds", "7-7", "--trace").stdout for _ in range(2))
    expect("one seed gives the same bytes twice", one == two and len(one) > 1000)
    whole = report(["--seeds", "1-600"])
    expect("a tally of one go tells of 600 episodes", "\n600 episodes" in whole)
    expect("two halves and two jobs give the same report",
           report(["--seeds", "1-200"], ["--seeds", "600", "--jobs", "2"]) == whole)
    with tempfile.TemporaryDirectory() as d:
        expect("an interrupted run keeps its tally", "(interrupted)" in interrupted(f"{d}/tally") and
               "episodes" in sim("--report", f"{d}/tally").stdout)
        expect("what failed is run again", again(f"{d}/tally"))
        with open(f"{d}/foreign", "w") as f:
            f.write("episodes 5\n")
        expect("a foreign file is no tally", sim("--report", f"{d}/foreign").returncode == 2)
        expect("a tally of another core is told of, and not added to", another_core(f"{d}/tally"))
    bad = ["--members 8", "--members 0", "--seeds 9-1", "--seeds x", "--mode some", "--jobs 0", "--k 0",
           "--trace --jobs 2", "--shrink", "--more", "--again"]
    expect("options out of range are refused", all(sim(*b.split()).returncode == 2 for b in bad))
    expect("an episode that passes is not shrunk", sim("--mix", "--shrink", "7").returncode == 1)
    sizes = [sim("--members", str(n), "--seeds", "1-20").returncode for n in range(1, 8)]
    expect("one to seven members", not any(sizes))
    expect("episodes that failed once pass",
           not any(sim("--mix", "--seeds", f"{seed}-{seed}").returncode for seed in FAILED_ONCE))
    print(f"simulator: {11 - len(failed)} of 11 checks")
    return 1 if failed else 0


sys.exit(main())
