"""A linear layer whose weight can be packed once for inference on the CPU."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def packing_available(weight: Tensor) -> bool:
    """Whether oneDNN can pack this weight: on the CPU, and for 16-bit types a CPU that multiplies them."""
    if weight.device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if weight.dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return weight.dtype == torch.float32


class Linear(nn.Module):
    """`x [..., in] -> x Wᵀ + b [..., out]`, computed in x's dtype.

    In training the weight may be float32 while x is bfloat16: the product is then a bfloat16 product
    of the rounded weight, and the gradient reaches the float32 master weight. After `pack()` the
    weight is held in oneDNN's blocked layout only (on the CPU, one to three times faster at one token,
    see docs/benchmarks.md) and the layer can no longer be trained or saved.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight: nn.Parameter | None = nn.Parameter(weight, requires_grad=False)
        self.bias: nn.Parameter | None = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.out_features, self.in_features = weight.shape
        self.bytes = weight.numel() * weight.element_size()
        self._packed: Tensor | None = None

    def pack(self) -> None:
        """Pack the weight for inference; does nothing where packing is not available."""
        if self._packed is not None or self.weight is None or not packing_available(self.weight):
            return
        self._packed = torch.ops.mkldnn._reorder_linear_weight(self.weight.detach())
        self.weight = None

    def take(self, weight: Tensor, bias: Tensor | None = None) -> None:
        """Copy new values over the old ones, packed or not; nothing of the old ones is left."""
        if self._packed is not None:
            self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach().to(self._packed.dtype))
        else:
            assert self.weight is not None
            self.weight.data.copy_(weight.detach())
        if self.bias is not None:
            assert bias is not None
            self.bias.data.copy_(bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        if self._packed is not None:
            return torch.ops.mkldnn._linear_pointwise(x, self._packed, self.bias, "none", [], "")
        assert self.weight is not None
        bias = None if self.bias is None else self.bias.to(x.dtype)
        return F.linear(x, self.weight.to(x.dtype), bias)

    def products(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The (input, weight) pairs whose products `input @ weightᵀ` sum to `forward(x)`, for a loss."""
        assert self.weight is not None
        assert self.bias is None
        return [(x, self.weight)]

    def by_output(self) -> list[nn.Parameter]:
        """The weights of `products`, with a row for each output."""
        assert self.weight is not None
        return [self.weight]

    def rows(self, ids: Tensor) -> "Linear":
        """The layer of the outputs `ids [kept]` alone. Before packing only."""
        assert self.weight is not None, "trim before packing"
        return Linear(self.weight.data[ids], None if self.bias is None else self.bias.data[ids])

    def add_to(self, residual: Tensor, x: Tensor) -> Tensor:
        """`residual + forward(x)`, in one kernel when packed."""
        if self._packed is not None:
            return torch.ops.mkldnn._linear_pointwise.binary(x, residual, self._packed, self.bias, "add")
        return residual + self(x)


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last axis (Zhang & Sennrich 2019), statistics in float32."""

    def __init__(self, weight: Tensor, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.eps = eps
        self._twice: Tensor | None = None  # the weight, twice over, after pack()

    def pack(self) -> None:
        """Prepare for inference on the CPU, where PyTorch has one kernel for layer norm and eight for this one."""
        if self.weight.device.type == "cpu":
            self._twice = torch.cat((self.weight.data, self.weight.data))

    def take(self, weight: Tensor) -> None:
        """Copy new values over the old ones, packed or not."""
        self.weight.data.copy_(weight.detach())
        if self._twice is not None:
            self.pack()

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-1]
        if self._twice is not None and x.dtype == self._twice.dtype:
            # The mean of (x, -x) is zero and its variance x's mean square: its layer norm begins with x's RMS norm.
            return F.layer_norm(torch.cat((x, -x), dim=-1), (2 * size,), self._twice, None, self.eps)[..., :size]
        return F.rms_norm(x, (size,), self.weight.to(x.dtype), self.eps)
