"""Work of the stages that decode: how many cycles a generation takes, and what each of them computes."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from selfdraft.capacities import RANKS, capacity_named
from selfdraft.plan.dimensions import Dimensions
from selfdraft.plan.learning import through_layers
from selfdraft.plan.work import BYTES, NOTHING, Work, products
from selfdraft.statistics.cost_model import expected_accepted
from selfdraft.study.sweeps import Config, Other, Point

# What nobody knows before: how many drafts are accepted. All of them and none are the limits; between them
# the chance that one drafted token is accepted, by the depth of the exit as a share of the target's layers,
# and by the kind of another drafter: as in docs/reference/results.csv (greedy and T 0.7), but `model`, a guess.
SCENARIOS = ("all", "expected", "none")
BY_DEPTH = ((0.0, 0.1), (7 / 30, 0.18), (15 / 30, 0.25), (22 / 30, 0.42), (1.0, 1.0))
BY_KIND = {"lookup": 0.24}
OTHER_KINDS = 0.5
SLOWEST = 0.75  # a batch ends with its slowest row: so far towards none accepted, times the chance of rejection
# How often a row of the vocabulary passes by for one token: an argmax and a comparison, or a warped distribution.
GREEDY_PASSES, SAMPLED_PASSES = 6, 40


@dataclass(frozen=True)
class Prompts:
    """Prompts that are decoded together: how many, and their mean length in tokens."""

    rows: int
    length: float


@dataclass(frozen=True)
class Drafting:
    """What one draft step runs: layers shared with the target, then weights of its own, and its chance of acceptance.

    `body` and `head` count weights, `layers` those of the body's layers that keep KV. `reads`: False for a
    drafter that computes nothing.
    """

    shared: int
    body: float
    head: float
    layers: int
    chance: float
    reads: bool = True


def drafting_of(point: Point, config: Config, models: dict[str, Dimensions]) -> Drafting:
    """What a point's drafter runs for one token."""
    target = models[config["target"]["name"]]
    vocabulary = config["drafting"].get(point.drafting, {}).get("vocabulary", target.vocab)
    if isinstance(point.draft, Other):
        kind = config["drafters"][point.draft.name]["kind"]
        chance = BY_KIND.get(kind, OTHER_KINDS)
        model = models.get(point.draft.name)
        if model is None:
            return Drafting(0, 0, 0, 0, chance, reads=False)
        return Drafting(0, model.layers * model.layer, vocabulary * model.hidden, model.layers, chance)
    layer, capacity = point.draft.layer, point.draft.capacity
    kind, ranks = capacity_named(capacity), RANKS | config["training"]["ranks"]
    own = kind.own(target, layer, ranks.get(capacity, 0), vocabulary)
    head = vocabulary * target.hidden + own.head
    return Drafting(kind.depth(layer), own.body, head, own.layers, chance_at((layer + 1) / target.layers))


def chance_at(share: float) -> float:
    """Between the points of BY_DEPTH a straight line."""
    for (left, low), (right, high) in pairwise(BY_DEPTH):
        if share <= right:
            return low + (high - low) * (share - left) / (right - left)
    return BY_DEPTH[-1][1]


def cycles(new_tokens: int, gamma: int, rows: int, chance: float, scenario: str) -> float:
    """Cycles until the last row of a batch has its new tokens; no row ends early."""
    if scenario == "none":
        return float(new_tokens)
    if scenario == "all":
        return max(1.0, new_tokens / (gamma + 1))
    mean = max(1.0, new_tokens / (1 + expected_accepted(chance, gamma)))
    return mean + (SLOWEST * (1 - chance) * (new_tokens - mean) if rows > 1 else 0.0)


def prefill(model: Dimensions, dtype: str, prompts: Prompts) -> Work:
    """All prompts of a batch but their last tokens through all layers at once."""
    flops = through_layers(model, model.layers, prompts.rows * (prompts.length - 1), prompts.length / 2)
    return products(dtype, flops, model.layers * model.layer * BYTES[dtype], 1)


