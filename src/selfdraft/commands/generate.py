"""`selfdraft generate`: stream an answer, with the accepted draft tokens coloured."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selfdraft.sources.chat import ChatTokenizer


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--prompt", required=True, help="what the user says")
    parser.add_argument("--target", help="folder made by `selfdraft target` (default: the one under results/target)")
    parser.add_argument("--checkpoint", help="folder made by `selfdraft train`; without it the target decodes alone")
    parser.add_argument("--lookup", type=int, metavar="N", help="instead of a checkpoint: draft by n-gram lookup")
    parser.add_argument("--min-confidence", type=float, default=0.0, help="end a draft early below it; 0 is off")
    parser.add_argument("--gamma", type=int, default=4, help="tokens drafted per cycle")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy")
    parser.add_argument("--top-p", type=float, default=1.0, help="nucleus mass, 1 is off")
    parser.add_argument("--top-k", type=int, default=0, help="best tokens kept, 0 is off")
    parser.add_argument("--max-new-tokens", type=int, default=128, help="longest answer")
    parser.add_argument("--seed", type=int, default=0, help="of the sampled tokens")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"), help="of the computation")
    parser.add_argument("--color", default="auto", choices=("auto", "always", "never"), help="colour drafted tokens")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's own choice)")


def run(args: argparse.Namespace) -> None:
    import os
    import sys

    import torch

    from selfdraft.commands.folders import only_folder
    from selfdraft.decoding.exit_drafter import ExitDrafter
    from selfdraft.decoding.lookup_drafter import LookupDrafter
    from selfdraft.decoding.loop import Timings, cycles, speculate, vanilla
    from selfdraft.decoding.policy import Policy
    from selfdraft.decoding.stopping import Stopping
    from selfdraft.errors import StudyError
    from selfdraft.models.exit import load_exit
    from selfdraft.models.runtime import start
    from selfdraft.sources.chat import ChatTokenizer

    policy = Policy("prompt", args.temperature, args.top_p, args.top_k)
    folder = only_folder(args.target, "results/target", "model.safetensors", "--target")
    tokenizer = ChatTokenizer.from_folder(folder)
    target = start(folder, args.dtype, args.device, args.threads)
    drafter: ExitDrafter | LookupDrafter | None = None
    if args.checkpoint and args.lookup is not None:
        raise StudyError("--lookup: there is a --checkpoint already; draft with one of them")
    if args.checkpoint:
        draft, config = load_exit(args.checkpoint, target)
        drafter = ExitDrafter(target, draft, Stopping(args.min_confidence))
        drafted_by = f"layer {config['layer']} {config['capacity']}"
        draft.pack()
    elif args.lookup is not None:
        drafter, drafted_by = LookupDrafter(args.lookup), f"lookup of up to {args.lookup} tokens"
    target.pack()
    messages = [{"role": "user", "content": args.prompt}]
    prompt = tokenizer.encode(tokenizer.render(messages, add_generation_prompt=True))
    eos = frozenset(tokenizer.eos_ids)

    def generator() -> torch.Generator:
        return torch.Generator(target.device).manual_seed(args.seed)

    tty = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    stream = Stream(tokenizer, eos, args.color == "always" or (args.color == "auto" and tty))
    # The first steps of a process are slow: both ways warm up before they are timed.
    vanilla(target, [prompt], policy, 4, generator())
    if drafter is None:
        result = vanilla(
            target, [prompt], policy, args.max_new_tokens, generator(), eos, lambda _, token: stream.put([token], 0)
        )
        stream.end()
        rate = len(result.tokens[0]) / result.timings.decode_s
        print(f"\n[target alone, no --checkpoint] {len(result.tokens[0])} tokens, {rate:.1f} tokens/s")
        return
    speculate(target, drafter, [prompt], policy, args.gamma, 4, generator())
    timings = Timings()
    seen = []
    for cycle in cycles(
        target, drafter, [prompt], policy, args.gamma, args.max_new_tokens, generator(), eos, timings=timings
    ):
        seen.append(cycle)
        stream.put(cycle.tokens, cycle.accepted)
    stream.end()
    new = sum(len(cycle.tokens) for cycle in seen)
    alone = vanilla(target, [prompt], policy, new, generator())
    alone_rate, rate = new / alone.timings.decode_s, new / timings.decode_s
    accepted = sum(cycle.accepted for cycle in seen)
    whole = [cycle.accepted for cycle in seen if not cycle.cut]
    mean = f"{sum(whole) / len(whole):.2f}" if whole else "unknown (no cycle was whole)"
    print(
        f"\n[{drafted_by}, gamma {args.gamma}] {new} tokens, "
        f"{accepted} of them drafted in {len(seen)} cycles: accepted_mean {mean}, "
        f"{rate:.1f} tokens/s, speedup {rate / alone_rate:.2f} over the target alone ({alone_rate:.1f} tokens/s)"
    )


class Stream:
    """Prints tokens as soon as they are whole characters; the drafted ones coloured."""

    GREEN, PLAIN = "\033[32m", "\033[0m"

    def __init__(self, tokenizer: "ChatTokenizer", eos: frozenset[int], colour: bool) -> None:
        self.tokenizer, self.eos, self.colour = tokenizer, eos, colour
        self.tokens: list[int] = []
        self.printed = 0

    def put(self, tokens: list[int], drafted: int) -> None:
        """Print `tokens`, of which the first `drafted` were drafted."""
        for number, token in enumerate(tokens):
            if token in self.eos:
                continue
            self.tokens.append(token)
            text = self.tokenizer.decode(self.tokens)
            if text.endswith("\ufffd"):  # the first bytes of a character
                continue
            self._write(text[self.printed :], number < drafted)
            self.printed = len(text)

    def end(self) -> None:
        """Print what is left, and a line end."""
        self._write(self.tokenizer.decode(self.tokens)[self.printed :] + "\n", False)

    def _write(self, text: str, drafted: bool) -> None:
        print(f"{self.GREEN}{text}{self.PLAIN}" if drafted and self.colour else text, end="", flush=True)
