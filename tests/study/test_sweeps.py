"""The config's sweeps become points, checkpoints, depths and figures."""

import json
from types import SimpleNamespace

import pytest

from selfdraft import checkpoints
from selfdraft.capacities import CAPACITIES, LEARNING_RATES
from selfdraft.checkpoints import temperature_text
from selfdraft.errors import StudyError
from selfdraft.figures import FIGURES
from selfdraft.study import drawing, entries, job_groups, options, sweeps, teaching
from selfdraft.study.sweeps import Checkpoint, Point
from selfdraft.training.settings import OBJECTIVES


def sweep(**lists):
    return {"layer": [1], "T": [1.0], "capacity": ["head"], "gamma": [4], "policy": ["greedy"]} | lists


CONFIG = {
    "target": {"name": "t"},
    "data": {"name": "chats"},
    "policies": {"greedy": {"temperature": 0.0}, "t0.7": {"temperature": 0.7}},
    "sweeps": {
        "layers": sweep(layer=[1, 3], capacity=["head", "head_block"], policy=["greedy", "t0.7"]),
        "gamma": sweep(layer=[3], T=[1], gamma=[2, 4]),
    },
    "figures": {"pareto": {"sweep": "gamma", "width": 4}},
}


def test_names_are_those_of_the_files():
    draft = Checkpoint(21, 1.0, "head_block")
    assert draft.name == "layer21_T1.0_head_block"
    assert Point(draft, 4, "greedy").name == "layer21_T1.0_head_block_gamma4_greedy"


def test_a_name_says_the_objective_and_the_seed_where_they_are_not_kl_and_0_and_can_be_read_back():
    drafts = {
        "layer1_T1.0_head": Checkpoint(1, 1.0, "head", "kl", 0),
        "layer1_T2.0_head_block_seed12": Checkpoint(1, 2.0, "head_block", seed=12),
        "layer1_T1.0_head_kl_ce": Checkpoint(1, 1.0, "head", "kl_ce"),
        "layer1_T1.0_low_rank_head_reverse_kl_seed1": Checkpoint(1, 1.0, "low_rank_head", "reverse_kl", 1),
    }
    assert {draft.name: draft for draft in drafts.values()} == drafts
    assert {name: Checkpoint.named(name) for name in drafts} == drafts
    for wrong in ("layer1_T1_head", "layer1_T1.0", "lookup"):
        with pytest.raises(StudyError, match="not the name of a trained draft"):
            Checkpoint.named(wrong)
    assert set(checkpoints.OBJECTIVES) == set(OBJECTIVES)
    for capacity in CAPACITIES:
        assert Checkpoint.named(f"layer1_T1.0_{capacity}_tv_seed3") == Checkpoint(1, 1.0, capacity, "tv", 3)


def test_objective_and_seed_are_dimensions_of_a_sweep():
    chosen = sweeps.points_of(sweep(objective=["kl", "kl_ce"], seed=[0, 1]))
    assert [point.draft.name.removeprefix("layer1_T1.0_head") for point in chosen] == [
        "",
        "_seed1",
        "_kl_ce",
        "_kl_ce_seed1",
    ]


def test_a_draft_is_trained_with_its_own_objective_and_seed_and_no_weight_that_it_has_no_use_for():
    training = {"objective": "kl", "ce_weight": 0.5, "seed": 0, "learning_rate": {}, "ranks": {}}
    config = {"training": training, "target": {}, "data": {}}

    def told(variant):
        wildcards = SimpleNamespace(layer="1", T="1.0", capacity="head", variant=variant)
        return json.loads(teaching.training_of(config, wildcards)), teaching.training_hash(config, wildcards)

    made = {variant: told(variant) for variant in ("", "_kl_ce", "_seed1")}
    assert made[""][0] == training | {"ce_weight": 0.0}
    assert made["_kl_ce"][0] == training | {"objective": "kl_ce"}
    assert made["_seed1"][0] == training | {"ce_weight": 0.0, "seed": 1}
    assert len({config_hash for _, config_hash in made.values()}) == 3


@pytest.mark.parametrize(("T", "text"), [(1, "1.0"), (0.5, "0.5"), (1e-5, "0.00001"), (10.0, "10.0")])
def test_temperatures_have_no_exponent_and_one_spelling(T, text):
    assert temperature_text(T) == text


