"""Drafts to a hub and from one: the folder and its card, one commit there, what comes back, and what is refused."""

import json
import shutil
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from huggingface_hub import constants
from sources.hub_server import Hub
from tiny import tiny_target
from tiny_llama import moved_eagle3, perturbed_exit

from selfdraft.cli import main
from selfdraft.commands.hub_drafts import fetch_named
from selfdraft.models.eagle3 import save_eagle3
from selfdraft.models.exit import save_exit, target_identity
from selfdraft.models.llama import load_target
from selfdraft.sharing.layout import write_sums

COMMIT = "0123456789abcdef0123456789abcdef01234567"
EXIT = {"drafter": "early_exit", "layer": 1, "T": 1.0, "capacity": "translator", "objective": "kl", "seed": 0}


@pytest.fixture(scope="module")
def drafts(tmp_path_factory):
    """A target, another one, and three drafts of the first: an exit, an EAGLE-3 drafter, one that learnt online."""
    folder = tmp_path_factory.mktemp("drafts")
    tiny_target(folder / "target")
    tiny_target(folder / "other", seed=5)
    source = {"kind": "hub", "name": "tiny", "repo": "acme/tiny", "revision": COMMIT, "license": "apache-2.0"}
    (folder / "target/source.json").write_text(json.dumps(source))
    target = load_target(folder / "target", torch.float32)
    told = {"target": target_identity(target), "dataset": "talk", "commit": "abc123", "config_hash": "beef"}
    told |= {"provenance": {"host": "my-laptop", "cpu": "fast"}}

    def put(name, save, draft, config, **files):
        (folder / name).mkdir()
        save(draft, folder / name)
        parameters = {"trained_parameters": sum(t.numel() for t in draft.named_tensors().values())}
        files["config.json"] = config | told | parameters
        for file, value in files.items():
            (folder / name / file).write_text(json.dumps(value))

    put("exit", save_exit, perturbed_exit(target, 1, "translator"), EXIT)
    eagle = {"kind": "eagle3", "drafter": "eagle", "features": [1, 2], "fc_norm": False, "norm_output": False}
    put("eagle", save_eagle3, moved_eagle3(target, (1, 2), torch.arange(0, 200, 4)), eagle)
    evaluations = [
        {"accepted_mean": 0.5, "accepted_mean_low": 0.4, "accepted_mean_high": 0.6},
        {"accepted_mean": 1.5, "accepted_mean_low": 1.4, "accepted_mean_high": 1.6},
    ]
    online = EXIT | {"drafter": "dvi", "initial": "/home/me/start"}
    put(
        "online",
        save_exit,
        perturbed_exit(target, 2, "translator"),
        online | {"layer": 2},
        **{"results.json": {"evaluations": evaluations}},
    )
    rows = ["drafter,layer,T,capacity,objective,seed,policy,gamma,dataset,drafting,kl,kl_low,kl_high,speedup,identical"]
    rows += ["early_exit,1,1.0,translator,kl,0,greedy,4,talk,fixed,1.25,1.1,1.4,1.16049,1"]
    rows += [
        "early_exit,2,1.0,translator,kl,0,greedy,4,talk,fixed,0.25,0.1,0.4,2,1",
        "lookup,,,,,,greedy,4,talk,fixed,,,,1,1",
    ]
    (folder / "results.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub, which the library is told of, and a working directory of its own."""
    (tmp_path / "repository").mkdir()
    (tmp_path / "here").mkdir()
    server = Hub(tmp_path / "repository")
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", server.token)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(tmp_path / "here")
    yield server
    server.shutdown()
    server.server_close()


def selfdraft(capsys, *words, status=0):
    """What a command printed, on each stream; it ends with `status`, and one line if that is 2."""
    capsys.readouterr()
    assert main([*map(str, words)]) == status
    said = capsys.readouterr()
    if status == 2:
        (line,) = [line for line in said.err.splitlines() if ": error: " in line]
        return SimpleNamespace(out=said.out, err=line)
    return said


def export(capsys, drafts, name, *more, status=0):
    words = ["export", "hub", "--checkpoint", drafts / name, "--target", drafts / "target", "--out", f"out/{name}"]
    return selfdraft(capsys, *words, *more, status=status)


def generate(capsys, drafts, checkpoint, target="target", status=0):
    words = [
        "generate",
        "--target",
        drafts / target,
        "--checkpoint",
        checkpoint,
        "--prompt",
        "How?",
        "--dtype",
        "float32",
    ]
    return selfdraft(capsys, *words, "--max-new-tokens", 6, status=status)


@pytest.mark.parametrize("name", ["exit", "eagle", "online"])
def test_a_draft_goes_to_the_hub_and_comes_back_to_the_same_text(hub, drafts, capsys, name):
    said = export(capsys, drafts, name, "--push", "acme/draft").out
    (address,) = [line for line in said.splitlines() if line.startswith("hub:")]
    assert address == f"hub:acme/draft@{hub.head}"
    for path in hub.folder.iterdir():
        assert path.read_bytes() == Path("out", name, path.name).read_bytes()
    first = generate(capsys, drafts, address)
    there = f"results/cache/drafts/acme/{hub.head}/draft"
    assert f"{address} was fetched into {there}" in first.err
    assert json.loads(Path(there, "source.json").read_text())["revision"] == hub.head
    here = generate(capsys, drafts, drafts / name)
    assert first.out.splitlines()[0] == here.out.splitlines()[0]
    hub.shutdown()
    hub.server_close()
    again = generate(capsys, drafts, address)
    assert (again.out.splitlines()[0], again.err) == (first.out.splitlines()[0], "")


def test_the_card_tells_target_results_training_and_licence(hub, drafts, capsys):
    export(capsys, drafts, "exit", "--results", drafts / "results.csv", "--licence", "mit", "--push", "acme/draft")
    text = Path("out/exit/README.md").read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    assert front == {
        "library_name": "selfdraft",
        "license": "mit",
        "base_model": "acme/tiny",
        "tags": ["speculative-decoding", "draft-model", "early-exit"],
    }
    target = json.loads((drafts / "exit/config.json").read_text())["target"]
    for told in (
        "| greedy | 4 | talk | fixed | – | 1.16 | 1.25 [1.10, 1.40] | – | 1 |",
        f"fingerprint `{target['fingerprint']}`",
        f"the hub repository acme/tiny at commit `{COMMIT}`",
        "--target results/target/tiny --checkpoint hub:acme/draft@REVISION",
        "exit after layer 1 (counted from 0), capacity translator",
        "mit.\nThe target's is apache-2.0",
        "commit: abc123",
        "data: talk",
    ):
        assert told in text, told
    assert text.count("| greedy |") == 1  # the rows of other drafts stay out
    assert "rounded" not in text
    assert (hub.folder / "README.md").read_text() == text


def test_nothing_of_the_machine_that_trained_it_is_published(drafts, hub, capsys):
    export(capsys, drafts, "online")
    published = "".join(path.read_text(errors="replace") for path in Path("out/online").iterdir())
    for private in ("my-laptop", "/home/me", str(drafts)):
        assert private not in published
    config = json.loads(Path("out/online/config.json").read_text())
    assert (config["provenance"], config["initial"]) == ({"cpu": "fast"}, "start")
    text = Path("out/online/README.md").read_text()
    assert "Before it learnt, 0.500 [0.400, 0.600] of its drafted tokens" in text
    assert "After it learnt, 1.50 [1.40, 1.60] of its drafted tokens" in text
    assert "Not stated by whoever wrote this card." in text


def test_a_compact_drafter_says_that_it_was_rounded_and_is_loaded(drafts, hub, tmp_path, capsys):
    words = ["export-drafter", "--form", "compact", "--target", drafts / "target", "--drafter", drafts / "eagle"]
    selfdraft(capsys, *words, "--out-dir", tmp_path / "small")
    export(capsys, drafts, "eagle", "--checkpoint", tmp_path / "small", "--push", "acme/small")
    assert "**Its weights were rounded** (int8 rows)" in Path("out/eagle/README.md").read_text()
    assert "[eagle3 small, gamma 4]" in generate(capsys, drafts, "hub:acme/small").out


def test_a_branch_becomes_a_commit_that_is_told_and_kept(drafts, hub, capsys):
    export(capsys, drafts, "exit", "--push", "acme/draft")
    first = hub.head
    for address in ("hub:acme/draft@main", "hub:acme/draft"):
        said = generate(capsys, drafts, address).err
        assert f"hub:acme/draft@main is commit {first}; name it to have this draft again" in said
    export(capsys, drafts, "exit", "--licence", "mit", "--push", "acme/draft")
    assert hub.head != first
    assert f"is commit {hub.head}" in generate(capsys, drafts, "hub:acme/draft").err
    assert sorted(path.name for path in Path("results/cache/drafts/acme").iterdir()) == sorted([first, hub.head])


def test_only_files_of_a_draft_are_fetched(drafts, hub, capsys):
    export(capsys, drafts, "exit", "--push", "acme/draft")
    for name in ("draft.bin", "code.py", "optimizer.pkl", "model.safetensors", "train_log.jsonl"):
        (hub.folder / name).write_bytes(b"not wanted")
    generate(capsys, drafts, f"hub:acme/draft@{hub.head}")
    assert set(hub.sent) == {"draft.safetensors", "config.json", "sha256.json", "README.md"}


def test_every_option_that_names_a_draft_takes_one_of_a_hub(drafts, hub, capsys):
    export(capsys, drafts, "eagle", "--push", "acme/draft")
    address = f"hub:acme/draft@{hub.head}"
    folder = f"results/cache/drafts/acme/{hub.head}/draft"
    words = ["export-drafter", "--target", drafts / "target", "--drafter", address, "--out-dir", "raw"]
    assert "raw: raw, features [1, 2], 50 tokens" in selfdraft(capsys, *words).out
    args = Namespace(
        checkpoints=["results/checkpoints/a", address],
        drafters=json.dumps({"both": {"kind": "hybrid", "drafter": {"kind": "eagle3", "folder": address}}}),
        initial=address,
        checkpoint=None,
        prompt=[address],
    )
    fetch_named(args)
    assert args.checkpoints == ["results/checkpoints/a", folder]
    assert json.loads(args.drafters) == {"both": {"kind": "hybrid", "drafter": {"kind": "eagle3", "folder": folder}}}
    assert (args.initial, args.prompt) == (folder, [address])


def test_a_draft_of_another_target_is_refused(drafts, hub, capsys):
    for name in ("exit", "eagle"):
        export(capsys, drafts, name, "--push", "acme/draft")
        error = generate(capsys, drafts, "hub:acme/draft", target="other", status=2).err
        assert "config.json: trained on another target: its fingerprint is " in error
    error = export(capsys, drafts, "exit", "--target", drafts / "other", status=2).err
    assert "trained on another target" in error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda folder: (folder / "sha256.json").unlink(),
            "holds no draft that `selfdraft export hub` wrote: no sha256.json",
        ),
        (
            lambda folder: (folder / "draft.safetensors").unlink(),
            "holds no draft that `selfdraft export hub` wrote: no draft",
        ),
        (
            lambda folder: (folder / "draft.safetensors").write_bytes(b"x"),
            "draft.safetensors: its sha256 is 2d711642b726…, ",
        ),
        (
            lambda folder: (folder / "sha256.json").write_text("[]"),
            "sha256.json: is no list of sums of draft.safetensors, ",
        ),
        (lambda folder: (folder / "README.md").unlink(), "README.md: missing, and sha256.json names it"),
    ],
)
def test_a_repository_that_holds_no_whole_draft_is_refused(drafts, hub, capsys, change, message):
    export(capsys, drafts, "exit", "--push", "acme/draft")
    change(hub.folder)
    error = generate(capsys, drafts, f"hub:acme/draft@{hub.head}", status=2).err
    assert error.startswith(f"selfdraft generate: error: hub:acme/draft@{hub.head}: {message}")
    assert not Path("results/cache/drafts").exists() or not [*Path("results/cache/drafts").rglob("*.json")]


