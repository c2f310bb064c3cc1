"""The plan's floating-point operations are those that the stages' own code makes, counted by torch."""

import dataclasses

import numpy as np
import pytest
import torch
from tiny_llama import hidden_states, tiny_llama
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from selfdraft.capacities import CAPACITIES
from selfdraft.decoding import loop
from selfdraft.decoding.exit_drafter import ExitDrafter
from selfdraft.decoding.lookup_drafter import LookupDrafter
from selfdraft.decoding.policy import Policy
from selfdraft.evaluation.quality import quality_rows
from selfdraft.models.exit import untrained_exit
from selfdraft.plan import decoding, learning
from selfdraft.plan.decoding import Drafting, Prompts
from selfdraft.plan.dimensions import Dimensions
from selfdraft.plan.learning import Text
from selfdraft.sequences import Sequences
from selfdraft.training.settings import Settings
from selfdraft.training.states import CapturedStates, ComputedStates
from selfdraft.training.trainer import Trainer

LENGTH, COUNT, VOCAB = 12, 9, 61
RANKS = {"low_rank_head": 3, "lora": 2}
TARGET = tiny_llama(vocab=VOCAB)
SIZES = Dimensions(VOCAB, 32, 64, 4, 4, 2, 8, False, False, False, "tiny_llama")
LEARN = Text(COUNT * LENGTH, COUNT * (LENGTH - 1), LENGTH)
CHECK = Text(3 * LENGTH, 3 * (LENGTH - 1), LENGTH)
TRAINING = dataclasses.asdict(Settings(dtype="float32", epochs=2, tokens_per_step=20, evaluations=3, ranks=RANKS))
POLICY = Policy("greedy")


def text(count):
    """Sequences of the same length, of which every token but the first is a label."""
    tokens = np.random.default_rng(count).integers(0, VOCAB, count * LENGTH).astype(np.int32)
    mask = np.tile([0] + [1] * (LENGTH - 1), count).astype(np.uint8)
    names = tuple(map(str, range(count)))
    return Sequences(tokens, mask, np.arange(0, count * LENGTH + 1, LENGTH), names, names)


def captured(count, depths):
    states = hidden_states(TARGET, text(count), [*depths, 4])
    return CapturedStates(text(count), states, states[4], TARGET)


def attention_flops(query, key, value, *_, **__):
    """The counter's own formula, for the CPU's fused kernel, which it does not know: q and kv shapes `[b, h, n, d]`."""
    return sdpa_flop_count(query, key, value)


def attention_backward_flops(gradient, query, key, value, *_, **__):
    return sdpa_backward_flop_count(gradient, query, key, value)


FUSED = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: attention_backward_flops,
}


def counted(work):
    with FlopCounterMode(display=False, custom_mapping=FUSED) as counter:
        work()
    return counter.get_total_flops()


def test_capture():
    found = counted(lambda: hidden_states(TARGET, text(COUNT), [2, 4]))
    told = learning.capture(SIZES, "float32", [LEARN], 2)
    assert told.float32 == pytest.approx(found, rel=0.05)
    assert told.disk == 2 * COUNT * LENGTH * 32 * 4


@pytest.mark.parametrize("capacity", CAPACITIES)
@pytest.mark.parametrize("mode", ["offline", "online"])
def test_training(capacity, mode):
    draft = untrained_exit(TARGET, 2, capacity, torch.float32, RANKS)
    settings = Settings.from_dict(TRAINING | {"mode": mode})
    if mode == "offline":
        states = [captured(count, [draft.depth]) for count in (COUNT, 3)]
    else:
        states = [ComputedStates(text(count), TARGET, TARGET) for count in (COUNT, 3)]
    trainer = Trainer(TARGET, TARGET, [draft], [1.0], *states, settings, [lambda line: None])
    found = counted(trainer.run)
    told = learning.train(SIZES, SIZES, 2, capacity, LEARN, CHECK, TRAINING | {"mode": mode})
    assert told.float32 == pytest.approx(found, rel=0.1)
    assert (told.disk > 0) == (mode == "offline")


@pytest.mark.parametrize("capacity", ["head", "head_block", "low_rank_head", "adapter"])
def test_quality(capacity):
    draft = untrained_exit(TARGET, 2, capacity, torch.float32, RANKS)
    states = captured(COUNT, [draft.depth])
    found = counted(lambda: list(quality_rows(TARGET, draft, states, 1.0)))
    told = learning.quality(SIZES, "float32", 2, capacity, LEARN, RANKS)
    assert told.float32 == pytest.approx(found, rel=0.1)


def prompts(rows):
    return [np.random.default_rng(row).integers(0, VOCAB, LENGTH).tolist() for row in range(rows)]


@pytest.mark.parametrize("rows", [1, 5])
def test_vanilla_decoding(rows):
    generator = torch.Generator()
    found = counted(lambda: loop.vanilla(TARGET, prompts(rows), POLICY, 10, generator))
    told = decoding.vanilla(SIZES, "float32", Prompts(rows, LENGTH), 10, True)
    assert told.float32 == pytest.approx(found, rel=0.1)


def own_weights(capacity):
    """Of one draft step after layer 2: body and head, and how many of the body's layers attend."""
    return {"head": (0, SIZES.head, 0), "head_block": (SIZES.layer, SIZES.head, 1)}[capacity]


@pytest.mark.parametrize("capacity", ["head", "head_block"])
@pytest.mark.parametrize("gamma", [1, 4])
def test_speculative_decoding_with_an_exit(capacity, gamma):
    """Cycles are taken from the run: what is compared is what one of them computes."""
    draft = untrained_exit(TARGET, 2, capacity, torch.float32, RANKS)
    made = []
    drafter = ExitDrafter(TARGET, draft)
    found = counted(
        lambda: made.append(loop.speculate(TARGET, drafter, prompts(1), POLICY, gamma, 40, torch.Generator()))
    )
    how = Drafting(draft.depth, *own_weights(capacity), 0.0)
    each = decoding.speculative(SIZES, "float32", how, gamma, Prompts(1, LENGTH), 40, True, "none")
    first = decoding.prefill(SIZES, "float32", Prompts(1, LENGTH)).float32
    told = first + (each.float32 - first) * len(made[0].cycles) / 40
    assert told == pytest.approx(found, rel=0.1)


def test_prompt_lookup_costs_its_verification_alone():
    made = []
    lookup = LookupDrafter(2)
    repeating = [[1, 2, 3] * 4]
    found = counted(lambda: made.append(loop.speculate(TARGET, lookup, repeating, POLICY, 4, 40, torch.Generator())))
    how = Drafting(0, 0, 0, 0, 0.0, reads=False)
    each = decoding.speculative(SIZES, "float32", how, 4, Prompts(1, LENGTH), 40, True, "none")
    first = decoding.prefill(SIZES, "float32", Prompts(1, LENGTH)).float32
    # it may draft fewer than gamma tokens, or none
    verified = sum(cycle.drafted + 1 for cycle in made[0].cycles) / 5
    assert verified > 10
    assert first + (each.float32 - first) * verified / 40 == pytest.approx(found, rel=0.1)
