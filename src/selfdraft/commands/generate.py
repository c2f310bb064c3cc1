"""`selfdraft generate`: stream an answer, with the accepted draft tokens coloured."""

import argparse
from typing import TYPE_CHECKING

from selfdraft.commands.modes import add_mode, check_mode
from selfdraft.commands.one_drafter import add_drafter

if TYPE_CHECKING:
    from selfdraft.sources.chat import ChatTokenizer


def arguments(parser: argparse.ArgumentParser) -> None:
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--prompt", nargs="+", help="what the user says; several make a batch")
    asked.add_argument("--number", type=int, nargs="+", metavar="N", help="instead: prompts of --data, from 0 on")
    asked.add_argument("--num-samples", type=int, metavar="N", help="instead: the first N prompts of --data")
    parser.add_argument("--target", help="folder made by `selfdraft target` (default: the one under results/target)")
    add_drafter(parser, "without any drafter the target decodes alone")
    add_mode(parser)
    parser.add_argument(
        "--data",
        help="for --vocabulary, --number and --num-samples: folder made by `selfdraft data` (default: the only one)",
    )
    parser.add_argument("--gamma", type=int, default=4, help="tokens drafted per cycle")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy")
    parser.add_argument("--top-p", type=float, default=1.0, help="nucleus mass, 1 is off")
    parser.add_argument("--top-k", type=int, default=0, help="best tokens kept, 0 is off")
    parser.add_argument("--max-new-tokens", type=int, default=128, help="longest answer")
    parser.add_argument("--seed", type=int, default=0, help="of the sampled tokens")
    parser.add_argument("--trace", metavar="FILE", help="JSON file to write: what came of each drafted token")
    parser.add_argument("--dtype", default="auto", choices=("auto", "bfloat16", "float32"), help="of the computation")
    parser.add_argument("--color", default="auto", choices=("auto", "always", "never"), help="colour drafted tokens")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's own choice)")


