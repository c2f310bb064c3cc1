"""What a figure's PDF and PNG say of their tables: only what follows from the tables themselves.

So the same tables give the same bytes, on any machine and at any time. The standard keys are for
people; `Keywords` holds all of it as items `key=value` separated by semicolons, percent-encoded.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from selfdraft import __version__
from selfdraft.errors import StudyError
from selfdraft.files import sha256_of
from selfdraft.provenance.tables import told_by

CREATOR = f"selfdraft {__version__}"
SUM = "sha256 "  # before the table's name


def metadata(figure: str, tables: Sequence[Path]) -> dict[str, str]:
    """Title, Creator, Subject and Keywords for a figure of these tables: commits, config hashes, sha256 of each."""
    told = [told_by(path) for path in tables]
    commits, hashes = (
        sorted({value for found in told for value in found.get(key, [])}) for key in ("commit", "config_hash")
    )
    return keywords(figure, commits, hashes, {table_name(path): sha256_of(path) for path in tables})


def keywords(
    figure: str,
    commits: Sequence[str],
    hashes: Sequence[str],
    sums: Mapping[str, str],
    more: Sequence[tuple[str, str]] = (),
) -> dict[str, str]:
    """The same for what is known of the tables: `sums`, sha256 by name. `more` items stand at the end of Keywords."""
    items = [("figure", figure)]
    items += [("commit", value) for value in commits] + [("config_hash", value) for value in hashes]
    items += [*sorted((SUM + name, value) for name, value in sums.items()), *more]
    subject = [f"{what} {', '.join(values)}" for what, values in (("commit", commits), ("config", hashes)) if values]
    return {
        "Title": figure.replace("_", " "),
        "Creator": CREATOR,
        "Subject": "; ".join(subject or ["tables without a commit; see Keywords"]),
        "Keywords": "; ".join(f"{quote(key, safe=' ./')}={quote(value, safe='')}" for key, value in items),
    }


def table_name(path: Path) -> str:
    """What a table is called wherever its study lies: a training log by its checkpoint, others by their file."""
    return f"{path.parent.name}/{path.name}" if path.suffix == ".jsonl" else path.name


def figure_of(path: Path) -> dict[str, Any]:
    """What a PDF or PNG of this project says: figure, creator, commits, config hashes, and tables by name -> sha256.

    Raises StudyError for a file that is damaged, or no figure of this project.
    """
    found = read_pdf(path) if path.suffix.lower() == ".pdf" else read_png(path)
    items = [
        (unquote(key), unquote(value))
        for key, equals, value in (item.partition("=") for item in found.get("Keywords", "").split("; "))
        if equals
    ]
    told = dict(items)
    creator = told.get("creator", found.get("Creator", ""))  # other programs keep their own name as Creator
    if not creator.startswith("selfdraft ") or "figure" not in told:
        raise StudyError(f"{path}: says nothing of its provenance; a figure drawn by `selfdraft figure` does")
    return {
        "figure": told["figure"],
        "creator": creator,
        "commits": [value for key, value in items if key == "commit"],
        "config_hashes": [value for key, value in items if key == "config_hash"],
        "tables": {key.removeprefix(SUM): value for key, value in items if key.startswith(SUM)},
    }


def read_pdf(path: Path) -> dict[str, str]:
    """The document information of a PDF."""
    from selfdraft.provenance.pdf_info import document_information

    return document_information(path.read_bytes(), path)


def read_png(path: Path) -> dict[str, str]:
    """The text chunks of a PNG. Raises StudyError if the file is none, or cut short."""
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as image:
            image.load()
            return dict(image.text)  # type: ignore[attr-defined]
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())
        raise StudyError(f"{path}: not a whole PNG ({reason}); draw the figure again") from None
