"""Each sentence has its forms, and the numbers choose between them."""

import pytest
from rows import exit_point, lookup, measured

from selfdraft.paper.sentences import SENTENCES, sentences
from selfdraft.paper.setup import setup

BELOW, HOLDS, ABOVE = (0.5, 0.6, 0.7), (0.9, 1.05, 1.2), (1.1, 1.2, 1.3)
DEEP = {"layer": 21.0}


def costs(accepted, speedup=BELOW, **more):
    return exit_point(speedup, accepted_mean=accepted, draft_ms=20.0, verify_ms=10.0, vanilla_tps=100.0, **more)


def way(name, speedup):
    return exit_point(speedup, {"drafting": name})


def batches(first, last):
    return [exit_point(first) | {"batch": 1.0}, exit_point(last) | {"batch": 16.0}]


def peer(method, ratio):
    low, value, high = ratio
    row = {"method": method, "implementation": "selfdraft", "tokens_per_second": 1.0, "ratio_to_transformers": value}
    return row | {"ratio_to_transformers_low": low, "ratio_to_transformers_high": high}


def step(mode, ratio):
    return {"depth": 15.0, "mode": mode, "step_ms": 5.0, "ratio_to_eager": ratio}


def chosen_by(name, study):
    return SENTENCES[name](study)


LONGER = {"gamma": 8.0}
WARM = {"T": 2.0}
SAMPLED = {"policy": "t0.7"}
NEWS = {"dataset": "news"}
SMALL = {"capacity": "norm"}
UNTRAINED = {"objective": "none"}

