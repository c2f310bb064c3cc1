"""How a draft learns while it decodes, checked."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from selfdraft.errors import StudyError
from selfdraft.online.schedule import OBJECTIVES, Mixture

SHARES = {
    "head": ("norm", "translator", "low_rank_head", "head"),
    "split": ("lora",),
    "shared": ("lora",),
}  # and their capacities
SLOW = ("slow_every", "beta_kl", "slow_learning_rate")
DRAFTS = ("argmax", "sample")
COUNTS = ("gamma", "max_new_tokens", "batch", "fast_batch", "buffer")
MAY_BE_0 = ("slow_every", "warmup", "evaluate_every", "prompts", "seed")


@dataclass(frozen=True)
class OnlineSettings:
    """What decides a run beside its models and its text.

    Attributes:
        objective: see `selfdraft.online.schedule`.
        share: what of the path to the draft's logits learns. `head`: what lies above the exit's depth; `split`: LoRA
            on the draft's own copy of the layers up to it, which have a KV cache of their own. In both the verifier
            runs the target's own layers, and the output is the base model's. `shared`: LoRA on all of the target's
            layers, which draft and verify: the output is the adapted model's.
        draft: how tokens are proposed while learning: the draft's best one, or one drawn from it.
        batch: prompts that are served at once, of the stream and of held-out text. One batch is served to its end.
        fast_batch: an update after so many accepted tokens, or after 8 times as many decided ones.
        buffer: records kept; replay: older records of an update, for each fresh one.
        slow_every: of share shared: updates from one to the next that steps the layers behind the exit too; 0: none.
        beta_kl: what their divergence from the base model counts for; slow_learning_rate: theirs.
        baseline_momentum: of the exponential moving average of the reward, in [0, 1).
        tau: temperature of the two KL losses.
        warmup: updates until the composite objective moves, and for which it moves, see `Mixture`.
        learning_rate: of all but the layers behind the exit; None is the capacity's own rates, of shared 2e-4.
        temperature: of the verification, 0 is greedy; a draft that is drawn is so at it, or at 1 where it is 0.
        evaluate_every: prompts between evaluations on held-out text; 0: only before and after.
        prompts: length of the stream; 0 is all.
    """

    objective: str = "composite"
    share: str = "head"
    draft: str = "argmax"
    gamma: int = 4
    max_new_tokens: int = 64
    temperature: float = 0.0
    batch: int = 1
    fast_batch: int = 32
    buffer: int = 2048
    replay: float = 1.0
    slow_every: int = 4
    beta_kl: float = 1.0
    slow_learning_rate: float = 5e-6
    baseline_momentum: float = 0.99
    tau: float = 1.0
    warmup: int = 100
    learning_rate: float | None = None
    weight_decay: float = 0.0
    gradient_clip: float = 1.0
    evaluate_every: int = 0
    prompts: int = 0
    seed: int = 0
    mixture: Mixture = field(init=False)

    def __post_init__(self) -> None:
        for key, known in (("objective", OBJECTIVES), ("share", SHARES), ("draft", DRAFTS)):
            if getattr(self, key) not in known:
                raise StudyError(f"{key}: {getattr(self, key)!r} is unknown; one of {', '.join(known)} is right")
        for key in (*COUNTS, *MAY_BE_0):
            value, least = getattr(self, key), 0 if key in MAY_BE_0 else 1
            if type(value) is not int or value < least:
                raise StudyError(f"{key}: {value!r} is not a whole number ≥ {least}")
        for key in ("temperature", "replay", "weight_decay", "beta_kl", "slow_learning_rate"):
            self._check(key, 0 <= getattr(self, key) < math.inf, "a number ≥ 0")
        for key in ("tau", "gradient_clip"):
            self._check(key, 0 < getattr(self, key) < math.inf, "a number > 0")
        if self.learning_rate is not None:
            self._check("learning_rate", 0 <= self.learning_rate < math.inf, "a number ≥ 0")
        self._check("baseline_momentum", 0 <= self.baseline_momentum < 1, "a number in [0, 1)")
        object.__setattr__(self, "mixture", Mixture(self.warmup))

    def _check(self, key: str, right: bool, what: str) -> None:
        if not right:
            raise StudyError(f"{key}: {getattr(self, key)} is not {what}")

    @property
    def draft_temperature(self) -> float:
        """The temperature at which drafts are drawn while learning."""
        return self.temperature or 1.0

    def as_json(self) -> dict[str, Any]:
        """By name; what only a shared verifier asks for is left out of other shares."""
        idle = ("mixture", *(SLOW if self.share != "shared" else ()))
        return {name: value for name, value in asdict(self).items() if name not in idle}
