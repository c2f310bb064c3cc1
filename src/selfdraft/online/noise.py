"""How noisy the gradient of an update is: from how far the gradients of two halves of its records lie apart."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def halves_of(sequences: Tensor) -> list[Tensor]:
    """The places of records `[records]` that are of these texts, in two halves; all in one where there is but one.

    As equal as whole texts make them, since the records of one text are alike; those of a single text before and after
    its middle.
    """
    count, order = len(sequences), sequences.argsort(stable=True)
    if count < 2:
        return [order]
    ends = sequences.unique(return_counts=True)[1].cumsum(0)[:-1].tolist()
    cut = min(ends, key=lambda end: abs(2 * end - count)) if ends else count // 2
    return [order[:cut], order[cut:]]


def gradients_of(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """Copies of what has been gathered so far; 0 where nothing has."""
    return [
        torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone() for parameter in parameters
    ]


def variance(first: Sequence[Tensor], parameters: Sequence[nn.Parameter], one: int, other: int) -> float:
    """E|g − E g|² of the mean gradient g of records, were they drawn anew; without bias where they are independent.

    Args:
        first: the part of g that `one` records gave; `parameters` hold all of it, with that of `other` more records.

    With s² the variance of a record's gradient and n records, g's is s²/n; the means of the halves are
    s²·n/(one·other) apart, in the mean of the square.
    """
    count, apart = one + other, 0.0
    for gradient, parameter in zip(first, parameters, strict=True):
        if parameter.grad is not None:
            mean, others = gradient * (count / one), (parameter.grad - gradient) * (count / other)
            apart += float((mean - others).square().sum())
    return apart * one * other / count**2
