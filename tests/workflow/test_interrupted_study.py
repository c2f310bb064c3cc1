"""A study that is killed at random moments and started again ends with the table and the drafts of one that was not."""

import csv
import os
import random
import re
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml
from tiny import main as tiny_study
from workflow.processes import at_work, start

from selfdraft.statistics.columns import SPEED

TINY = Path(__file__).parent / "tiny.yaml"
# Their work is kept, or their state: each is killed at least once. The others are hit by chance.
KEPT = {"capture", "train", "acceptance", "speed"}
SECONDS = 1500  # a run that takes longer hangs


def reduced():
    """The tiny study with every stage and few points, and the figures of two kinds of table."""
    config = yaml.safe_load(TINY.read_text())
    for section in ("domains", "batch", "lengths", "peers", "identity", "compile"):
        del config[section]
    del config["policies"]["t0.7"], config["drafters"]["small"]
    config["sweeps"] = {
        "layers": {"layer": [1], "T": [1.0], "capacity": ["head", "head_block"], "gamma": [2], "policy": ["greedy"]},
        "others": {"drafter": ["lookup"], "gamma": [2], "policy": ["greedy"]},
    }
    return config, ["all_results", "paper_figures/layer_sweep.pdf", "paper_figures/training_curves.png"]


def whole():
    """The tiny study as it is, with all tables and figures."""
    return yaml.safe_load(TINY.read_text()), ["all_figures", "all_benchmarks"]


def finished(study):
    """Outputs that are there, to see whether a run made progress."""
    found = (path for folder in ("results", "paper_figures") for path in (study / folder).rglob("[!.]*.*"))
    return {path for path in found if path.suffix not in (".log", ".tsv")}


def run_until(process, seconds, moments, spared):
    """Let the study run, and return what was at work when it should be killed; None if it ended before.

    That is `seconds` after its first stage began, or soon after one of `spared` did, which no kill hit yet.
    """
    last, deadline = time.monotonic() + SECONDS, None
    while process.poll() is None:
        now, running = time.monotonic(), at_work(process)
        assert now < last
        if spared & set(running):
            deadline, spared = now + moments.uniform(0, 1.2), set()
        elif running and deadline is None:
            deadline = now + seconds
        if deadline is not None and now >= deadline:
            return running
        time.sleep(0.05)
    return None


def killed_and_started_again(study, targets, moments, usual, enough):
    """At least `enough` times, and until the study is finished; returns what was at work at each kill.

    `usual` are the seconds between kills.
    """
    kills, patience, before, done = [], 1.0, set(), False
    for attempt in range(200):
        if done and len(kills) >= enough:
            return kills
        process = start(study, targets)
        if attempt % 7 == 6 or done:  # while Snakemake reads and plans
            time.sleep(moments.uniform(0, 2))
            running = at_work(process)
        else:
            spared = KEPT - {stage for running in kills for stage in running}
            last = len(kills) >= enough + 2
            running = run_until(process, SECONDS if last else moments.uniform(0, usual * patience), moments, spared)
        if running is None:
            assert process.returncode == 0, (study / "output.txt").read_text()
            done = True
            continue
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=60)
        kills.append(running)
        now = finished(study)
        patience = max(1.0, patience * (1.5 if now <= before else 0.8))  # a slow machine gets ahead too
        before = before | now
    raise AssertionError("does not get ahead")


@pytest.mark.parametrize(
    ("settings", "enough"),
    [
        pytest.param(reduced, 8, id="reduced"),
        pytest.param(reduced, 20, id="reduced, often", marks=pytest.mark.exhaustive),
        pytest.param(whole, 20, id="whole", marks=pytest.mark.exhaustive),
    ],
)
def test_killed_at_random_moments_and_started_again_it_ends_the_same(study_at, warm_python, tmp_path, settings, enough):
    config, targets = settings()
    studies = []
    for name in ("uninterrupted", "killed"):
        study = study_at(tmp_path / name)
        tiny_study(str(study.folder))
        (study / "config.yaml").write_text(yaml.safe_dump(config))
        studies.append(study)
    uninterrupted, killed = studies
    began = time.monotonic()
    done = uninterrupted.snakemake("--cores", "2", *targets, python=warm_python)
    assert done.returncode == 0, done.output
    took = time.monotonic() - began
    seed = int(os.environ.get("SELFDRAFT_SEED", random.randrange(10**6)))
    kills = killed_and_started_again(killed, targets, random.Random(seed), 1.2 * took / enough, enough)
    print(f"seed {seed}: uninterrupted {took:.0f} s, {len(kills)} kills, {time.monotonic() - began - took:.0f} s")
    print(" | ".join(",".join(running) or "planning" for running in kills))

    assert len(kills) >= enough
    hit = Counter(stage for running in kills for stage in running)
    assert set(hit) >= KEPT, hit
    assert sum(map(bool, kills)) >= 0.6 * enough  # the others while Snakemake planned

    ours, theirs = (rows(study) for study in (killed, uninterrupted))
    assert set(SPEED) < set(ours[0])
    assert untimed(ours) == untimed(theirs)
    assert len(ours) >= 3
    for column in ("kl", "accepted_mean", "trained_parameters"):
        assert len({row[column] for row in untimed(ours)} - {""}) >= 2, column
    assert checkpoints(killed) == checkpoints(uninterrupted)
    for folder in ("results", "paper_figures"):
        assert names(killed, folder) == names(uninterrupted, folder)
    assert "Nothing to be done" in killed.snakemake("--cores", "2", *targets).output


def rows(study):
    with open(study / "results/results.csv", newline="") as file:
        return list(csv.DictReader(file))


def untimed(table):
    """Without the columns that clocks decide: those of the speed runs, and their intervals; how long training took; and
    the note of intervals, which says where steps and runs had other numbers of threads, as the load left them."""
    timing = {f"{name}{end}" for name in SPEED for end in ("", "_low", "_high")}
    timing |= {"training_seconds", "interval_note"}
    return [{name: value for name, value in row.items() if name not in timing} for row in table]


def checkpoints(study):
    """All bytes of the checkpoints by path, but for how fast they were trained."""
    found = {}
    for path in (study / "results/checkpoints").rglob("*"):
        if path.is_file():
            content = re.sub(rb'"(tokens_per_second|(training_)?seconds)": [0-9.]+', b"", path.read_bytes())
            found[str(path.relative_to(study.folder))] = content
    assert len(found) >= 6
    return found


def names(study, folder):
    """All files and folders in a folder, hidden ones too, but for empty folders."""
    paths = (study / folder).rglob("*")
    return {str(path.relative_to(study.folder)) for path in paths if not path.is_dir() or any(path.iterdir())}
