"""The shapes that data come in: what a record holds, and what sequences and prompts are made of it."""

from selfdraft.sources.shapes.conversations import Conversations
from selfdraft.sources.shapes.prompts import Prompts
from selfdraft.sources.shapes.shape import Shape
from selfdraft.sources.shapes.summaries import Summaries
from selfdraft.sources.shapes.text import Text

SHAPES: dict[str, type[Shape]] = {
    "conversations": Conversations,
    "text": Text,
    "summaries": Summaries,
    "prompts": Prompts,
}

__all__ = ["SHAPES", "Shape"]
