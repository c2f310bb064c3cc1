"""Each mistake in a config is one line: the file, the key, what was found, what would be right."""

import copy
import json
from pathlib import Path

import pytest
import yaml

from selfdraft.errors import StudyError
from selfdraft.study.config import check, check_layers, layers_text, load, typed
from selfdraft.study.options import sources_of, splits_of
from selfdraft.study.schema import read_schema

ROOT = Path(__file__).resolve().parents[2]
PROFILES = [f"profiles/{name}/config.yaml" for name in ("slurm-gh200", "exits", "long")]
CONFIGS = ["config.yaml", *PROFILES, "tests/workflow/tiny.yaml"]
MISSING = object()
NOTES = {"shape": "text", "source": {"kind": "path", "path": "notes"}, "held_out_tokens": 9, "sequence_length": 32}
TREE = {"tree": {"nodes": 8, "children": 4}}
EAGLE = {"kind": "eagle3", "features": [2, 15, 27]}
HYBRID = {"kind": "hybrid", "drafter": "eagle"}
EXITS = {"kind": "exits", "heads": [7, 14, 22], "capacity": "head"}
ADAPTIVE = {"kind": "adaptive_early_exit", "drafter": "many"}
DYNAMIC = {"kind": "dynamic", "drafter": "many"}
PART = {"weight": 1, "source": {"kind": "path", "path": "x.jsonl"}}


