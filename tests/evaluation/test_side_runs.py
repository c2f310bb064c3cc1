"""Rows of batch, peers, identity and compile: what was run is what is written."""

import json

import pytest
import torch
from tiny import tiny_target
from tiny_llama import perturbed_exit, tiny_llama

from selfdraft.decoding.policy import Policy
from selfdraft.drafters.exit import ExitDrafter
from selfdraft.drafters.lookup import LookupDrafter
from selfdraft.evaluation.batches import batch_rows, groups_of
from selfdraft.evaluation.compile import compile_rows
from selfdraft.evaluation.identity import first_difference, identity_rows, top2_gap
from selfdraft.evaluation.peer_timing import Setting, contest_rows, of_economize, of_transformers, own
from selfdraft.evaluation.peers import TransformersPeer
from selfdraft.models.exit import untrained_exit
from selfdraft.models.llama import load_target
from selfdraft.sequences import Prompt
from selfdraft.sources.reference import load_baseline, load_transformers

GREEDY = Policy("greedy")


def prompts(count=6):
    return [Prompt(f"p{i}", "", tuple((3 * i + j) % 61 for j in range(3 + i)), "") for i in range(count)]


def test_no_prompt_stands_twice_in_a_batch_and_the_seed_decides():
    groups = groups_of(prompts(), 4, 5, 0)
    assert len(groups) == 5
    assert all(len({prompt.id for prompt in group}) == 4 for group in groups)
    assert groups == groups_of(prompts(), 4, 5, 0) != groups_of(prompts(), 4, 5, 1)
    dealt = groups_of(prompts(), 3, 2, 0)
    assert {prompt.id for group in dealt for prompt in group} == {prompt.id for prompt in prompts()}


def test_batch_rows_hold_both_methods_on_the_same_batches():
    target = tiny_llama()
    settings = {"drafter": "early_exit", "gamma": 3}
    drafter = ExitDrafter(target, perturbed_exit(target, 1, "head"))
    rows = list(batch_rows(target, [(drafter, 3, settings)], prompts(), GREEDY, [1, 4], 2, 7, 0))
    assert len(rows) == 2 * 2 * 2
    for row in rows:
        assert row["new_tokens"] == 7 * row["batch"]
        assert row["decode_s"] > 0
        if row["method"] == "speculative":
            assert 0 <= row["accepted"] + row["cycles"] - row["new_tokens"] <= row["batch"]  # a row may end on a draft
            assert row["gamma"] == 3
        else:
            assert row["drafter"] == "vanilla"
            assert row["cycles"] is None


def test_identity_rows_find_the_first_difference_and_its_gap():
    target = tiny_llama()
    drafter = ExitDrafter(target, perturbed_exit(target, 1, "head"))
    rows = list(identity_rows(target, [(drafter, 3, {"drafter": "early_exit"})], prompts(), 20, 4))
    assert [row["identical"] for row in rows] == [1] * 6
    assert {row["first_divergence"] for row in rows} == {row["top2_gap"] for row in rows} == {None}

    class Liar:  # another target's tokens under the same protocol: what a broken loop would return
        def __getattr__(self, name):
            return getattr(drafter, name)

    broken = tiny_llama(seed=9)
    import selfdraft.evaluation.identity as module

    original = module.speculate
    try:
        module.speculate = lambda _, d, *rest: original(broken, LookupDrafter(2), *rest)
        rows = list(identity_rows(target, [(Liar(), 3, {})], prompts(), 20, 4))
    finally:
        module.speculate = original
    assert sum(row["identical"] for row in rows) < 6
    for row in rows:
        if not row["identical"]:
            assert row["first_divergence"] >= 0
            assert row["top2_gap"] >= 0


def test_the_gap_is_between_the_two_best_logits():
    target = tiny_llama()
    with torch.no_grad():
        best = target(torch.tensor([[1, 2, 3]]))[0, -1].sort(descending=True).values
    assert top2_gap(target, [1, 2, 3]) == pytest.approx(float(best[0] - best[1]), abs=1e-6)


@pytest.mark.parametrize(
    ("one", "other", "at"), [([1, 2], [1, 2], None), ([1, 2], [1, 3], 1), ([1, 2], [1], 1), ([], [4], 0)]
)
def test_the_first_difference_counts_the_end_too(one, other, at):
    assert first_difference(one, other) == at


