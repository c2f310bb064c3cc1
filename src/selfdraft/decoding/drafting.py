"""How a drafter drafts: when it stops early, whether it branches, and from how many tokens it draws."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from selfdraft.decoding.stopping import Stopping
from selfdraft.errors import StudyError
from selfdraft.settings.check import check
from selfdraft.settings.rules import section

UNSET = ("max_entropy", "vocabulary")  # None if they are not set


@dataclass(frozen=True)
class Tree:
    """Drafts that branch: of `gamma` levels, each grown from the best tokens of the one above it.

    Attributes:
        nodes: drafted tokens of a tree, the best that were found.
        children: continuations looked at behind a token, and tokens of a level that are continued.
    """

    nodes: int
    children: int

    def __post_init__(self) -> None:
        check(asdict(self), section("drafting")["properties"]["tree"], "tree")

    def slots(self, gamma: int) -> int:
        """Slots that a tree of `gamma` levels takes at most: its nodes, in the drafter's cache all continued tokens."""
        return max(gamma, self.nodes, (gamma - 1) * self.children)

    def check_room(self, context: int) -> None:
        """Raise StudyError if no context of the target holds the tree and the token that it hangs on."""
        if self.nodes + 1 > context:
            raise StudyError(
                f"tree.nodes: {self.nodes} and the token that they follow do not fit into the target's context of "
                f"{context}"
            )


@dataclass(frozen=True)
class Drafting:
    """One entry of the config's `drafting`; the default drafts gamma tokens from the whole vocabulary.

    Attributes:
        min_confidence, max_entropy: see `Stopping`; 0 and None are off.
        adapt: choose each cycle's length from what was accepted before, see `Pace`.
        verification_cost: what `adapt` reckons that one more token costs to verify, in vanilla steps.
        vocabulary: draft only the most frequent tokens of the training split, this many; None is all.
        tree: draft trees in place of chains.
        never_ends: of no entry, see `of_full_length`: what `adapt` asks of a drafter is computed and ends nothing.
    """

    name: str = "fixed"
    min_confidence: float = 0.0
    max_entropy: float | None = None
    adapt: bool = False
    vocabulary: int | None = None
    tree: Tree | None = None
    never_ends: bool = False
    verification_cost: float = 0.0

    def __post_init__(self) -> None:
        rule = section("drafting")
        set_ones = {key: getattr(self, key) for key in rule["properties"] if key not in ("tree", *UNSET)}
        set_ones |= {key: value for key in UNSET if (value := getattr(self, key)) is not None}
        check(set_ones, rule, "drafting", self.name)
        if self.verification_cost and not self.adapt:
            raise StudyError(f"drafting.{self.name}.verification_cost: is what adapt reckons with; set adapt too")
        if self.tree is not None and (self.stopping() or self.adapt):
            where = f"drafting.{self.name}.tree"
            raise StudyError(f"{where}: goes with vocabulary alone; min_confidence, max_entropy and adapt end chains")

    @classmethod
    def from_settings(cls, name: str, settings: Mapping[str, Any]) -> "Drafting":
        """From the config's `drafting.NAME`. Raises StudyError for an unknown key or a value out of range."""
        check(settings, section("drafting"), "drafting", name)
        tree = settings.get("tree")
        return cls(name, **{**settings, "tree": Tree(**tree) if tree is not None else None})

    def slots(self, gamma: int) -> int:
        """Slots of a KV cache that a draft of `gamma` may take."""
        return gamma if self.tree is None else self.tree.slots(gamma)

    def of_full_length(self) -> "Drafting":
        """The same steps, at the same cost, of drafts that never end before gamma tokens.

        An adaptive draft's steps are those of a fixed one, but where a drafter asks how sure a token is.
        """
        least = 1e-30 if self.min_confidence > 0 else 0.0
        most = None if self.max_entropy is None else 1e30
        fixed = replace(self, adapt=False, verification_cost=0.0, never_ends=self.adapt)
        return replace(fixed, min_confidence=least, max_entropy=most)

    def must_be_fixed(self, drafter: str, kind: str) -> None:
        """Raise StudyError unless this is a plain draft: for a kind that computes no logits."""
        if self.tree:
            self.must_be_chain(f"drafters.{drafter}", kind)
        if self.stopping() or self.adapt or self.vocabulary:
            raise StudyError(
                f"drafters.{drafter}: {kind} has no confidence, no step to save and no head to trim: "
                f"drafting {self.name} is not for it; use fixed"
            )

    def must_be_chain(self, where: str, kind: str) -> None:
        """Raise StudyError if this way drafts trees: for a kind that cannot."""
        if self.tree:
            raise StudyError(f"{where}: {kind} drafts no trees: drafting {self.name} is not for it")

    def stopping(self) -> Stopping | None:
        """The thresholds as the loop wants them; None if both are off."""
        highest = float("inf") if self.max_entropy is None else self.max_entropy
        made = Stopping(self.min_confidence, highest)
        return made if made.active else None
