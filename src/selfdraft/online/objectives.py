"""The losses of records: each says what the draft should have been likelier to propose. All in float32.

With π the draft's distribution, p the verifier's, a the drafted token and r its reward, per record:

- `distil` τ²·KL(p^τ ‖ π^τ) and `near` τ²·KL(π^τ ‖ p^τ): over the whole vocabulary, no token is left out;
- `ce` −log π(a) of accepted tokens, 0 for others;
- `reward` −w·(r − b)·log π(a), REINFORCE with a baseline b that no gradient goes through (Williams 1992). Its mean
  gradient is that of −E[r] if a was drawn from π. If it was drawn from an older π₀, w = π(a)/π₀(a) makes it so; w = 1
  for a token that was chosen without chance, and then the estimate is biased: what is never tried is never learnt;
- `overlap` −Σ min(p, π), the exact chance of acceptance of a token drawn from π (Leviathan et al. 2023, equation 5),
  with p warped as by the verification: without noise what REINFORCE estimates where verification is greedy. Where it
  samples, the gradient of the sum is E_π[1{π < p}·∇log π], and the accept bit as reward gives
  E_π[min(1, p/π)·∇log π]: both are 0 at π = p, and where π cannot reach p they end elsewhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from selfdraft.decoding.policy import Policy
from selfdraft.online.records import Records


@dataclass(frozen=True)
class Seen:
    """What the losses of some records are made of.

    Attributes:
        draft: the draft's logits now, `[records, vocab]`, with their gradient; `verifier`: the verifier's.
        temperature: that drafts are drawn at.
        tau: of `distil` and `near`.
        policy: of the verification.
        baseline: what `reward` is compared with.
        on_policy: whether tokens were drawn, so that replayed ones have importance weights.
    """

    records: Records
    draft: Tensor
    verifier: Tensor
    temperature: float
    tau: float
    policy: Policy
    baseline: float
    on_policy: bool

    @property
    def log_policy(self) -> Tensor:
        """log π over the vocabulary, at the temperature of drafting."""
        return F.log_softmax(self.draft.float() / self.temperature, dim=-1)


def chosen(log_policy: Tensor, records: Records) -> Tensor:
    """log π(a) of each record's token, `[records]`."""
    return log_policy.gather(-1, records.draft_token.unsqueeze(-1)).squeeze(-1)


def importance(log_now: Tensor, records: Records) -> Tensor:
    """π(a) now over π(a) at draft time, without a gradient; 1 where no update has come between."""
    then = torch.where(records.log_policy.isnan(), log_now, records.log_policy)
    return (log_now - then).detach().exp()


def distil(seen: Seen, log_policy: Tensor) -> Tensor:
    """See the module; `[records]`."""
    log_p, log_q = _tempered(seen)
    return seen.tau**2 * (log_p.exp() * (log_p - log_q)).sum(-1)


def near(seen: Seen, log_policy: Tensor) -> Tensor:
    """See the module; `[records]`."""
    log_p, log_q = _tempered(seen)
    return seen.tau**2 * (log_q.exp() * (log_q - log_p)).sum(-1)


def ce(seen: Seen, log_policy: Tensor) -> Tensor:
    """See the module; `[records]`. Its mean is over accepted tokens."""
    return -chosen(log_policy, seen.records) * seen.records.reward


def reward(seen: Seen, log_policy: Tensor) -> Tensor:
    """See the module; `[records]`."""
    log_now = chosen(log_policy, seen.records)
    weight = importance(log_now, seen.records) if seen.on_policy else 1.0
    return -weight * (seen.records.reward - seen.baseline) * log_now


def overlap(seen: Seen, log_policy: Tensor) -> Tensor:
    """See the module; `[records]`."""
    return -torch.minimum(seen.policy.distribution(seen.verifier), log_policy.exp()).sum(-1)


MADE = {"distil": distil, "ce": ce, "reward": reward, "near": near, "overlap": overlap}


def losses_of(seen: Seen, weights: Mapping[str, float]) -> tuple[dict[str, Tensor], Tensor]:
    """Each weighted loss's terms, `[records]`, and log π over the vocabulary, `[records, vocab]`."""
    log_policy = seen.log_policy
    return {name: MADE[name](seen, log_policy) for name in weights}, log_policy


def slow(verifier: Tensor, frozen: Tensor, draft_token: Tensor, beta_kl: float) -> Tensor:
    """What a verifier that learns has to lose, `[records]`: −log p(a) of every drafted token a, accepted or not, and
    `beta_kl` times KL(p ‖ p₀), p₀ the verifier before it learnt. Logits `[records, vocab]`."""
    log_p, log_base = F.log_softmax(verifier.float(), dim=-1), F.log_softmax(frozen.float(), dim=-1)
    ce = -log_p.gather(-1, draft_token.unsqueeze(-1)).squeeze(-1)
    return ce + beta_kl * (log_p.exp() * (log_p - log_base)).sum(-1)


def _tempered(seen: Seen) -> tuple[Tensor, Tensor]:
    """log p and log π at τ."""
    log_p = F.log_softmax(seen.verifier.float() / seen.tau, dim=-1)
    return log_p, F.log_softmax(seen.draft.float() / seen.tau, dim=-1)
