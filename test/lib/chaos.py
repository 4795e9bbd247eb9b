"""Random sequences of faults from a seed, in the verbs of Cluster and its network.

What a fault is and how long it lasts is drawn from the seed; when it meets the members is not, so a
seed that failed once is a hint and no proof.
"""
import random
import signal
import time

from cluster import continue_processes, stop_processes

STEPS = 8


class Chaos:
    def __init__(self, cluster, net, seed):
        self.c, self.net, self.rng = cluster, net, random.Random(seed)

    def pause(self, longest_s):
        time.sleep(self.rng.uniform(0, longest_s))  # ok: the length of a fault, not a condition

    def some(self):
        return self.rng.sample(self.c.members, self.rng.randint(1, len(self.c.members)))

    # Faults. Each leaves every member started.

    def kill(self):
        chosen = self.some()
        for m in chosen:
            m.kill()
        self.rng.shuffle(chosen)
        for m in chosen:
            self.pause(self.rng.choice((0.2, 2, 7)))
            m.start()

    def terminate(self):
        chosen = self.some()
        for m in chosen:
            m.terminate()
            self.pause(1)
        for m in chosen:
            m.start()

    def end_one_process(self):
        m = self.rng.choice(self.c.members)
        found = m.agent() if self.rng.random() < 0.5 else m.postmaster()
        if found:
            self.signal([found], signal.SIGKILL)

    def freeze(self):
        m = self.rng.choice(self.c.members)
        processes = m.postgres_processes() if self.rng.random() < 0.5 else m.processes()
        try:
            stop_processes(processes)
            self.pause(7)
        finally:
            continue_processes(processes)

    def switchover(self):
        self.c.hactl("switchover", "--force", "--timeout", "10s", timeout_s=60)

    def cut(self):
        m = self.rng.choice(self.c.members)
        self.rng.choice((self.net.cut_api, self.net.cut_peers, self.net.cut_all))(m.name)
        self.pause(7)
        self.net.heal()

    def api_away(self):
        self.c.kube.pause()
        try:
            self.pause(8)
        finally:
            self.c.kube.resume()

    @staticmethod
    def signal(processes, sig):
        for p in processes:
            try:
                p.signal(sig)
            except ProcessLookupError:
                pass

    def choices(self):
        """The faults to draw from; one that is there twice comes twice as often."""
        return (self.kill, self.kill, self.terminate, self.end_one_process, self.end_one_process,
                self.freeze, self.switchover, self.cut, self.api_away)

    def step(self):
        fault = self.rng.choice(self.choices())
        self.c.mark("fault", fault.__name__)
        fault()
        return fault.__name__

    def run(self, steps=STEPS):
        """All steps, under load that the caller has started; then every member runs."""
        for _ in range(steps):
            self.step()
            self.pause(self.rng.choice((0.1, 1, 4)))
        for m in self.c.members:
            if not m.running():
                m.start()
