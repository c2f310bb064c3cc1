"""Share `shared`: the verifier learns too; the text is the adapted model's, and no key of an older one is in use."""

import json

import pytest
import torch
import torch.nn.functional as F
from online.learning import PROMPT, decode, enumerable, learner_on, served
from scipy.stats import chi2
from tiny import tiny_target
from tiny_llama import tiny_llama

from selfdraft.decoding.loop import speculate, vanilla
from selfdraft.decoding.policy import Policy
from selfdraft.decoding.session import Session
from selfdraft.drafters.exit import ExitDrafter
from selfdraft.models.exit import exit_of
from selfdraft.models.llama import load_target
from selfdraft.models.peft_files import save_peft
from selfdraft.online.learner import Broken
from selfdraft.online.objectives import slow
from selfdraft.sequences import pack

PROMPTS = [[3, 1, 4, 1, 5], [9, 2], [6, 5, 3, 5, 8, 9, 7]]
SHARED = {"capacity": "lora", "layer": 1, "share": "shared", "amount": 0.05, "learning_rate": 0.01}
SHARED |= {"slow_every": 2, "slow_learning_rate": 0.01, "fast_batch": 3}


def worst_difference(**settings):
    """The largest one between the logits of verifications and those of whole forwards of the target as it is then,
    and between a draft's q and the student's; over some updates."""
    target = tiny_llama()
    learner, drafter = learner_on(target, **SHARED, draft="sample", temperature=1.0, **settings)
    worst, draft, observe, texts = 0.0, drafter.draft, drafter.observe, []

    def drafting(session, gamma, policy, generator):
        nonlocal worst
        found = draft(session, gamma, policy, generator)
        texts[:] = [[*text, *tokens] for text, tokens in zip(session.text, found.tokens.tolist(), strict=True)]
        with torch.no_grad():
            for row, (text, whole) in enumerate(zip(session.text, texts, strict=True)):
                if not drafter._alive[row]:
                    continue
                q = learner.pair.logits_in(whole, torch.arange(len(text) - 1, len(whole) - 1)).softmax(-1)
                worst = max(worst, float((q - found.q[row]).abs().max()))
        return found

    def observing(outcome):
        nonlocal worst
        with torch.no_grad():
            for row, text in enumerate(texts):  # none in a cycle without a draft
                if not drafter._alive[row]:
                    continue
                start = outcome.starts[row]
                whole = target(torch.tensor([text]))[0, start:]
                worst = max(worst, float((whole - outcome.logits[row, : len(whole)]).abs().max()))
        texts.clear()
        observe(outcome)

    drafter.draft, drafter.observe = drafting, observing
    decode(learner, drafter, PROMPTS, 20)
    assert learner.updates > 3
    return worst


def test_drafts_and_verifications_are_of_the_model_as_it_is():
    assert worst_difference() < 1e-3


def test_keys_of_before_an_update_would_show(monkeypatch):
    monkeypatch.setattr(Session, "reread", lambda self: None)
    assert worst_difference() > 1e-2


def surprise_after_an_update():
    """How well the tokens after an update fit the model as it is then: p of χ² tests, one for each token before.

    An update within the texts changes the verifier; from there on each token must be drawn from the new model's
    distribution after the whole text, whatever drew what stands before it.
    """
    target = enumerable()
    learner, drafter = learner_on(
        target, "lora", 0, share="shared", draft="sample", temperature=1.0, fast_batch=800, buffer=48, replay=0.0,
        slow_every=1, learning_rate=0.05, slow_learning_rate=0.05, objective="tv",
    )  # fmt: skip
    rows, renew, begun, sessions = 3000, drafter._renew_caches, [], []
    start = drafter.start

    def renewed():
        renew()
        begun[:] = [list(text) for text in sessions[-1].text]
        learner.learns = False

    def started(session):
        sessions.append(session)
        start(session)

    drafter._renew_caches, drafter.start = renewed, started
    found = decode(learner, drafter, [PROMPT] * rows, 7, gamma=2).tokens
    assert learner.updates == 1
    observed, expected, spread = torch.zeros(6, 6), torch.zeros(6, 6), torch.zeros(6, 6, 6)
    texts = [[*PROMPT, *new] for new in found]
    for length in {len(text) for text in begun}:
        together = [row for row, text in enumerate(begun) if len(text) == length and len(texts[row]) > length + 1]
        for end in (length, length + 1):
            with torch.no_grad():
                p = target(torch.tensor([texts[row][:end] for row in together]))[:, -1].softmax(-1)
            for row, of_row in zip(together, p, strict=True):
                before, token = texts[row][end - 1], texts[row][end]
                observed[before, token] += 1
                expected[before] += of_row
                spread[before] += of_row.diag() - of_row.outer(of_row)
    apart = (observed - expected)[:, :-1].double()
    statistic = sum(
        float(d @ torch.linalg.solve(s, d)) for d, s in zip(apart, spread[:, :-1, :-1].double(), strict=True)
    )
    return chi2.sf(statistic, 30)


