"""Drafters of kind dvi in a study: their options are the command's, and what two settings contradict is one line."""

import argparse
import json

import pytest

from selfdraft.commands import dvi
from selfdraft.drafters import kind_of
from selfdraft.online.schedule import OBJECTIVES
from selfdraft.online.settings import SHARES, OnlineSettings
from selfdraft.study import drawing, entries, online, sweeps, teaching
from selfdraft.study.sweeps import Checkpoint
from selfdraft.study.work import amounts

EXIT = "layer1_T1.0_translator"
ENTRY = {"kind": "dvi", "exit_layer": 1, "capacity": "translator", "beside": [EXIT], "then": "code", "prompts": 40}
CONFIG = {
    "target": {"name": "t", "source": {}},
    "data": {"name": "chats", "prompts": 8, "splits": ["train", "validation", "held_out"]},
    "training": {"seed": 0},
    "policies": {"greedy": {"temperature": 0.0}},
    "drafters": {"a": ENTRY, "b": {"kind": "dvi", "initial": EXIT}, "unused": {"kind": "dvi", "exit_layer": 2}},
    "drafting": {},
    "domains": {"sets": {"code": {"prompts": 5}, "text": {"held_out_tokens": 100}}},
    "sweeps": {
        "exits": {"layer": [1], "T": [1.0], "capacity": ["translator"], "gamma": [2], "policy": ["greedy"]},
        "learners": {"drafter": ["a", "b"], "gamma": [2], "policy": ["greedy"]},
    },
    "figures": {},
    "acceptance": {"max_new_tokens": 8},
    "speed": {"prompts": 2, "repeats": 1, "max_new_tokens": 8},
    "statistics": {"resamples": 10},
}


def test_an_entry_has_the_settings_of_the_command_and_no_other():
    kind = kind_of("dvi")
    own = {"exit_layer", "initial", "capacity", "rank", "beside", "then", "held_out_prompts"}
    assert set(kind.settings) == own | set(dvi.OPTIONS) - set(dvi.BY_HAND)
    assert set(dvi.OPTIONS) == set(OnlineSettings.__dataclass_fields__)
    enums = {name: tuple(kind.settings[name]["enum"]) for name in ("objective", "share", "draft", "capacity")}
    shares = tuple(name for name in SHARES if name != "shared")  # by hand alone: it leaves a target of its own
    drafts = ("argmax", "sample")
    assert enums == {"objective": OBJECTIVES, "share": shares, "draft": drafts, "capacity": dvi.CAPACITIES}
    usual = OnlineSettings().as_json()
    for name in set(dvi.OPTIONS) - {"learning_rate", *dvi.BY_HAND}:
        said = kind.settings[name]["description"]
        value = usual[name]
        assert f"({value:g})" in said if isinstance(value, int | float) else f"({value})" in said


def test_its_options_are_read_by_the_command():
    parser = argparse.ArgumentParser()
    dvi.arguments(parser)
    words = ["--target", "t", "--data", "d", "--out-dir", "o", *online.options_of(CONFIG, "a")]
    args = parser.parse_args(words)
    assert (args.exit_layer, args.capacity, args.prompts) == (1, "translator", 40)
    assert (args.then, args.beside) == ("results/data/code", [f"results/checkpoints/{EXIT}"])
    assert parser.parse_args([*words[:6], *online.options_of(CONFIG, "b")]).initial == f"results/checkpoints/{EXIT}"


def test_it_reads_exits_and_prompts_but_no_captured_state():
    exits = [f"results/checkpoints/{EXIT}/{file}" for file in ("draft.safetensors", "config.json")]
    assert online.files_read(CONFIG, "a") == [*exits, "results/data/code/prompts.json"]
    assert online.files_read(CONFIG, "b") == exits
    assert teaching.depths_by_drafter(CONFIG)["a"] == []
    assert teaching.captured_depths(CONFIG) == [2]
    assert entries.beginning_with(CONFIG, ["b"]) == {"b"}  # its initial is an exit, no drafter
    assert entries.initial_folder(CONFIG, "b") is None
    assert entries.drafters_by_weights(CONFIG) == {"draft": [], "aux_heads": []}
    assert json.loads(entries.drafter_settings(CONFIG))["a"] == {"kind": "dvi", "folder": "results/drafters/a"}
    assert "results/drafters/a/draft.safetensors" in entries.drafter_files(CONFIG, sweeps.points(CONFIG))


