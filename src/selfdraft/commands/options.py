"""The options that several commands share, each said once."""

import argparse

OWN_THREADS = "CPU threads (default: torch's own choice)"


def add_dtype(parser: argparse.ArgumentParser, of: str) -> None:
    """`--dtype`, the number format `of` something."""
    parser.add_argument("--dtype", default="auto", choices=("auto", "bfloat16", "float32"), help=f"of {of}")


def add_place(parser: argparse.ArgumentParser, threads: str = OWN_THREADS) -> None:
    """`--device` and `--threads`, where it is computed; `threads` is the latter's help."""
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one")
    parser.add_argument("--threads", type=int, help=threads)


def add_policy(parser: argparse.ArgumentParser) -> None:
    """`--policy` and `--policy-settings`: how tokens are chosen."""
    parser.add_argument("--policy", required=True, help="the policy's name")
    parser.add_argument("--policy-settings", required=True, help="temperature, top_p, top_k as JSON")


def add_origin(parser: argparse.ArgumentParser) -> None:
    """`--commit` and `--config-hash`, which stand in every row."""
    parser.add_argument("--commit", default="", help="git commit, written into every row")
    parser.add_argument("--config-hash", default="", help="hash of the config, written into every row")
