"""Every command of README and docs is run as it stands: by hand on a tiny model, through Snakemake as a dry run."""

import json
import os
import subprocess

import conda_double
import pytest
from test_documented_commands import ALL, ROOT, words_of
from tiny import tiny_conversations, tiny_target

from selfdraft.cli import main

LINES = list({str(words_of(line)): line for _, line in ALL}.values())  # each once, whatever is said beside it
# What runs for minutes, or needs what only a finished study has: other tests run these commands with small inputs.
LONG = ("--processes", "selfdraft evaluate", "selfdraft provenance", "selfdraft plan --config", "length-sweep")
# What names a hub, or what others of these commands leave: run by the tests of sharing, of heads and of the paper.
LONG += ("export hub", "hub:", "export-drafter", '"exits"', "calibrate", "--accuracy-level", "selfdraft paper")
LONG += ("selfdraft unverified",)
BY_HAND = [line for line in LINES if words_of(line)[0] == "selfdraft" and not any(word in line for word in LONG)]
# With the cluster's profile: test_dry_runs.py and test_slurm.py.
DRY = [line for line in LINES if words_of(line)[0] == "snakemake" and "--workflow-profile" not in line]
SMALL = {"sequence_length": 128, "train_tokens": 900, "validation_tokens": 100, "held_out_tokens": 200, "prompts": 2}
DATA = {**SMALL, "english_only": False, "held_out_fraction": 0.3, "prompt_length": [4, 120], "seed": 0}
# Two cycles of a lookup drafter, as a study's table of acceptance has them.
ACCEPTANCE = """drafter,layer,T,capacity,objective,seed,policy,gamma,dataset,drafting,prompt,cycle,drafted,accepted,\
overlap_sum,new_tokens,cut,identical,dtype
lookup,,,,,,greedy,2,chats,fixed,a,0,2,1,1.0,2,0,1,float32
lookup,,,,,,greedy,2,chats,fixed,b,0,2,2,2.0,3,0,1,float32
"""


def run(*words):
    assert main([word if isinstance(word, str) else json.dumps(word) for word in words]) == 0


@pytest.fixture(scope="module")
def place(tmp_path_factory, study_at):
    """A folder where all is that README's commands name: a target of 24 layers, data, and a draft of layer 21."""
    study = study_at(tmp_path_factory.mktemp("written") / "study")
    study.configure(("training/loss_vocabulary", 400))  # of the tiny target's 512
    before = os.getcwd()
    os.chdir(study.folder)
    try:
        # one token in twenty ends an answer: the commands name no limit
        sizes = {"num_hidden_layers": 24, "hidden_size": 32, "eos_token_id": [2, *range(10, 35)]}
        target = tiny_target("results/target/SmolLM2-135M-Instruct", **sizes)
        chats = tiny_conversations("chats.json", 60)
        source = {"kind": "path", "path": str(chats)}
        os.symlink(target, "T")
        tiny_target("models/my-model")
        run(
            *["data", "--name", "chats", "--target", "T", "--out-dir", "results/data/chats", "--settings"],
            DATA,
            "--source",
            source,
        )
        os.symlink("results/data/chats", "D")
        run("capture", *["--target", "T", "--data", "D", "--depths", "2", "21", "--out-dir", "kept"])
        short = {"ttt_length": 2, "evaluations": 1}
        eagle = {"kind": "eagle3", "features": [2, 21], "vocabulary": 100, "training": short}
        given = ["--target", "T", "--data", "D", "--capture", "kept"]
        run("train-drafter", *given, "--out-dir", "eagle3", "--settings", eagle)
        train = "train --target T --data D --capture kept --layer 21 --T 1.0 --capacity head_block --out-dir"
        run(*train.split(), "results/checkpoints/layer21_T1.0_head_block")
        tracing = "--prompt a --lookup 2 --max-new-tokens 4 --trace trace.json"
        run("generate", *tracing.split())
        (study / "results/acceptance.csv").write_text(ACCEPTANCE)
        few = "--gammas 1 --contexts 16 --rounds 1 --out steps.json"
        run("machine", "--steps", *few.split())
        yield study
    finally:
        os.chdir(before)


@pytest.mark.parametrize("line", BY_HAND)
def test_a_command_by_hand_runs_as_written(place, monkeypatch, capsys, line):
    monkeypatch.chdir(place.folder)
    _, words = words_of(line)
    assert main(words) == 0, capsys.readouterr().err


@pytest.mark.parametrize("line", DRY)
def test_a_command_of_snakemake_plans_what_it_names(place, tmp_path, monkeypatch, line):
    (place / "mine.yaml").write_text("training: {epochs: 2}\n")
    if "--use-conda" in line:
        conda_double.install(tmp_path / "conda/bin", conda_double.VERSION)
        monkeypatch.setenv("PATH", f"{tmp_path}/conda/bin{os.pathsep}{os.environ['PATH']}")
    _, words = words_of(line)
    jobs = place.to_do(*words)
    named = [word for word in words if word.startswith("all_") or word in ("target", "paper")]
    assert named
    assert jobs["target"] == 1
    assert all(name in jobs for name in named)


def test_a_command_of_make_is_a_target(place):
    for line in LINES:
        name, words = words_of(line)
        if name == "make":
            done = subprocess.run(["make", "--dry-run", *words], cwd=ROOT, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
