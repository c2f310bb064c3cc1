"""How a draft learns while it decodes, checked."""

from dataclasses import asdict, dataclass
from typing import Any

from selfdraft.online.schedule import Mixture
from selfdraft.settings.check import check
from selfdraft.settings.kinds import kind_of

SHARES = {
    "head": ("norm", "translator", "low_rank_head", "head"),
    "split": ("lora",),
    "shared": ("lora",),
}  # and their capacities
SLOW: dict[str, Any] = {
    "slow_every": {"type": "integer", "minimum": 0},
    "beta_kl": {"type": "number", "minimum": 0},
    "slow_learning_rate": {"type": "number", "minimum": 0},
}
# A study has no share shared, whose output is no longer the target's.
RULE = {"type": "object", "properties": kind_of("dvi").settings | SLOW | {"share": {"enum": list(SHARES)}}}


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

    def __post_init__(self) -> None:
        check({key: value for key, value in asdict(self).items() if value is not None}, RULE)

    @property
    def mixture(self) -> Mixture:
        """How the weights of the composite objective move."""
        return Mixture(self.warmup)

    @property
    def draft_temperature(self) -> float:
        """The temperature at which drafts are drawn while learning."""
        return self.temperature or 1.0

    def as_json(self) -> dict[str, Any]:
        """By name; what only a shared verifier asks for is left out of other shares."""
        idle = SLOW if self.share != "shared" else {}
        return {name: value for name, value in asdict(self).items() if name not in idle}
