"""Other implementations of the same decoding, timed in the same process with the same weights."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from selfdraft.decoding.policy import Policy


@dataclass
class PeerRun:
    """New tokens and seconds; prefill includes the first token, which `generate` computes with it."""

    tokens: list[int]
    prefill_s: float
    decode_s: float
    decode_tokens: int


class _Clock:
    """A streamer that notes when each token arrives, as transformers' `generate` calls it."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, _: Tensor) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None: ...


class TransformersPeer:
    """transformers' `generate` on the same target folder, same dtype, its default (dynamic) cache."""

    name = "transformers"

    def __init__(self, folder: str, dtype: torch.dtype, device: str = "cpu") -> None:
        from selfdraft.sources.reference import load_baseline

        self.model: Any = load_baseline(folder, dtype).to(device)
        self.device = device

    @torch.inference_mode()
    def run(self, prompt: Sequence[int], policy: Policy, max_new_tokens: int, seed: int) -> PeerRun:
        """Generate exactly `max_new_tokens` (end-of-sequence is ignored)."""
        tokens = torch.tensor([list(prompt)], device=self.device)
        warps: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        if not policy.greedy:
            warps = {
                "do_sample": True,
                "temperature": policy.temperature,
                "top_p": policy.top_p,
                "top_k": policy.top_k,
            }
        torch.manual_seed(seed)  # generate() draws from torch's global generator and takes no other
        clock = _Clock()
        if self.device != "cpu":
            torch.cuda.synchronize()
        begin = time.perf_counter()
        out = self.model.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=max_new_tokens,
            min_new_tokens=max_new_tokens,
            eos_token_id=None,
            pad_token_id=0,
            streamer=clock,
            **warps,
        )
        if self.device != "cpu":
            torch.cuda.synchronize()
        end = time.perf_counter()
        new = out[0, tokens.shape[1] :].tolist()
        # The streamer is handed the prompt first, then each token; on CUDA a put waits for the token's value.
        first = clock.times[1] if len(clock.times) > 1 else end
        return PeerRun(new, first - begin, end - first, len(new) - 1)