def test_sampled_text_is_distributed_as_the_adapted_models_own_after_an_update():
    assert surprise_after_an_update() > 0.001


def test_text_from_keys_of_before_an_update_is_not(monkeypatch):
    monkeypatch.setattr(Session, "reread", lambda self: None)
    assert surprise_after_an_update() < 1e-6


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """A base model on disk, and what learnt on it: its adapters and its model, saved."""
    folder = tmp_path_factory.mktemp("shared")
    target = load_target(tiny_target(folder / "base"), torch.float32)
    learner, drafter = learner_on(target, **SHARED | {"layer": 0})
    target.pack()
    decode(learner, drafter, PROMPTS, 20)
    assert learner.updates > 3
    verifier = learner.pair.verifier
    save_peft(verifier.shallow, target.config, folder / "lora_S", "base")
    save_peft(verifier.deep, target.config, folder / "lora_D", "base", verifier.first)
    verifier.save_target(folder / "base", folder / "target")
    return folder, learner


def test_greedy_text_is_the_adapted_models_own_and_no_longer_the_bases(adapted):
    folder, learner = adapted
    target = load_target(folder / "target", torch.float32)
    draft = exit_of(target, 0, "norm", learner.pair.student.named_tensors())
    ask = (PROMPTS, Policy("greedy"))
    truth = vanilla(target, *ask, 30, torch.Generator()).tokens
    assert speculate(target, ExitDrafter(target, draft), *ask, 4, 30, torch.Generator()).tokens == truth
    serving = ExitDrafter(learner.target, learner.pair.serving)
    assert speculate(learner.target, serving, *ask, 4, 30, torch.Generator()).tokens == truth
    base = load_target(folder / "base", torch.float32)
    assert vanilla(base, *ask, 30, torch.Generator()).tokens != truth
    assert target.fingerprint != base.fingerprint


