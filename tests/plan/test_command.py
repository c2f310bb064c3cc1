"""`selfdraft plan` from the command line: tables, JSON, calibration, mistakes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from selfdraft.cli import main

ROOT = Path(__file__).resolve().parents[2]
FULL = str(ROOT / "profiles/slurm-gh200/config.yaml")
DEFAULT = str(ROOT / "config.yaml")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_full_study_is_told_with_ranges_and_as_a_guess(capsys):
    assert main(["plan", "--config", FULL]) == 0
    said = capsys.readouterr().out
    assert "NOTHING WAS MEASURED ON THIS MACHINE" in said
    assert "Vendor peaks, not measured" in said
    assert "On the clock with 32 jobs at once" in said
    row = next(line for line in said.splitlines() if line.startswith("train "))
    assert row.endswith("guess")
    assert max(map(len, said.split("\n\n")[1].splitlines())) < 140


def test_json_holds_the_same_jobs_and_the_states_size(capsys):
    assert (
        main(["plan", "--config", DEFAULT, "--json", "--jobs", "1", "--jobs", "2", "all_figures", "all_benchmarks"])
        == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert told["rules"]["train"]["jobs"] == 14
    assert told["total"]["jobs"] == sum(rule["jobs"] for rule in told["rules"].values())
    assert set(told["wall_s"]) == {"1", "2"}
    # 60,000 + 2,000 + 16,000 tokens and half a sequence each, at 8 depths of 576 numbers of 2 bytes
    assert told["rules"]["capture"]["disk_bytes"][1] == pytest.approx(78_000 * 8 * 576 * 2, rel=0.02)
    assert told["figures"]["pareto"]["alone"]["gpu_s"][1] > 0


def test_it_answers_without_what_runs_models():
    code = "import sys; from selfdraft.cli import main; main(sys.argv[1:]); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, "plan", "--config", FULL], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_another_studys_run_is_refused_not_fitted(tmp_path, capsys):
    """Its jobs have the same names, target and data and capture, but other work."""
    (tmp_path / "results/target/SmolLM2-135M-Instruct").mkdir(parents=True)
    (tmp_path / "results/benchmarks").mkdir()
    (tmp_path / "results/benchmarks/target.tsv").write_text("s\n5.0\n")
    machine = {"device": "cpu", "cpu": "a CPU", "read_bandwidth_gb_s": 50.0}
    machine["matrix_gflop_s"] = {"bfloat16": 500.0, "float32": 100.0}
    (tmp_path / "results/machine.json").write_text(json.dumps(machine))
    assert main(["plan", "--config", FULL, "--measured", "results"]) == 2
    assert "name the config of that run with --measured-config" in capsys.readouterr().err
    words = ["--measured", "results", "--measured-config", DEFAULT, "--write", "mine.json"]
    assert main(["plan", "--config", FULL, *words]) == 0
    told = capsys.readouterr().out
    assert main(["plan", "--config", FULL, "--machine", "mine.json"]) == 0
    assert capsys.readouterr().out == told
    row = next(line for line in told.splitlines() if line.startswith("target "))
    assert row.endswith("1 job")


def test_a_reader_may_stop_reading():
    command = f"{sys.executable} -m selfdraft plan --config {FULL} --json | head -n 1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("{\n", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config", "nowhere.yaml"], "nowhere.yaml: file not found"),
        (["--config", DEFAULT, "--jobs", "0"], "--jobs: 0 is not ≥ 1"),
        (["--config", DEFAULT, "--write", "x.json"], "--write: goes with --measured"),
        (["--config", DEFAULT, "--measured", "nowhere"], "nowhere/machine.json: file not found"),
        (["--config", DEFAULT, "all_tables"], "all_tables: unknown target; known are all_figures"),
    ],
)
def test_mistakes_are_told_in_one_line(words, message, capsys):
    assert main(["plan", *words]) == 2
    assert message in capsys.readouterr().err