def test_points_are_the_union_of_the_sweeps_without_repeats():
    points = sweeps.points(CONFIG)
    assert len(points) == len(set(points)) == 2 * 2 * 2 + 1
    assert points[0].name == "layer1_T1.0_head_gamma4_greedy"
    assert points[-1].name == "layer3_T1.0_head_gamma2_greedy"


def test_a_whole_number_T_is_the_same_point_as_its_float():
    assert sweeps.points_of(sweep(T=[1])) == sweeps.points_of(sweep(T=[1.0]))


def test_checkpoints_policies_and_layers_are_those_of_the_points():
    assert [draft.name for draft in sweeps.checkpoints(CONFIG)] == [
        "layer1_T1.0_head",
        "layer1_T1.0_head_block",
        "layer3_T1.0_head",
        "layer3_T1.0_head_block",
    ]
    assert sweeps.policies(CONFIG) == ["greedy", "t0.7"]
    assert sweeps.layers(CONFIG) == [1, 3]


def test_a_head_needs_the_state_after_its_layer_and_a_block_the_state_before_it():
    assert sweeps.depths([Checkpoint(6, 1.0, "head")]) == [7]
    assert sweeps.depths([Checkpoint(6, 1.0, "head_block")]) == [6]
    assert sweeps.depths(sweeps.checkpoints(CONFIG)) == [1, 2, 3, 4]


def test_depths_agree_with_what_training_reads():
    from selfdraft.capacities import shared_depth

    for draft in sweeps.checkpoints(CONFIG):
        assert sweeps.depths([draft]) == [shared_depth(draft.layer, draft.capacity)]


def test_one_speed_job_a_policy_measures_that_policys_points_only():
    points = sweeps.points_by_policy(sweeps.points(CONFIG))
    assert json.loads(points["t0.7"]) == [
        [f"layer{layer}_T1.0_{capacity}", 4, "fixed"] for layer in (1, 3) for capacity in ("head", "head_block")
    ]
    assert ["layer3_T1.0_head", 2, "fixed"] in json.loads(points["greedy"])
    assert len(sweeps.drafts_by_policy(sweeps.points(CONFIG))["greedy"]) == 4


OTHERS = CONFIG | {
    "drafters": {"lookup": {"kind": "lookup", "max_ngram": 2}, "small": {"kind": "model", "source": {"kind": "path"}}},
    "drafting": {"trimmed": {"vocabulary": 8}},
    "sweeps": CONFIG["sweeps"]
    | {
        "ways": sweep(drafting=["fixed", "trimmed"], policy=["greedy", "t0.7"]),
        "others": {"drafter": ["lookup", "small"], "gamma": [2], "policy": ["greedy"]},
    },
    "identity": {"sweeps": ["ways", "others"]},
    "peers": {"draft_model": "small"},
    "compile": {"layers": [3]},
}


def test_ways_of_drafting_and_other_drafters_are_points_with_names_of_their_own():
    names = [point.name for point in sweeps.points(OTHERS)]
    assert "layer1_T1.0_head_gamma4_greedy_trimmed" in names
    assert "lookup_gamma2_greedy" in names
    assert len(names) == len(set(names)) == len(sweeps.points(CONFIG)) + 2 + 2
    assert sweeps.checkpoints(OTHERS) == sweeps.checkpoints(CONFIG)  # nothing more is trained
    assert sweeps.ways_of_drafting(OTHERS) == {
        "": '{"name":"fixed"}',
        "_trimmed": '{"name":"trimmed","vocabulary":8}',
    }


def test_a_draft_model_is_known_to_stages_by_its_folder():
    assert json.loads(entries.drafter_settings(OTHERS)) == {
        "lookup": {"kind": "lookup", "max_ngram": 2},
        "small": {"kind": "model", "folder": "results/target/small"},
    }
    assert list(entries.draft_models(OTHERS)) == ["small"]
    assert options.peers_draft_model(OTHERS) == ["--draft-model", "results/target/small"]
    assert options.peers_draft_model(CONFIG) == []


