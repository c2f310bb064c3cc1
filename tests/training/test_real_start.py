"""Exits of the default target: the regression is better than knowing nothing, and exact at the end; a little training
reaches a stated KL."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from tiny_llama import hidden_states

from selfdraft.models.exit import untrained_exit
from selfdraft.models.llama import load_target
from selfdraft.models.runtime import resolve_dtype
from selfdraft.sequences import Sequences, read_sequences
from selfdraft.training.settings import Settings
from selfdraft.training.states import CapturedStates
from selfdraft.training.trainer import Trainer

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "results/target/SmolLM2-135M-Instruct"
DATA = ROOT / "results/data/sharegpt"
TOKENS = {"train": 2500, "validation": 640}

pytestmark = pytest.mark.skipif(
    not (TARGET / "model.safetensors").is_file() or not (DATA / "train.safetensors").is_file(),
    reason="the default target and data are not there; `make assets` fetches them",
)


@pytest.fixture(scope="module")
def real():
    """The target, and its states on a little of the default study's text."""
    target = load_target(TARGET, resolve_dtype("auto", "cpu"))
    states = []
    for split, wanted in TOKENS.items():
        text, cut = read_sequences(DATA, split), 128
        pieces = [range(begin, min(end, begin + cut)) for begin, end in pairwise(text.offsets.tolist())]
        kept = pieces[: wanted // cut]
        offsets = torch.tensor([0, *map(len, kept)]).cumsum(0).numpy()
        at = [place for piece in kept for place in piece]
        small = Sequences(text.tokens[at], text.mask[at], offsets)
        found = hidden_states(target, small, [21, 22, 29, 30])
        states.append(CapturedStates(small, found, found[30], target))
    return target, *states


def trained(real, layer, capacity, **settings):
    """What training says of one draft."""
    target, learn, check = real
    draft = untrained_exit(target, layer, capacity, torch.float32)
    return Trainer(target, target, [draft], [1.0], learn, check, Settings(**settings), [lambda line: None]).run()[0]


@pytest.mark.parametrize("capacity", ["norm", "translator"])
def test_an_exit_that_is_not_trained_is_better_than_knowing_nothing(real, capacity):
    assert trained(real, 21, capacity, objective="none")["validation_kl"] < math.log(real[0].config.vocab_size)


@pytest.mark.parametrize("capacity", ["translator", "head", "head_block"])
def test_the_regression_leaves_the_last_layers_exit_the_target(real, capacity):
    assert trained(real, 29, capacity, objective="none")["validation_kl"] < 2e-3


def test_a_little_training_reaches_a_stated_kl(real):
    """Nine steps on 1,249 labels. Logit lens: 15.6 nats, knowing nothing: 10.8, the regression: 3.27."""
    found = trained(real, 21, "translator", tokens_per_step=256, epochs=2, evaluations=1)
    assert found["validation_kl"] < found["untrained_validation_kl"] - 0.05
    assert found["validation_kl"] < 3.25
