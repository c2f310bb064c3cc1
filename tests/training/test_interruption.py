"""A run that is killed at any moment and started again ends with the tensors and the log of an uninterrupted one."""

import json
import random
import shutil
import signal

import pytest
from training.runs import kill, prepare, result, stage, start, training, wait_for

from selfdraft.cli import main
from selfdraft.training.saved import Saving

DRAFTS = ((1, 1.0, "head_block"), (1, 2.0, "adapter"))
KILLS = 6


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with target, data and states, and the result of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("interrupted")
    # wide enough that saving a state takes a while
    prepare(folder, hidden_size=192, num_attention_heads=6, num_key_value_heads=2)
    stage(*training(folder, "whole", drafts=DRAFTS))
    return folder


def test_killed_at_random_moments_and_started_again_it_ends_the_same(study):
    state = study / "state" / "killed.safetensors"
    words = training(study, "killed", "--state", state, "--save-steps", 1, drafts=DRAFTS)
    moments, kills, while_saving, resumed = random.Random(0), 0, 0, 0
    for attempt in range(200):
        process = start(words)
        before = state.stat().st_mtime_ns if state.exists() else 0
        if attempt % 3 == 2:  # while the state is being written
            reached = wait_for(lambda: any(state.parent.glob(f".{state.name}.*")), process)
        else:
            wanted = moments.randint(1, 4)  # states of this run, so that every kill lets it go on a little
            seen = set()

            def enough(seen=seen, wanted=wanted, before=before):
                if state.exists() and (now := state.stat().st_mtime_ns) != before:
                    seen.add(now)
                return len(seen) >= wanted

            reached = wait_for(enough, process)
        if not reached:
            break
        while_saving += any(state.parent.glob(f".{state.name}.*"))
        resumed += before > 0
        kill(process)
        kills += 1
        if kills >= KILLS:
            process = start(words)
            break
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert kills >= 5
    assert while_saving >= 2
    assert resumed >= 4
    assert result(study / "killed") == result(study / "whole")
    assert list(state.parent.iterdir()) == []


def test_killed_before_the_first_state_it_starts_anew(study):
    state = study / "state" / "early.safetensors"
    process = start(training(study, "early", "--state", state, "--save-steps", 1000, drafts=DRAFTS))
    wait_for(lambda: any(study.glob(".layer*")) or any((study / "early").glob(".layer*")), process)
    kill(process)
    assert not state.exists()
    stage(*training(study, "early", "--state", state, drafts=DRAFTS))
    assert result(study / "early") == result(study / "whole")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_sigterm_and_ctrl_c_save_the_state_and_say_so(study, how):
    state = study / "state" / f"stopped{how}.safetensors"
    words = training(study, "stopped", "--state", state, "--save-steps", 3, drafts=DRAFTS)
    process = start(words)
    assert wait_for(state.exists, process)
    _, errors = kill(process, how)
    assert process.returncode == 128 + how
    assert "selfdraft train: stopped after step" in errors
    assert f"state saved in {state}; start again to go on" in errors
    assert not (study / "stopped").exists() or not list((study / "stopped").iterdir())
    stage(*words)
    assert result(study / "stopped") == result(study / "whole")
    shutil.rmtree(study / "stopped")


def test_the_log_can_be_read_beside_the_state_while_it_is_written(study):
    state = study / "state" / "live.safetensors"
    words = training(study, "live", "--state", state, "--save-steps", 2)
    live = state.with_name("live.train_log.jsonl")
    seen = []
    for wanted in (5, 9):  # killed, and started again: whole lines, each step once
        process = start(words)
        assert wait_for(
            lambda n=wanted: state.exists() and live.exists() and live.read_text().count("\n") >= n, process
        )
        lines = [json.loads(line) for line in live.read_text().rpartition("\n")[0].splitlines()]
        assert [line["step"] for line in lines] == list(range(len(lines)))
        kill(process)
        seen.append(live.read_text())
    stage(*words)
    final = (study / "live/layer1_T1.0_head_block/train_log.jsonl").read_text()
    assert final.startswith(seen[0].rpartition("\n")[0])
    assert not live.exists()
    assert not state.exists()


def test_a_state_of_another_configuration_is_refused_and_stays(study, capsys):
    state = study / "state" / "other.safetensors"
    process = start(training(study, "other", "--state", state, "--save-steps", 2, drafts=DRAFTS))
    assert wait_for(state.exists, process)
    kill(process)
    kept = state.read_bytes()
    for change, message in [
        ({"settings": {"seed": 3}}, "training.seed was null, is 3"),
        ({"drafts": DRAFTS[:1]}, "drafts was"),
    ]:
        errors = refused(training(study, "other", "--state", state, **({"drafts": DRAFTS} | change)), capsys)
        assert "the state of another configuration" in errors
        assert message in errors
        assert "remove the file to train anew" in errors
        assert state.read_bytes() == kept


def refused(words, capsys):
    """What the stage says, in this process, to a mistake."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        assert main([*map(str, words)]) == 2
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"nonsense" * 20])
def test_a_file_that_is_no_state_is_refused_with_one_line(study, capsys, content):
    state = study / "state" / "broken.safetensors"
    state.parent.mkdir(exist_ok=True)
    state.write_bytes(content)
    errors = refused(training(study, "broken", "--state", state, drafts=DRAFTS), capsys)
    assert f"{state}: not a training state" in errors
    assert errors.strip().count("\n") == 0


def test_a_diverging_run_keeps_the_state_from_before(study, capsys):
    state = study / "state" / "nan.safetensors"
    settings = {"learning_rate": {"head": 1e30, "norm": 1e30, "block": 1e30}, "warmup_fraction": 0.9}
    words = training(study, "nan", "--state", state, "--save-steps", 1, settings=settings)
    assert "lower training.learning_rate" in refused(words, capsys)
    assert state.exists()
    assert not (study / "nan" / "layer1_T1.0_head_block").exists()


def test_the_log_holds_nothing_that_depends_on_the_machines_speed(study):
    for path in (study / "whole").rglob("train_log.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert {tuple(line) for line in lines} == {
            ("step", "tokens", "loss", "lr", "rates", "grad_norm", "validation_kl")
        }


@pytest.mark.parametrize(
    ("steps", "seconds", "due"),
    [
        (0, 0, [False] * 4),
        (2, 0, [False, True, False, True]),
        (0, 1e-9, [True] * 4),
        (3, 1e6, [False, False, True, False]),
    ],
)
def test_the_state_is_saved_by_steps_or_by_time(tmp_path, steps, seconds, due):
    saving = Saving(tmp_path / "state.safetensors", {}, steps, seconds)
    assert [saving.due(step) for step in (1, 2, 3, 4)] == due


def test_a_state_that_takes_long_to_save_is_saved_more_rarely(tmp_path):
    saving = Saving(tmp_path / "state.safetensors", {}, 0, 1e-9)
    saving.cost = 1000.0
    assert not saving.due(1)