def test_a_draft_that_was_changed_in_the_cache_is_refused_and_fetched_again(drafts, hub, capsys):
    export(capsys, drafts, "exit", "--push", "acme/draft")
    address = f"hub:acme/draft@{hub.head}"
    first = generate(capsys, drafts, address).out.splitlines()[0]
    kept = Path(f"results/cache/drafts/acme/{hub.head}/draft")
    (kept / "config.json").write_text("{}")
    error = generate(capsys, drafts, address, status=2).err
    assert f"{kept}: config.json: its sha256 is " in error
    assert error.endswith("; remove that folder to fetch it again")
    shutil.rmtree(kept)
    assert generate(capsys, drafts, address).out.splitlines()[0] == first


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"target": []}, "target: found [], an object is right"),
        ({"layer": "1"}, "layer: found '1', a whole number is right"),
        ({"kind": "eagle3", "features": "12"}, "features: found '12', a list of depths is right"),
        ({"kind": "eagle3", "features": [1, "2"]}, "features: found [1, '2'], a list of depths is right"),
        ({"kind": "eagle3", "features": [1, 2], "fc_norm": 1}, "fc_norm: found 1, true or false is right"),
    ],
)
def test_a_config_of_a_stranger_is_not_trusted(drafts, hub, capsys, keys, message):
    export(capsys, drafts, "exit", "--push", "acme/draft")
    config = json.loads((hub.folder / "config.json").read_text())
    (hub.folder / "config.json").write_text(json.dumps(config | keys))
    write_sums(hub.folder)
    error = generate(capsys, drafts, f"hub:acme/draft@{hub.head}", status=2).err
    assert error == f"selfdraft generate: error: hub:acme/draft@{hub.head}: config.json: {message}"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("hub:draft", "hub:draft: is no draft of a hub; hub:OWNER/NAME@COMMIT is right"),
        ("hub:acme/../x", "is no draft of a hub"),
        ("hub:acme/draft@v9", "acme/draft: no revision v9"),
    ],
)
def test_what_is_no_address_or_revision_is_refused(drafts, hub, capsys, address, message):
    assert message in generate(capsys, drafts, address, status=2).err


