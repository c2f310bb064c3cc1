"""What is asked of the teacher's whole vocabulary only once: is its best token one of the draft's, and its mass."""

import torch
import torch.nn.functional as F
from torch import Tensor

from selfdraft.models.llama import Llama

TOGETHER = 128  # labels whose logits of the whole vocabulary exist at once


class Known:
    """Of each token of a split, as the teacher predicts it from the tokens before; found when first asked for.

    inside: whether its best token is among the kept ones; mass: the logarithm of the sum of all tokens' exp(logit).
    """

    def __init__(
        self, teacher: Llama, final: Tensor, kept_ids: Tensor, dtype: torch.dtype, with_mass: bool = False
    ) -> None:
        """`final [tokens, hidden]` are the teacher's last states before its norm."""
        assert teacher.head.weight is not None, "train before packing"
        self._norm, self._final, self._dtype, self._with_mass = teacher.norm, final, dtype, with_mass
        rest = torch.ones(len(teacher.head.weight), dtype=torch.bool, device=kept_ids.device)
        rest[kept_ids] = False
        self.kept = teacher.head.weight.detach()[kept_ids].to(dtype)  # the head's rows of the draft vocabulary
        self._others = teacher.head.weight.detach()[rest].to(dtype)
        self._asked = torch.zeros(len(final), dtype=torch.bool)
        self._inside = torch.zeros(len(final), dtype=torch.bool)
        self._mass = torch.zeros(len(final))

    def states(self, labels: Tensor) -> Tensor:
        """The teacher's normed states that predict the tokens at places `labels` of the split, `[labels, hidden]`."""
        device = self.kept.device
        normed: Tensor = self._norm(self._final[labels - 1].to(device, self._dtype))
        return normed

    def probabilities(self, labels: Tensor, mass: Tensor) -> Tensor:
        """The teacher's of the draft vocabulary at these places, float32 `[labels, kept]`: a row's sum is below 1 where
        other tokens have the rest. `mass [labels]` is that of `of`."""
        logits = F.linear(self.states(labels), self.kept).float()
        return (logits - mass.to(logits.device).unsqueeze(1)).exp()

    @torch.no_grad()
    def of(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """`inside` and `mass` (0 if it was not asked for) of the tokens at these places, on the CPU."""
        new = labels[~self._asked[labels]]
        for some in new.split(TOGETHER):
            states = self.states(some)
            ours = F.linear(states, self.kept).float()
            theirs = F.linear(states, self._others).float()
            self._inside[some] = True if theirs.shape[1] == 0 else (ours.amax(-1) >= theirs.amax(-1)).cpu()
            if self._with_mass:
                self._mass[some] = torch.logaddexp(ours.logsumexp(-1), theirs.logsumexp(-1)).cpu()
        self._asked[new] = True
        return self._inside[labels], self._mass[labels]
