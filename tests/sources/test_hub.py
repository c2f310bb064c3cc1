import shutil
from pathlib import Path
from unittest.mock import MagicMock

import huggingface_hub
import pytest
from huggingface_hub import constants, errors
from tiny import tiny_conversations, tiny_target

from selfdraft.errors import StudyError
from selfdraft.sources.data_files import read_source
from selfdraft.sources.target import build_target

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SOURCE = {"kind": "hub", "repo": "acme/tiny", "revision": COMMIT}


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder as huggingface_hub leaves it, and no network."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    tiny_target(tmp_path / "hub" / "models--acme--tiny" / "snapshots" / COMMIT)
    tiny_conversations(tmp_path / "hub" / "datasets--acme--tiny" / "snapshots" / COMMIT / "chats.json", 12)
    return tmp_path


def test_a_model_of_the_hub_becomes_a_target(hub_cache, tmp_path):
    config = build_target("tiny", SOURCE, tmp_path / "out", hub_cache, layers=[0, 3])
    assert config["num_hidden_layers"] == 4
    assert f'"revision": "{COMMIT}"' in (tmp_path / "out" / "source.json").read_text()


def test_data_of_the_hub_are_read_from_their_files(hub_cache):
    reading = read_source({**SOURCE, "files": ["chats.json"]}, hub_cache)
    assert len(list(reading.records)) == 12
    assert set(reading.origin["sha256"]) == {"chats.json"}


def test_a_split_of_a_hub_dataset_goes_through_datasets(hub_cache):
    records = list(read_source({**SOURCE, "split": "train"}, hub_cache).records)
    assert len(records) == 12
    assert records[0]["conversations"][0]["from"] == "human"


def test_a_branch_is_no_revision(tmp_path):
    with pytest.raises(StudyError, match=r'source\.revision: "main" is not a full commit hash'):
        build_target("tiny", {**SOURCE, "revision": "main"}, tmp_path / "out", tmp_path)


def test_without_network_and_cache_the_error_says_so(hub_cache, tmp_path):
    shutil.rmtree(hub_cache / "hub")
    with pytest.raises(StudyError, match="acme/tiny: the hub cannot be reached and commit 0123456789ab is not in"):
        build_target("tiny", SOURCE, tmp_path / "out", hub_cache)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (errors.GatedRepoError, "gated: accept its terms on its hub page, then set .* HF_TOKEN"),
        (errors.RepositoryNotFoundError, "no such model on the hub, or it is private"),
        (errors.RevisionNotFoundError, f"no commit {COMMIT}"),
    ],
)
def test_what_the_hub_refuses_is_one_line_that_says_what_to_do(tmp_path, monkeypatch, error, said):
    def refuse(*_: object, **__: object) -> str:
        raise error("403\nmore", response=MagicMock(headers={}))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(StudyError, match=said) as caught:
        build_target("tiny", SOURCE, tmp_path / "out", tmp_path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