def test_a_hybrid_needs_what_its_other_drafter_needs():
    eagle = {"kind": "eagle3", "features": [1, 2]}
    more = {
        "eagle": eagle,
        "both": {"kind": "hybrid", "drafter": "eagle"},
        "modelled": {"kind": "hybrid", "drafter": "small"},
    }
    config = OTHERS | {"drafters": OTHERS["drafters"] | more}
    config["sweeps"] = CONFIG["sweeps"] | {"both": {"drafter": ["both"], "gamma": [4], "policy": ["greedy"]}}
    chosen = sweeps.points(config)
    assert {f"results/drafters/eagle/{file}" for file in ("config.json", "draft.safetensors")} <= set(
        entries.drafter_files(config, chosen)
    )
    assert list(entries.drafters_in_use(config)) == ["eagle"]
    assert {1, 2} <= set(teaching.captured_depths(config))
    known = json.loads(entries.drafter_settings(config))
    assert known["both"] == {"kind": "hybrid", "drafter": {"kind": "eagle3", "folder": "results/drafters/eagle"}}
    assert known["modelled"]["drafter"] == {"kind": "model", "folder": "results/target/small"}


def test_who_asks_heads_needs_them_and_their_calibration_and_they_the_states_that_are_known_before():
    more = {
        "many": {"kind": "exits", "heads": [1, 3], "capacity": "head_block"},
        "spread": {"kind": "exits", "num_heads": 3, "capacity": "head"},
        "fast": {"kind": "adaptive_early_exit", "drafter": "many", "accuracy_level": 0.6},
        "both": {"kind": "hybrid", "drafter": "fast"},
        "other": {"kind": "adaptive_early_exit", "drafter": "spread"},
    }
    config = OTHERS | {"drafters": OTHERS["drafters"] | more, "training": {"mode": "online"}}
    config["sweeps"] = {"both": {"drafter": ["both", "other"], "gamma": [4], "policy": ["greedy"]}}
    assert list(entries.drafters_in_use(config)) == ["many", "spread"]
    files = entries.drafter_files(config, sweeps.points(config))
    made = {
        f"results/drafters/{name}/{file}"
        for name in ("many", "spread")
        for file in ("config.json", "aux_heads.safetensors", "calibration.json")
    }
    assert made <= set(files)
    assert teaching.depths_by_drafter(config) == {"many": [1, 3], "spread": []}  # a head_block reads its layer's input
    assert teaching.captured_depths(config) == [1, 3]
    assert teaching.captured_splits(config) == ["train", "validation", "held_out"]
    assert entries.drafters_by_weights(config) == {"draft": [], "aux_heads": ["many", "spread"]}
    known = json.loads(entries.drafter_settings(config))
    heads = {"kind": "exits", "folder": "results/drafters/many"}
    assert known["both"]["drafter"] == {"kind": "adaptive_early_exit", "accuracy_level": 0.6, "drafter": heads}
    config["sweeps"] = {"other": {"drafter": ["other"], "gamma": [4], "policy": ["greedy"]}}
    assert teaching.captured_splits(config) == ["held_out"]


def test_what_is_promised_of_heads_is_told_to_their_calibration_and_trains_nothing_again():
    heads = {"kind": "exits", "heads": [1, 3], "capacity": "head"}
    promised = heads | {"calibration": {"risk": "no_harm", "gamma": 2, "epsilon": 0.1}}
    assert teaching.calibration_options(promised) == ["--risk", "no_harm", "--gamma", "2", "--epsilon", "0.1"]
    assert teaching.calibration_options(heads) == []
    assert teaching.learnt(promised) == heads
    hashes = {teaching.drafter_hash(OTHERS | {"drafters": {"many": made}}, "many") for made in (heads, promised)}
    assert len(hashes) == 1


def test_a_draft_from_elsewhere_is_an_input_and_no_training(tmp_path, monkeypatch):
    shipped = "drafters/SmolLM2-135M-Instruct/eagle3"
    given = {"given": {"kind": "trained_elsewhere", "folder": shipped}, "both": {"kind": "hybrid", "drafter": "given"}}
    config = OTHERS | {"drafters": OTHERS["drafters"] | given}
    config["sweeps"] = {"both": {"drafter": ["both"], "gamma": [4], "policy": ["greedy"]}}
    assert entries.drafters_in_use(config) == {}
    monkeypatch.chdir(tmp_path)  # a study of its own: the folder is the checkout's
    folder = entries.CHECKOUT / shipped
    assert set(entries.drafter_files(config, sweeps.points(config))) >= {
        str(folder / file) for file in ("config.json", "draft.safetensors")
    }
    assert json.loads(entries.drafter_settings(config))["both"]["drafter"]["folder"] == str(folder)
    assert entries.folders_called(config) == [f"given={folder}"]
    (tmp_path / shipped).mkdir(parents=True)
    assert entries.folders_called(config) == [f"given={shipped}"]


