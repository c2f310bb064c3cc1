"""Speeds that are measured while something else works on the machine are those of a quiet machine, or are marked."""

import subprocess
import sys

import pandas as pd
import pytest
import torch
from tiny_llama import perturbed_exit, tiny_llama

from selfdraft.decoding.policy import Policy
from selfdraft.drafters.exit import ExitDrafter
from selfdraft.drafters.lookup import LookupDrafter
from selfdraft.evaluation.speed import Patience, speed_rows
from selfdraft.sequences import Prompt
from selfdraft.statistics import speeds
from selfdraft.statistics.bootstrap import Bootstrap

# Keeps one core busy in bursts, and ends by itself should nobody end it.
BURSTS = """
import time
end = time.monotonic() + 120
while time.monotonic() < end:
    until = time.monotonic() + 0.15
    while time.monotonic() < until:
        pass
    time.sleep(0.1)
"""
AGAIN = Patience(attempts=2, minutes=0.1)


@pytest.fixture(scope="module")
def target():
    return tiny_llama(layers=6)


def estimates(target, patience=AGAIN):
    """The estimates of three drafts, by name, and the rows."""
    generator = torch.Generator().manual_seed(1)
    prompts = [
        Prompt(f"p{n}", "", tuple(torch.randint(0, 61, (8,), generator=generator).tolist()), "") for n in range(10)
    ]
    drafters = {
        "head": ExitDrafter(target, perturbed_exit(target, 2, "head")),
        "head_block": ExitDrafter(target, perturbed_exit(target, 3, "head_block")),
        "lookup": LookupDrafter(2),
    }
    points = [(drafter, 3, {"drafter": name, "dataset": "d"}) for name, drafter in drafters.items()]
    rows = pd.DataFrame(speed_rows(target, points, None, prompts, Policy("greedy"), 8, 2, 0, patience))
    vanilla, none = rows[rows["method"] == "vanilla"], rows.iloc[:0]
    return {
        name: speeds.estimates(
            rows[rows["drafter"] == name], vanilla, none, None, None, None, Bootstrap(resamples=199), name
        )
        for name in drafters
    }, rows


@pytest.fixture(scope="module")
def quiet(target):
    return estimates(target)[0]


def inside(found, quiet):
    """Whether a speed-up lies in the quiet run's interval, widened by a tenth."""
    return 0.9 * quiet["speedup"].low <= found["speedup"].value <= 1.1 * quiet["speedup"].high


def test_bursts_of_a_neighbour_move_no_speedup_that_is_not_marked(target, quiet):
    """Where the quiet machine was none, its own marks count as well."""
    neighbour = subprocess.Popen([sys.executable, "-c", BURSTS])
    try:
        busy, _ = estimates(target)
    finally:
        neighbour.kill()
        neighbour.wait()
    for name, found in busy.items():
        marked = found["disturbed"].value > 0 or quiet[name]["disturbed"].value > 0
        assert marked or inside(found, quiet[name]), name
