"""A trace is true: its tokens are the output, p and q are the policy's, and a watched drafter drafts as if alone."""

import pytest
import torch
from traced import PROMPTS, drafter, tokenizer, traced

from selfdraft.decoding.loop import speculate
from selfdraft.decoding.policy import Policy
from selfdraft.drafters.lookup import LookupDrafter
from selfdraft.traces.record import Recorder, fate
from selfdraft.traces.watching import Watched

GREEDY, WARPED = Policy("greedy"), Policy("warped", 0.8, 0.9, 40)


@pytest.mark.parametrize("policy", [GREEDY, WARPED], ids=lambda policy: policy.name)
@pytest.mark.parametrize("kind", ["head", "trimmed", "lookup"])
def test_a_trace_says_what_happened(kind, policy):
    trace, output, drafts, target = traced(kind, policy)
    alone = speculate(
        target,
        drafter(target, kind),
        [answer_prompt(text) for text in PROMPTS],
        *(policy, 3, 12, torch.Generator().manual_seed(3)),
    )
    assert output == alone.tokens == [answer["tokens"] for answer in trace["answers"]]
    phases = ("draft_s", "verify_s", "accept_s")
    shared = max(
        (answer["cycles"] for answer in trace["answers"]), key=len
    )  # rows of a batch share their cycles' times
    for phase in phases:
        assert sum(cycle[phase] for cycle in shared) == pytest.approx(trace["summary"][phase], rel=1e-3)
    for row, answer in enumerate(trace["answers"]):
        text = answer_prompt(PROMPTS[row])
        for number, cycle in enumerate(answer["cycles"]):
            check_cycle(cycle, text, row, drafts[number] if number < len(drafts) else None, policy, target)
            assert cycle["context"] == len(text) - 1
            text += returned(cycle)
        assert text == answer_prompt(PROMPTS[row]) + answer["tokens"]


def answer_prompt(text):
    return tokenizer().encode(text)


def returned(cycle):
    kept = [token["id"] for token in cycle["drafted"] if token["fate"] == "accepted"]
    return kept + ([] if cycle["said"] is None else [cycle["said"]["id"]])


def check_cycle(cycle, text, row, draft, policy, target):
    ids = [token["id"] for token in cycle["drafted"]]
    with torch.inference_mode():
        logits = target(torch.tensor([text + ids]))[0, len(text) - 1 :]
    p = policy.distribution(logits)
    if ids:
        assert draft.tokens[row, : len(ids)].tolist() == ids
    for at, token in enumerate(cycle["drafted"]):
        q = torch.zeros_like(p[at]).index_fill_(0, torch.tensor(token["id"]), 1.0)
        q = q if draft.q is None else draft.q[row, at]
        assert token["p"] == pytest.approx(float(p[at, token["id"]]), abs=1e-4)
        assert token["q"] == pytest.approx(float(q[token["id"]]), abs=1e-5)
        assert token["overlap"] == pytest.approx(float(torch.minimum(p[at], q).sum()), abs=1e-4)
        best = [one["probability"] for one in token["target"]]
        assert best == pytest.approx(p[at].topk(5).values.tolist(), abs=1e-4)
        plain = [one["plain"] for one in token["target"]]
        assert plain == pytest.approx(logits[at].softmax(0).topk(5).values.tolist(), abs=1e-4)
        if cycle["by"] == "model":
            best = [one["probability"] for one in token["draft"]]
            assert best == pytest.approx(q.topk(5).values.tolist(), abs=1e-5)
            assert all(float(q[one["id"]]) == pytest.approx(one["probability"], abs=1e-5) for one in token["draft"])
        else:
            assert token["draft"] == [{"id": token["id"], "text": token["text"], "probability": 1.0, "plain": None}]
    fates = [token["fate"] for token in cycle["drafted"]]
    if "cut" in fates:  # the answer ended within the accepted tokens
        assert cycle["cut"]
        assert cycle["said"] is None
    else:
        assert fates == (["accepted"] * cycle["accepted"] + ["rejected"] + ["unread"] * len(fates))[: len(fates)]
    whole = cycle["accepted"] == len(fates)
    if cycle["said"] is not None:
        assert cycle["said"]["fate"] == ("bonus" if whole else "correction")
        assert cycle["said"]["p"] == pytest.approx(float(p[cycle["accepted"], cycle["said"]["id"]]), abs=1e-4)


def test_the_end_of_a_sequence_cuts_a_trace_where_it_cuts_the_answer():
    _, (tokens, _), _, _ = traced("head", GREEDY)
    trace, output, _, _ = traced("head", GREEDY, eos=frozenset({tokens[5]}))
    assert trace["answers"][0]["tokens"] == output[0] == tokens[: tokens.index(tokens[5]) + 1]
    assert [token for cycle in trace["answers"][0]["cycles"] for token in returned(cycle)] == output[0]


@pytest.mark.parametrize(
    ("place", "accepted", "returned", "expected"),
    [(0, 2, 3, "accepted"), (1, 2, 1, "cut"), (2, 2, 3, "rejected"), (3, 2, 3, "unread")],
)
def test_fates(place, accepted, returned, expected):
    assert fate(place, accepted, returned) == expected


def test_a_character_of_several_tokens_stands_at_the_last_of_them():
    chat = tokenizer()
    ids = chat.encode("a 🙂 naïve word")
    recorder = Recorder(Watched(LookupDrafter(2)), chat, [ids])
    pieces = [recorder._token(ids[:at], token)["text"] for at, token in enumerate(ids)]
    assert "".join(piece.replace("\ufffd", "") for piece in pieces) == "a 🙂 naïve word"
