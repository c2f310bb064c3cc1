"""`generate` streams whole characters, at the same work for each token wherever it stands."""

import pytest
from tiny import tiny_tokenizer

from selfdraft.commands.generate import Stream
from selfdraft.sources.chat import ChatTokenizer

TEXT = "Plant the soil — 你好 🙂 naïve, and oil the chain. "


class Counting(ChatTokenizer):
    """Counts the tokens that are decoded."""

    decoded = 0

    def decode(self, ids, skip_special_tokens=False):
        self.decoded += len(ids)
        return super().decode(ids, skip_special_tokens)


def streamed(text, drafted=0, at_once=1):
    """The tokens of `text`, and how many were decoded to stream them."""
    chat = Counting(tiny_tokenizer(), "", {}, [])
    stream, tokens = Stream(chat, frozenset({2}), colour=False), chat.encode(text)
    for begin in range(0, len(tokens), at_once):
        stream.put(tokens[begin : begin + at_once], drafted)
    stream.put([2], 0)
    stream.end()
    return tokens, chat.decoded


@pytest.mark.parametrize(("drafted", "at_once"), [(0, 1), (3, 5)])
def test_what_is_streamed_is_the_text(capsys, drafted, at_once):
    streamed(TEXT * 3, drafted, at_once)
    assert capsys.readouterr().out == TEXT * 3 + "\n"


def test_a_token_costs_the_same_at_the_end_of_a_long_answer(capsys):
    short, decoded = streamed(TEXT * 5)
    long, more = streamed(TEXT * 100)
    assert len(long) == 20 * len(short) > 3000
    assert more / len(long) == pytest.approx(decoded / len(short), rel=0.05)
    assert more / len(long) < 10


def test_bytes_that_are_no_character_do_not_wait_for_ever(capsys):
    chat = Counting(tiny_tokenizer(), "", {}, [])
    stream, byte = Stream(chat, frozenset(), colour=False), chat.encode("é")[0]
    for _ in range(1000):
        stream.put([byte], 0)
    assert len(stream.fresh) <= Stream.UNFINISHED
    stream.end()
    assert chat.decoded < 1000 * 3 * Stream.UNFINISHED
