"""`selfdraft calibrate`: thresholds at which auxiliary heads are as often right as asked for, and what is promised."""

import argparse

from selfdraft.commands.evaluate_heads import add_heads


def arguments(parser: argparse.ArgumentParser) -> None:
    add_heads(parser)
    parser.add_argument("--epsilon", type=float, default=0.05, help="chance that a threshold breaks its promise")
    parser.add_argument(
        "--test-share", type=float, default=0.5, help="share of the conversations to look at the promises on afterwards"
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
    from selfdraft.calibration.record import FILE
    from selfdraft.errors import StudyError
    from selfdraft.evaluation.heads import heads_on_text, said_of
    from selfdraft.files import sha256_of, write_json
    from selfdraft.models.exits import FILE as WEIGHTS
    from selfdraft.models.runtime import start
    from selfdraft.sequences import read_name, read_sequences
    from selfdraft.training.capture import text_digest

    if not 0 <= args.test_share < 1:
        raise StudyError(f"--test-share: {args.test_share:g} is not in [0, 1)")
    target = start(args.target, args.dtype, args.device, args.threads)
    sequences = read_sequences(args.data, "held_out")
    found, config = heads_on_text(args.drafter, target, sequences, args.num_samples)
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
        "dtype": str(target.dtype).removeprefix("torch."),
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
    out = Path(args.out) if args.out else Path(args.drafter) / FILE
    write_json(out, record)
    print(f"{out}: {len(names) - apart} conversations to calibrate on, {apart} to look at afterwards")
    told = {f"layer {layer}": of_head for layer, of_head in made.items()} | {"all heads, nothing verified": joint}
    for who, of_head in told.items():
        levels = of_head["entropy"]["learn_then_test"]
        reached = [level for level in map(level_text, LEVELS) if levels[level]["threshold"] is not None]
        print(f"  {who}: {f'entropy promised up to accuracy {max(reached)}' if reached else 'no level is reached'}")
