"""Steps of drafts that were never trained: each depth and width once a round, in the format that predictions read."""

import json

import pytest
from tiny_llama import tiny_llama

from selfdraft.decoding.policy import Policy
from selfdraft.errors import StudyError
from selfdraft.evaluation.step_table import step_table
from selfdraft.statistics.predictions import steps_for
from selfdraft.statistics.step_files import read_steps

DRAFTS = [("early_exit", "1", "head"), ("lookup", "", "")]


def test_every_width_at_every_context(tmp_path):
    rows = list(step_table(tiny_llama(), DRAFTS, [Policy("greedy")], [1, 3], [20, 40], 2))
    (tmp_path / "steps.json").write_text(json.dumps({"machine": {}, "steps": rows}))
    table = read_steps(tmp_path / "steps.json")
    assert (table["seconds"] > 0).all()
    exits = table[table["drafter"] == "early_exit"]
    widths = exits[exits["step"] == "verify"].groupby("context")["tokens"].unique()
    assert {context: sorted(found) for context, found in widths.items()} == {context: [1, 2, 4] for context in (20, 40)}
    for name, layer, capacity in DRAFTS:
        named = {"drafter": name, "layer": layer, "capacity": capacity, "drafting": "fixed", "policy": "greedy"}
        steps = steps_for(table, named)
        assert sorted(steps.verify) == [1, 2, 4]
        assert sorted(steps.vanilla) == sorted(steps.draft) == [20, 40]


def test_what_does_not_fit_is_one_clear_line():
    with pytest.raises(StudyError, match=r"--contexts: 250 and .* do not fit into the target's context of 256"):
        list(step_table(tiny_llama(), DRAFTS, [Policy("greedy")], [3], [250], 1))
