import math
from typing import Any

import pytest

from selfdraft.errors import StudyError
from selfdraft.sources.data_settings import DataSettings, only_part, parts_of

SOURCE = {"kind": "path", "path": "x.jsonl"}
TRAINED: dict[str, Any] = {
    "held_out_fraction": 0.1,
    "sequence_length": 64,
    "train_tokens": 100,
    "validation_tokens": 10,
    "held_out_tokens": 50,
    "prompts": 5,
    "prompt_length": [8, 64],
}
EVALUATED = {"splits": ["held_out"], "prompts": 5, "prompt_length": [8, 64]}
PART = {"weight": 1, "source": SOURCE}


def test_data_that_are_only_evaluated_on_need_no_more_than_what_is_asked_of_them():
    _, settings = only_part(SOURCE, {**EVALUATED, "shape": "prompts"})
    assert (settings.prompts, settings.held_out_tokens, settings.splits) == (5, 0, ("held_out",))
    _, settings = only_part(SOURCE, {"splits": ["held_out"], "held_out_tokens": 9, "sequence_length": 64})
    assert (settings.prompts, settings.budget("held_out"), settings.budget("train")) == (0, 9, 0)
    assert only_part(SOURCE, {**EVALUATED, "held_out_fraction": 0.1})[1].held_out_tokens == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"splits": ["held_out"]}, "data.held_out_tokens: missing; splits [held_out] needs it, or prompts, or both"),
        ({**EVALUATED, "prompt_length": None}, "data.prompt_length: null is not a list"),
        ({"splits": ["held_out"], "prompts": 5}, "data.prompt_length: missing"),
        ({"splits": ["held_out"], "held_out_tokens": 5}, "data.sequence_length: missing"),
        ({**EVALUATED, "train_tokens": 5}, "data.train_tokens: does not go with splits [held_out]"),
        ({**EVALUATED, "splits": ["train"]}, 'data.splits: ["train"] is not known; known are '),
        ({**EVALUATED, "splits": "held_out"}, 'data.splits: "held_out" is not known; '),
        ({**EVALUATED, "prompts": True}, "data.prompts: true is not a whole number"),
        ({**TRAINED, "train_tokens": 0}, "data.train_tokens: 0 is not ≥ 1"),
        ({**TRAINED, "held_out_fraction": "some"}, 'data.held_out_fraction: "some" is not a number'),
        ({**TRAINED, "prompt_length": ["a", "b"]}, 'data.prompt_length.0: "a" is not a whole number'),
        ({**TRAINED, "english_only": "yes"}, 'data.english_only: "yes" is not true or false'),
        ({**TRAINED, "seed": "s"}, 'data.seed: "s" is not a whole number'),
        ({**TRAINED, "shape": "txt"}, 'data.shape: "txt" is not known; did you mean "text"?'),
        ({**TRAINED, "columns": ["text"]}, 'data.columns: ["text"] is not a mapping'),
        ({**TRAINED, "max_records": 0}, "data.max_records: 0 is not ≥ 1"),
        ({**TRAINED, "shape": "prompts"}, "data.shape: prompts have no answers, so there are no train sequences"),
        ({**EVALUATED, "shape": "prompts", "held_out_tokens": 9, "sequence_length": 64}, "no held_out sequences"),
    ],
)
def test_a_wrong_setting_is_one_line_with_its_key(settings, said):
    with pytest.raises(StudyError) as caught:
        only_part(SOURCE, settings)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("weight", [0, -1, 0.0, math.nan, math.inf, "3", None, True, [1]])
def test_a_weight_that_is_no_share_is_named(weight):
    with pytest.raises(StudyError, match=r"^data\.mixture\.news\.weight: .* is not (> 0|a number)$"):
        parts_of({"chat": PART, "news": {**PART, "weight": weight}}, TRAINED)


@pytest.mark.parametrize(
    ("mixture", "settings", "said"),
    [
        ({}, TRAINED, "data.mixture: {} has too few entries"),
        ({"a": {"source": SOURCE}}, TRAINED, "data.mixture.a.weight: missing"),
        ({"a": 3}, TRAINED, "data.mixture.a: 3 is not a mapping"),
        ({"a": {"weight": 1}}, TRAINED, "data.mixture.a.source: missing"),
        ({"a": {**PART, "source": {"kind": "path"}}}, TRAINED, "data.mixture.a.source.path: missing"),
        ({"a": {**PART, "sauce": 1}}, TRAINED, 'data.mixture.a.sauce: unknown key; did you mean "source"?'),
        ({"a/b": PART}, TRAINED, 'data.mixture: "a/b" is not a name of letters'),
        ({"a": PART}, {**TRAINED, "shape": "text"}, "data.shape: does not go with a mixture"),
        ({"a": PART, "b": {**PART, "shape": "prompts"}}, TRAINED, "data.mixture.b.shape: prompts have no answers"),
    ],
)
def test_a_wrong_mixture_is_one_line_with_its_key(mixture, settings, said):
    with pytest.raises(StudyError) as caught:
        parts_of(mixture, settings)
    assert said in str(caught.value)


def test_what_is_recorded_is_what_was_set():
    settings = DataSettings.from_mapping(TRAINED)
    assert settings.record() == {**TRAINED, "prompt_length": (8, 64), "seed": 0, "english_only": True}
    assert list(settings.record())[:2] == ["held_out_fraction", "sequence_length"]
    assert DataSettings.from_mapping(EVALUATED).record()["splits"] == ("held_out",)
