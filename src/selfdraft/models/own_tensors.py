"""A body that is a few tensors and a function of them, for capacities that need no module of their own."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

from selfdraft.models.cache import KVCache, Step


class OwnTensors(nn.Module):
    """`hidden -> run(tensors, hidden)`, which does not attend; the tensors come in hidden's number format."""

    cache_layers = 0

    def __init__(self, tensors: Mapping[str, Tensor], run: Callable[[Mapping[str, Tensor], Tensor], Tensor]) -> None:
        """Names are those in the checkpoint and have no dots."""
        super().__init__()
        self.own = nn.ParameterDict(
            {name: nn.Parameter(tensor, requires_grad=False) for name, tensor in tensors.items()}
        )
        self.run = run

    def named_tensors(self) -> dict[str, Tensor]:
        """The trained tensors by name."""
        return dict(self.own.items())

    def forward(self, hidden: Tensor, step: Step | None = None, cache: KVCache | None = None) -> Tensor:
        """`[batch, tokens, hidden] -> the same`."""
        return self.run({name: tensor.to(hidden.dtype) for name, tensor in self.own.items()}, hidden)
