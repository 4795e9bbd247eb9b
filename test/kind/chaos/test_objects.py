"""What is done to the objects of a cluster: its size, and a second one beside it."""
import wait
from episode import Episode, changes
from kindcluster import KindCluster


def scale(c, replicas):
    c.kubectl("scale", "statefulset", c.name, f"--replicas={replicas}")
    c.expect(replicas)


def test_scaled_up_and_down(fresh):
    """1, 3, 5, 2, 1, 3. Going down, a primary among those that go hands over first. The last one that
    is left stays sealed: the one before it may come back, and has all that was confirmed until then."""
    # A stop that is cut short leaves two of five members that cannot know what was confirmed, and wait.
    c = fresh(size=1, apart=False, options={"failover.stop_timeout": "8s"})

    def inject(e):
        for size in (3, 5, 2, 1, 3):
            if size == 2:
                c.switchover(to=c.members[4], check=None)  # the first one that goes
            scale(c, size)
            wait.until(lambda: len(c.mirror.objects) == c.size, 180, f"{size} pods", every=0.5)
            if size == 1:
                e.load.wait_writes(60)
            else:
                c.wait_healthy(240)

    Episode(c, "scaled 1, 3, 5, 2, 1, 3").run(inject)


def test_scaled_to_zero_and_back(fresh):
    c = fresh()

    def inject(e):
        scale(c, 0)
        wait.until(lambda: not c.mirror.objects, 180, "no pod", every=0.5)
        scale(c, 3)

    Episode(c, "scaled to zero and back").run(inject)


def test_two_clusters_in_one_namespace(fresh):
    """Equal in all but the name. What happens to one is no matter of the other."""
    first = fresh(apart=False)
    second = KindCluster(first.kube, first.net, first.ns, name="second", apart=False)
    try:
        second.start().wait_healthy(180)

        known = changes(second)

        def inject(e):
            with second.load() as other:
                at = wait.boot_us()
                e.primary.kill_container()
                e.back()
                first.wait_healthy(180)
                other.wait_writes(60)
                e.row["other_gap_ms"] = other.gap_ms(at)
                second.wait_healthy(180)

        Episode(first, "two clusters in one namespace").run(inject)
        assert changes(second).keys() == known.keys(), "the other cluster keeps its primary"
        second.verify()
        assert set(first.endpoints.history[-1][1]) != set(second.endpoints.history[-1][1])
    finally:
        second.stop()