def test_sections_choose_their_points_and_identity_only_greedy_ones():
    chosen = sweeps.identity_points(OTHERS)
    assert {point.policy for point in chosen} == {"greedy"}
    assert {point.draft.name for point in chosen} == {"layer1_T1.0_head", "lookup", "small"}
    assert sweeps.identity_points(CONFIG) == []
    assert drawing.side_tables(OTHERS) == ["peers", "identity", "compile"]
    assert sweeps.compile_depths(OTHERS) == [4]
    assert {"peers", "compile"} <= set(drawing.figures(OTHERS)) & set(drawing.TABLE_FIGURES)
    assert not set(drawing.figures(CONFIG)) & set(drawing.TABLE_FIGURES)


def test_the_figure_of_trained_drafters_is_drawn_where_there_are_some():
    assert "methods" in drawing.figures(CONFIG)
    assert "learning" not in drawing.figures(CONFIG)
    eagle = {"kind": "eagle3", "features": [1]}
    more = {"drafters": {"eagle": eagle}, "sweeps": {"e": {"drafter": ["eagle"], "gamma": [2], "policy": ["greedy"]}}}
    assert "learning" in drawing.figures(CONFIG | more)
    assert "heads" not in drawing.figures(CONFIG | more)
    heads = {"kind": "exits", "heads": [1], "capacity": "norm"}
    drawn = drawing.figures(CONFIG | more | {"drafters": {"eagle": heads}})
    assert "heads" in drawn
    assert "learning" not in drawn  # heads are trained as exits are
    assert "unverified" in drawn
    assert "exits" not in drawn  # nobody asks them
    drafters = {"many": heads, "eagle": {"kind": "dynamic", "drafter": "many"}}
    assert "exits" in drawing.figures(CONFIG | more | {"drafters": drafters})
    assert entries.trained_folders(CONFIG | more) == ["results/drafters/eagle"]
    assert entries.trained_folders(CONFIG)[0].startswith("results/checkpoints/layer")


def test_figures_are_those_that_the_package_draws():
    assert list(FIGURES) == drawing.ALL_FIGURES


def test_a_figure_draws_its_usual_sweep_or_the_one_it_names():
    figures = drawing.figures(CONFIG)
    own = {"dataset": ["chats"]}  # never the same points on other text
    assert figures["layer_sweep"]["sweep"] == CONFIG["sweeps"]["layers"] | own
    assert figures["pareto"]["sweep"] == CONFIG["sweeps"]["gamma"] | own
    assert figures["pareto"]["style"] == {"width": 4}
    assert figures["gamma"]["drafts"] == ["layer3_T1.0_head"]


def test_a_figure_without_its_sweep_is_left_out():
    assert "temperature" not in drawing.figures(CONFIG)


DOMAINS = OTHERS | {
    "domains": {
        "sweeps": ["ways", "others"],
        "sets": {
            "news": {"shape": "text", "source": {"kind": "path"}, "held_out_tokens": 9, "sequence_length": 32},
            "code": {"shape": "prompts", "source": {"kind": "path"}, "prompts": 3, "prompt_length": [1, 9]},
            "more": {"shape": "conversations", "source": {"kind": "path"}, "held_out_tokens": 9, "prompts": 3},
        },
    }
}


def test_a_set_is_measured_for_what_it_says_how_much_of():
    assert options.sets_with(DOMAINS, "held_out_tokens") == ["news", "more"]
    assert options.sets_with(DOMAINS, "prompts") == ["code", "more"]
    assert options.sets_with(DOMAINS, "prompts", "held_out_tokens") == ["more"]
    assert options.sets_with(DOMAINS, "held_out_tokens", without="prompts") == ["news"]
    assert options.sets_with(CONFIG, "prompts") == []
    assert {point.draft.name for point in sweeps.points_for(DOMAINS, "domains")} == {
        "layer1_T1.0_head", "lookup", "small",
    }  # fmt: skip