@pytest.mark.parametrize(
    ("refusal", "fetching", "pushing"),
    [
        ((403, "", "no entry"), "acme/draft: the hub refused (403 Forbidden: no entry.)", "the hub refused (403 Forb"),
        (
            (401, "", "who?"),
            "set HF_TOKEN to an access token that is valid",
            "set HF_TOKEN to an access token that is valid",
        ),
        ((403, "GatedRepo", ""), "acme/draft: this model is gated: accept its terms", "this model is gated"),
        ((404, "RepoNotFound", ""), "acme/draft: no such model on the hub", "no such model on the hub"),
    ],
)
def test_a_hub_that_refuses_is_one_line(drafts, hub, capsys, refusal, fetching, pushing):
    hub.refuse = refusal
    for address in ("hub:acme/draft", f"hub:acme/draft@{COMMIT}"):
        assert fetching in generate(capsys, drafts, address, status=2).err
    assert pushing in export(capsys, drafts, "exit", "--push", "acme/draft", status=2).err
    assert Path("out/exit/draft.safetensors").is_file()  # the folder is there, and can be pushed again


def test_who_may_not_write_is_told_so(drafts, hub, capsys, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "reader")
    error = export(capsys, drafts, "exit", "--push", "acme/draft", status=2).err
    assert "acme/draft: the hub refused (403 Forbidden: you do not have the right to write here" in error
    assert not [*hub.folder.iterdir()]