def run(args: argparse.Namespace) -> None:
    import json
    import os
    import sys
    from pathlib import Path

    import torch
    from rich.console import Console

    from selfdraft.commands.every_mode import all_ways, table_of
    from selfdraft.commands.folders import only_folder
    from selfdraft.commands.modes import UNVERIFIED, leaving_of, run_unverified
    from selfdraft.commands.one_drafter import chosen_drafter, is_drafting
    from selfdraft.decoding.loop import Timings, cycles, speculate, vanilla
    from selfdraft.decoding.policy import Policy
    from selfdraft.errors import StudyError
    from selfdraft.evaluation.number_format import number_format
    from selfdraft.evaluation.ways import Decoding
    from selfdraft.files import whole_file
    from selfdraft.models.runtime import start
    from selfdraft.sources.chat import ChatTokenizer
    from selfdraft.statistics.bootstrap import Bootstrap
    from selfdraft.traces.record import Recorder
    from selfdraft.traces.watching import Watched

    check_mode(args)
    if args.trace and not is_drafting(args):
        raise StudyError("--trace: nothing is drafted; name --checkpoint, --draft-model or --lookup")
    if args.trace and args.tree:
        raise StudyError("--trace: it shows chains of drafted tokens; leave out --tree")
    policy = Policy("prompt", args.temperature, args.top_p, args.top_k)
    folder = only_folder(args.target, "results/target", "model.safetensors", "--target")
    tokenizer = ChatTokenizer.from_folder(folder)
    target = start(folder, args.dtype, args.device, args.threads)
    texts, prompts = asked_prompts(args, tokenizer)
    eos = frozenset(tokenizer.eos_ids)
    if args.mode == "comprehensive":
        decoding = Decoding(target, policy, args.max_new_tokens, eos)
        ways, missing = all_ways(args, decoding)
        console = Console()
        if not console.is_terminal:  # in a log or a pipe a table may be as wide as it is
            console = Console(width=200)
        found = decoding.compare(ways, prompts, args.seed)
        console.print(table_of(ways, found, policy.greedy, Bootstrap(seed=args.seed)))
        print("\n".join(f"left out: {told}" for told in missing))
        return
    leaving, left_at = leaving_of(args, target, args.mode) if args.mode in UNVERIFIED else (None, "")
    chosen = None if leaving else chosen_drafter(args, target)
    target.pack()

    def generator() -> torch.Generator:
        return torch.Generator(target.device).manual_seed(args.seed)

    tty = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    color = args.color == "always" or (args.color == "auto" and tty)
    # One answer is shown as it comes; those of a batch come mixed, and are shown one after the other.
    streams = [Stream(tokenizer, eos, color, live=len(prompts) == 1) for _ in prompts]

    def show() -> None:
        for text, stream in zip(texts, streams, strict=True):
            if len(streams) > 1:
                print(f"\n# {text}")
            stream.end()

    # The first steps of a process are slow: both ways warm up before they are timed.
    vanilla(target, prompts, policy, 4, generator())
    if leaving is not None:

        def put_early(row: int, token: int, early: int) -> None:
            streams[row].put([token], early)

        said = run_unverified(args, target, leaving, prompts, policy, eos, put_early)
        show()
        print(f"\n[{left_at}] {said}")
        return
    if chosen is None:

        def put(row: int, token: int) -> None:
            streams[row].put([token], 0)

        result = vanilla(target, prompts, policy, args.max_new_tokens, generator(), eos, put)
        show()
        new = sum(map(len, result.tokens))
        print(f"\n[target alone, no drafter] {new} tokens, {new / result.timings.decode_s:.1f} tokens/s")
        return
    drafter, drafted_by, _ = chosen
    speculate(target, drafter, prompts, policy, args.gamma, 4, generator())
    timings = Timings()
    seen = []
    recorder = Recorder(Watched(drafter), tokenizer, prompts) if args.trace else None
    for cycle in cycles(
        *(target, recorder.watched if recorder else drafter, prompts, policy, args.gamma, args.max_new_tokens),
        *(generator(), eos),
        timings=timings,
    ):
        seen.append(cycle)
        if recorder:
            recorder.add(cycle, timings)
        streams[cycle.row].put(cycle.tokens, cycle.accepted)
    show()
    timings.decode_s -= recorder.watched.seconds if recorder else 0.0  # looking is no decoding
    new = sum(len(cycle.tokens) for cycle in seen)
    # The same work alone: as many steps as the longest answer has tokens.
    longest = max(sum(len(cycle.tokens) for cycle in seen if cycle.row == row) for row in range(len(prompts)))
    alone = vanilla(target, prompts, policy, longest, generator())
    rate, times = new / timings.decode_s, alone.timings.decode_s / timings.decode_s
    accepted = sum(cycle.accepted for cycle in seen)
    whole = [cycle.accepted for cycle in seen if not cycle.cut]
    mean = f"{sum(whole) / len(whole):.2f}" if whole else "unknown (no cycle was whole)"
    print(
        f"\n[{drafted_by}, gamma {args.gamma}] {new} tokens, "
        f"{accepted} of them drafted in {len(seen)} cycles: accepted_mean {mean}, "
        f"{rate:.1f} tokens/s, speedup {times:.2f} over the target alone"
    )
    if left := getattr(drafter, "left", None):
        told = ", ".join(f"{count} after layer {layer}" for layer, count in left.items())
        print(f"[drafted tokens left at the first sure head: {told}]")
    if recorder:
        about = {
            **{"target": Path(folder).name, "drafter": drafted_by, "gamma": args.gamma, "seed": args.seed},
            "policy": {"temperature": policy.temperature, "top_p": policy.top_p, "top_k": policy.top_k},
            **{"dtype": number_format(target), "device": target.device.type},
            "threads": torch.get_num_threads(),
        }
        summary = {
            **{"tokens": new, "cycles": len(seen), "accepted": accepted},
            "accepted_mean": sum(whole) / len(whole) if whole else None,
            **{"tokens_per_s": rate, "speedup": times, "prefill_s": timings.prefill_s, "decode_s": timings.decode_s},
            **{"draft_s": timings.draft_s, "verify_s": timings.verify_s, "accept_s": timings.accept_s},
        }
        with whole_file(args.trace) as temporary:
            trace = recorder.trace(texts, about, summary)
            temporary.write_text(json.dumps(trace, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{args.trace}: written; `selfdraft trace {args.trace} --out trace.html` makes a page of it")


def asked_prompts(args: argparse.Namespace, tokenizer: "ChatTokenizer") -> tuple[list[str], list[list[int]]]:
    """The texts that are answered, and their tokens. Raises StudyError for a prompt that the data lack."""
    import os

    from selfdraft.commands.folders import only_folder
    from selfdraft.errors import StudyError
    from selfdraft.sequences import read_prompts

    if args.number is not None or args.num_samples is not None:
        folder = only_folder(args.data, "results/data", "prompts.json", "--data")
        known = read_prompts(folder)
        if args.num_samples is not None and not 1 <= args.num_samples <= len(known):
            raise StudyError(f"--num-samples: {args.num_samples} asked, {folder} has 1…{len(known)} prompts")
        numbers = args.number if args.num_samples is None else range(args.num_samples)
        for number in numbers:
            if not 0 <= number < len(known):
                raise StudyError(f"--number: {number} is not a prompt of {folder} (0…{len(known) - 1})")
        found = [known[number] for number in numbers]
        return [prompt.text for prompt in found], [list(prompt.tokens) for prompt in found]
    # Where the terminal's encoding is not UTF-8, Python keeps a word's other bytes as half characters.
    texts = [os.fsencode(text).decode("utf-8", "replace") for text in args.prompt]
    chats = [[{"role": "user", "content": text}] for text in texts]
    return texts, [tokenizer.encode(tokenizer.render(chat, add_generation_prompt=True)) for chat in chats]


class Stream:
    """Prints tokens as soon as they are whole characters, or all at the end; the drafted ones coloured.

    Only the tokens since the last whole character, and the few before them that they are read beside, are decoded:
    a token costs the same wherever it stands.
    """

    GREEN, PLAIN = "\033[32m", "\033[0m"
    UNFINISHED = 64  # tokens that make no whole character are none; a character has 4 bytes, so at most 4 tokens

    def __init__(self, tokenizer: "ChatTokenizer", eos: frozenset[int], colour: bool, live: bool = True) -> None:
        self.tokenizer, self.eos, self.colour, self.live = tokenizer, eos, colour, live
        self.waiting: list[str] = []
        self.beside: list[int] = []  # printed tokens that the next ones are decoded beside
        self.fresh: list[int] = []  # tokens not printed yet

    def put(self, tokens: list[int], drafted: int) -> None:
        """Print `tokens`, of which the first `drafted` were drafted."""
        for number, token in enumerate(tokens):
            if token in self.eos:
                continue
            self.fresh.append(token)
            text = self._text(len(self.fresh))
            if not text.endswith("\ufffd"):
                self._print(len(self.fresh), number < drafted)
            elif len(self.fresh) > self.UNFINISHED:
                self._print(len(self.fresh) - 3, number < drafted)

    def end(self) -> None:
        """Print what is left, and a line end."""
        self._print(len(self.fresh), False)
        self._write("\n", False)
        print("".join(self.waiting), end="", flush=True)

    def _text(self, count: int) -> str:
        """The text of the first fresh tokens where they stand: a first token's blank is only told beside another."""
        return self.tokenizer.decode(self.beside + self.fresh[:count])[len(self.tokenizer.decode(self.beside)) :]

    def _print(self, count: int, drafted: bool) -> None:
        """Print the first `count` fresh tokens."""
        if count:
            self._write(self._text(count), drafted)
            self.beside, self.fresh = self.fresh[:count], self.fresh[count:]

    def _write(self, text: str, drafted: bool) -> None:
        shown = f"{self.GREEN}{text}{self.PLAIN}" if drafted and self.colour else text
        if self.live:
            print(shown, end="", flush=True)
        else:
            self.waiting.append(shown)
