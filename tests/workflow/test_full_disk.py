"""A results folder that is full or read-only: one clear line, nothing half-written, and the next run goes on."""

import os
import shutil
import subprocess
import time

import pytest
from workflow.processes import at_work, start

DATA, MACHINE = "results/data/tiny_chats/index.json", "results/machine.json"  # the first needs the target
FULL = "No space left on device; make room there and start again; what is finished is kept"


@pytest.fixture
def tiny(fresh_tiny):
    (fresh_tiny / "results").mkdir()
    return fresh_tiny


@pytest.fixture
def disk(tiny):
    """results/ is a disk of its own; gives the function that sets its size in KB."""

    def mount(*words):
        return subprocess.run(["mount", *words, str(tiny / "results")], capture_output=True, text=True)

    if not shutil.which("mount") or mount("-t", "tmpfs", "-o", "size=16k", "tmpfs").returncode:
        pytest.skip("needs the right to mount a file system (root)")
    yield lambda kilobytes: mount("-o", f"remount,size={kilobytes}k").check_returncode()
    subprocess.run(["umount", "--lazy", str(tiny / "results")], check=True)


def fill(path):
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"." * 1024)
        except OSError:
            pass


def left(study):
    """Files in results that are neither logs nor benchmarks, hidden ones too."""
    paths = [path for path in (study / "results").rglob("*") if path.is_file()]
    return {str(path.relative_to(study.folder)) for path in paths if path.suffix not in (".log", ".tsv")}


def test_a_disk_that_a_job_fills(tiny, disk):
    disk(100)
    done = tiny.snakemake("--cores", "1", DATA)
    assert done.returncode == 1
    assert f"selfdraft target: error: results/target/tiny/model.safetensors: {FULL}" in done.output
    assert "Traceback" not in done.output
    assert left(tiny) == set()
    disk(50_000)
    done = tiny.snakemake("--cores", "1", DATA)
    assert done.returncode == 0, done.output
    assert {"results/target/tiny/model.safetensors", DATA} < left(tiny)
    assert not any("/." in name for name in left(tiny))


def test_a_disk_that_is_full_before_and_one_that_fills_beside_a_job(tiny, disk):
    fill(tiny / "results/other")
    done = tiny.snakemake("--cores", "1", MACHINE)
    assert done.returncode == 1
    assert f"\nresults: {FULL}\n" in done.output
    assert "Traceback" not in done.output
    (tiny / "results/other").unlink()
    disk(2000)
    running = start(tiny, [MACHINE])
    while not at_work(running):
        assert running.poll() is None
        time.sleep(0.02)
    fill(tiny / "results/other")  # not even the job's log can be written now
    assert running.wait(timeout=300) == 1
    output = (tiny / "output.txt").read_text()
    assert f"\nresults: {FULL}\n" in output
    assert "Traceback" not in output
    assert left(tiny) == {"results/other"}
    (tiny / "results/other").unlink()
    assert tiny.snakemake("--cores", "1", MACHINE).returncode == 0


def test_a_read_only_results_folder(tiny):
    results = str(tiny / "results")
    if os.geteuid():
        os.chmod(results, 0o555)
        said = (
            "results: Permission denied; give yourself the right to write there, or work in a folder where you have it"
        )
    else:
        bound = subprocess.run(["mount", "--bind", results, results], capture_output=True)
        if bound.returncode:
            pytest.skip("root may write anywhere, and may not mount a file system here")
        subprocess.run(["mount", "-o", "remount,bind,ro", results], check=True)
        said = "results: Read-only file system; make it writable, or work in a folder that is"
    try:
        done = tiny.snakemake("--cores", "1", MACHINE)
    finally:
        if os.geteuid():
            os.chmod(results, 0o755)
        else:
            subprocess.run(["umount", "--lazy", results], check=True)
    assert done.returncode == 1
    assert f"\n{said}\n" in done.output
    assert "Traceback" not in done.output
    assert tiny.snakemake("--cores", "1", MACHINE).returncode == 0
