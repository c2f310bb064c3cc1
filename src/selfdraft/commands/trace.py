"""`selfdraft trace`: one page, for any browser, of what came of each drafted token."""

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("traces", nargs="+", metavar="TRACE", help="JSON file that `selfdraft generate --trace` wrote")
    parser.add_argument("--out", required=True, help="HTML file to write")


def run(args: argparse.Namespace) -> None:
    from selfdraft.files import whole_file
    from selfdraft.traces.page import page_of

    page = page_of(args.traces)
    with whole_file(args.out) as temporary:
        temporary.write_text(page, encoding="utf-8")
