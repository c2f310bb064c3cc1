"""`generate --mode comprehensive`: every way to decode with a folder of heads, on the same prompts, in one table."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from selfdraft.commands.modes import calibration_in, joint_limit, read_heads
from selfdraft.errors import StudyError

if TYPE_CHECKING:
    from rich.table import Table

    from selfdraft.evaluation.ways import Decoding, Sums, Way
    from selfdraft.statistics.bootstrap import Bootstrap, Estimate


def all_ways(args: argparse.Namespace, decoding: "Decoding") -> "tuple[list[Way], list[str]]":
    """Every way to decode with a folder of heads, and what is said of those that its calibration does not allow.

    Packs the target and the heads, which all ways share.
    """
    from selfdraft.calibration.record import LEVEL, MEASURE, RULE, thresholds_of
    from selfdraft.drafters.adaptive_early_exit import AdaptiveDrafter
    from selfdraft.drafters.dynamic import DynamicDrafter
    from selfdraft.drafters.exit import ExitDrafter
    from selfdraft.evaluation.unverified import Leaving
    from selfdraft.evaluation.ways import Way

    target, missing = decoding.target, []
    exits, folder = read_heads(args, target, "comprehensive")
    target.pack()
    exits = [made.pack() for made in exits]
    ways = [Way("full", "", decoding.full())]
    for made in (made for made in exits if args.head in (None, made.layer)):
        leaving = Leaving(target, [(made, None)])
        ways.append(Way("fixed_exit", f"layer {made.layer}", decoding.lossy(leaving)))
    for made in (made for made in exits if args.head in (None, made.layer)):
        decode = decoding.verified(ExitDrafter(target, made), args.gamma, made.layer)
        ways.append(Way("early_exit", f"layer {made.layer}", decode))
    level, rule = LEVEL if args.accuracy_level is None else args.accuracy_level, args.rule or RULE
    try:
        limits = thresholds_of(calibration_in(folder, target), level, MEASURE, rule, "adaptive_early_exit")
        asked = [(made, limit) for made in exits if (limit := limits.get(made.layer)) is not None]
        adaptive = decoding.verified(AdaptiveDrafter(target, asked), args.gamma)
        ways.append(Way("adaptive_early_exit", f"at {level:g}", adaptive))
    except StudyError as error:
        missing.append(str(error))
    try:
        limit, told = joint_limit(args, folder, target)
        ways.append(Way("lossy_adaptive", told, decoding.lossy(Leaving(target, [(made, limit) for made in exits]))))
    except StudyError as error:
        missing.append(str(error))
    return [*ways, Way("dynamic", "", decoding.verified(DynamicDrafter(target, exits), args.gamma))], missing


def table_of(ways: "Sequence[Way]", found: "Sequence[Sequence[Sums]]", greedy: bool, bootstrap: "Bootstrap") -> "Table":
    """A row a way; the first one is the target alone, which speeds are compared with. `greedy`: so are answers.

    Intervals over prompts, in brackets, where there are prompts enough for one.
    """
    import pandas as pd
    from rich.table import Table

    from selfdraft.statistics.ways import estimates

    def told(made: "Estimate", digits: int, interval: bool = False, scale: float = 1.0, unit: str = "") -> str:
        if made.value is None:
            return "–"
        text = f"{made.value * scale:.{digits}f}{unit}"
        if not interval or made.low is None or made.high is None:
            return text
        return f"{text} [{made.low * scale:.{digits}f}, {made.high * scale:.{digits}f}]"

    base = pd.DataFrame(found[0])
    titles = ["mode", "", "tokens/s", "speedup", "target calls/token", "accept rate", "mean exit layer"]
    table = Table(*titles, "identical", "not target's", "perplexity")
    for way, sums in zip(ways, found, strict=True):
        made = estimates(pd.DataFrame(sums), base, bootstrap, f"{way.mode}/{way.setting}")
        table.add_row(
            *(way.mode, way.setting, told(made["tokens_per_second"], 1), told(made["speedup"], 2, True)),
            *(told(made["target_calls_per_token"], 2), told(made["accept_rate"], 2, True)),
            told(made["mean_layer"], 1),
            f"{sum(one.identical for one in sums)}/{len(sums)}" if greedy else "–",
            *(told(made["disagreement"], 1, True, 100.0, "%"), told(made["perplexity"], 2)),
        )
    return table
