"""Step times of a machine: `steps.json` of `selfdraft machine --steps`, or a study's own `results/steps.csv`."""

from pathlib import Path

import pandas as pd

from selfdraft.errors import StudyError
from selfdraft.files import read_json
from selfdraft.statistics.columns import RAW_COLUMNS
from selfdraft.statistics.raw_tables import checked, read_raw


def read_steps(path: str | Path) -> pd.DataFrame:
    """The rows of either file, as `read_raw` gives them. Raises StudyError for a file that is none of them, or for
    times of several threads or number formats under one policy: a draft's steps are held against vanilla ones of its
    policy alone, which the same job has timed."""
    if Path(path).suffix != ".json":
        table = read_raw(path, "steps")
    else:
        found = read_json(path)
        rows = found.get("steps") if isinstance(found, dict) else None
        if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
            raise StudyError(f"{path}: steps: a list of steps is right; `selfdraft machine --steps` writes it")
        texts = [{name: str(row.get(name, "")) for name in RAW_COLUMNS["steps"]} for row in rows]
        table = checked(pd.DataFrame(texts), "steps", path)
    for column in ("threads", "dtype", "device"):
        found_by_policy = (sorted(part.unique()) for _, part in table.groupby("policy")[column])
        if kinds := next((some for some in found_by_policy if len(some) > 1), None):
            raise StudyError(f"{path}: column {column}: {', '.join(map(repr, kinds))}; times of one kind are right")
    return table
