"""Share `split`: LoRA on the draft's own layers learns with its context; the verifier is the base model throughout."""

import json

import pytest
import torch
from decoding.test_distribution import p_value
from online.learning import PROMPT, decode, enumerable, learner_on, served
from safetensors.torch import load_file
from tiny_llama import tiny_llama

from selfdraft.commands import dvi
from selfdraft.decoding.loop import vanilla
from selfdraft.decoding.policy import Policy
from selfdraft.drafters.exit import ExitDrafter
from selfdraft.models.peft_files import save_peft
from selfdraft.online.drafter import LearningDrafter
from selfdraft.online.settings import SHARES

PROMPTS = [[3, 1, 4, 1, 5], [9, 2], [6, 5, 3, 5, 8, 9, 7]]
SPLIT = {"capacity": "lora", "layer": 2, "share": "split", "amount": 0.1}


@pytest.mark.parametrize("draft", ["argmax", "sample"])
@pytest.mark.parametrize("packed", [False, True])
def test_greedy_text_is_the_base_models_own_however_often_it_learns(draft, packed):
    target = tiny_llama()
    truth = vanilla(target, PROMPTS, Policy("greedy"), 30, torch.Generator()).tokens
    before = {name: tensor.clone() for name, tensor in target.named_parameters()}
    learner, drafter = learner_on(target, **SPLIT, draft=draft, fast_batch=2, learning_rate=0.02, warmup=3)
    if packed:
        target.pack()
    assert decode(learner, drafter, PROMPTS, 30).tokens == truth
    assert learner.updates > 4
    if not packed:
        assert all(torch.equal(tensor, before[name]) for name, tensor in target.named_parameters())


def test_sampled_text_is_distributed_as_the_base_models_own_while_it_learns():
    target = enumerable()
    learner, drafter = learner_on(
        target, "lora", 0, share="split", draft="sample", temperature=1.0, fast_batch=700, learning_rate=0.02,
        buffer=512, replay=0.0, objective="tv",
    )  # fmt: skip
    result = decode(learner, drafter, [PROMPT] * 1500, 4, gamma=2)
    assert learner.updates >= 1
    first = torch.tensor([row[:2] for row in result.tokens])
    observed = (first[:, 0] * 6 + first[:, 1]).bincount(minlength=36)
    with torch.no_grad():
        tokens = torch.tensor([[*PROMPT, token] for token in range(6)])
        p = target(tokens)[:, -2:].softmax(-1).double()
    assert p_value(observed, (p[0, 0].unsqueeze(1) * p[:, 1]).flatten()) > 0.001


def drafted_against_whole_forwards():
    """The largest difference between a draft's q and the student's, of the whole text at once, over some updates."""
    target = tiny_llama()
    settings = {"draft": "sample", "temperature": 1.0, "fast_batch": 3, "learning_rate": 0.02, "objective": "kl"}
    learner, drafter = learner_on(target, **SPLIT, **settings)
    worst, draft = 0.0, drafter.draft

    def checked(session, gamma, policy, generator):
        nonlocal worst
        found = draft(session, gamma, policy, generator)
        with torch.no_grad():
            for row, text in enumerate(session.text):
                whole = [*text, *found.tokens[row].tolist()]
                places = torch.arange(len(text) - 1, len(whole) - 1)
                q = learner.pair.logits_in(whole, places).softmax(-1)
                worst = max(worst, float((q - found.q[row]).abs().max()))
        return found

    drafter.draft = checked
    decode(learner, drafter, PROMPTS, 20)
    assert learner.updates > 3
    return worst


def test_a_draft_is_of_the_layers_as_they_are_and_never_of_an_older_cache():
    assert drafted_against_whole_forwards() < 1e-4


def test_keys_of_before_an_update_would_show(monkeypatch):
    monkeypatch.setattr(ExitDrafter, "forget", lambda self: None)
    assert drafted_against_whole_forwards() > 1e-3


