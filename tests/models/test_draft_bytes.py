"""The bytes of a draft step that tables tell are those that decoding counts, at two bytes a number."""

import pytest
from tiny_llama import perturbed_exit, tiny_llama

from selfdraft.capacities import CAPACITIES
from selfdraft.models.exit import draft_step_bytes


@pytest.mark.parametrize("capacity", CAPACITIES)
def test_a_draft_step_reads_the_kept_layers_and_the_exit(capacity):
    target = tiny_llama()  # float32
    draft = perturbed_exit(target, 1, capacity)
    counted = draft.depth * target.layer_bytes() + draft.step_bytes()
    assert draft_step_bytes(draft, target) == counted / 2 > 0