CASES = [
    ("exits", [exit_point(BELOW), exit_point(BELOW, DEEP)], {}, "No exit pays: each of the two"),
    ("exits", [exit_point(HOLDS), exit_point(BELOW, DEEP)], {}, "No exit clearly pays: of two"),
    ("exits", [exit_point(ABOVE), exit_point(BELOW, DEEP)], {}, "Of two measured ways to draft with an exit one pays"),
    (
        "exits",
        [exit_point(BELOW), exit_point(ABOVE, DEEP, accept_rate=1.0)],
        {},
        "No exit pays: the one measured way to draft with one is slower",
    ),
    ("exits", [exit_point(accepted_mean=1.0)], {}, "The speed of exits was not measured."),
    ("others", [exit_point(BELOW), lookup(ABOVE)], {}, "Prompt lookup pays: 1.20 [1.10, 1.30]"),
    ("others", [exit_point(BELOW), lookup(HOLDS)], {}, "Prompt lookup neither clearly pays nor clearly costs"),
    ("others", [exit_point(BELOW), lookup(BELOW)], {}, "Prompt lookup does not pay"),
    ("others", [exit_point(BELOW), lookup()], {}, "The speed of prompt lookup was not measured."),
    ("others", [exit_point(BELOW)], {}, "Other drafters than exits were not measured."),
    ("fastest", [exit_point(BELOW), lookup(ABOVE)], {}, "methods, `lookup`, is faster than vanilla decoding (1.20"),
    ("fastest", [exit_point(BELOW), lookup(HOLDS)], {}, "is neither clearly faster nor clearly slower"),
    ("fastest", [exit_point(BELOW)], {}, "an exit with `head`, is still slower than vanilla decoding"),
    ("fastest", [exit_point()], {}, "Speed was not measured in this study."),
    ("cycle", [costs(0.5)], {}, "from 2.00 accepted tokens a cycle on, which it does not reach with 0.50"),
    ("cycle", [costs(2.5)], {}, "which it exceeds with 2.50"),
    ("cycle", [exit_point(BELOW)], {}, "What a cycle costs was not measured."),
    ("depth", [exit_point(kl_at_1=5.0), exit_point(None, DEEP, kl_at_1=3.0)], {}, "falls from 5.00 to 3.00"),
    ("depth", [exit_point(kl_at_1=3.0), exit_point(None, DEEP, kl_at_1=5.0)], {}, "rises from 3.00 to 5.00"),
    ("depth", [exit_point(kl_at_1=3.0)], {}, "Exits were measured at one depth alone."),
    (
        "capacity",
        [
            exit_point(kl_at_1=(2.0, 2.1, 2.2), trained_parameters=9e6),
            exit_point(None, SMALL, kl_at_1=(2.1, 2.2, 2.3), trained_parameters=576),
        ],
        {},
        "`norm`, with 576, is not clearly worse",
    ),
    (
        "capacity",
        [
            exit_point(kl_at_1=(2.0, 2.1, 2.2), trained_parameters=9e6),
            exit_point(None, SMALL, kl_at_1=(3.1, 3.2, 3.3), trained_parameters=576),
        ],
        {},
        "everything smaller is clearly worse",
    ),
    (
        "capacity",
        [
            exit_point(kl_at_1=(3.0, 3.1, 3.2), trained_parameters=9e6),
            exit_point(None, SMALL, kl_at_1=(2.1, 2.2, 2.3), trained_parameters=576),
        ],
        {},
        "better than `head` with more parameters",
    ),
    ("capacity", [exit_point(kl_at_1=3.0)], {}, "Several capacities at one layer were not measured."),
    ("length", [exit_point(ABOVE), exit_point(BELOW, LONGER)], {}, "speedup falls from 1.20 to 0.60"),
    ("length", [exit_point(BELOW), exit_point(ABOVE, LONGER)], {}, "speedup rises from 0.60 to 1.20"),
    ("length", [exit_point(BELOW)], {}, "One draft length alone was measured."),
    ("temperature", [exit_point(kl_at_1=2.0), exit_point(None, WARM, kl_at_1=3.0)], {}, "gives no lower KL"),
    ("temperature", [exit_point(kl_at_1=3.0), exit_point(None, WARM, kl_at_1=2.0)], {}, "2 gives a lower KL (2.00)"),
    ("start", [exit_point(kl_at_1=2.0), exit_point(None, UNTRAINED, kl_at_1=3.0)], {}, "training brings it to 2.00"),
    ("start", [exit_point(kl_at_1=3.0), exit_point(None, UNTRAINED, kl_at_1=2.0)], {}, "training does not lower it"),
    ("drafting", [exit_point(BELOW), way("adaptive", (0.8, 0.9, 0.95))], {}, "None of them makes it pay."),
    ("drafting", [exit_point(BELOW), way("adaptive", ABOVE)], {}, "The first makes an exit pay that does not"),
    ("drafting", [exit_point(ABOVE), way("adaptive", BELOW)], {}, "No other way of drafting is faster"),
    ("drafting", [exit_point(BELOW)], {}, "were not measured"),
    (
        "domains",
        [exit_point(accepted_mean=(1.0, 1.1, 1.2)), exit_point(None, NEWS, accepted_mean=(0.5, 0.6, 0.7))],
        {"config": {"data": {"name": "chat"}}},
        "on its own text, clearly less on `news`",
    ),
    (
        "domains",
        [exit_point(accepted_mean=(1.0, 1.1, 1.2)), exit_point(None, NEWS, accepted_mean=(1.5, 1.6, 1.7))],
        {"config": {"data": {"name": "chat"}}},
        "clearly more on `news`",
    ),
    ("domains", [exit_point(accepted_mean=1.0)], {}, "Acceptance on other text was not measured."),
    ("sampling", [exit_point(accepted_mean=1.0)], {}, "One sampling policy alone was measured."),
    ("sampling", [exit_point(accepted_mean=1.0), exit_point(None, SAMPLED, accepted_mean=0.5)], {}, "is less often"),
    ("sampling", [exit_point(accepted_mean=0.5), exit_point(None, SAMPLED, accepted_mean=1.0)], {}, "not less often"),
    ("batches", [exit_point()], {"batch": batches(ABOVE, BELOW)}, "falls between batch 1 (1.20 [1.10, 1.30]) and 16"),
    ("batches", [exit_point()], {"batch": batches(BELOW, ABOVE)}, "rises between"),
    ("batches", [exit_point()], {"batch": batches(HOLDS, ABOVE)}, "does not clearly change"),
    ("batches", [exit_point()], {}, "Batches were not measured."),
    ("peers", [exit_point()], {"peers": [peer("vanilla", ABOVE)]}, "over the faster of the two baselines"),
    ("peers", [exit_point()], {"peers": [peer("vanilla", BELOW)]}, "over the slower of the two baselines"),
    ("peers", [exit_point()], {"peers": [peer("early exit", HOLDS)]}, "none are clearly faster"),
    ("compilers", [exit_point()], {"compile": [step("eager", 1.0), step("compile", 0.8)]}, "does not help here"),
    ("compilers", [exit_point()], {"compile": [step("eager", 1.0), step("compile", 1.5)]}, "up to 1.50 times as fast"),
    ("identity", [exit_point(identical=1.0)], {}, "At the one point that was compared"),
    ("identity", [exit_point(identical=1.0), exit_point(None, DEEP, identical=0.9)], {}, "At one of two points"),
    ("identity", [exit_point()], {}, "was not measured"),
    ("prediction", [exit_point(1.0, predicted_speedup=1.25, impossible=0.0)], {}, "None lies above"),
    ("prediction", [exit_point(1.0, predicted_speedup=0.8, impossible=1.0)], {}, "One of them lies above"),
    ("prediction", [exit_point(1.0)], {}, "Predictions were not made."),
    ("disturbance", [exit_point(1.0, disturbed=0.0)], {}, "No timed run was disturbed"),
    ("disturbance", [exit_point(1.0, disturbed=0.25)], {}, "disturbed 25 % of the timed runs"),
    ("disturbance", [exit_point(1.0)], {}, "was not recorded"),
    ("itself", [exit_point(HOLDS, accept_rate=1.0)], {}, "At the last layer (layer 6) the draft is the target itself"),
]