def policies_of(text_of=lambda text: text):
    """log π of the first update's records: as they were drafted, and as the student makes them again."""
    settings = {"draft": "sample", "temperature": 1.0, "fast_batch": 12, "objective": "kl"}
    learner, drafter = learner_on(tiny_llama(), **SPLIT, **settings)
    drafted, observe = [], LearningDrafter.observe

    def watched(outcome):
        draft, before = drafter._draft, learner.buffer.seen
        updates = learner.updates
        observe(drafter, outcome)
        if not updates:
            new = learner.buffer.read(learner.buffer.newest(learner.buffer.seen - before))
            for sequence, position, token in zip(new.sequence, new.position, new.draft_token, strict=True):
                row = int(sequence)
                drafted.append(float(draft.q[row, int(position) - outcome.starts[row], token].log()))
        learner.texts = {key: text_of(text) for key, text in learner.texts.items()}

    drafter.observe = watched
    decode(learner, drafter, PROMPTS, 20)
    again = learner.buffer.read(torch.arange(len(drafted))).log_policy
    return torch.tensor(drafted), again


def test_what_is_learnt_from_is_what_was_drafted_with_its_context():
    drafted, again = policies_of()
    assert len(drafted) > 10
    torch.testing.assert_close(again, drafted, rtol=1e-3, atol=1e-3)


def test_another_context_would_show():
    drafted, again = policies_of(lambda text: [(text[0] + 1) % 8, *text[1:]])
    assert float((again - drafted).abs().max()) > 1e-2


@pytest.mark.parametrize("objective", ["kl", "tv", "policy_gradient", "composite"])
def test_every_trained_tensor_moves_though_one_half_starts_at_zero(objective):
    settings = {"draft": "sample", "fast_batch": 2, "warmup": 1, "objective": objective, "learning_rate": 1e-3}
    learner, drafter = learner_on(tiny_llama(), **SPLIT | {"amount": 0.0}, **settings)
    before = [parameter.clone() for parameter in learner.parameters]
    decode(learner, drafter, PROMPTS, 20)
    assert learner.updates > 2
    assert all(not torch.equal(one, two) for one, two in zip(before, learner.parameters, strict=True))


def test_texts_are_kept_as_long_as_their_records():
    learner, drafter = learner_on(tiny_llama(), **SPLIT, fast_batch=4, buffer=24)
    for prompt in PROMPTS * 3:
        decode(learner, drafter, [prompt], 8)
    kept = {int(key) for key in learner.texts}
    assert set(learner.buffer.read(torch.arange(24)).sequence.tolist()) <= kept
    assert min(kept) > 2


def test_the_adapter_is_peft_s_own_and_loads_alone(tmp_path):
    transformers = pytest.importorskip("transformers")
    from peft import PeftModel
    from tiny import tiny_target

    from selfdraft.models.llama import load_target

    folder = tiny_target(tmp_path / "target")
    target = load_target(folder, torch.float32)
    learner, drafter = learner_on(target, **SPLIT | {"layer": 1}, fast_batch=2, learning_rate=0.02)
    decode(learner, drafter, PROMPTS, 12)
    save_peft(learner.pair.student.body, target.config, tmp_path / "lora_S", "target")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    adapted = PeftModel.from_pretrained(model, tmp_path / "lora_S")
    with torch.no_grad():
        tokens = torch.tensor([PROMPTS[2]])
        states = adapted(tokens, output_hidden_states=True).hidden_states[2]
        own = learner.pair.student.body(target.embed(tokens), target.step([0], tokens.shape[1]))
    torch.testing.assert_close(states, own, rtol=1e-4, atol=1e-4)
    said = json.loads((tmp_path / "lora_S/adapter_config.json").read_text())
    assert (said["r"], said["lora_alpha"], said["layers_to_transform"]) == (4, 8, [0, 1])
    assert len(load_file(tmp_path / "lora_S/adapter_model.safetensors")) == 2 * 7 * 2


def learning():
    settings = {"fast_batch": 2, "draft": "sample", "max_new_tokens": 8, "warmup": 2}
    return learner_on(tiny_llama(), **SPLIT, **settings)[0]


def test_taken_up_between_two_prompts_it_ends_the_same(tmp_path):
    whole = served(tmp_path / "a", PROMPTS * 2, learning)
    stopped = served(tmp_path / "b", PROMPTS * 2, learning, stopped_at=4)
    assert whole.updates == stopped.updates > 2
    assert all(torch.equal(one, two) for one, two in zip(whole.parameters, stopped.parameters, strict=True))
    assert whole.texts == stopped.texts
    assert whole.served == stopped.served


def test_the_shares_have_all_capacities_of_the_command():
    assert tuple(dict.fromkeys(name for names in SHARES.values() for name in names)) == dvi.CAPACITIES
