"""Random sequences of faults: those of `make chaos`, and those that only nodes and kubelets have."""
import os

import wait
from chaos import Chaos
from episode import Episode
from faults import CATALOGUE


def pytest_generate_tests(metafunc):
    first, _, last = os.environ.get("PGHA_CHAOS", "1").partition("-")
    metafunc.parametrize("seed", range(int(first), int(last or first) + 1))


class KindChaos(Chaos):
    def __init__(self, episode, seed):
        super().__init__(episode.c, episode.c.net, seed)
        self.episode = episode

    def step(self):
        began = wait.boot_us()
        fault = super().step()
        self.episode.row.setdefault("steps", []).append(
            [fault, (began - self.episode.at) // 1000, (wait.boot_us() - began) // 1000])
        return fault

    def delete_pod(self):
        m = self.rng.choice(self.c.members)
        options = ["--grace-period=0", "--force"] if self.rng.random() < 0.5 else []
        uid = m.uid
        self.c.kubectl("delete", "pod", m.name, *options, "--wait=false")
        self.pause(3)
        # The next fault asks where it is.
        wait.until(lambda: m.uid != uid and m.pod["status"].get("podIP"), 180, f"{m.name}: another pod")

    def node_frozen(self):
        node = self.rng.choice(self.c.members).node
        node.pause()
        try:
            self.pause(20)
        finally:
            node.unpause()

    def node_killed(self):
        node = self.rng.choice(self.c.members).node
        node.kill()
        try:
            self.pause(15)
        finally:
            node.start()

    def node_cut(self):
        m = self.rng.choice(self.c.members)
        if self.rng.random() < 0.5:
            m.node.drop_api(self.c.kube.nodes.api)
        else:
            m.node.unplug()
        self.pause(20)
        self.net.heal()

    def api_restarted(self):
        CATALOGUE["API server restarted"][0](self.episode)

    def choices(self):
        return (*super().choices(), self.delete_pod, self.delete_pod, self.node_frozen,
                self.node_killed, self.node_cut, self.api_restarted)


def test_random_faults(cluster, seed):
    e = Episode(cluster, "random sequence", late_ok=True)
    e.row["seed"] = seed
    e.run(lambda episode: KindChaos(episode, seed).run())
