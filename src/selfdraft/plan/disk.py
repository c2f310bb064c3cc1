"""Bytes that each stage leaves on disk."""

from selfdraft.plan.decoding import Prompts
from selfdraft.plan.dimensions import TOKENIZER_BYTES_A_WORD, Dimensions
from selfdraft.plan.learning import Text
from selfdraft.plan.work import BYTES

# Bytes of a row of the tables, of a line of a training log and of a checkpoint's config.json; of a figure's two files.
ROWS = {
    "acceptance": 92,
    "speed": 480,
    "steps": 120,
    "quality": 300,
    "batch": 150,
    "peers": 120,
    "identity": 110,
    "results": 1100,
}
LOG_LINE, CHECKPOINT_CONFIG = 105, 1700
FIGURE = 200_000
TOKEN, PROMPT_TOKEN, INDEX_ENTRY = 5, 13.5, 75  # of a sequence; of a prompt, as text and as a number; of a name
STATE_NUMBERS = 4  # kept of each trained parameter while it trains, float32: itself, the best, two moments


def model(sizes: Dimensions) -> float:
    """A model's folder: weights in bfloat16 and the tokenizer."""
    return 2.0 * sizes.parameters + TOKENIZER_BYTES_A_WORD * sizes.vocab


def data(texts: list[Text], prompts: Prompts | None) -> float:
    """Sequences with their names, and prompts."""
    written = sum(text.tokens * TOKEN + text.sequences * INDEX_ENTRY for text in texts)
    return written + (PROMPT_TOKEN * prompts.rows * prompts.length if prompts else 0)


def states(sizes: Dimensions, dtype: str, texts: list[Text], files: int) -> float:
    """Captured hidden states: all tokens at each depth. They are kept once, under two names."""
    return files * sum(text.tokens for text in texts) * sizes.hidden * float(BYTES[dtype])


def checkpoint(parameters: int, steps: float) -> float:
    """What was trained, in bfloat16, and the log."""
    return 2.0 * parameters + LOG_LINE * (steps + 1) + CHECKPOINT_CONFIG


def rows(table: str, count: float) -> float:
    """Rows of a table."""
    return ROWS[table] * count