def test_speed_is_timed_on_no_more_prompts_of_a_set_than_it_has():
    settings = options.speed_settings(DOMAINS | {"speed": {"prompts": 16, "seed": 4}})
    assert settings == dict.fromkeys(("code", "more"), '{"prompts":3,"seed":4}')
    few = options.speed_settings(DOMAINS | {"speed": {"prompts": 2}})
    assert few["code"] == '{"prompts":2}'
    assert sweeps.points_for(DOMAINS, "domains", "timed") == []


def test_nothing_of_a_set_is_trained_on():
    settings = {name: json.loads(text) for name, text in options.set_settings(DOMAINS).items()}
    assert settings["news"] == {"shape": "text", "splits": ["held_out"], "held_out_tokens": 9, "sequence_length": 32}
    assert settings["code"] == {"shape": "prompts", "splits": ["held_out"], "prompts": 3, "prompt_length": [1, 9]}


def test_other_text_needs_no_other_draft_and_no_other_point_of_the_study():
    assert sweeps.checkpoints(DOMAINS) == sweeps.checkpoints(OTHERS)
    assert sweeps.points(DOMAINS) == sweeps.points(OTHERS)


def test_the_figure_of_other_text_draws_all_sets_the_studys_own_first():
    drawn = drawing.figures(DOMAINS)["domains"]
    assert drawn["sweep"] == {"dataset": ["chats", "news", "code", "more"], "drafting": ["fixed", "trimmed"]}
    assert "domains" not in drawing.figures(OTHERS)


def test_a_pattern_of_names_takes_them_by_the_letter():
    assert options.any_of(["a.b", "c"]) == r"a\.b|c"
    assert options.any_of([]) == "none"


def test_the_config_hash_is_canonical_and_leaves_out_the_looks():
    same = {section: CONFIG[section] for section in reversed(CONFIG)}
    assert options.config_hash(CONFIG) == options.config_hash(same)
    assert options.config_hash(CONFIG | {"figures": {}, "shards": 4, "points_a_job": 3}) == options.config_hash(CONFIG)
    assert options.config_hash(CONFIG | {"target": {"name": "u"}}) != options.config_hash(CONFIG)
    assert len(options.config_hash(CONFIG)) == 12


def test_the_hash_of_some_sections_knows_only_those():
    other = CONFIG | {"sweeps": {}}
    assert options.config_hash(other, "target") == options.config_hash(CONFIG, "target")


def test_settings_are_the_same_text_in_any_order():
    assert options.settings_of({"a": {"y": 1, "x": 2}}, "a") == options.settings_of({"a": {"x": 2, "y": 1}}, "a")
    assert options.settings_of({"a": {"y": 1, "x": 2}}, "a", without=["y"]) == '{"x":2}'


def test_the_target_must_have_the_layers_of_peers_and_compile_too():
    assert sweeps.layers(CONFIG | {"peers": {"layer": 8}, "compile": {"layers": [20]}}) == [1, 3, 8, 20]


@pytest.mark.parametrize("capacity", CAPACITIES)
def test_a_capacity_sees_the_rates_and_ranks_of_its_own_parts_alone(capacity):
    training = {
        "epochs": 2,
        "learning_rate": dict.fromkeys(LEARNING_RATES, 1.0),
        "ranks": {"lora": 4, "low_rank_head": 8},
    }
    seen = teaching.for_draft({"training": training, "data": {}}, Checkpoint(1, 1.0, capacity))
    assert seen["data"] == {}
    assert seen["training"]["epochs"] == 2
    own = {"norm", capacity} if capacity != "head_block" else {"norm", "head", "block"}
    assert set(seen["training"]["learning_rate"]) == own
    assert set(seen["training"]["ranks"]) == own & {"lora", "low_rank_head"}
    assert set(training["ranks"]) == {"lora", "low_rank_head"}


