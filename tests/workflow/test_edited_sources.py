"""An edit inside a source runs again what was made of it, and nothing else; braces in its path are only braces."""

import os

import pytest

MODEL, DATA = "results/target/tiny", "results/data/tiny_chats"
MADE = {
    MODEL: ("config.json", "model.safetensors", "tokenizer.json", "source.json"),
    DATA: ("train.safetensors", "validation.safetensors", "held_out.safetensors"),
}


@pytest.fixture
def finished(fresh_tiny):
    """A study whose target and data are there, as far as Snakemake can tell."""
    (fresh_tiny / "my {model}").mkdir()
    (fresh_tiny / "target").rename(fresh_tiny / "my {model}/{wild}")
    (fresh_tiny / "texts {set}/more").mkdir(parents=True)
    (fresh_tiny / "conversations.json").rename(fresh_tiny / "texts {set}/more/a {b}.json")
    fresh_tiny.configure(
        ("target/source/path", "my {model}/{wild}"),
        ("data/source/path", "texts {set}"),
        start="tests/workflow/tiny.yaml",
    )
    for folder, names in MADE.items():
        (fresh_tiny / folder).mkdir(parents=True)
        for name in (*names, "index.json", "prompts.json", "sources.json"):
            (fresh_tiny / folder / name).write_text("{}")
    done = fresh_tiny.snakemake("--cores", "1", "--touch", f"{DATA}/index.json")
    assert done.returncode == 0, done.output
    return fresh_tiny


def test_what_a_source_holds_decides_what_runs_again(finished):
    def to_do():
        return set(finished.to_do(f"{DATA}/index.json"))

    assert to_do() == set()
    chats = finished / "texts {set}/more/a {b}.json"
    os.utime(chats)
    assert to_do() == set()
    chats.write_text(chats.read_text().replace("bicycle", "tricycle"))
    os.utime(finished / "texts {set}", (1, 1))  # a folder does not tell of an edit inside
    assert to_do() == {"data"}
    with open(finished / "my {model}/{wild}/generation_config.json", "a") as file:
        file.write(" ")
    assert to_do() == {"target", "data"}