def test_figures_are_drawn_where_a_draft_learns_and_where_its_stream_changes():
    drawn = set(drawing.figures(CONFIG))
    assert {"online", "shift"} <= drawn
    assert "learning" not in drawn
    only_b = CONFIG | {"sweeps": CONFIG["sweeps"] | {"learners": CONFIG["sweeps"]["learners"] | {"drafter": ["b"]}}}
    assert online.learners_in_use(only_b) == ["b"]
    assert "shift" not in drawing.figures(only_b)
    assert not {"online", "shift"} & set(drawing.figures(CONFIG | {"sweeps": {"exits": CONFIG["sweeps"]["exits"]}}))


def test_its_hash_is_of_what_decides_it():
    def changed(name, **more):
        made = CONFIG["drafters"] | {name: CONFIG["drafters"][name] | more}
        return online.hash_of(CONFIG | {"drafters": made}, name) != online.hash_of(CONFIG, name)

    assert changed("a", seed=1)
    assert not changed("a", beside=[])
    other = {"sets": CONFIG["domains"]["sets"] | {"code": {"prompts": 6}}}
    assert online.hash_of(CONFIG | {"domains": other}, "a") != online.hash_of(CONFIG, "a")
    for name, differs in (("a", False), ("b", True)):  # b starts from an exit
        other = online.hash_of(CONFIG | {"training": {"seed": 1}}, name)
        assert (other != online.hash_of(CONFIG, name)) == differs


def test_work_counts_the_tokens_that_are_served_and_looked_at():
    served, looks = 40 * 2 * 64, (2 + 1) * 8 * 64
    without_b = CONFIG | {"drafters": {"a": ENTRY}, "sweeps": {"s": CONFIG["sweeps"]["learners"] | {"drafter": ["a"]}}}
    assert online.work(without_b) == served + looks
    twelve = without_b | {"drafters": {"a": ENTRY | {"batch": 12}}}
    assert 0.3 < online.work(twelve) / (served + looks) < 1 / 3
    assert amounts(without_b, {"t": 3.0})["train_dvi"] == 3.0 * (served + looks)
    assert "train_drafter" not in amounts(without_b, {"t": 3.0})


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({}, "d.exit_layer: a layer, or initial in its place; one of the two is right"),
        ({"exit_layer": 1, "initial": EXIT}, "d.exit_layer: a layer, or initial in its place; one of the two is right"),
        ({"initial": "no"}, f"d.initial: 'no' is no exit that a sweep trains: {EXIT}"),
        ({"exit_layer": 1, "beside": ["no"]}, f"d.beside: 'no' is no exit that a sweep trains: {EXIT}"),
        ({"initial": EXIT, "capacity": "norm"}, f"d.capacity: norm, but initial is {EXIT}; leave it out"),
        ({"exit_layer": 1, "capacity": "lora"}, "d.capacity: lora does not go with share head"),
        ({"exit_layer": 1, "share": "split", "capacity": "norm"}, "d.capacity: norm does not go with share split"),
        ({"exit_layer": 1, "then": "text"}, "d.then: 'text' is no set of domains with prompts: one of code is right"),
    ],
)
def test_what_contradicts_is_one_line(made, message):
    assert list(online.contradictions("d", made, CONFIG)) == [message]
    names_another = any(word in message for word in ("that a sweep trains", "no set of domains"))
    assert list(online.contradictions("d", made, CONFIG, used=False)) == ([] if names_another else [message])
    assert sweeps.checkpoints(CONFIG) == [Checkpoint(1, 1.0, "translator")]