def test_a_job_of_acceptance_measures_drafts_that_differ_in_capacity_alone():
    chosen = sweeps.points(CONFIG)
    groups = job_groups.by_group(CONFIG, chosen)
    assert [point for found in groups.values() for point in found] != []
    assert sorted(point.name for found in groups.values() for point in found) == sorted(p.name for p in chosen)
    for found in groups.values():
        drafts = sweeps.trained(found)
        assert len({(draft.layer, draft.T, draft.objective, draft.seed) for draft in drafts}) <= 1
        assert bool(drafts) == all(isinstance(point.draft, sweeps.Checkpoint) for point in found)
    cut = job_groups.by_group(CONFIG | {"points_a_job": 1}, chosen)
    assert [len(found) for found in cut.values()] == [1] * len(chosen)
    assert {name.partition("_more")[0] for name in cut} == set(groups)


def test_a_drafter_needs_those_that_it_begins_with():
    """They are made first, captured for, told to nobody who drafts; and it is another one where they are."""
    made = {"kind": "eagle3", "features": [1, 2]}
    drafters = {"first": made, "then": made | {"initial": "first", "answers": "regenerated"}, "given": made}
    drafters["given"] = {"kind": "trained_elsewhere", "folder": "/drafts/it"}
    drafters |= {"more": made | {"initial": "given"}, "idle": made}
    config = CONFIG | {"drafters": drafters, "answers": {"questions": 9, "policy": "greedy"}}
    config["data"] = {"name": "chats", "splits": ["train"], "train_tokens": 5}
    config["sweeps"] = {"all": {"drafter": ["then", "more"], "gamma": [2], "policy": ["greedy"], "drafting": ["fixed"]}}
    assert set(entries.drafters_in_use(config)) == {"first", "then", "more"}
    assert set(teaching.regenerating(config)) == {"then"}
    assert teaching.captured_depths(config) == [1, 2]
    taught = teaching.taught_by(config)
    assert taught["first"]["initial"] == taught["first"]["initial_option"] == []
    assert taught["then"]["initial"] == [
        "results/drafters/first/config.json",
        "results/drafters/first/draft.safetensors",
    ]
    assert taught["then"]["initial_option"] == ["--initial", "results/drafters/first"]
    assert taught["more"]["initial_option"] == ["--initial", "/drafts/it"]
    assert "results/drafters/first/draft.safetensors" not in entries.drafter_files(config, sweeps.points(config))
    assert [entries.threads_of_each(config, cores) for cores in (1, 2, 8)] == [1, 1, 4]
    config["sweeps"]["all"]["drafter"] = ["then"]
    assert set(entries.drafters_in_use(config)) == {"first", "then"}  # one after the other
    assert [entries.threads_of_each(config, cores) for cores in (1, 2, 8)] == [1, 2, 8]
    other = config | {"drafters": drafters | {"first": made | {"vocabulary": 9}}}
    differ = [
        name
        for name in ("first", "then", "more")
        if teaching.drafter_hash(config, name) != teaching.drafter_hash(other, name)
    ]
    assert differ == ["first", "then"]


@pytest.mark.parametrize(("answers", "threads"), [("regenerated", 2), ("original", 1)])
def test_answers_take_all_cores_only_where_nothing_is_trained_meanwhile(answers, threads):
    one = {"kind": "eagle3", "features": [1, 2, 3]}
    named = {"a": one | {"answers": "regenerated"}, "b": one | {"answers": answers}}
    config = {"drafters": named, "sweeps": {"drafters": {"drafter": ["a", "b"], "gamma": [3], "policy": ["greedy"]}}}
    assert teaching.answering_threads(config, 2) == threads


def test_answers_and_their_drafter_depend_on_the_one_policy_that_answers():
    eagle = {"kind": "eagle3", "features": [1, 2], "answers": "regenerated"}
    config = CONFIG | {"answers": {"questions": 9, "policy": "greedy"}, "drafters": {"eagle": eagle}}
    config["policies"] = {"greedy": {"temperature": 0.0}}
    told = teaching.drafter_hash(config, "eagle"), teaching.answer_options(config)
    more = config | {"policies": config["policies"] | {"hot": {"temperature": 2.0}}}
    assert (teaching.drafter_hash(more, "eagle"), teaching.answer_options(more)) == told
    other = config | {"policies": {"greedy": {"temperature": 0.1}}}
    assert teaching.drafter_hash(other, "eagle") != told[0]