def test_a_hub_that_cannot_be_reached_is_one_line(drafts, hub, capsys, monkeypatch):
    hub.shutdown()
    hub.server_close()
    which = "acme/draft: the hub cannot be reached and does not say which commit main is: name a commit"
    assert which in generate(capsys, drafts, "hub:acme/draft", status=2).err
    error = export(capsys, drafts, "exit", "--push", "acme/draft", status=2).err
    assert "acme/draft: the hub cannot be reached and nothing was uploaded; --push again" in error
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert which in generate(capsys, drafts, "hub:acme/draft", status=2).err
    error = generate(capsys, drafts, f"hub:acme/draft@{COMMIT}", status=2).err
    assert f"acme/draft: the hub cannot be reached and commit {COMMIT[:12]} is not in results/cache/hub" in error


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--push", "draft"], "--push: 'draft' is no repository; OWNER/NAME is right"),
        (["--private"], "--private: nothing is uploaded; name --push too"),
        (["--results", "none.csv"], "none.csv: file not found"),
        (["--results", "empty.csv"], "empty.csv: no results.csv: it has no column `drafter` with rows under it"),
        (["--results", "lookup.csv"], "lookup.csv: no row of this draft (drafter early_exit, layer 1, T 1.0, capacity"),
        (["--results", "bigger.csv"], "bigger.csv: trained_parameters: 3 there, "),
        (["--checkpoint", "."], "config.json: file not found"),
        (["--data", "talk"], "--data: talk: its name is other, the draft was trained on talk"),
        (["--out", "."], ".: holds bigger.csv, and would be replaced whole; name another folder"),
    ],
)
def test_bad_options_are_one_line_each(drafts, hub, capsys, more, message):
    Path("empty.csv").write_text("a,b\n")
    Path("lookup.csv").write_text("drafter,layer\nlookup,\n")
    Path("bigger.csv").write_text(
        "drafter,layer,T,capacity,objective,seed,trained_parameters\nearly_exit,1,1.0,translator,kl,0,3\n"
    )
    Path("talk").mkdir()
    Path("talk/sources.json").write_text('{"name": "other"}')
    assert message in export(capsys, drafts, "exit", *more, status=2).err


def test_pushing_without_a_token_is_refused_before_any_work(drafts, hub, capsys, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", "no/token")
    error = export(capsys, drafts, "exit", "--push", "acme/draft", status=2).err
    assert "--push: no access token: set the environment variable HF_TOKEN to one that may write" in error
    assert not Path("out").exists()
