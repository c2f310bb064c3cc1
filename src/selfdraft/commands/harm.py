"""What `selfdraft calibrate --risk no_harm` adds: conversations that verified drafts decode slower than the target."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfdraft.calibration.exits import Said
    from selfdraft.calibration.harm import Costs
    from selfdraft.models.exit import Exit
    from selfdraft.models.llama import Llama
    from selfdraft.sequences import Sequences

COSTS = ("bytes", "clock")
CONTEXT, ROUNDS = 128, 5  # tokens in the cache while steps are timed, and how often


def harm(
    target: "Llama",
    exits: "Sequence[Exit]",
    heads: "Sequence[Said]",
    learn: Sequence[int],
    test: Sequence[int],
    sequences: "Sequences",
    args: argparse.Namespace,
) -> dict[str, Any]:
    """The part `no_harm` of calibration.json.

    `learn` are the numbers of the conversations to calibrate on, in an order drawn before: the first of them choose the
    order of the thresholds, the others test them. `test` are those to look at afterwards.
    """
    from selfdraft.calibration.harm import ORDER_SHARE, RISK, no_harm

    costs = (
        by_clock(target, exits, args.gamma, sequences) if args.costs == "clock" else by_bytes(target, exits, args.gamma)
    )
    first = max(1, round(ORDER_SHARE * len(learn)))
    parts = [[said.of(chosen) for said in heads] for chosen in (learn[:first], learn[first:], test)]
    layers = [made.layer for made in exits]
    made = no_harm(parts[0], parts[1], parts[2], costs, layers, args.epsilon)
    return {
        "risk": RISK,
        "gamma": args.gamma,
        "policy": "greedy",
        "costs": args.costs,
        "vanilla_steps": {"reach": costs.reach, "ask": costs.ask, "verify": costs.verify},
        "conversations": {"ordered": first, "tested": len(learn) - first, "looked_at_afterwards": len(test)},
        "thresholds": made,
    }


def by_bytes(target: "Llama", exits: "Sequence[Exit]", gamma: int) -> "Costs":
    """Shares of the bytes of weights that a vanilla step reads: alike on every machine."""
    from selfdraft.calibration.harm import Costs

    step, layer = target.step_bytes(), target.layer_bytes()
    ask = tuple(made.step_bytes() / step for made in exits)
    reach = tuple(made.depth * layer / step + own for made, own in zip(exits, ask, strict=True))
    return Costs(reach, ask, (1.0,) * (gamma + 1))


def by_clock(target: "Llama", exits: "Sequence[Exit]", gamma: int, sequences: "Sequences") -> "Costs":
    """Medians of steps that are timed here and now, in vanilla steps; nothing else should run meanwhile.

    Raises StudyError if the longest draft does not fit into the target's context.
    """
    import numpy as np
    import pandas as pd

    from selfdraft.calibration.harm import Costs
    from selfdraft.decoding.policy import Policy
    from selfdraft.drafters.adaptive_early_exit import AdaptiveDrafter
    from selfdraft.drafters.exit import ExitDrafter
    from selfdraft.errors import StudyError
    from selfdraft.evaluation.steps import Point, room_of, step_rows

    context = min(CONTEXT, target.config.max_positions - room_of(gamma))
    if context < 2:
        raise StudyError(f"--gamma: {gamma} does not fit into the target's context of {target.config.max_positions}")
    points: list[Point] = [
        (ExitDrafter(target, made), gamma, {"drafter": "early_exit", "layer": made.layer}) for made in exits
    ]
    points.append((AdaptiveDrafter(target, [(made, float("inf")) for made in exits]), gamma, {"drafter": "all"}))
    text = sequences.tokens[: 2 * context].tolist()
    rows = pd.DataFrame(step_rows(target, points, text, Policy("greedy", 0.0), [context], ROUNDS, 0))
    rows["each"] = rows["seconds"] / np.where(rows["step"] == "draft", rows["tokens"], 1)
    vanilla = float(rows.loc[rows["step"] == "vanilla", "each"].median())

    def of(step: str, **same: Any) -> float:
        chosen = rows[rows["step"] == step]
        for name, value in same.items():
            chosen = chosen[chosen[name] == value]
        return float(chosen["each"].median()) / vanilla

    alone = rows["drafter"] == "early_exit"
    widths = sorted(rows.loc[alone & (rows["step"] == "verify"), "tokens"].unique())
    verify = np.interp(np.arange(1, gamma + 2), widths, [of("verify", tokens=width) for width in widths])
    return Costs(
        tuple(of("draft", layer=made.layer, drafter="early_exit") for made in exits),
        tuple(of("ask", layer=made.layer) for made in exits),
        tuple(verify.tolist()),
    )
