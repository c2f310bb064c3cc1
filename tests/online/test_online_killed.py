"""SIGKILL at twelve moments of a stream, of every share, some in the middle of a save: it ends with the same bits."""

import multiprocessing
import signal

import pytest
from online.killed import SHARES, serve

# Where a run dies, again and again: its second save, the second from there on, the update after that, and the same
# update where it is done and drafts begin to use it (a state that is taken up is put to use once before).
DEATHS = [("half a file", 2), ("before a state is in its place", 2), ("update", 1), ("put to use", 2)]


def process(share, folder, moment=None, count=0):
    """Run `serve` in a process of its own; returns how it ended."""
    folder.mkdir(exist_ok=True)
    started = multiprocessing.get_context("forkserver").Process(target=serve, args=(share, folder, moment, count))
    started.start()
    started.join(120)
    return started.exitcode


@pytest.fixture(scope="module", autouse=True)
def server():
    """One process that has imported what all of them need."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["torch", "selfdraft.online.run", "peft"])


@pytest.mark.parametrize("share", SHARES)
def test_killed_again_and_again_it_ends_the_same(tmp_path, share):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert process(share, whole) == 0
    for moment, count in DEATHS:
        assert process(share, killed, moment, count) == -signal.SIGKILL
        assert not (killed / "end.json").exists()
    assert process(share, killed) == 0
    assert (killed / "end.json").read_text() == (whole / "end.json").read_text()
    assert (killed / "end.safetensors").read_bytes() == (whole / "end.safetensors").read_bytes()
