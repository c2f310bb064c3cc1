"""A study's jobs as forks of a process that has imported what they import: most of a tiny job's time is `import torch`.

A Snakemake that takes itself to be run by `WarmJobs.python` has its jobs use that one too. It hands `-m selfdraft …`
and `-m snakemake …`, which a submitted job is, to that process, with its folder, environment and files; all else the
real Python does. The project itself is imported by each job, from where the job's PYTHONPATH says. Jobs that are
killed, and those of conda's environments, are started as everywhere: here the process that Snakemake sees is not the
one that works.
"""

import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from warm import become

PARTS = ["torch", "pandas", "scipy.stats", "matplotlib.figure", "matplotlib.backends.backend_agg", "jsonschema", "yaml"]
PARTS += ["snakemake.cli", "snakemake.executors.local"]
CLIENT = """#!{python} -IS
import sys
if sys.argv[1:3] not in (["-m", "selfdraft"], ["-m", "snakemake"]):
    import os
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
import array, json, os, socket
door = socket.socket(socket.AF_UNIX)
door.connect({door!r})
asked = {{"program": sys.argv[2], "words": sys.argv[3:], "folder": os.getcwd(), "environment": dict(os.environ)}}
asked["python"] = {client!r}
files = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))]
door.sendmsg([b"+"], files)
door.sendall(json.dumps(asked).encode())
door.shutdown(socket.SHUT_WR)
sys.exit(int(door.recv(8) or 1))
"""


class WarmJobs:
    """The process that is forked, and the `python` that asks it to."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        place = Path(self.folder.name)
        door = str(place / "door")
        (place / "bin").mkdir()
        client = place / "bin/python"
        client.write_text(CLIENT.format(python=sys.executable, client=str(client), door=door))
        client.chmod(0o755)
        self.server = subprocess.Popen(
            [sys.executable, "-P", __file__, door],
            env=os.environ
            | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # threads do not outlive a fork
            | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,  # what could be sought here, a job would seek in its own outputs
        )
        assert self.server.stdout.readline() == b"ready\n", self.server.stderr.read().decode()

    @property
    def python(self):
        return f"{self.folder.name}/bin/python"

    def stop(self):
        self.server.stdin.close()
        self.server.wait(60)
        self.folder.cleanup()


def attend(connection):
    """Start the job that a client asks for and tell it how that ended; where the client is gone, so is the job."""
    _, (message, *_), *_ = connection.recvmsg(1, socket.CMSG_SPACE(12))
    files = [int.from_bytes(message[2][at : at + 4], sys.byteorder) for at in (0, 4, 8)]
    asked = json.loads(b"".join(iter(lambda: connection.recv(1 << 16), b"")))
    if (job := os.fork()) == 0:
        connection.close()
        become(asked, files)
    for file in files:
        os.close(file)
    ended, watch = os.pidfd_open(job), select.poll()
    watch.register(ended, select.POLLIN)
    watch.register(connection, select.POLLHUP)  # not of our own half, which the client has closed
    if ended not in [file for file, _ in watch.poll()]:
        os.killpg(job, signal.SIGTERM)
    code = os.waitstatus_to_exitcode(os.waitpid(job, 0)[1])
    connection.sendall(str(code if code >= 0 else 128 - code).encode())


def serve(door):
    """Attend to clients until standard input ends."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(door)
    listening.listen(16)
    print("ready", flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the attendants
    while True:
        asked, _, _ = select.select([listening, sys.stdin], [], [])
        if listening not in asked:
            return
        connection, _ = listening.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listening.close()
            attend(connection)
            os._exit(0)
        connection.close()


if __name__ == "__main__":
    for part in PARTS:
        importlib.import_module(part)
    assert not any(name.partition(".")[0] == "selfdraft" for name in sys.modules)
    serve(sys.argv[1])