def _step(
    model: Dimensions, dtype: str, weights: float, kv_layers: float, rows: int, tokens: int, context: float
) -> Work:
    """One step of `tokens` tokens a row through matrices of `weights` weights, some layers of which attend."""
    size = BYTES[dtype]
    attention = 4 * context * model.heads * model.head_dim * kv_layers
    memory = size * (weights + rows * context * model.kv * kv_layers)
    return products(dtype, rows * tokens * (2 * weights + attention), memory, 1)


def _choice(model: Dimensions, rows: int, tokens: float, greedy: bool) -> Work:
    """Drawing or checking `tokens` tokens a row: passes over the vocabulary in float32."""
    return Work(memory=4.0 * model.vocab * rows * tokens * (GREEDY_PASSES if greedy else SAMPLED_PASSES))


def vanilla(model: Dimensions, dtype: str, prompts: Prompts, new_tokens: int, greedy: bool) -> Work:
    """The target alone, one step a token."""
    context = prompts.length + new_tokens / 2
    weights = model.layers * model.layer + model.head
    step = _step(model, dtype, weights, model.layers, prompts.rows, 1, context)
    return prefill(model, dtype, prompts) + (step + _choice(model, prompts.rows, 1, greedy)) * new_tokens


def cycle(model: Dimensions, dtype: str, draft: Drafting, gamma: int, rows: int, context: float, greedy: bool) -> Work:
    """Draft `gamma` tokens, verify them and one more; what a draft computed of shared layers is not computed again."""
    work = NOTHING
    if draft.reads:
        weights = draft.shared * model.layer + draft.body + draft.head
        work += _step(model, dtype, weights, draft.shared + draft.layers, rows, 1, context) * gamma
        work += _choice(model, rows, gamma, greedy)
    shared = draft.shared if draft.reads else 0
    deep = (model.layers - shared) * model.layer + model.head
    work += _step(model, dtype, deep, model.layers - shared, rows, gamma + 1, context)
    if shared:
        work += _step(model, dtype, shared * model.layer, shared, rows, 1, context)
    return work + _choice(model, rows, gamma + 1, greedy)


def start(model: Dimensions, dtype: str, draft: Drafting, prompts: Prompts) -> Work:
    """What a drafter with layers of its own reads of the prompts."""
    return products(dtype, 2 * prompts.rows * (prompts.length - 1) * draft.body) if draft.layers else NOTHING


def speculative(
    model: Dimensions,
    dtype: str,
    draft: Drafting,
    gamma: int,
    prompts: Prompts,
    new_tokens: int,
    greedy: bool,
    scenario: str,
) -> Work:
    """Read the prompts, and go through as many cycles as the tokens take."""
    rows, context = prompts.rows, prompts.length + new_tokens / 2
    first = prefill(model, dtype, prompts) + start(model, dtype, draft, prompts)
    one = cycle(model, dtype, draft, gamma, rows, context, greedy)
    return first + one * cycles(new_tokens, gamma, rows, draft.chance, scenario)


def groups(count: int, batch: int) -> list[int]:
    """The rows of each batch of `count` prompts."""
    return [min(batch, count - begin) for begin in range(0, count, batch)]


def transformers(model: Dimensions, dtype: str, length: float, new_tokens: int) -> Work:
    """transformers' `generate`, one prompt: the same products, and the time it takes to start its kernels."""
    alone = vanilla(model, dtype, Prompts(1, length), new_tokens, greedy=True)
    return alone + Work(eager_layers=float(new_tokens * model.layers))


def mean_length(limits: Sequence[int]) -> float:
    """Of prompts between the two limits: in the reference data they lie at 0.3 to 0.5 of the way."""
    shortest, longest = limits
    return shortest + 0.4 * (longest - shortest)


def is_greedy(config: Config, policy: str) -> bool:
    settings: dict[str, Any] = config["policies"][policy]
    return settings["temperature"] == 0
