"""How many tokens to draft next, from how many of the last ones were accepted."""

from dataclasses import dataclass


@dataclass
class Pace:
    """The draft length that the cost model expects to be fastest, at most the asked gamma and at least 1.

    With acceptance rate α a cycle of g drafted tokens yields (1 - α^(g+1)) / (1 - α) tokens (Leviathan et
    al. 2023, equation 1) at the cost of g draft steps and one verification. α is the share of accepted
    among decided tokens, older cycles counting less by `memory` each; it starts at a half, of the weight of
    two tokens. The length follows from tokens decided before, so that the output's distribution stays the
    target's.

    Attributes:
        draft_cost: one draft step in vanilla steps, > 0 (the ratio of the bytes that both read).
        memory: weight of a cycle when the next one is over, in [0, 1).
    """

    draft_cost: float
    memory: float = 0.9
    accepted: float = 1.0
    rejected: float = 1.0

    def length(self, gamma: int, decided: list[tuple[int, int]]) -> int:
        """Tokens to draft in the next cycle, 1 … gamma, after a cycle with these (drafted, accepted), one a row.

        Without any, a generation begins, and what was learned from the one before is forgotten.
        """
        if not decided:
            self.accepted = self.rejected = 1.0
        else:
            self.accepted = self.memory * self.accepted + sum(accepted for _, accepted in decided)
            self.rejected = self.memory * self.rejected + sum(accepted < drafted for drafted, accepted in decided)
        rate = self.accepted / max(self.accepted + self.rejected, 1e-9)
        best, best_rate, tokens = 1, 0.0, 1.0
        for g in range(1, gamma + 1):
            tokens += rate**g
            speed = tokens / (g * self.draft_cost + 1.0)
            if speed > best_rate:
                best, best_rate = g, speed
        return best