def test_each_adapter_is_peft_s_own_and_together_they_are_the_adapted_model(adapted):
    transformers = pytest.importorskip("transformers")
    from peft import PeftModel

    folder, learner = adapted

    def base():
        return transformers.AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float32)

    tokens = torch.tensor([PROMPTS[2]])
    places = torch.arange(tokens.shape[1])
    verifier = learner.pair.verifier
    with torch.no_grad():
        both = PeftModel.from_pretrained(base(), folder / "lora_S", adapter_name="S")
        both.load_adapter(folder / "lora_D", adapter_name="D")
        both.base_model.set_adapter(["S", "D"])
        torch.testing.assert_close(both(tokens).logits[0], learner.target(tokens)[0], rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(
            verifier.logits_in(PROMPTS[2], places), learner.target(tokens)[0], rtol=1e-3, atol=1e-3
        )
        alone = PeftModel.from_pretrained(base(), folder / "lora_D")(tokens).logits[0]
        with verifier.shallow.unadapted():
            torch.testing.assert_close(alone, verifier.logits_in(PROMPTS[2], places), rtol=1e-3, atol=1e-3)
    said = json.loads((folder / "lora_D/adapter_config.json").read_text())
    assert said["layers_to_transform"] == list(range(1, learner.target.config.n_layers))


def test_the_slow_loss_is_what_it_says():
    one, other = torch.randn((2, 5, 7), generator=torch.Generator().manual_seed(0))
    tokens = torch.tensor([0, 6, 3, 3, 1])
    kl = F.kl_div(other.log_softmax(-1), one.log_softmax(-1), reduction="none", log_target=True).sum(-1)
    expected = F.cross_entropy(one, tokens, reduction="none") + 0.3 * kl
    torch.testing.assert_close(slow(one, other, tokens, 0.3), expected)


def test_a_slow_loss_that_is_no_number_leaves_all_adapters_as_they_were(monkeypatch):
    monkeypatch.setattr("selfdraft.online.learner.slow", lambda *given: slow(*given) * torch.nan)
    learner, drafter = learner_on(tiny_llama(), **SHARED | {"slow_every": 1})
    before = [tensor.detach().clone() for tensor in (*learner.parameters, *learner.target.parameters())]
    with pytest.raises(Broken, match="update 1: its loss is nan; lower the learning rate"):
        decode(learner, drafter, PROMPTS, 20)
    now = (*learner.parameters, *learner.target.parameters())
    assert all(torch.equal(one, two) for one, two in zip(now, before, strict=True))


@pytest.mark.parametrize("every", [0, 2])
def test_the_layers_behind_the_exit_move_in_slow_steps_alone(every):
    log, moved = [], []
    learner, drafter = learner_on(tiny_llama(), **SHARED | {"slow_every": every, "amount": 0.0}, log=log.append)
    deep = [tensor for name, tensor in learner.pair.verifier.deep.named_parameters() if "lora_B" in name]
    receive = learner.receive

    def received(*given):
        before = [tensor.clone() for tensor in deep]
        if learned := receive(*given):
            moved.append(any(not torch.equal(one, two) for one, two in zip(before, deep, strict=True)))
        return learned

    learner.receive = received
    decode(learner, drafter, PROMPTS, 20)
    wanted = [every > 0 and step % every == 0 for step in range(1, learner.updates + 1)]
    assert len(wanted) > 3
    assert moved == wanted
    assert [json.loads(line)["loss_slow"] is not None for line in log] == wanted


def test_drift_is_the_divergence_from_the_base_on_labels_and_none_before_learning():
    learner, drafter = learner_on(tiny_llama(), **SHARED | {"amount": 0.0})
    verifier, base = learner.pair.verifier, tiny_llama()
    texts = pack([([5, 6, 7, 8], [0, 0, 1, 1]), ([1, 2], [0, 0]), ([3, 4, 9], [0, 1, 1])], [
        {"id": name, "origin": ""} for name in ("a", "none", "b")
    ])  # fmt: skip
    before = verifier.drift(texts, 0)
    assert list(before) == ["a", "b"]
    assert max(abs(kl) for _, kl, _ in before.values()) < 1e-4
    decode(learner, drafter, PROMPTS, 20)
    after = verifier.drift(texts, 1)
    with torch.no_grad():
        tokens = torch.tensor([[5, 6, 7, 8]])
        p, p0 = (model(tokens)[0, 1:3].log_softmax(-1) for model in (learner.target, base))
    kl, ce = float((p.exp() * (p - p0)).sum()), -float(p[0, 7] + p[1, 8])
    assert after["a"] == pytest.approx([2, kl, ce], rel=1e-3)
    assert kl > 1e-3
    assert list(after) == ["a"]


def learning():
    return learner_on(tiny_llama(), **SHARED | {"fast_batch": 1}, draft="sample", max_new_tokens=8)[0]


def test_taken_up_between_two_prompts_it_ends_the_same(tmp_path):
    whole = served(tmp_path / "a", PROMPTS * 2, learning)
    stopped = served(tmp_path / "b", PROMPTS * 2, learning, stopped_at=4)
    assert whole.updates == stopped.updates > 4
    assert all(torch.equal(one, two) for one, two in zip(whole.parameters, stopped.parameters, strict=True))
    assert all(
        torch.equal(one, two) for one, two in zip(whole.target.parameters(), stopped.target.parameters(), strict=True)
    )
    assert whole.served == stopped.served


def test_in_half_precision_all_adapters_learn_in_float32():
    target = tiny_llama().bfloat16()
    learner, drafter = learner_on(target, **SHARED | {"slow_every": 1, "slow_learning_rate": 5e-6})
    adapters = learner.pair.verifier.adapters()
    before = [tensor.detach().clone() for tensor in adapters]
    decode(learner, drafter, PROMPTS, 12)
    assert learner.updates > 1
    assert {tensor.dtype for tensor in learner.parameters} == {torch.float32}
    moved = [bool((tensor != old).any()) for tensor, old in zip(adapters, before, strict=True)]
    assert all(moved)  # steps of 5e-6 are lost in bfloat16
    assert {layer.dtype for layer in target.state_dict().values() if layer.is_floating_point()} == {torch.bfloat16}
