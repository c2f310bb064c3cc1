"""Steps of fixed shape on caches that outlive a generation decode what eager steps decode.

On the CPU a stand-in for a CUDA graph keeps what matters of one: the memory of inputs and outputs never
changes, and the function is run for the same shapes only. The real capture needs a GPU.
"""

import pytest
import torch
from tiny_llama import moved_eagle3, perturbed_exit, tiny_llama

from selfdraft.decoding.drafting import Tree
from selfdraft.decoding.loop import cycles, speculate, vanilla
from selfdraft.decoding.policy import Policy
from selfdraft.drafters.eagle3 import Eagle3Drafter
from selfdraft.drafters.exit import ExitDrafter
from selfdraft.drafters.hybrid import HybridDrafter
from selfdraft.drafters.lookup import LookupDrafter
from selfdraft.drafters.model import ModelDrafter
from selfdraft.errors import StudyError
from selfdraft.models.graphs import Captured, Replays, window_of

POLICIES = {"greedy": Policy("greedy"), "warm": Policy("warm", 0.9, top_p=0.95)}


class Fixed:
    """What a captured graph does to memory, without a GPU."""

    made = 0

    def __init__(self, function, *inputs):
        type(self).made += 1
        self.function, self.inputs, self.output = function, tuple(t.clone() for t in inputs), None

    def __call__(self, *inputs):
        for mine, given in zip(self.inputs, inputs, strict=True):
            assert mine.shape == given.shape
            mine.copy_(given)
        output = self.function(*self.inputs)
        several = isinstance(output, tuple)
        found = output if several else (output,)
        if self.output is None:
            self.output = tuple(tensor.clone() for tensor in found)
        for mine, given in zip(self.output, found, strict=True):
            mine.copy_(given)
        return self.output if several else self.output[0]


def drafters(target, replayed):
    model = tiny_llama(layers=1, seed=3, positions=1024)
    model.replays = Replays(model, Fixed) if replayed else None
    eagle3 = Eagle3Drafter(target, moved_eagle3(target, (1, 2, 3), torch.arange(0, 61, 3)))
    return {
        "head": ExitDrafter(target, perturbed_exit(target, 1, "head")),
        "head_block": ExitDrafter(target, perturbed_exit(target, 1, "head_block"), adapt=True),
        "translator": ExitDrafter(target, perturbed_exit(target, 1, "translator")),
        "low_rank_head": ExitDrafter(target, perturbed_exit(target, 1, "low_rank_head")),
        "adapter": ExitDrafter(target, perturbed_exit(target, 1, "adapter")),
        "lora": ExitDrafter(target, perturbed_exit(target, 1, "lora")),
        "model": ModelDrafter(target, model),
        "lookup": LookupDrafter(2),
        "eagle3": eagle3,
        "hybrid": HybridDrafter(LookupDrafter(2), eagle3),
        "tree": Eagle3Drafter(target, eagle3.model, tree=Tree(9, 3)),  # its steps are not captured, those beside are
    }


@pytest.mark.parametrize(
    "kind",
    [
        "head",
        "head_block",
        "translator",
        "low_rank_head",
        "adapter",
        "lora",
        "model",
        "lookup",
        "eagle3",
        "hybrid",
        "tree",
    ],
)
@pytest.mark.parametrize("policy", POLICIES)
def test_replayed_steps_decode_the_same_tokens(kind, policy):
    """Several generations on one target, longer than the smallest window, shorter again, and of another batch."""
    asked = [[[3, 1, 4, 1, 5]], [[2, 7] * 150], [[9], [8, 2, 8, 1]], [[3, 1, 4, 1, 5]]]
    found = []
    for replayed in (False, True):
        target = tiny_llama(positions=1024)
        target.replays = Replays(target, Fixed) if replayed else None
        drafter = drafters(target, replayed)[kind]
        Fixed.made = 0
        for prompts in asked:
            seeded = torch.Generator().manual_seed(5)
            found.append(speculate(target, drafter, prompts, POLICIES[policy], 3, 40, seeded).tokens)
        seeded = torch.Generator().manual_seed(5)
        found.append(vanilla(target, asked[0], POLICIES[policy], 40, seeded).tokens)
    assert found[:5] == found[5:]
    assert 0 < Fixed.made < 40  # many more steps than graphs


def test_a_second_generation_on_the_same_caches_stops_the_first():
    target = tiny_llama()
    target.replays = Replays(target, Fixed)
    one = cycles(target, LookupDrafter(2), [[1, 2, 3]], POLICIES["greedy"], 3, 20, torch.Generator())
    next(one)
    vanilla(target, [[4, 5]], POLICIES["greedy"], 3, torch.Generator())
    with pytest.raises(StudyError, match="another generation has begun on this target"):
        list(one)


def test_windows_are_few():
    assert {window_of(slots) for slots in range(1, 2049)} == {256, 512, 1024, 2048}
    assert all(window_of(slots) >= slots for slots in range(1, 2049))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
def test_a_real_capture_decodes_the_same_tokens():
    found = []
    for capture in (None, Captured):
        target = tiny_llama(positions=1024).cuda()
        target.replays = None if capture is None else Replays(target, capture)
        drafter = ExitDrafter(target, perturbed_exit(target.cpu(), 1, "head_block"))
        target.cuda()
        drafter.exit.cuda()
        prompt = [[3, 1, 4, 1, 5]]
        found.append(speculate(target, drafter, prompt, POLICIES["greedy"], 3, 60, torch.Generator("cuda")).tokens)
    assert found[0] == found[1]
