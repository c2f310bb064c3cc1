"""Commands in processes that need not import: forks of one that has, each with its own folder and environment.

Snakemake imports for longer than it plans, and a stage for longer than it trains a tiny draft. A fork runs the
command's own `__main__`, and can be watched and killed as any process. That the commands also run where nothing was
imported before is tested by the studies that are killed or run in conda's environments, by trainings that are ended on
SLURM, and by the part of the tiny study that is made again: their jobs, and the runs that `workflow.processes` starts,
are real commands.
"""

import atexit
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

# What a program imports when it runs, beside what it imports itself; of Snakemake, nothing of the project, which is
# in the folder where it runs.
PARTS = {
    "snakemake": ["snakemake.cli", "snakemake.executors.dryrun", "snakemake.executors.local", "jsonschema"],
    "selfdraft": ["selfdraft.cli", "selfdraft.commands.train", "selfdraft.commands.dvi", "selfdraft.online.run"],
}


class Warm:
    """`python -m PROGRAM` by forks; the process that is forked is started when it is first needed."""

    def __init__(self, program):
        self.program, self.server = program, None

    def start(self, words, folder=".", python=sys.executable, **variables):
        """Start the command, as a group of its own, with these variables set besides ours; returns a `Fork`.

        It takes itself to be run by `python`.
        """
        if self.server is None:
            self.server = subprocess.Popen(
                [sys.executable, "-P", __file__, self.program],
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},  # threads do not outlive a fork
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            atexit.register(self.stop)
        outputs = tempfile.TemporaryDirectory()
        asked = {"words": [*map(str, words)], "folder": os.path.abspath(folder), "environment": os.environ | variables}
        asked |= {"program": self.program, "python": str(python)}
        asked["outputs"] = [f"{outputs.name}/{name}" for name in ("stdout", "stderr")]
        return Fork(self, self.ask(start=asked), outputs)

    def ask(self, **question):
        print(json.dumps(question), file=self.server.stdin, flush=True)
        return json.loads(self.server.stdout.readline())

    def stop(self):
        self.server.stdin.close()
        self.server.wait(60)

    def run(self, words, folder=".", python=sys.executable, **variables):
        """As `subprocess.run` of the command with both outputs captured."""
        process = self.start(words, folder, python, **variables)
        try:
            stdout, stderr = process.communicate(timeout=3600)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        return subprocess.CompletedProcess(words, process.returncode, stdout, stderr)


class Fork:
    """A started command: what `subprocess.Popen` is to a process."""

    def __init__(self, warm, pid, outputs):
        self.warm, self.pid, self.outputs, self.returncode = warm, pid, outputs, None

    def poll(self):
        if self.returncode is None:
            self.returncode = self.warm.ask(poll=self.pid)
        return self.returncode

    def communicate(self, timeout=None):
        """What it wrote, once it has ended."""
        last = None if timeout is None else time.monotonic() + timeout
        while self.poll() is None:
            if last is not None and time.monotonic() > last:
                raise subprocess.TimeoutExpired(self.warm.program, timeout)
            time.sleep(0.01)
        return [Path(self.outputs.name, name).read_text(errors="replace") for name in ("stdout", "stderr")]


SNAKEMAKE, SELFDRAFT = Warm("snakemake"), Warm("selfdraft")


def become(asked, files, told=None):
    """Make this fork the command that was asked for; it ends with its exit status, and is not taken apart.

    What is registered to run at the end of a process runs; that modules are freed one by one takes a second.

    `files` are its standard input and outputs. The pipe `told` is closed once the fork leads its own group.
    """
    os.setsid()
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    for number, source in enumerate(files):
        os.dup2(source, number)
    for source in set(files) - {0, 1, 2}:
        os.close(source)
    if told is not None:
        os.close(told)
    more = asked["environment"].get("PYTHONPATH", "")
    sys.path[:0] = [os.getcwd(), *filter(None, more.split(os.pathsep))]
    sys.executable = asked.get("python", sys.executable)
    sys.argv = [find_spec(f"{asked['program']}.__main__").origin, *asked["words"]]
    sys.orig_argv = [sys.executable, "-m", asked["program"], *asked["words"]]
    code = 0
    try:
        runpy.run_module(asked["program"], run_name="__main__")
    except SystemExit as end:
        code = end.code
        if code is not None and not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except Exception:
        traceback.print_exc()
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def serve():
    """Lines of JSON in and out: what to start -> its process id; whose end to look for -> exit status, or null.

    What still runs when the tests end, however they end, is killed.
    """
    answers, running = os.fdopen(os.dup(1), "w"), set()
    for line in iter(sys.stdin.readline, ""):
        question = json.loads(line)
        if "start" in question:
            ready, told = os.pipe()
            if (answer := os.fork()) == 0:
                answers.close()
                os.close(ready)
                outputs = question["start"]["outputs"]
                files = [os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) for path in outputs]
                become(question["start"], [os.open(os.devnull, os.O_RDONLY), *files], told)
            os.close(told)
            os.read(ready, 1)  # only then can it be killed as a group, and its outputs be read
            os.close(ready)
            running.add(answer)
        else:
            found, status = os.waitpid(question["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if found else None
            running.discard(found)
        print(json.dumps(answer), file=answers, flush=True)
    for child in running:
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)


if __name__ == "__main__":
    for part in PARTS[sys.argv[1]]:
        importlib.import_module(part)
    assert sys.argv[1] == "selfdraft" or not any(name.partition(".")[0] == "selfdraft" for name in sys.modules)
    serve()
