"""The paper as a PDF: the text in paper/, a study's numbers and its figures, set by Typst with its own fonts.

Equal inputs give equal bytes: no date, no fonts of the system, and metadata that follow from the study's tables alone.
"""

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from selfdraft.errors import StudyError
from selfdraft.files import read_json, whole_file
from selfdraft.provenance.figure_metadata import CREATOR, keywords

MAIN = "paper.typ"


def typeset(text: Path, numbers: Path, figures: Sequence[Path], out: Path) -> None:
    """Compile the folder `text` with the folder of numbers and the PDF figures to `out`, a .pdf.

    Raises StudyError for a missing file, a figure that is no PDF, or a text that Typst does not take.
    """
    if out.suffix.lower() != ".pdf":
        raise StudyError(f"{out}: a paper is written as .pdf")
    with tempfile.TemporaryDirectory() as scratch, whole_file(out) as temporary:
        main = gathered(Path(scratch), text, numbers, figures)
        temporary.write_bytes(compiled(main))


def gathered(scratch: Path, text: Path, numbers: Path, figures: Sequence[Path]) -> Path:
    """Put all that the text reads into one folder, where Typst may read nothing else; gives the main file."""
    if not (text / MAIN).is_file():
        raise StudyError(f"{text}: holds no {MAIN}; the folder paper/ of this project does")
    for path in sorted(text.iterdir()):
        if path.is_file():
            shutil.copyfile(path, scratch / path.name)
    said = read_json(numbers / "numbers.json")
    if not isinstance(said, dict) or not {"sentences", "tables", "read"} <= said.keys():
        raise StudyError(f"{numbers}/numbers.json: no numbers of a paper; `selfdraft paper-numbers` writes them")
    for place in ("numbers", "figures"):
        (scratch / place).mkdir()
    for name in said["tables"]:
        path = numbers / f"{name}.csv"
        if not path.is_file():
            raise StudyError(f"{path}: file not found; `selfdraft paper-numbers` writes it")
        shutil.copyfile(path, scratch / "numbers" / path.name)
    for path in figures:
        if not path.is_file():
            raise StudyError(f"{path}: file not found")
        if not path.read_bytes().startswith(b"%PDF-"):
            raise StudyError(f"{path}: not a PDF; `selfdraft figure` writes one")
        shutil.copyfile(path, scratch / "figures" / f"{path.stem}.pdf")
    told = said | {"figures": sorted(path.stem for path in figures), "document": document(said["read"])}
    (scratch / "numbers/numbers.json").write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
    return scratch / MAIN


def document(read: dict[str, Any]) -> dict[str, str]:
    """What the PDF says of itself; Typst keeps its own name as Creator, so that ours is among the keywords."""
    items = [("creator", CREATOR)]
    return keywords("paper", read["commits"], read["config_hashes"], read["tables"], items)


def compiled(main: Path, **options: Any) -> bytes:
    """The bytes of the compiled document. Raises StudyError with what Typst says in one line."""
    try:
        import typst
    except ImportError:
        raise StudyError(
            "typst: not installed; `pip install typst` brings it, or `make` with the locked version"
        ) from None
    try:
        made, warnings = typst.compile_with_warnings(
            str(main), root=str(main.parent), ignore_system_fonts=True, timestamp=0, **({"format": "pdf"} | options)
        )
    except typst.TypstError as error:
        where = f"{MAIN}: " if MAIN not in str(error.diagnostic) else ""
        raise StudyError(f"{where}{' '.join(str(error.diagnostic or error.message).split())}") from None
    if warnings:
        raise StudyError(f"{MAIN}: {' '.join(str(warnings[0].message).split())}")
    return made  # type: ignore[return-value]
