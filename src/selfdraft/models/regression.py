"""Least squares in closed form: the linear map from some states to others, shrunk towards a map that is known."""

import torch
from torch import Tensor

RIDGE = 1e-3  # of the inputs' mean square; a choice that was not searched


class Regression:
    """Sums over pairs of an input x `[inputs]` and an output y `[outputs]`, and the map that they give.

    `towards [outputs, inputs]` is what the map is where the pairs say nothing: without it the identity if both are of
    one size, else zero. Where y is what `towards` makes of x, the map is exactly `towards`. Nothing is random, and the
    order of the pairs matters only to the rounding of sums.
    """

    def __init__(self, inputs: int, outputs: int, device: torch.device, towards: Tensor | None = None) -> None:
        wide = torch.float64 if device.type != "mps" else torch.float32
        self.identity = towards is None and inputs == outputs
        if towards is None:
            towards = torch.eye(inputs) if self.identity else torch.zeros(outputs, inputs)
        self.towards = towards.to(device, wide)
        self.squares = torch.zeros(inputs, inputs, dtype=wide, device=device)  # Σ x xᵀ
        self.missing = torch.zeros(inputs, outputs, dtype=wide, device=device)  # Σ x (y − towards x)ᵀ
        self.pairs = torch.zeros((), dtype=wide, device=device)

    @property
    def sums(self) -> tuple[Tensor, Tensor, Tensor]:
        """What several processes add up."""
        return self.squares, self.missing, self.pairs

    def add(self, x: Tensor, y: Tensor) -> None:
        """Take in pairs, x `[pairs, inputs]` and y `[pairs, outputs]`."""
        x = x.float()
        gap = y.float() - (x if self.identity else x @ self.towards.T.float())
        self.squares += x.T @ x
        self.missing += x.T @ gap
        self.pairs += len(x)

    def solve(self, ridge: float = RIDGE) -> Tensor:
        """The map `[outputs, inputs]` that minimises Σ |y − M x|² + ridge · mean(x²) · pairs · |M − towards|²."""
        penalty = ridge * self.squares.diagonal().mean()
        if not penalty > 0:
            return self.towards.float()
        eye = torch.eye(len(self.squares), dtype=self.squares.dtype, device=self.squares.device)
        change = torch.linalg.solve(self.squares + penalty * eye, self.missing)
        return (self.towards + change.T).float()

    def scales(self, ridge: float = RIDGE) -> Tensor:
        """The best of the maps that scale each number for itself, `[inputs]`; of a map between equal sizes."""
        own = self.squares.diagonal()
        change = self.missing.diagonal() / (own + ridge * own.mean()).clamp_min(torch.finfo(own.dtype).tiny)
        return (self.towards.diagonal() + change).float()
