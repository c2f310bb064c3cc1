"""The target's own answers: what vanilla decoding says, with the states of a whole pass; the same after a kill."""

import json

import numpy as np
import pytest
import torch
from tiny_llama import tiny_llama
from training.runs import dispatch_stage, prepare

from selfdraft.answers import keeping
from selfdraft.answers.keeping import How, regenerate
from selfdraft.answers.questions import conversations, questions_of
from selfdraft.cli import main
from selfdraft.decoding.loop import vanilla
from selfdraft.decoding.policy import Policy
from selfdraft.errors import StudyError
from selfdraft.sequences import pack, read_sequences
from selfdraft.training.capture import passes, read_states

GREEDY = Policy("greedy")
END = frozenset({3, 11, 20, 33, 40, 52})  # tokens that the tiny model says now and then
ASKED = [
    ([5, 6, 7], [1], [8, 9], [2], [10]),
    ([9], [1, 1], [30, 31, 32, 33]),
    ([4] * 30, [2]),
    ([12, 13], [1], [14], [1], [15, 16], [1]),
]


def sequences(asked):
    rows, index = [], []
    for number, pieces in enumerate(asked):
        tokens = [token for piece in pieces for token in piece]
        mask = [place % 2 for place, piece in enumerate(pieces) for _ in piece]
        rows.append((tokens, mask))
        index.append({"id": f"c{number}", "origin": f"o{number}"})
    return pack(rows, index)


QUESTIONS = {"train": sequences(ASKED), "validation": sequences(ASKED[:2])}


def run(target, folder, policy=GREEDY, length=40):
    how = How(policy, 10, length, 2, 0, END)
    counts = np.ones(61, dtype=np.int64)
    return regenerate(target, QUESTIONS, counts, [1, 2], how, folder / "parts", folder / "out", {"commit": "c"})


def test_questions_are_what_stands_before_each_answer():
    text = QUESTIONS["train"]
    found = conversations(text, "train")
    assert found[0] == [[5, 6, 7], [8, 9]]  # nothing is answered behind the last one
    assert questions_of([1, 2, 3, 4], [1, 0, 1, 1]) == [[2]]  # what begins in an answer
    with pytest.raises(StudyError, match="train: nothing is asked there"):
        conversations(sequences([([1], [2, 3])]), "train")


@pytest.mark.parametrize("policy", [GREEDY, Policy("warm", 0.8)], ids=lambda policy: policy.name)
def test_answers_are_the_targets_and_states_those_of_one_pass(tmp_path, policy):
    target = tiny_llama(scale=0.2)
    summary = run(target, tmp_path, policy)
    made = read_sequences(tmp_path / "out", "train")
    assert sorted(made.ids) == ["c0", "c1", "c2", "c3"][: len(made)]
    asked = dict(zip(QUESTIONS["train"].ids, conversations(QUESTIONS["train"], "train"), strict=True))
    turns = 0
    for number, name in enumerate(made.ids):
        begin, end = made.offsets[number : number + 2]
        tokens, mask = made.tokens[begin:end].tolist(), made.mask[begin:end].tolist()
        questions = questions_of(tokens, mask)
        assert questions == asked[name][: len(questions)]
        at = 0
        for question in questions:
            at += len(question)
            answer = tokens[at:][: [*mask[at:], 0].index(0)]
            if policy.greedy:
                limit = min(10, 40 - at)
                expected = vanilla(target, [tokens[:at]], GREEDY, limit, torch.Generator(), END).tokens[0]
                assert answer == expected
            at += len(answer)
        ended = tokens[-1] in END
        assert len(questions) == len(asked[name]) or not ended or end - begin + 8 > 40
        turns += len(questions)
    assert summary["splits"]["train"]["turns"] == turns > len(ASKED)  # some conversations have several
    for begin, end, states in passes(target, made, [1, 2, 4]):
        for depth, whole in states.items():
            kept = read_states(tmp_path / "out", depth, "train", target, made)[begin:end]
            torch.testing.assert_close(kept.float(), whole, rtol=1e-2, atol=1e-2)
    assert not (tmp_path / "parts").exists() or not list((tmp_path / "parts").iterdir())


def test_a_run_that_was_killed_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    target, warm = tiny_llama(scale=0.2), Policy("warm", 0.8)
    run(target, tmp_path / "whole", warm)
    original, calls = keeping.answers_of, []

    def dying(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(keeping, "answers_of", dying)
    with pytest.raises(KeyboardInterrupt):
        run(target, tmp_path / "killed", warm)
    assert not (tmp_path / "killed/out").exists()
    calls.clear()
    monkeypatch.setattr(keeping, "answers_of", lambda *args: calls.append(1) or original(*args))
    run(target, tmp_path / "killed", warm)
    again = len(calls)
    calls.clear()
    run(target, tmp_path / "third", warm)
    assert again == len(calls) - 2
    for file in (tmp_path / "whole/out").iterdir():
        assert file.read_bytes() == (tmp_path / "killed/out" / file.name).read_bytes()


def test_a_drafter_is_trained_on_them(tmp_path, capsys):
    prepare(tmp_path)
    common = ["--target", tmp_path / "target", "--dtype", "float32"]
    made = ["regenerate", *common, "--data", tmp_path / "data", "--policy", "greedy", "--policy-settings", "{}"]
    parts = ["--parts-dir", tmp_path / "parts", "--out-dir", tmp_path / "own", "--length", 128]
    dispatch_stage(*made, *parts, "--depths", 0, 1, "--settings", '{"max_new_tokens": 12, "batch": 16}')
    assert "train: " in capsys.readouterr().out
    told = json.loads((tmp_path / "own/answers.json").read_text())
    assert told["splits"]["train"]["labels"] == int(read_sequences(tmp_path / "own", "train").mask.sum()) > 0
    training = {"ttt_length": 2, "tokens_per_step": 100, "evaluations": 1, "dtype": "float32"}
    settings = {"kind": "eagle3", "answers": "regenerated", "features": [0, 1], "vocabulary": 50, "training": training}
    words = [
        "train-drafter",
        "--target",
        tmp_path / "target",
        "--data",
        tmp_path / "own",
        "--capture",
        tmp_path / "own",
    ]
    dispatch_stage(*words, "--settings", json.dumps(settings), "--out-dir", tmp_path / "drafter")
    assert json.loads((tmp_path / "drafter/config.json").read_text())["training_tokens"] > 0
    for more, message in (
        (["--depths", 9], "--depths: 9 is not one of the target's (0…4)"),
        (["--depths", 1, "--length", 9000], "--length: 9000 is not in the target's context"),
        (["--depths", 1, "--settings", '{"batch": 0}'], "answers.batch: 0 is not ≥ 1"),
    ):
        assert main([*map(str, [*made, *parts, *more])]) == 2
        assert f"selfdraft regenerate: error: {message}" in capsys.readouterr().err
