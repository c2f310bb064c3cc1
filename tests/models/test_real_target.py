"""The default target itself: top-1 equal to transformers' on 1,000 tokens of real conversation."""

from pathlib import Path

import pytest
import torch

from selfdraft.models.llama import load_target
from selfdraft.sequences import read_sequences

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "results/target/SmolLM2-135M-Instruct"
DATA = ROOT / "results/data/sharegpt"


@pytest.mark.skipif(
    not (TARGET / "model.safetensors").is_file() or not (DATA / "held_out.safetensors").is_file(),
    reason="the default target and data are not there; `make assets` fetches them",
)
def test_top_1_equals_transformers_on_1000_real_tokens():
    from selfdraft.sources.reference import load_transformers

    sequences = read_sequences(DATA, "held_out")
    ours, stock = load_target(TARGET, torch.float32), load_transformers(TARGET, torch.float32)
    seen = agreed = 0
    worst = 0.0
    for begin, end in zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True):
        tokens = torch.from_numpy(sequences.tokens[begin:end]).long().unsqueeze(0)
        with torch.inference_mode():
            one, other = ours(tokens), stock(tokens).logits
        seen += tokens.shape[1]
        agreed += int((one.argmax(-1) == other.argmax(-1)).sum())
        worst = max(worst, float((one - other).abs().max()))
        if seen >= 1000:
            break
    assert seen >= 1000
    assert agreed == seen
    assert worst < 1e-3