def changed(path, value):
    """The default config with the setting at `path` replaced, added or (MISSING) removed."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    *above, last = path.split("/")
    place = config
    for key in above:
        place = place[int(key)] if isinstance(place, list) else place[key]
    if value is MISSING:
        del place[last]
    else:
        place[int(last) if isinstance(place, list) else last] = value
    return config


@pytest.mark.parametrize("name", CONFIGS)
def test_the_configs_of_the_project_are_right(name):
    assert load(ROOT / name)["target"]["name"]


WRONG = [
    ("training/epoch", 3, 'training.epoch: unknown key; did you mean "epochs"?'),
    ("trainning", {}, 'trainning: unknown key; did you mean "training"?'),
    ("figures/paretto", {}, 'figures.paretto: unknown key; did you mean "pareto"?'),
    ("figures/pareto", {"color": 1}, "figures.pareto.color: unknown key; known are sweep, width, height, rcParams"),
    ("target/source/repo", "a/b", "target.source.repo: unknown key; known are kind, package, version, member, sha256"),
    ("target/source/member", MISSING, "target.source.member: missing; it must be set"),
    ("data", MISSING, "data: missing; it must be set"),
    ("sweeps/layers/T/0", -1, "sweeps.layers.T.0: -1 is not > 0"),
    ("sweeps/layers/T/0", 0, "sweeps.layers.T.0: 0 is not > 0"),
    ("sweeps/layers/T/0", float("nan"), "sweeps.layers.T.0: NaN is not a number"),
    ("sweeps/gamma/gamma/0", 0, "sweeps.gamma.gamma.0: 0 is not ≥ 1"),
    ("sweeps/layers/layer/0", -2, "sweeps.layers.layer.0: -2 is not ≥ 0"),
    ("sweeps/layers/layer/0", True, "sweeps.layers.layer.0: true is not a whole number"),
    ("sweeps/layers/layer/0", 6.5, "sweeps.layers.layer.0: 6.5 is not a whole number"),
    ("sweeps/layers/layer", [], "sweeps.layers.layer: [] has too few entries; at least 1 must be there"),
    ("sweeps/layers/layer", 6, "sweeps.layers.layer: 6 is not a list"),
    ("sweeps/layers/capacity/0", "heads", 'sweeps.layers.capacity.0: "heads" is not known; did you mean "head"?'),
    (
        "sweeps/layers/policy/0",
        "greed",
        'sweeps.layers.policy.0: "greed" is not a key of policies; did you mean "greedy"?',
    ),
    ("policies/t0.7/top_p", 1.5, "policies.t0.7.top_p: 1.5 is not in (0, 1]"),
    ("policies/t0.7/top_p", 0, "policies.t0.7.top_p: 0 is not in (0, 1]"),
    ("policies/t0.7/top_k", -1, "policies.t0.7.top_k: -1 is not ≥ 0"),
    ("policies/greedy/temperature", -0.1, "policies.greedy.temperature: -0.1 is not ≥ 0"),
    ("policies/a b", {"temperature": 1}, 'policies: "a b" is not a policy\'s name'),
    ("training/objective", "kll", 'training.objective: "kll" is not known; did you mean "kl"?'),
    ("training/ce_weight", 0.5, "training.ce_weight: 0.5 does not go with objective kl; kl_ce wants > 0, the others 0"),
    (
        "sweeps/layers/objective",
        ["kl_ce", "tv"],
        "training.ce_weight: 0.0 does not go with objective kl, kl_ce, tv; kl_ce wants > 0, the others 0",
    ),
    ("sweeps/layers/objective", ["kll"], 'sweeps.layers.objective.0: "kll" is not known; did you mean "kl"?'),
    ("sweeps/lookup/seed", [1], "sweeps.lookup.seed: does not go with drafter"),
    (
        "training",
        {"objective": "reverse_kl", "teacher_top_k": 8},
        "training.teacher_top_k: does not go with objective reverse_kl",
    ),
    ("training/mode", "on-line", 'training.mode: "on-line" is not known; did you mean "online"?'),
    ("training/gradient_accumulation", 0, "training.gradient_accumulation: 0 is not ≥ 1"),
    ("training/ranks", {"lora": 0}, "training.ranks.lora: 0 is not ≥ 1"),
    ("training/ranks", {"head": 8}, "training.ranks.head: unknown key"),
    ("training/learning_rate/lora_a", 1e-3, 'training.learning_rate.lora_a: unknown key; did you mean "lora"?'),
    ("sweeps/layers/capacity/0", "medusa", 'sweeps.layers.capacity.0: "medusa" is not known'),
    ("teacher", {"source": {"kind": "path", "path": "x"}}, "teacher.name: missing"),
    (
        "teacher",
        {"name": "lookup", "source": {"kind": "path", "path": "x"}},
        "teacher.name: lookup is the name of another model",
    ),
    ("training/learning_rate/norm", "1e-3", 'training.learning_rate.norm: "1e-3" is not a number; write 1.0e-03'),
    ("target/source/kind", "packge", 'target.source.kind: "packge" is not known; did you mean "package"?'),
    ("target/source/sha256", "abc", 'target.source.sha256: "abc" is not a sha256 sum (64 hex digits)'),
    ("target/source", {"kind": "hub", "repo": "a/b", "revision": "main"}, 'revision: "main" is not a full commit hash'),
    ("target/name", "a/b", 'target.name: "a/b" is not a name of letters, digits'),
    (
        "figures/pareto",
        {"sweep": "layer"},
        'figures.pareto.sweep: "layer" is not a key of sweeps; did you mean "layers"?',
    ),
    ("data/source", MISSING, "data.source: missing; it must be set (data have one source or a mixture)"),
    ("data/mixture", {"a": PART}, "data.mixture: does not go with source"),
    ("data/mixture", {"a": {**PART, "weight": 0}}, "data.mixture.a.weight: 0 is not > 0"),
    ("data/mixture", {"a": {**PART, "weight": "3"}}, 'data.mixture.a.weight: "3" is not a number'),
    ("data/mixture", {"a": {**PART, "weight": float("nan")}}, "data.mixture.a.weight: NaN is not a number"),
    ("data/mixture", {"a": {"source": PART["source"]}}, "data.mixture.a.weight: missing; it must be set"),
    ("data/mixture", {"a/b": PART}, 'data.mixture: "a/b" is not a name of letters, digits'),
    ("data/shape", "txt", 'data.shape: "txt" is not known; did you mean "text"?'),
    ("data/shape", "prompts", "data.shape: prompts have no answers to train on"),
    ("data/columns", {"text": 3}, "data.columns.text: 3 is not a text"),
    ("data/max_records", 0, "data.max_records: 0 is not ≥ 1"),
    ("data/train_tokens", MISSING, "data.train_tokens: missing; it must be set"),
    ("data/splits", ["train"], 'data.splits: ["train"] is not known'),
    ("data/splits", ["held_out"], "data.train_tokens: does not go with splits [held_out]"),
    ("data/prompt_length", [300, 64], "data.prompt_length: 300 > 64; the shortest comes first"),
    ("data/prompt_length", [64], "data.prompt_length: [64] has too few entries; at least 2 must be there"),
    ("speed/prompts", 1000, "speed.prompts: 1000 is more than data.prompts, 100"),
    ("acceptance/prompts", 101, "acceptance.prompts: 101 is more than data.prompts, 100"),
    ("identity/prompts", 101, "identity.prompts: 101 is more than data.prompts, 100"),
    ("batch/sizes", [1, 128], "batch.sizes: 128 is more than data.prompts, 100"),
    ("lengths/samples", 101, "lengths.samples: 101 is more than data.prompts, 100"),
    ("lengths/lengths", [100, 50], "lengths.lengths: found [100, 50], ascending lengths without repeats are right"),
    ("lengths/lengths", [50, 50], "lengths.lengths: found [50, 50], ascending lengths without repeats are right"),
    ("lengths/lengths", [0, 50], "lengths.lengths.0: 0 is not ≥ 1"),
    ("lengths/sweeps", ["lookups"], 'lengths.sweeps.0: "lookups" is not a key of sweeps; did you mean "lookup"?'),
    ("peers/batches", [128], "peers.batches: 128 is more than data.prompts, 100"),
    ("peers/draft_model", "lookup", 'peers.draft_model: "lookup" is not a drafter of kind model'),
    ("batch/sweeps", ["lookups"], 'batch.sweeps.0: "lookups" is not a key of sweeps; did you mean "lookup"?'),
    ("drafting/fixed", {}, "drafting.fixed: this name means gamma tokens from the whole vocabulary"),
    ("drafting/trimmed/vocabulary", 0, "drafting.trimmed.vocabulary: 0 is not ≥ 1"),
    ("drafting/trimmed", {"tree": {"nodes": 0, "children": 4}}, "drafting.trimmed.tree.nodes: 0 is not ≥ 1"),
    ("drafting/trimmed", {"tree": {"nodes": 8}}, "drafting.trimmed.tree.children: missing; it must be set"),
    ("drafting/trimmed", TREE, "sweeps.drafting.drafting: trimmed drafts trees, an exit can not"),
    (
        "drafting/adaptive",
        {"verification_cost": 0.1},
        "drafting.adaptive.verification_cost: is what adapt reckons with; set adapt too",
    ),
    ("drafting/adaptive", TREE | {"adapt": True}, "drafting.adaptive.adapt: does not go with tree; it ends chains"),
    ("drafting/confident/min_confidence", 2, "drafting.confident.min_confidence: 2 is not in [0, 1]"),
    ("drafting/confident/confidence", 2, "drafting.confident.confidence: unknown key; did you mean"),
    ("drafters/lookup/kind", "eagle", 'drafters.lookup.kind: "eagle" is not known; did you mean "eagle3"?'),
    ("drafters/e", {"kind": "eagle3"}, "drafters.e.features: missing; it must be set"),
    ("drafters/e", EAGLE | {"source": {}}, "drafters.e.source: unknown key; known are kind, features, vocabulary"),
    ("drafters/e", EAGLE | {"features": [2, 2]}, "drafters.e.features: found [2, 2], ascending depths of the target"),
    ("drafters/h", {"kind": "hybrid"}, "drafters.h.drafter: missing; it must be set"),
    (
        "drafters/h",
        HYBRID,
        'drafters.h.drafter: "eagle" is no drafter with a model: one of eagle3, eagle3-text, shipped is right',
    ),
    ("drafters/e", EAGLE | {"initial": "lookup"}, 'drafters.e.initial: "lookup" is no other drafter of kind eagle3 or'),
    ("drafters/e", EAGLE | {"initial": "e"}, 'drafters.e.initial: "e" is no other drafter of kind eagle3 or'),
    (
        "drafters/e",
        EAGLE | {"features": [1, 2], "initial": "eagle3"},
        "drafters.e.features: found [1, 2], [2, 15, 27] of its initial eagle3 is right",
    ),
    (
        "drafters/eagle3",
        EAGLE | {"initial": "eagle3-text", "training": {"start": "regression"}},
        "drafters.eagle3.training.start: does not go with initial, which says where training starts",
    ),
    (
        "drafters/e",
        EAGLE | {"initial": "eagle3", "fc_norm": False},
        "drafters.e.fc_norm: found false, true of its initial eagle3 is right",
    ),
    ("answers", MISSING, "drafters.eagle3.answers: regenerated needs the section answers, which says how"),
    ("answers/policy", "greedily", 'answers.policy: "greedily" is not a key of policies; did you mean "greedy"?'),
    ("answers/questions", 0, "answers.questions: 0 is not ≥ 1"),
    ("drafters/eagle3/answers", "own", 'drafters.eagle3.answers: "own" is not known; known are original, regenerated'),
    ("drafters/h", HYBRID | {"drafter": "lookup"}, 'drafters.h.drafter: "lookup" is no drafter with a model: one of'),
    ("drafters/h", HYBRID | {"lookup": {"min_ngram": 9}}, "drafters.h.lookup.min_ngram: 9 is more than max_ngram, 4"),
    ("drafters/h", HYBRID | {"most": 0}, "drafters.h.most: 0 is not ≥ 1"),
    ("drafters/m", EXITS | {"heads": [7, 7]}, "drafters.m.heads: layer 7 stands there 2 times; once is right"),
    ("drafters/m", EXITS | {"num_heads": 3}, "drafters.m.heads: a list of layers, or num_heads in its place; one of"),
    ("drafters/m", EXITS | {"capacity": "heads"}, 'drafters.m.capacity: "heads" is not known; did you mean "head"?'),
    ("drafters/m", EXITS | {"training": {"epoch": 1}}, "drafters.m.training.epoch: unknown key; did you mean"),
    (
        "drafters/m",
        {"kind": "exits", "num_heads": 3, "capacity": "head", "training": {"mode": "offline"}},
        "drafters.m.training.mode: offline does not go with num_heads",
    ),
    ("drafters/a", ADAPTIVE, 'drafters.a.drafter: "many" is no drafter of kind exits: drafters has none'),
    ("drafters/a", ADAPTIVE | {"accuracy_level": 0.42}, "drafters.a.accuracy_level: 0.42 is not known; known are 0.5,"),
    ("drafters/a", ADAPTIVE | {"rule": "luck"}, 'drafters.a.rule: "luck" is not known; known are learn_then_test'),
    ("drafters/a", ADAPTIVE | {"risk": "harm"}, 'drafters.a.risk: "harm" is not known'),
    ("drafters/m", EXITS | {"calibration": {"gama": 4}}, "drafters.m.calibration.gama: unknown key; did you mean"),
    ("target/quantization", "8bit", 'target.quantization: "8bit" is not'),
    ("drafters/y", DYNAMIC, 'drafters.y.drafter: "many" is no drafter of kind exits: drafters has none'),
    ("drafters/y", DYNAMIC | {"costs": "mine"}, 'drafters.y.costs: "mine" is not known; known are bytes, clock'),
    ("drafters/e", EAGLE | {"features": []}, "drafters.e.features: [] has too few entries; at least 1 must be there"),
    ("drafters/e", EAGLE | {"vocabulary": 0}, "drafters.e.vocabulary: 0 is not ≥ 1"),
    ("drafters/e", EAGLE | {"training": {"loss": "mse"}}, 'drafters.e.training.loss: "mse" is not known; known are kl'),
    (
        "drafters/e",
        EAGLE | {"training": {"ttt": 3}},
        "drafters.e.training.ttt: unknown key; known are start, ttt_length",
    ),
    (
        "drafters/e",
        EAGLE | {"training": {"ttt_length": 511}},
        "drafters.e.training.ttt_length: 511 steps do not fit into data.sequence_length, 512",
    ),
    (
        "drafters/lookup/source",
        {"kind": "path", "path": "x"},
        "drafters.lookup.source: unknown key; known are kind, max_ngram",
    ),
    ("drafters/small", {"kind": "model"}, "drafters.small.source: missing; it must be set"),
    ("drafters/layer9", {"kind": "lookup"}, 'drafters: "layer9" is not a drafter\'s name'),
    ("sweeps/lookup/drafter/0", "look", 'sweeps.lookup.drafter.0: "look" is not a key of drafters; did you mean'),
    ("sweeps/lookup/layer", [6], "sweeps.lookup.layer: does not go with drafter"),
    ("sweeps/gamma/layer", MISSING, "sweeps.gamma.layer: missing; it must be set (or drafter"),
    ("sweeps/drafting/drafting/1", "trim", 'sweeps.drafting.drafting.1: "trim" is not a key of drafting; did you mean'),
    ("figures/peers", {"sweep": "layers"}, "figures.peers.sweep: this figure draws a table of its own"),
    ("drafters/SmolLM2-135M-Instruct", {"kind": "lookup"}, "drafters.SmolLM2-135M-Instruct: this is the name of the"),
    ("policies/greedy/temperature", 0.5, "identity.sweeps: none of their policies is greedy (temperature 0)"),
    ("domains/sets/xsum", {"held_out_tokens": 9}, "domains.sets.xsum.source: missing; it must be set"),
    ("domains/sets/news/shape", "texts", 'domains.sets.news.shape: "texts" is not known; did you mean "text"?'),
    ("domains/sets/news/held_out", 9, 'domains.sets.news.held_out: unknown key; did you mean "held_out_tokens"?'),
    ("domains/set", {}, 'domains.set: unknown key; did you mean "sets"?'),
    ("domains/sets", {}, "domains.sets: {} has too few entries; at least 1 must be there"),
    ("domains/sets/a b", {}, 'domains.sets: "a b" is not a name of letters, digits'),
    ("domains/sweeps", ["domain"], 'domains.sweeps.0: "domain" is not a key of sweeps; did you mean "domains"?'),
    (
        "domains",
        {"sweeps": ["layers"], "timed": ["layers"], "sets": {"notes": NOTES}},
        "domains.timed: none of domains.sets has prompts",
    ),
    ("domains/timed", ["lookups"], 'domains.timed.0: "lookups" is not in domains.sweeps; '),
    ("data/name", "news", "domains.sets.news: this is the name of data; choose another one"),
    ("target/name", "humaneval", "domains.sets.humaneval: this is the name of target; choose another one"),
    ("domains/sets/news/held_out_tokens", MISSING, "domains.sets.news: measures nothing; set held_out_tokens (for"),
    ("domains/sets/news/sequence_length", MISSING, "domains.sets.news.sequence_length: missing; it must be set beside"),
    (
        "domains/sets/mt-bench/held_out_tokens",
        8,
        "domains.sets.mt-bench.held_out_tokens: does not go with shape prompts",
    ),
    ("domains/sets/mt-bench/sequence_length", 64, "mt-bench.sequence_length: does not go without held_out_tokens"),
    ("domains/sets/news/prompt_length", [8, 64], "domains.sets.news.prompt_length: does not go without prompts"),
    ("domains/sets/mt-bench/prompt_length", MISSING, "domains.sets.mt-bench.prompt_length: missing; it must be"),
    ("domains/sets/mt-bench/prompt_length", [64, 8], "domains.sets.mt-bench.prompt_length: 64 > 8; the shortest comes"),
    ("domains/sweeps", ["lookup"], "domains.sets.news.held_out_tokens: quality is of trained drafts; none of"),
    ("figures/domains", {"sweep": "layers"}, "figures.domains.sweep: this figure draws all that domains measures"),
    ("compile/layer", [3], 'compile.layer: unknown key; did you mean "layers"?'),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG, ids=[f"{w[0]}={w[1]!s:.20}" for w in WRONG])
def test_a_mistake_is_told_in_one_line(path, value, message):
    with pytest.raises(StudyError) as caught:
        check(changed(path, value), "config.yaml")
    assert str(caught.value).startswith("config.yaml: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_drafters_that_begin_with_each_other_are_told():
    config = changed("drafters/a", EAGLE | {"initial": "b"})
    config["drafters"]["b"] = EAGLE | {"initial": "c", "confidence": True}
    config["drafters"]["c"] = EAGLE | {"initial": "a", "confidence": True}
    with pytest.raises(StudyError, match=r"drafters\.a\.initial: leads back to itself: a, b, c, a; one of them must"):
        check(copy.deepcopy(config), "it")
    del config["drafters"]["c"]["initial"]
    with pytest.raises(StudyError, match=r"drafters\.a\.confidence: found false, true of its initial b is right"):
        check(copy.deepcopy(config), "it")
    config["drafters"]["a"]["confidence"] = True
    check(config, "it")


@pytest.mark.parametrize("config", [None, [], "text"])
def test_a_config_that_is_no_mapping_is_told(config):
    with pytest.raises(StudyError, match=r"config.yaml: .* is not a mapping"):
        check(config, "config.yaml")


@pytest.mark.parametrize("text", ["a: [1", "a: {b: c: d}", "\tx"])
def test_broken_yaml_is_told_in_one_line(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(StudyError, match="not valid YAML") as caught:
        load(tmp_path / "c.yaml")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(StudyError, match=r"c\.yaml: file not found"):
        load(tmp_path / "c.yaml")


def test_defaults_are_filled_in_where_a_key_is_left_out():
    config = changed("policies", {"greedy": {"temperature": 0.0}, "t0.7": {"temperature": 0.7}})
    del config["figures"], config["speed"]["repeats"]
    check(config, "config.yaml")
    assert config["policies"]["t0.7"] == {"temperature": 0.7, "top_p": 1.0, "top_k": 0}
    assert config["figures"] == {}
    assert config["speed"]["repeats"] == 1


def test_a_checked_config_checks_again_unchanged():
    config = load(ROOT / "config.yaml")
    again = copy.deepcopy(config)
    check(again, "config.yaml")
    assert again == config


def test_every_key_of_the_schema_has_a_description():
    schema = read_schema()

    def undescribed(rule, path):
        for key, inner in rule.get("properties", {}).items():
            target = schema["$defs"][inner["$ref"].rsplit("/", 1)[1]] if "$ref" in inner else {}
            if "description" not in inner and "description" not in target:
                yield f"{path}.{key}"
            yield from undescribed(inner, f"{path}.{key}")
        if isinstance(rule.get("additionalProperties"), dict):
            yield from undescribed(rule["additionalProperties"], f"{path}.*")

    rules = {"": schema} | schema["$defs"]
    assert [key for name, rule in rules.items() for key in undescribed(rule, name)] == []


def test_every_mapping_of_the_schema_refuses_unknown_keys():
    schema = read_schema()

    def open_mappings(rule, path):
        if "properties" in rule and "additionalProperties" not in rule and "allOf" not in rule:
            yield path
        for key, inner in rule.get("properties", {}).items():
            yield from open_mappings(inner, f"{path}.{key}")
        if isinstance(rule.get("additionalProperties"), dict):
            yield from open_mappings(rule["additionalProperties"], f"{path}.*")

    rules = {"study": schema} | schema["$defs"]
    assert [path for name, rule in rules.items() for path in open_mappings(rule, name)] == []


def test_settings_of_the_schema_are_those_the_stages_know():
    from selfdraft.calibration.exits import LEVELS
    from selfdraft.calibration.measures import MEASURES
    from selfdraft.calibration.record import RISKS
    from selfdraft.calibration.rules import RULES
    from selfdraft.capacities import CAPACITIES, LEARNING_RATES, RANKS
    from selfdraft.cli import parser_of
    from selfdraft.commands import acceptance, harm, speed
    from selfdraft.drafters import KINDS, kind_of
    from selfdraft.drafters.dynamic import COSTS
    from selfdraft.sources.data_settings import DataSettings, Part
    from selfdraft.sources.quantized import KINDS as QUANTIZED
    from selfdraft.sources.shapes import SHAPES
    from selfdraft.training.drafter_settings import LEARNING_RATES as RATES_OF_DRAFTERS
    from selfdraft.training.drafter_settings import DrafterSettings
    from selfdraft.training.losses import DIVERGENCES
    from selfdraft.training.settings import DTYPES, OBJECTIVES, Settings

    schema = read_schema()
    keys = {section: set(rule.get("properties", {})) for section, rule in schema["properties"].items()}
    assert keys["training"] == set(Settings.__dataclass_fields__)
    training = schema["properties"]["training"]["properties"]
    assert set(training["objective"]["enum"]) == set(OBJECTIVES)
    assert set(training["dtype"]["enum"]) == set(DTYPES)
    assert set(training["learning_rate"]["properties"]) == set(LEARNING_RATES)
    assert set(training["ranks"]["properties"]) == set(RANKS)
    sweep = schema["properties"]["sweeps"]["additionalProperties"]["properties"]
    assert tuple(schema["$defs"]["capacity"]["enum"]) == CAPACITIES
    assert sweep["capacity"]["items"] == {"$ref": "#/$defs/capacity"}
    drafter = schema["properties"]["drafters"]["additionalProperties"]
    assert tuple(drafter["properties"]["kind"]["enum"]) == KINDS
    for kind, rule in zip(KINDS, drafter["allOf"], strict=True):
        assert set(rule["then"]["properties"]) == {"kind", *kind_of(kind).settings}
        assert all("description" in setting for setting in kind_of(kind).settings.values())
    trained = kind_of("eagle3").settings
    assert set(trained) == {"features", *kind_of("eagle3").defaults}
    assert set(trained["training"]["properties"]) == set(DrafterSettings.__dataclass_fields__)
    assert set(trained["training"]["properties"]["learning_rate"]["properties"]) == set(RATES_OF_DRAFTERS)
    assert set(trained["training"]["properties"]["dtype"]["enum"]) == set(DTYPES)
    assert set(trained["training"]["properties"]["loss"]["enum"]) <= set(DIVERGENCES)
    exits = drafter["allOf"][KINDS.index("exits")]["then"]["properties"]
    assert set(exits) == {"kind", "heads", "num_heads", "capacity", "calibration", *kind_of("exits").defaults}
    promised = exits["calibration"]["properties"]
    assert (tuple(promised["risk"]["enum"]), tuple(promised["costs"]["enum"])) == (RISKS, harm.COSTS)
    told = parser_of("calibrate").parse_args(["calibrate", "--target", "T", "--data", "D", "--drafter", "H"])
    assert set(promised) <= set(vars(told))
    assert tuple(kind_of("adaptive_early_exit").settings["risk"]["enum"]) == RISKS
    quantization = schema["properties"]["target"]["properties"]["quantization"]
    assert set(quantization["enum"]) == set(QUANTIZED)
    assert schema["$defs"]["training"] == schema["properties"]["training"]
    assert (exits["training"]["$ref"], exits["capacity"]["$ref"]) == ("#/$defs/training", "#/$defs/capacity")
    assert tuple(kind_of("adaptive_early_exit").settings["accuracy_level"]["enum"]) == LEVELS
    assert kind_of("adaptive_early_exit").settings["measure"]["enum"] == list(MEASURES)
    assert set(kind_of("adaptive_early_exit").settings["rule"]["enum"]) == set(RULES)
    assert tuple(kind_of("dynamic").settings["costs"]["enum"]) == COSTS
    parts = set(Part.__dataclass_fields__)
    assert keys["data"] == {"name", "mixture"} | set(DataSettings.__dataclass_fields__) | parts - {"weight"}
    assert set(schema["properties"]["data"]["properties"]["mixture"]["additionalProperties"]["properties"]) == parts
    assert tuple(schema["$defs"]["shape"]["enum"]) == tuple(SHAPES)
    assert keys["acceptance"] == set(acceptance.DEFAULTS)
    assert keys["speed"] == set(speed.DEFAULTS)


def mixed(**changes):
    """The default config with a mixture in place of its source; `changes` are of the data section."""
    config = changed("data/source", MISSING)
    config["data"] |= {"mixture": {"chat": {**PART, "weight": 3}, "web": {**PART, "shape": "text"}}, **changes}
    return config


def test_a_mixture_stands_in_place_of_a_source():
    config = mixed()
    check(config, "config.yaml")
    assert sources_of(config["data"]) == [PART["source"], PART["source"]]
    assert splits_of(config["data"]) == ["train", "validation", "held_out"]
    with pytest.raises(StudyError, match=r"data\.shape: does not go with mixture; each of its parts has its own"):
        check(mixed(shape="text"), "config.yaml")
    with pytest.raises(StudyError, match=r"data\.mixture\.q\.shape: prompts have no answers to train on"):
        check(mixed(mixture={"q": {**PART, "shape": "prompts"}}), "config.yaml")


def test_a_trace_is_of_a_trained_draft():
    with pytest.raises(StudyError, match=r"traces\.sweeps: none of their drafts is trained"):
        check(changed("traces/sweeps", ["lookup"]), "config.yaml")


def test_trees_are_for_drafters_that_can():
    config = changed("drafting/tree", TREE)
    config["drafters"] |= {"e": EAGLE, "both": {"kind": "hybrid", "drafter": "e"}}
    config["sweeps"]["trees"] = {**config["sweeps"]["lookup"], "drafter": ["e", "both"], "drafting": ["fixed", "tree"]}
    check(copy.deepcopy(config), "config.yaml")
    config["sweeps"]["trees"]["drafter"].append("lookup")
    with pytest.raises(StudyError, match=r"sweeps\.trees\.drafting: tree drafts trees, lookup can not"):
        check(config, "config.yaml")


def test_who_asks_for_no_harm_asks_heads_that_are_calibrated_for_it():
    config = changed("drafters/many", EXITS)
    config["drafters"]["a"] = ADAPTIVE | {"risk": "no_harm"}
    with pytest.raises(StudyError, match=r"drafters.a.risk: no_harm needs drafters.many.calibration.risk: no_harm"):
        check(config, "config.yaml")
    config["drafters"]["many"] = EXITS | {"calibration": {"risk": "no_harm"}}
    check(config, "config.yaml")


def test_a_study_of_drafters_that_are_not_trained_needs_no_training_data():
    config = changed("data/shape", "prompts")
    for key in ("train_tokens", "validation_tokens", "held_out_tokens"):
        del config["data"][key]
    config["data"]["splits"] = ["held_out"]
    config["drafters"] = {"lookup": {"kind": "lookup"}}
    config["sweeps"] = {name: made for name, made in config["sweeps"].items() if not name.startswith("drafters")}
    del config["domains"]
    with pytest.raises(
        StudyError, match=r"sweeps\.layers: has trained drafts; data\.splits \[held_out\] leaves nothing"
    ):
        check(copy.deepcopy(config), "config.yaml")
    config["sweeps"] = {"lookup": {**config["sweeps"]["lookup"], "drafting": ["trimmed"]}}
    for section in ("batch", "lengths", "identity", "domains", "traces", "figures"):
        config.pop(section, None)
    with pytest.raises(StudyError, match=r"sweeps\.lookup\.drafting: trimmed counts the tokens of the training split"):
        check(copy.deepcopy(config), "config.yaml")
    del config["sweeps"]["lookup"]["drafting"]
    check(config, "config.yaml")
    assert splits_of(config["data"]) == []


def test_a_layer_that_the_finished_target_lacks_is_told(tmp_path):
    config = load(ROOT / "config.yaml")
    check_layers(config, "config.yaml", tmp_path)
    (tmp_path / "config.json").write_text('{"num_hidden_layers": 29}')
    made_from = {key: value for key, value in config["target"]["source"].items() if key != "sha256"}
    (tmp_path / "source.json").write_text(json.dumps(made_from))
    with pytest.raises(StudyError) as caught:
        check_layers(config, "config.yaml", tmp_path)
    assert str(caught.value) == "config.yaml: sweeps.layers.layer.3: 29 is not a layer of the target (0…28)"


def test_layers_are_not_checked_against_a_target_of_another_source(tmp_path):
    (tmp_path / "config.json").write_text('{"num_hidden_layers": 2}')
    (tmp_path / "source.json").write_text('{"kind": "path", "path": "elsewhere"}')
    check_layers(load(ROOT / "config.yaml"), "config.yaml", tmp_path)


def test_what_snakemake_read_as_text_has_the_schemas_types_and_stays_text_where_that_is_right():
    read = {
        "training": {"epochs": "2", "learning_rate": {"norm": "0.05"}, "objective": "tv"},
        "data": {"prompt_length": ["8", "64"], "english_only": "false", "source": {"version": "26.3"}},
    }
    made = typed(read)
    assert made["training"] == {"epochs": 2, "learning_rate": {"norm": 0.05}, "objective": "tv"}
    assert made["data"] == {"prompt_length": [8, 64], "english_only": False, "source": {"version": "26.3"}}


def test_a_mistake_is_told_to_be_in_the_files_and_the_command_line_together():
    assert layers_text(["a.yaml", "b.yaml"], {}) == "a.yaml + b.yaml"
    assert layers_text(["a.yaml"], {"training": {}}) == "a.yaml + --config"
