"""A terminal or log that is not UTF-8 gets other characters for those that it lacks, never a traceback."""

import io
import json
import sys

import pytest
from tiny import tiny_target

from selfdraft.cli import main


@pytest.fixture(params=["ascii", "latin-1", "cp1252"])
def run(request, monkeypatch):
    """Run a command whose output and errors go to streams of one encoding, which fail at what it lacks."""

    def command(*words):
        streams = {name: io.TextIOWrapper(io.BytesIO(), encoding=request.param) for name in ("stdout", "stderr")}
        with monkeypatch.context() as patched:
            for name, stream in streams.items():
                patched.setattr(sys, name, stream)
            status = main(list(words))
        for stream in streams.values():
            stream.flush()
        return status, *(stream.buffer.getvalue().decode(request.param) for stream in streams.values())

    return command


def test_results_are_shown_with_replaced_characters(run, tmp_path):
    (tmp_path / "text.jsonl").write_text(json.dumps({"text": "caf\u00e9 \u4f60 \U0001f642 end"}))
    status, out, _ = run("inspect", str(tmp_path / "text.jsonl"))
    assert status == 0
    assert "? ? end" in out


def test_errors_are_shown_too(run, tmp_path):
    status, _, err = run("inspect", str(tmp_path / "caf\u00e9 \u4f60.json"))
    assert status == 2
    assert "\\u4f60.json: no such file or folder" in err


def test_an_answer_is_streamed_to_any_terminal(run, tmp_path):
    target = tiny_target(tmp_path / "target")
    words = ["--target", str(target), "--max-new-tokens", "40", "--temperature", "3", "--dtype", "float32"]
    status, out, _ = run("generate", "--prompt", "caf\udce9 \u20ac \u4f60", *words)
    assert status == 0
    assert "tokens/s" in out
