"""Progress without a terminal is a line now and then; trackers take the log's lines, or say what is missing."""

import io
import sys
from types import ModuleType

import pytest

from selfdraft.errors import StudyError
from selfdraft.training import trackers
from selfdraft.training.progress import Progress, clock_text


def told(steps, seconds_a_step, first=0, shown=True):
    clock, stream = [0.0], io.StringIO()
    progress = Progress(steps, first, "train 1 head", shown, stream, lambda: clock[0])
    for done in range(first + 1, steps + 1):
        clock[0] += seconds_a_step
        progress.step(done, 100, 2.0, 1.5)
    progress.close()
    return stream.getvalue().splitlines()


def test_a_file_gets_a_line_every_15_seconds_and_one_at_the_end():
    lines = told(steps=20, seconds_a_step=2.0)
    assert len(lines) == 3
    assert lines[0] == "train 1 head: step 8 of 20, loss 2.000, validation KL 1.500, 50 labels/s, 24 s left"
    assert lines[-1].endswith("step 20 of 20, loss 2.000, validation KL 1.500, 50 labels/s, 0 s left")


def test_steps_of_before_tell_nothing_of_the_time_left():
    assert told(steps=20, seconds_a_step=20.0, first=18)[0].endswith(
        "step 19 of 20, loss 2.000, validation KL 1.500, 5 labels/s, 20 s left"
    )


def test_the_other_processes_say_nothing():
    assert told(steps=20, seconds_a_step=20.0, shown=False) == []


@pytest.mark.parametrize(("seconds", "text"), [(99, "99 s"), (600, "10 min"), (12600, "3.5 h")])
def test_durations(seconds, text):
    assert clock_text(seconds) == text


LINE = '{"step": 3, "loss": 1.5, "rates": {"head": 0.1, "norm": 0.2}, "grad_norm": null}'


@pytest.mark.parametrize(("name", "module"), [("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")])
def test_a_missing_tracker_is_told_in_one_line(monkeypatch, name, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(StudyError, match=f"--{name}: the package {name} is missing; pip install {name}"):
        getattr(trackers, name)("there", "draft")


def test_tensorboard_gets_every_number_of_a_line(monkeypatch, tmp_path):
    made, numbers = [], {}

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            made.append((folder, purge_step))

        def add_scalar(self, key, value, step):
            numbers[key] = (value, step)

        def flush(self):
            made.append("flushed")

    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    trackers.tensorboard(tmp_path, "draft")(LINE)
    assert made == [(str(tmp_path / "draft"), 0), "flushed"]
    assert numbers == {"loss": (1.5, 3), "rates/head": (0.1, 3), "rates/norm": (0.2, 3)}
