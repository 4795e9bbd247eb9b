"""A cluster under test: kube objects, members on their nodes, the load on it and the verdict.

    with kubeapi.open_kube("devkube", host=net.api_ip) as kube:
        c = Cluster(kube, net, "ns-1").start()
        c.wait_healthy()
        with c.load() as load:             # open-loop writer
            c.primary().kill()
            load.wait_writes(15)
        c.verify()                         # heals nothing: asserts what must hold at the end
"""
import glob
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time

import checker
import sandbox
import timeline
import wait
from member import BUILD, Member

SILENT_S = 4  # one look of two seconds without an answer, and the next
HEALTHY_S = 60  # bound for anything that must happen without a human; never a measure of speed
# Replay conflicts wait for ever instead of ending after 30 s: a query may then hold up a promotion
# for as long as the product lets it.
PARAMETERS = {"max_standby_streaming_delay": "-1"}


class Kubelet:
    """Readiness of the pods as a kubelet would report it. Starts no container by itself."""

    def __init__(self, cluster, period_s=0.5):
        self.cluster, self.period_s = cluster, period_s
        self._stop = threading.Event()
        self._told = {}
        self._thread = threading.Thread(target=self._run, daemon=True, name="kubelet")
        self._thread.start()

    def _run(self):
        while not self._stop.wait(self.period_s):
            for m in list(self.cluster.members):
                pod = self.cluster.pods.get(m.name)
                if pod is None:
                    continue
                ready = m.running() and m.says("/readiness")
                if self._told.get(pod.uid) == ready:
                    continue
                try:
                    self.cluster.kube.set_ready(pod, ready)
                    self._told[pod.uid] = ready
                except Exception:  # the API is away or the pod has just gone: next round
                    pass

    def stop(self):
        self._stop.set()
        self._thread.join(10)


class Load:
    """The writer of one test, as a context: stopped at the end, killed on the way out."""

    def __init__(self, cluster, targets=None, every_ms=5):
        self.cluster = cluster
        log = os.path.join(cluster.dir, f"writer-{len(cluster.writer_logs)}.jsonl")
        cluster.writer_logs.append(log)
        self.writer = checker.Writer(
            os.path.abspath(f"{BUILD}/ha-writer"), log,
            targets or [f"{m.ip}:5432" for m in cluster.members],
            password=cluster.password, every_ms=every_ms)

    def __enter__(self):
        self.writer.start()
        self.writer.wait_writes(20)
        return self

    def __exit__(self, *_):
        self.writer.stop()
        self.writer.kill()

    def wait_writes(self, deadline_s, after_us=None, what="acknowledged writes"):
        self.writer.wait_writes(deadline_s, after_us, what=what)

    def history(self):
        return checker.History(self.writer.log)

    def gap_ms(self, since_us, until_us=None):
        """Longest silence since then, in ms; None when writes have not come back."""
        gap = self.history().gap_us(since_us, until_us)
        return None if gap is None else gap / 1000


