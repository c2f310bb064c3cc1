"""Where a drafter's training starts: least squares, better than the target's last layer, and the same every time."""

import pytest
import torch
from tiny_llama import tiny_llama
from training.texts import captured, text_of

from selfdraft.models.eagle3 import untrained_eagle3
from selfdraft.training.drafter_settings import DrafterSettings
from selfdraft.training.drafter_start import regress
from selfdraft.training.drafter_trainer import DrafterTrainer

FEATURES = (1, 2, 3)


def begun(target, start):
    """A trainer whose drafter stands where training starts."""
    draft = untrained_eagle3(target, FEATURES, torch.arange(61), torch.float32, fc_norm=True)
    learn, check = (captured(target, text_of(seed, 120), FEATURES) for seed in (0, 1))
    settings = DrafterSettings(dtype="float32", ttt_length=2, start=start)
    trainer = DrafterTrainer(target, draft, learn, check, settings, [].append)
    if start == "regression":
        regress(target, draft, learn)
    return trainer


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_it_starts_nearer_to_the_target_than_its_last_layer(kv_heads):
    target = tiny_llama(scale=0.25, kv_heads=kv_heads)
    found = {start: begun(target, start).measure() for start in ("regression", "last_layer")}
    assert found["regression"].kl[0] < 0.95 * found["last_layer"].kl[0]
    assert found["regression"].overlap[0] > found["last_layer"].overlap[0]


def test_the_embedding_of_the_own_token_is_heard():
    """The heads look at their own place: another token there changes the output more than eleven before it do."""
    target = tiny_llama(scale=0.25, kv_heads=4)
    draft = begun(target, "regression").draft
    generator = torch.Generator().manual_seed(0)
    state = target.embed(torch.randint(61, (1, 12), generator=generator))
    embedding = target.embed(torch.randint(61, (1, 12), generator=generator))
    other = target.embed(torch.randint(61, (1, 12), generator=generator))

    def last(given):
        return draft.midlayer(given, state, target.step([0], 12))[0, -1]

    own, before = embedding.clone(), embedding.clone()
    own[:, -1] = other[:, -1]
    before[:, :-1] = other[:, :-1]
    moved = [float((last(given) - last(embedding)).detach().norm()) for given in (own, before)]
    assert moved[0] > moved[1]


def test_nothing_of_it_is_random():
    target = tiny_llama()
    one, two = (begun(target, "regression").draft.named_tensors() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)
