"""A stand-in for ssh between members: what one is told to run on another runs there, as the same user, without the cost
of encryption. The stand-in is a program named ssh; who wants it puts its directory first in PATH.

Within a member nobody may enter another's namespaces, so the stand-in hands its words and its standard streams to a
thread of the harness, which may.
"""
import json
import os
import shutil
import socket
import subprocess
import threading

import sandbox

# Without site packages: an interpreter that starts quickly. Of ssh's options only these have a value.
PROGRAM = """#!/usr/bin/python3 -IS
import json, os, socket, sys
words = sys.argv[1:]
while words[0].startswith("-"):
    del words[:2 if words[0] in ("-o", "-l", "-p", "-i") else 1]
s = socket.socket(socket.AF_UNIX)
s.connect(os.path.join(os.path.dirname(os.path.realpath(__file__)), "socket"))
socket.send_fds(s, [json.dumps(words).encode()], [0, 1, 2])
sys.exit(int(s.recv(16) or b"255"))
"""


class Remote:
    def __init__(self, directory, member_at):
        """member_at: the member of an address."""
        self.path, self._member_at = os.path.join(directory, "ssh"), member_at
        os.makedirs(self.path)
        program = os.path.join(self.path, "ssh")
        with open(program, "w") as f:
            f.write(PROGRAM)
        os.chmod(program, 0o755)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(os.path.join(self.path, "socket"))
        if sandbox.postgres_user():
            shutil.chown(os.path.join(self.path, "socket"), *sandbox.postgres_user())
        self._socket.listen(16)
        threading.Thread(target=self._accept, daemon=True, name="remote").start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._serve, args=(connection,), daemon=True, name="remote").start()

    def _serve(self, connection):
        streams = []
        with connection:
            try:
                said, streams, _, _ = socket.recv_fds(connection, 1 << 16, 3)
                connection.sendall(str(self._run(json.loads(said), streams)).encode())
            except (OSError, ValueError, LookupError, StopIteration, AttributeError):
                pass  # the stand-in then says 255, as ssh does when it cannot connect
            finally:
                for fd in streams:
                    os.close(fd)

    def _run(self, words, streams):
        host, *command = words
        m = self._member_at(host)
        return subprocess.run(m.entered("sh", "-c", " ".join(command)), env=m.environment(), cwd=m.dir,
                              stdin=streams[0], stdout=streams[1], stderr=streams[2]).returncode

    def close(self):
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
