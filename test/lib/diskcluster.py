"""A cluster whose members have file systems of their own (disks.py): full, frozen, broken, without power,
or as they were before."""
import os

from cluster import Cluster
from disks import Disk

# What the WAL takes stays small against the disk.
PARAMETERS = {"min_wal_size": "32MB", "max_wal_size": "64MB", "max_standby_streaming_delay": "-1"}


class DiskCluster(Cluster):
    def __init__(self, *args, size_mb=512, options=None, **more):
        import json
        super().__init__(*args, options={"postgres.parameters": json.dumps(PARAMETERS), **(options or {})},
                         **more)
        self.size_mb = size_mb
        self.disks = {}

    def add_member(self, number):
        m = super().add_member(number)
        self.disks[m.name] = Disk(os.path.join(m.dir, "image"), os.path.dirname(m.pgdata), self.size_mb)
        for m in self.members:
            m.before = self._only_own(m)
        return self.members[-1]

    def _only_own(self, m):
        """The mount namespace that guard makes would keep the others' file systems alive."""
        rest = [self.disk(o).at for o in self.members if o is not m and o.name in self.disks]
        return ["unshare", "-m", "--propagation", "private", "--", "sh", "-c",
                f'umount {" ".join(rest)}; exec "$@"' if rest else 'exec "$@"', "sh"]

    def disk(self, m):
        return self.disks[m.name]

    def stop(self):
        for d in self.disks.values():
            d.thaw()
        super().stop()
        for d in self.disks.values():
            d.umount()
        self.disks = {}

    # What disks make possible. Members are named, so that a test reads as what it does.

    def image(self, m):
        """The disk of a member that is down, kept aside: a snapshot of the volume."""
        path = os.path.join(m.dir, "snapshot")
        self.disk(m).umount()
        self.disk(m).copy(path)
        self.disk(m).mount()
        return path

    def lose_power(self, members):
        """All at once, and what was not synced is gone."""
        for m in members:
            m.kill()
        for m in members:
            self.disk(m).copy(os.path.join(m.dir, "after"))
        for m in members:
            self.disk(m).put_back(os.path.join(m.dir, "after"))
