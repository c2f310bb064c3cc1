"""`selfdraft calibrate`: thresholds at which auxiliary heads are as often right as asked for, and what is promised."""

import argparse

from selfdraft.commands.evaluate_heads import add_heads


def arguments(parser: argparse.ArgumentParser) -> None:
    add_heads(parser)
    parser.add_argument("--epsilon", type=float, default=0.05, help="chance that a threshold breaks its promise")
    parser.add_argument(
        "--test-share", type=float, default=0.5, help="share of the conversations to look at the promises on afterwards"
    )
    parser.add_argument(
        "--risk",
        default="disagreement",
        help="disagreement: exits that the target says otherwise; no_harm: also conversations that verified drafts "
        "decode slower than the target alone (disagreement)",
    )
    parser.add_argument("--gamma", type=int, default=4, help="tokens that are drafted at most, for no_harm (4)")
    parser.add_argument(
        "--costs",
        default="bytes",
        help="for no_harm, what a cycle costs: bytes of weights that its parts read, or clock, timed here (bytes)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of which conversations these are")
    parser.add_argument(
        "--out", "--output-path", help="JSON file to write (default: calibration.json beside the heads)"
    )


def run(args: argparse.Namespace) -> None:
    from pathlib import Path

    import numpy as np

    from selfdraft.calibration.exits import LEVELS, check_enough, level_text, thresholds
    from selfdraft.calibration.joint import RISK, joint_thresholds
    from selfdraft.calibration.record import FILE, RISKS
    from selfdraft.commands.harm import COSTS, harm
    from selfdraft.errors import StudyError
    from selfdraft.evaluation.heads import heads_on_text, said_of
    from selfdraft.evaluation.number_format import number_format
    from selfdraft.files import sha256_of, write_json
    from selfdraft.models.exits import FILE as WEIGHTS
    from selfdraft.models.runtime import start
    from selfdraft.sequences import read_name, read_sequences
    from selfdraft.training.capture import text_digest

    if not 0 <= args.test_share < 1:
        raise StudyError(f"--test-share: {args.test_share:g} is not in [0, 1)")
    for option, known in (("risk", RISKS), ("costs", COSTS)):
        if getattr(args, option) not in known:
            raise StudyError(f"--{option}: {getattr(args, option)!r} is unknown; one of {', '.join(known)} is right")
    if args.gamma < 1:
        raise StudyError(f"--gamma: {args.gamma} is not ≥ 1")
    target = start(args.target, args.dtype, args.device, args.threads)
    sequences = read_sequences(args.data, "held_out")
    found, config, exits = heads_on_text(args.drafter, target, sequences, args.num_samples)
    names = list(dict.fromkeys(one.origin for one in found))
    order = np.random.default_rng(args.seed).permutation(len(names)).tolist()
    apart = int(args.test_share * len(names))
    check_enough(len(names) - apart, args.epsilon)
    heads = {layer: said_of(found, layer)[0] for layer in sorted(config["heads"])}
    learn = {layer: said.of(order[apart:]) for layer, said in heads.items()}
    test = {layer: said.of(order[:apart]) for layer, said in heads.items()}
    made = {str(layer): thresholds(learn[layer], test[layer], args.epsilon) for layer in heads}
    joint = joint_thresholds(list(learn.values()), list(test.values()), args.epsilon)
    record = {
        "drafter": config["drafter"],
        "heads": sha256_of(Path(args.drafter) / WEIGHTS),
        "target": target.fingerprint,
        "dtype": number_format(target),
        "dataset": read_name(args.data),
        "text": text_digest(sequences),
        "risk": "share of a conversation's exits whose best token is not the target's, mean over conversations",
        "epsilon": args.epsilon,
        "seed": args.seed,
        "conversations": {"calibrated": len(names) - apart, "looked_at_afterwards": apart},
        "thresholds": made,
        "joint_risk": RISK,
        "joint": joint,
    }
    if args.risk == "no_harm":
        record["no_harm"] = harm(target, exits, list(heads.values()), order[apart:], order[:apart], sequences, args)
    out = Path(args.out) if args.out else Path(args.drafter) / FILE
    write_json(out, record)
    print(f"{out}: {len(names) - apart} conversations to calibrate on, {apart} to look at afterwards")
    told = {f"layer {layer}": of_head for layer, of_head in made.items()} | {"all heads, nothing verified": joint}
    for who, of_head in told.items():
        levels = of_head["entropy"]["learn_then_test"]
        reached = [level for level in map(level_text, LEVELS) if levels[level]["threshold"] is not None]
        print(f"  {who}: {f'entropy promised up to accuracy {max(reached)}' if reached else 'no level is reached'}")
    if "no_harm" in record:
        levels = record["no_harm"]["thresholds"]["entropy"]["learn_then_test"]
        reached = [level for level in map(level_text, LEVELS) if levels[level]["threshold"] is not None]
        promised = f"entropy promised to {max(reached)} of conversations" if reached else "no level is reached"
        print(f"  no harm at gamma {args.gamma}, costs by {args.costs}: {promised}")
