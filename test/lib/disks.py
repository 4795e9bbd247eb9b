"""File systems of our own on loop devices: small, frozen, broken, or as a loss of power leaves them.

Only as root inside test/lib/sandbox.py: mounts are in its mount namespace and go with it, and so does a
loop device that nothing holds any more (it was set up by mount, which leaves that to the kernel).
"""
import contextlib
import functools
import os
import shutil
import subprocess
import tempfile

import sandbox
import wait

# Nothing reaches the disk but what was synced: no commit of the journal by time while a test looks.
OPTIONS = "loop,errors=remount-ro,commit=600,noatime"


def sh(*cmd):
    r = subprocess.run([str(c) for c in cmd], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if r.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, cmd))}: {r.stderr.strip() or r.stdout.strip()}")
    return r.stdout


@functools.cache
def why_not():
    """Why this machine cannot have them, None when it can."""
    if os.geteuid() != 0 or sandbox.rootless():
        return "mounting a file system on a loop device needs root"
    if not sandbox.inside():
        return "runs in test/lib/sandbox.py only"
    missing = [p for p in ("mkfs.ext4", "fsfreeze", "losetup") if not shutil.which(p)]
    if missing:
        return f"no {', '.join(missing)}"
    try:
        with tempfile.TemporaryDirectory(dir=sandbox.inside()) as d:
            disk = Disk(os.path.join(d, "image"), os.path.join(d, "mnt"), 16)
            disk.remove()
    except RuntimeError as e:
        return f"no loop devices: {e}"
    return None


class Disk:
    """ext4 of so many MB in the file `image`, mounted at `at`, whose content belongs to PostgreSQL's user."""

    def __init__(self, image, at, size_mb):
        self.image, self.at = image, at
        self.freezer = None
        os.makedirs(at, exist_ok=True)
        with open(image, "wb") as f:
            f.truncate(size_mb << 20)
        sh("mkfs.ext4", "-q", "-m", "0", "-O", "^metadata_csum_seed", image)
        self.mount()
        shutil.rmtree(os.path.join(at, "lost+found"))
        user = sandbox.postgres_user()
        if user:
            os.chown(at, *user)

    def mount(self):
        sh("mount", "-o", OPTIONS, self.image, self.at)

    def umount(self):
        """Once nothing uses it any more, for good: a process that has just ended may still be on its way out."""
        self.thaw()
        wait.until(lambda: sh("umount", self.at) == "", 30, f"umount {self.at}", every=0.1)
        wait.until(lambda: not sh("losetup", "-j", self.image), 30, f"{self.image}: nobody to use it", every=0.1)

    def remove(self):
        self.umount()
        os.unlink(self.image)

    def device(self):
        """Its name, as "loop0"."""
        st = os.stat(self.at).st_dev
        return os.path.basename(os.path.realpath(f"/sys/dev/block/{os.major(st)}:{os.minor(st)}"))

    # What can happen to it.

    def freeze(self, longest_s=20):
        """Every write waits in uninterruptible sleep. Ends with thaw(), with this process, or after that time:
        nothing that sleeps so can be killed."""
        self.freezer = subprocess.Popen(
            ["bash", "-c", 'fsfreeze -f "$1" && echo frozen; read -rt "$2"; fsfreeze -u "$1"', "freezer",
             self.at, str(longest_s)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            start_new_session=True)
        assert self.freezer.stdout.readline() == "frozen\n"

    def thaw(self):
        if self.freezer:
            self.freezer.stdin.close()
            self.freezer.wait()
            self.freezer.stdout.close()
            self.freezer = None

    def fill(self, leave_kb=0):
        """Takes all free space but leave_kb; free() gives it back."""
        st = os.statvfs(self.at)
        fd = os.open(os.path.join(self.at, "ballast"), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            with contextlib.suppress(OSError):  # its own metadata took the rest
                os.posix_fallocate(fd, 0, max(st.f_bfree * st.f_frsize - (leave_kb << 10), 1))
            os.lseek(fd, 0, os.SEEK_END)
            with contextlib.suppress(OSError):
                while leave_kb == 0 and os.write(fd, bytes(4096)):
                    os.fsync(fd)  # or the space is found only later
        finally:
            os.close(fd)

    def free(self):
        os.unlink(os.path.join(self.at, "ballast"))

    def fail(self):
        """The file system finds an error of its own and turns read-only."""
        with open(f"/sys/fs/ext4/{self.device()}/trigger_fs_error", "w") as f:
            f.write("1\n")

    def mend(self):
        """After fail(), as a new node would: checked and mounted again."""
        self.umount()
        r = subprocess.run(["e2fsck", "-fy", self.image], capture_output=True, text=True)
        assert r.returncode in (0, 1), r.stdout
        self.mount()

    def copy(self, to):
        """The device as it is now: what is in memory only is not in there, as after a loss of power."""
        sh("cp", "--sparse=always", self.image, to)

    def put_back(self, image):
        """Another state of the device in its place; nothing uses it."""
        self.umount()
        os.replace(image, self.image)
        self.mount()
