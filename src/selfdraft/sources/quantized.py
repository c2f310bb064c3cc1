"""The matrices of a target's layers in 4 bits (nf4) and back: the weights that a quantised target computes with.

bitsandbytes chooses the 4-bit numbers (normal float 4, blocks of 64 with a float32 scale each: Dettmers et al. 2023,
QLoRA, arXiv 2305.14314). Embedding, LM head and norms stay as they are, as in transformers. What is kept are the
dequantised weights in bfloat16, which is what a 4-bit layer multiplies with: every stage, transformers' own model among
them, reads the same numbers from the same folder. Memory and bytes read are those of bfloat16.
"""

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from selfdraft.errors import StudyError
from selfdraft.sources.plain_model import PlainModel

KINDS = {"4bit": "nf4"}  # what a config asks for, and what its tables call it
BLOCK = 64
_MATRIX = re.compile(r"model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj\.weight")


def quantize(model: PlainModel, kind: str) -> None:
    """Put dequantised weights in the place of the model's, and of those that transformers' model is compared by.

    `model.notes` says how. Raises StudyError for a kind that does not exist, without bitsandbytes, or where that cannot
    do it on this processor.
    """
    if kind not in KINDS:
        raise StudyError(f"target.quantization: {kind!r} is unknown; {', '.join(KINDS)} is right")
    library = _library()
    names = [name for name in model.state if _MATRIX.fullmatch(name)]
    for name in names:
        model.state[name] = there_and_back(library, model.state[name], KINDS[kind])
    model.notes["quantization"] = {
        "weights": KINDS[kind],
        "block_size": BLOCK,
        "matrices": len(names),
        "held_as": "bfloat16",
        "made_with": f"bitsandbytes {library.__version__}",
    }
    model.weights = KINDS[kind]
    model.stock_model = _with_weights(model.stock_model, {name: model.state[name] for name in names})


def there_and_back(library: Any, weight: Tensor, kind: str) -> Tensor:
    """A bfloat16 matrix in 4 bits and back, of the same shape. Raises StudyError where bitsandbytes cannot do it."""
    try:
        packed, state = library.functional.quantize_4bit(weight.contiguous(), blocksize=BLOCK, quant_type=kind)
        found: Tensor = library.functional.dequantize_4bit(packed, state).to(weight.dtype).contiguous()
    except (RuntimeError, AttributeError, ValueError) as error:  # NotImplementedError is a RuntimeError
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise StudyError(
            f"target.quantization: bitsandbytes {library.__version__} makes no {kind} weights on this processor: {said}"
        ) from None
    return found


def _library() -> Any:
    """bitsandbytes, whose import is slow and which few studies need."""
    try:
        import bitsandbytes
    except ImportError as error:
        raise StudyError(
            f"target.quantization: 4bit needs the package bitsandbytes ({error}); `pip install 'selfdraft[quantized]'` "
            "brings it"
        ) from None
    return bitsandbytes


def _with_weights(stock: Callable[[], Any], weights: dict[str, Tensor]) -> Callable[[], Any]:
    """transformers' model with these weights in place of its own."""

    @torch.no_grad()
    def made() -> Any:
        model = stock()
        own = dict(model.named_parameters())
        for name, weight in weights.items():
            own[name].copy_(weight)
        return model

    return made