def test_all_implementations_decode_the_same_tokens_in_float32(tmp_path):
    """Real implementations on a tiny model: greedy float32 outputs must agree, drafts or not."""
    folder = tiny_target(tmp_path / "target")
    target = load_target(folder, torch.float32)
    setting = Setting(layer=1, gamma=3, max_ngram=2)
    drafters = {
        "early exit": ExitDrafter(target, untrained_exit(target, setting.layer, "head")),
        "prompt lookup": LookupDrafter(2),
    }
    stock = load_transformers(folder, torch.float32)
    contestants = own(target, drafters, setting.gamma, "0")
    contestants += of_transformers(stock, setting) + of_economize(stock, setting)
    texts = [Prompt(f"p{i}", "", tuple(range(5 + i, 15 + 2 * i)), "") for i in range(3)]
    for batch in (1, 2):
        rows = list(contest_rows(contestants, texts, batch, 2, 12, 0, {"dtype": "float32"}))
        methods = {(row["method"], row["implementation"]) for row in rows}
        assert ("early exit", "selfdraft") in methods
        assert (("early exit", "transformers") in methods) == (batch == 1)
        for row in rows:
            assert row["new_tokens"] == 12 * batch
            assert row["identical"] == 1, row
            if row["cycles"] is not None:
                assert 0 <= row["cycles"] + row["accepted"] - row["new_tokens"] <= batch
    # The same exit and the same draft length: the same drafts are accepted.
    exits = [row for row in contest_rows(contestants, texts, 1, 3, 40, 0, {}) if row["method"] == "early exit"]
    of = {
        name: [(row["group"], row["cycles"]) for row in exits if row["implementation"] == name]
        for name in ("selfdraft", "transformers")
    }
    assert of["selfdraft"] == of["transformers"]
    assert len({cycles for _, cycles in of["selfdraft"]}) > 1


OWN_POLICY = {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2, "temperature": 0.3, "do_sample": True}


def test_what_the_models_own_file_asks_of_decoding_is_not_applied_and_said_once(tmp_path, capsys):
    folder = tiny_target(tmp_path / "target")
    plain = TransformersPeer(str(folder), torch.float32)
    text, warm = list(range(5, 20)), Policy("warm", temperature=0.9, top_p=0.9)
    sampled = plain.run(text, warm, 12, seed=3).tokens
    asked = {"eos_token_id": 2, "bad_words_ids": [[text[3]], [sampled[0]]], **OWN_POLICY}
    (folder / "generation_config.json").write_text(json.dumps(asked))
    target, setting = load_target(folder, torch.float32), Setting(layer=1, gamma=3, max_ngram=2)
    texts = [Prompt(f"p{i}", "", tuple(range(5 + i, 15 + 2 * i)), "") for i in range(2)]

    def identical(stock):
        contestants = own(target, {}, setting.gamma, "0") + of_transformers(stock, setting)
        return {row["identical"] for row in contest_rows(contestants, texts, 1, 2, 24, 0, {})}

    assert identical(load_transformers(folder, torch.float32)) != {1}
    assert identical(load_baseline(folder, torch.float32)) == {1}
    said = capsys.readouterr().err
    assert said.count("asks for") == 1
    assert all(key in said for key in ("repetition_penalty 1.5", "no_repeat_ngram_size 2", "bad_words_ids"))
    assert TransformersPeer(str(folder), torch.float32).run(text, warm, 12, seed=3).tokens == sampled


def test_compile_rows_time_the_loops_own_step_and_explain_what_cannot_run():
    target, packed = tiny_llama(), tiny_llama().pack()
    rows = list(compile_rows(target, packed, [2, 4], 1, 20, 5, ["eager", "cuda graph", "compile reduce-overhead"]))
    assert [(row["depth"], row["mode"]) for row in rows][:2] == [(2, "eager"), (2, "cuda graph")]
    for row in rows:
        if row["mode"] == "eager":
            assert row["step_ms_low"] <= row["step_ms"] <= row["step_ms_high"]
            assert row["ratio_to_eager"] == 1
        elif not torch.cuda.is_available():
            assert "step_ms" not in row or row["step_ms"] is None
            assert "CUDA" in row["note"]
