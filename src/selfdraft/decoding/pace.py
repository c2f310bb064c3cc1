"""How many tokens to draft next, none included, from how many of the last ones were accepted."""

from dataclasses import dataclass


@dataclass
class Pace:
    """The draft length that the cost model expects to be fastest, 0 … gamma: a draft that does not pay is not made.

    With acceptance rate α a cycle of g drafted tokens yields (1 - α^(g+1)) / (1 - α) tokens (Leviathan et
    al. 2023, equation 1) at the cost of g draft steps and one verification, which takes a little longer with each
    token that it looks at; g = 0 is a vanilla step. α is the
    share of accepted among decided tokens, older cycles counting less by `memory` each. It starts high, so
    that drafting is tried, and after `patience` cycles without a draft one token is drafted to look again.
    The length follows from tokens decided before, so that the output's distribution stays the target's.

    Attributes:
        draft_cost: one draft step in vanilla steps, > 0 (the ratio of the bytes that both read).
        memory: weight of a cycle when the next one is over, in [0, 1].
        patience: cycles without a draft before the next trial.
        verification_cost: how much longer a verification takes with one more token, in vanilla steps, ≥ 0.
    """

    draft_cost: float
    memory: float = 0.9
    patience: int = 8
    accepted: float = 4.0
    rejected: float = 1.0
    idle: int = 0
    verification_cost: float = 0.0

    def length(self, gamma: int, decided: list[tuple[int, int]]) -> int:
        """Tokens to draft in the next cycle, 0 … gamma, after a cycle with these (drafted, accepted), one a row.

        Without any, a generation begins, and what was learned from the one before is forgotten.
        """
        if not decided:
            self.accepted, self.rejected, self.idle = 4.0, 1.0, 0
        elif any(drafted for drafted, _ in decided):
            self.learn(
                sum(accepted for _, accepted in decided), sum(accepted < drafted for drafted, accepted in decided)
            )
        best, _ = self.best(gamma)
        self.idle = 0 if best else self.idle + 1
        if self.idle > self.patience:
            self.idle, best = 0, min(1, gamma)
        return best

    def learn(self, accepted: float, rejected: float) -> None:
        """Take in decided tokens; what was known before counts less."""
        self.accepted = self.memory * self.accepted + accepted
        self.rejected = self.memory * self.rejected + rejected

    def least(self, gamma: int) -> float:
        """How likely all tokens of a draft so far must be accepted for one more of them to pay.

        One more costs `token_cost` and yields α tokens if all before it are accepted; the same time elsewhere yields
        the tokens of the fastest length (the threshold policy of SpecDec++, Huang et al. 2024, arXiv 2405.19715).
        """
        _, speed = self.best(gamma)
        return speed * self.token_cost / max(self.rate, 1e-9)

    @property
    def token_cost(self) -> float:
        """What one more drafted token costs, in vanilla steps: to draft and to verify."""
        return self.draft_cost + self.verification_cost

    @property
    def rate(self) -> float:
        """α: the share of accepted among decided tokens, older ones counting less."""
        return self.accepted / max(self.accepted + self.rejected, 1e-9)

    def best(self, gamma: int) -> tuple[int, float]:
        """The draft length 0 … gamma that is expected to be fastest, and its tokens per vanilla step."""
        rate = self.rate
        best, best_speed, tokens = 0, 1.0, 1.0
        for g in range(1, gamma + 1):
            tokens += rate**g
            speed = tokens / (g * self.token_cost + 1.0)
            if speed > best_speed:
                best, best_speed = g, speed
        return best, best_speed