class Cluster:
    def __init__(self, kube, net, namespace, size=3, name="pg", options=None, directory=None,
                 volumes=None):
        """options: {"lease.profile": "calm", ...} over the harness's defaults. volumes: directory
        of an earlier cluster whose members' volumes are taken over (size and names as there)."""
        self.kube, self.net, self.ns, self.name, self.size = kube, net, namespace, name, size
        self.dir = directory or os.path.join(sandbox.inside(), namespace)
        self.volumes = volumes or self.dir
        self.options = {"lease.profile": "fast", "cluster.members": size,
                        "postgres.parameters": json.dumps(PARAMETERS), **(options or {})}
        self.members, self.pods, self.writer_logs = [], {}, []
        self.kubelet = None
        self.began_s = None
        self._marks = os.path.join(self.dir, "test.log")

    # Making and ending.

    def start(self, members=None):
        """Creates objects and pods, starts the containers of `members` (default all)."""
        os.makedirs(self.dir, exist_ok=True)
        self.began_s = wait.boot_s()
        self.mark("start", f"{self.size} members on {self.kube.backend}")
        self._secrets()
        self.kube.install(self.ns, self.name)
        self.kubeconfig = self.kube.write_kubeconfig(os.path.join(self.dir, "kubeconfig"), self.ns)
        for i in range(self.size):
            self.add_member(i)
        self.kubelet = Kubelet(self)
        for m in self.members if members is None else [self.members[i] for i in members]:
            m.start()
        return self

    def _secrets(self):
        base = os.path.join(self.volumes, "secrets")
        os.makedirs(base, exist_ok=True)
        self.secret = {}
        for what in ("superuser", "replication", "token"):
            path = os.path.join(base, what)
            if not os.path.exists(path):
                with open(path, "w") as f:
                    f.write(secrets.token_hex(24) + "\n")
                user = sandbox.postgres_user()
                if user:
                    shutil.chown(path, *user)
                os.chmod(path, 0o600)
            self.secret[what] = path
        with open(self.secret["superuser"]) as f:
            self.password = f.read().strip()

    def credentials(self, name):
        """The directory that a pod of that name has its token from."""
        return os.path.join(self.dir, "credentials", name)

    def _env(self, pod):
        env = {f"PGHA_{k.replace('.', '_').upper()}": str(v) for k, v in self.options.items()}
        return {**env,
                **self.kube.member_env(pod, self.credentials(pod.name)),
                "POSTGRES_PASSWORD_FILE": self.secret["superuser"],
                "PGHA_POSTGRES_REPLICATION_PASSWORD_FILE": self.secret["replication"],
                "PGHA_API_TOKEN_FILE": self.secret["token"]}

    def add_member(self, number):
        """Node and pod of member `number`; its container is not started."""
        name = f"{self.name}-{number}"
        node = self.node_of(name, number)
        pod = self.kube.add_pod(self.ns, self.name, name, node.ip, ready=False)
        m = Member(name, node, os.path.join(self.volumes, name), self._env(pod),
                   sandbox.postgres_programs())
        m.uid, m.password = pod.uid, self.password
        self.members.append(m)
        self.pods[name] = pod
        return m

    def node_of(self, name, number):
        return self.net.nodes.get(name) or self.net.add_node(name, number)

    def recreate_pod(self, m):
        """The pod is deleted and made anew: another uid, the same volume and address."""
        assert not m.running()
        self.kube.delete_pod(self.pods.pop(m.name))
        pod = self.kube.add_pod(self.ns, self.name, m.name, m.ip, ready=False)
        self.pods[m.name] = pod
        m.uid, m.env = pod.uid, self._env(pod)

    def stop(self):
        """Ends everything at once and forgets the objects; logs and volumes stay in self.dir."""
        if self.kubelet:
            self.kubelet.stop()
            self.kubelet = None
        self.net.heal()
        for m in self.members:
            m.kill()
        self.members, self.pods = [], {}

    def remove(self, objects=True):
        self.stop()
        if objects:
            self.kube.uninstall(self.ns)
        shutil.rmtree(self.dir, ignore_errors=True)

    # Looking.

    def member(self, name):
        return next(m for m in self.members if m.name == name)

    def others(self, m):
        return [o for o in self.members if o is not m]

    def writable(self):
        """Members on which a client may write now. More than one is the end of the test."""
        found = [m for m in self.members if m.running() and m.writable()]
        assert len(found) <= 1, f"two writable servers: {[m.name for m in found]}"
        return found

    def stays_writable(self, p, for_s, what):
        """Asserts that clients may write on p, and nowhere else, for the whole of for_s seconds. Where
        the machine is so busy that a look has no answer in time, the next ones must have it."""
        end = time.monotonic() + for_s
        seen = time.monotonic()
        while time.monotonic() < end:
            found = self.writable()
            if found:
                assert found == [p], f"did not hold: {what}: {found[0].name} is writable, not {p.name}"
                seen = time.monotonic()
            silent = time.monotonic() - seen
            assert silent < SILENT_S, f"did not hold: {what}: nobody writable for {silent:.1f} s"
            time.sleep(0.2)  # ok: between two looks at a condition with a deadline

    def primary(self, deadline_s=HEALTHY_S):
        return wait.until(self.writable, deadline_s, "a writable primary")[0]

    def standby(self):
        """One that streams."""
        p = self.primary()
        streaming = self.streaming(p)
        return next(m for m in self.others(p) if m.ip in streaming)

    @staticmethod
    def streaming(primary):
        return {r[0] for r in primary.sql(
            "SELECT host(client_addr) FROM pg_stat_replication WHERE state = 'streaming'")}

    def lease(self):
        return self.kube.admin.find("leases", self.ns, self.name)

    def state(self):
        return self.kube.admin.find("configmaps", self.ns, f"{self.name}-state")

    def holder(self):
        """Member name in the Lease, "" for nobody, None without a Lease."""
        lease = self.lease()
        if lease is None:
            return None
        return (lease["spec"].get("holderIdentity") or "").split("_")[0]

    def labelled_primary(self):
        pods = self.kube.admin.list("pods", self.ns, selector="role=primary")
        return sorted(p["metadata"]["name"] for p in pods)

    def sync_names(self, m):
        return m.sql("SHOW synchronous_standby_names")[0][0]

    def sealed(self, m):
        """What /status of a member says about the seal: true, false."""
        s = m.status()
        return bool(s.get("sealed"))

    # Conditions.

    def check_healthy(self, down=()):
        """Raises AssertionError with what is missing: one writable primary that holds the Lease and
        the label, everyone else (but for `down`) streaming from it on its timeline and waited for
        by its commits."""
        found = self.writable()
        assert found, "no writable member"
        p = found[0]
        rest = [m for m in self.others(p) if m.name not in down]
        streaming = self.streaming(p)
        missing = [m.name for m in rest if m.ip not in streaming]
        assert not missing, f"not streaming from {p.name}: {missing}"
        tli = p.timeline()
        for m in rest:
            got = [row[0] for row in m.sql("SELECT received_tli FROM pg_stat_wal_receiver")]
            assert got == [tli], f"{m.name} receives timeline {got}, {p.name} writes {tli}"
        if self.options.get("replication.mode", "quorum") != "async":
            names = self.sync_names(p)
            assert names.count("m_") == len(rest), \
                f"{p.name} waits for {names or 'nobody'}, there are {len(rest)} standbys"
        status = p.status()
        if "replication" in status:
            # Who is not in V yet may not be elected, whatever the mode.
            out = [m.name for m in rest if not m.status()["replication"]["joined"]]
            assert not out, f"not in V yet: {out}"
        if self.options.get("replication.mode", "quorum") != "async" and "replication" in status:
            # A seal that the record still has forbids every election but the writer's own.
            w, k = status["replication"]["w"], int(self.options.get("replication.k", 1))
            assert not status["sealed"] and w >= min(k, len(rest)), \
                f"{p.name}: the record has W = {w}{', sealed' if status['sealed'] else ''}"
        assert self.holder() == p.name, f"{p.name} is writable, the Lease says {self.holder()!r}"
        assert self.labelled_primary() == [p.name], \
            f"{p.name} is writable, labelled are {self.labelled_primary()}"
        return p

    def wait_healthy(self, deadline_s=HEALTHY_S, down=()):
        return wait.until(lambda: self.check_healthy(down), deadline_s,
                          "one writable primary, all others streaming on its timeline", every=0.1)

    def verify(self, late_ok=False):
        """The four assertions of every scenario, over all that writers of this cluster saw.

        late_ok: a row acknowledged by the old server that was sent before the new one's first, where
        clients were cut off too and could not hear the answer in time.
        """
        p = self.wait_healthy()
        h = checker.History(self.writer_logs)
        overlaps = [o for o in h.overlaps() if o["kind"] == "proved" or not late_ok]
        assert not overlaps, f"{len(overlaps)} overlaps, the first: {overlaps[0]}"
        verdict = h.against(checker.table_ids(p.ip, self.password)) if self.writer_logs else None
        if verdict:
            assert not verdict["lost"], \
                f"{len(verdict['lost'])} acknowledged rows lost, of {verdict['acknowledged']}"
            assert not verdict["phantom"], f"rows that nobody wrote: {verdict['phantom'][:5]}"
            assert not verdict["not_failed"], \
                f"rows that were refused are there: {verdict['not_failed'][:5]}"
        return verdict

    # Doing.

    def load(self, **options):
        return Load(self, **options)

    def hactl(self, *args, timeout_s=90, check=None, kubeconfig=None):
        """Runs hactl as administrator, or as the kubeconfig says. check: the exit code it must end
        with."""
        argv = [os.path.abspath(f"{BUILD}/hactl"), "--kubeconfig", kubeconfig or self.kubeconfig,
                "-n", self.ns, "--cluster", self.name, *map(str, args)]
        r = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s,
                           stdin=subprocess.DEVNULL)
        self.mark("hactl", f"{' '.join(map(str, args))}: exit {r.returncode}")
        if check is not None:
            assert r.returncode == check, \
                f"hactl {' '.join(map(str, args))}: exit {r.returncode}, not {check}\n" \
                f"{r.stdout}{r.stderr}"
        return r

    def fails_over(self, load, quiet_s):
        """Nothing changes for quiet_s, then the primary dies and another member writes. Returns the dead
        one."""
        p = self.primary()
        wait.holds(lambda: self.writable() == [p], quiet_s, "nothing changes", every=0.5)
        at = wait.boot_us()
        p.kill()
        load.wait_writes(60, at)
        assert self.primary() is not p
        return p

    def switchover(self, to=None, check=0):
        return self.hactl("switchover", *(["--to", to.name] if to else []), "--force", check=check)

    # Telling.

    def mark(self, event, text):
        """A line of the harness in the merged timeline."""
        import datetime
        now = datetime.datetime.now(datetime.timezone.utc)
        with open(self._marks, "a") as f:
            f.write(json.dumps({"ts": now.isoformat(timespec="microseconds"), "level": "info",
                                "event": event, "msg": text, "source": "test"}) + "\n")

    def log_files(self):
        files = {"test": self._marks}
        for i in range(16):
            path = os.path.join(self.volumes, f"{self.name}-{i}", f"{self.name}-{i}.log")
            if os.path.exists(path):
                files[f"{self.name}-{i}"] = path
        return files

    def story(self, since=None, last=None):
        lines = list(timeline.merge(self.log_files(), since))
        return lines[-last:] if last else lines

    @staticmethod
    def _save_record(m, directory):
        try:
            files = glob.glob(os.path.join(m.state_dir(), "flight.*"))
        except (LookupError, OSError):  # a pod that has no volume now
            return
        os.makedirs(directory)
        for path in files:
            shutil.copy(path, directory)

    def save_logs(self, directory):
        """Copies logs, flight records (hactl explain --file DIRECTORY) and writer histories to where
        they survive the sandbox."""
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory)
        for name, path in self.log_files().items():
            if os.path.exists(path):
                shutil.copy(path, os.path.join(directory, f"{name}.log"))
        for m in self.members:
            self._save_record(m, os.path.join(directory, f"{m.name}.flight"))
        for path in self.writer_logs:
            if os.path.exists(path):
                shutil.copy(path, directory)
        with open(os.path.join(directory, "timeline.txt"), "w") as f:
            f.writelines(line + "\n" for line in self.story())


def signal_all(processes, sig):
    for p in processes:
        try:
            p.signal(sig)
        except ProcessLookupError:
            pass


def stop_processes(processes):
    signal_all(processes, signal.SIGSTOP)


def continue_processes(processes):
    signal_all(processes, signal.SIGCONT)


if __name__ == "__main__":
    sys.exit("a library; see test/scenarios")
