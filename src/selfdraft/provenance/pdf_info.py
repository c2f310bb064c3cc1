"""The document information dictionary of a PDF, read by pypdf."""

import io
from pathlib import Path
from typing import Any

from selfdraft.errors import StudyError


def document_information(data: bytes, path: Path) -> dict[str, str]:
    """The texts of the dictionary by name, {} if the file has none. `path` is for messages.

    Raises StudyError if the file is no PDF, is cut short, or does not hold what its own tables say.
    """
    from pypdf import PdfReader
    from pypdf.generic import IndirectObject, TextStringObject

    if not data.startswith(b"%PDF-"):
        raise StudyError(f"{path}: not a PDF, though its name says so")
    if not data.rstrip().endswith(b"%%EOF"):
        raise StudyError(f"{path}: the PDF is cut short, its end is missing; draw the figure again")
    try:
        found: Any = PdfReader(io.BytesIO(data), strict=True).trailer.get("/Info", {})
        found = found.get_object() if isinstance(found, IndirectObject) else found
        values = {name: value.get_object() for name, value in found.items()}
    except Exception as error:  # whatever a damaged file makes of a parser
        said = " ".join(str(error).split()) or type(error).__name__
        raise StudyError(f"{path}: the PDF is damaged ({said}); draw the figure again") from None
    return {name.removeprefix("/"): str(text) for name, text in values.items() if isinstance(text, TextStringObject)}