@pytest.mark.parametrize(("name", "rows", "more", "words"), CASES, ids=[f"{c[0]}-{n}" for n, c in enumerate(CASES)])
def test_the_numbers_choose_the_sentence(name, rows, more, words):
    assert words in chosen_by(name, measured(*rows, **more))


def test_a_paired_difference_decides_before_bars_that_overlap():
    one = exit_point(kl_at_1=(2.0, 2.1, 2.3), trained_parameters=9e6)
    other = exit_point(None, SMALL, kl_at_1=(2.1, 2.2, 2.4), trained_parameters=576)
    difference = {"varied": "capacity", "first": "norm", "second": "head", **exit_point(), "capacity": ""}
    difference |= {"kl_at_1": -0.1, "kl_at_1_low": -0.15, "kl_at_1_high": -0.05}
    assert "not clearly worse" in chosen_by("capacity", measured(one, other))
    assert "clearly worse" in chosen_by("capacity", measured(one, other, differences=[difference]))
    assert "not clearly worse" not in chosen_by("capacity", measured(one, other, differences=[difference]))


def test_seeds_are_told_where_several_were_trained():
    spread = {**exit_point(), "seeds": "0 1 2", "kl_at_1_sd": 0.03, "accepted_mean_sd": 0.1}
    assert "Over three training seeds" in chosen_by("seeds", measured(exit_point(), seed_spread=[spread]))
    assert "was not measured" in chosen_by("seeds", measured(exit_point()))


def test_a_study_of_next_to_nothing_has_every_sentence():
    for study in (measured(exit_point()), measured(lookup(ABOVE))):
        found = sentences(study) | setup(study)
        assert all(isinstance(text, str) and "nan" not in text for text in found.values())
        assert all(text == "" or text.endswith(".") for text in found.values())


def test_drafters_are_named_by_their_kind():
    config = {"drafters": {"eagle": {"kind": "eagle3"}, "lookup": {"kind": "lookup"}}}
    eagle = lookup(ABOVE, {"drafter": "eagle"})
    said = setup(measured(exit_point(), eagle, config=config))["setup_drafters"]
    assert "`eagle`, a layer of its own" in said
    assert "was not measured" not in said
    assert "EAGLE type was not measured" in setup(measured(exit_point(), lookup()))["setup_drafters"]
    assert "The EAGLE-type layer pays" in chosen_by("others", measured(exit_point(), eagle, config=config))
