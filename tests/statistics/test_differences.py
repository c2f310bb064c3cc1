"""Differences are of the points that differ in one setting alone, paired by unit; seeds have a spread."""

import csv
import json
import statistics

import numpy as np
import pytest

from selfdraft.cli import main
from selfdraft.statistics.bootstrap import Bootstrap
from selfdraft.statistics.columns import CHECKPOINT, RAW_COLUMNS, SETTINGS
from selfdraft.statistics.differences import MEASURES, Tables, difference, make_differences, make_spread

SWEEPS = {
    "seeds": {
        "layer": [1],
        "T": [1.0],
        "capacity": ["norm", "head"],
        "seed": [0, 1],
        "gamma": [4],
        "policy": ["greedy"],
    },
    "ways": {
        "layer": [1],
        "T": [1.0],
        "capacity": ["head"],
        "seed": [0],
        "gamma": [4],
        "policy": ["greedy"],
        "drafting": ["fixed", "trimmed"],
    },
}
UNITS = 12


def point(capacity, seed, drafting="fixed"):
    values = ("early_exit", 1, 1.0, capacity, "kl", seed, "greedy", 4, "chats", drafting)
    return dict(zip(SETTINGS, values, strict=True))


POINTS = [point("norm", 0), point("norm", 1), point("head", 0), point("head", 1), point("head", 0, "trimmed")]


def table(path, kind, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, RAW_COLUMNS[kind], restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def level(made):
    """A point's own part of what is measured; units are far harder or easier than points differ."""
    return 0.3 * (made["capacity"] == "head") + 0.01 * made["seed"] + 0.1 * (made["drafting"] == "trimmed")


def raw_tables(folder, units=UNITS, lacking=()):
    """Tables of POINTS; `lacking` are (kind, point's number) that were not measured."""
    hard = np.random.default_rng(3).lognormal(0.0, 0.6, units)
    noise = np.random.default_rng(4)
    quality, acceptance, speed = [], [], []
    for number, made in enumerate(POINTS):
        for unit, how in enumerate(hard):
            value = how * (2.0 - level(made)) + noise.normal(0, 0.01)
            if made["drafting"] == "fixed" and ("quality", number) not in lacking:
                sums = {"tokens": 50, "kl_sum": 50 * value, "kl_at_1_sum": 50 * value, "top1_sum": 20}
                own = {name: made[name] for name in CHECKPOINT}
                quality.append(own | {"conversation": f"c{unit}", **sums})
            cycles = [
                {"drafted": 4, "accepted": k, "cut": 0, "new_tokens": k + 1} for k in (1, 2 + (level(made) > 0.2))
            ]
            acceptance += [made | {"prompt": f"p{unit}", "cycle": n, **cycle} for n, cycle in enumerate(cycles)]
            seconds = 10 / (1 + level(made)) * how
            run = {"prompt": f"p{unit}", "repeat": 0, "pair": 0}
            run |= {"new_tokens": 10, "cycles": 5, "decode_s": seconds}
            if ("speed", number) not in lacking:
                speed.append(made | {"method": "speculative", **run})
    for unit, how in enumerate(hard):
        base = {"policy": "greedy", "dataset": "chats", "method": "vanilla", "prompt": f"p{unit}", "repeat": 0}
        base["pair"] = 0
        speed.append(base | {"new_tokens": 10, "decode_s": 10 * how})
    return {
        "quality": table(folder / "quality.csv", "quality", quality),
        "acceptance": table(folder / "acceptance.csv", "acceptance", acceptance),
        "speed": table(folder / "speed.csv", "speed", speed),
    }


def tables_of(paths, resamples=400):
    return Tables(paths["quality"], paths["acceptance"], paths["speed"], Bootstrap(resamples))


def by_pair(rows):
    return {
        (row["sweep"], row["varied"], row["first"], row["second"], row["capacity"], row["seed"]): row for row in rows
    }


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return by_pair(make_differences(tables_of(raw_tables(tmp_path_factory.mktemp("raw"))), SWEEPS))


def test_pairs_differ_in_one_setting_alone_within_their_sweep(rows):
    assert set(rows) == {
        ("seeds", "seed", "0", "1", "norm", ""),
        ("seeds", "seed", "0", "1", "head", ""),
        ("seeds", "capacity", "norm", "head", "", "0"),
        ("seeds", "capacity", "norm", "head", "", "1"),
        ("ways", "drafting", "fixed", "trimmed", "head", "0"),
    }


def test_a_difference_is_the_second_less_the_first_and_its_interval_is_that_of_the_pairs(rows, tmp_path):
    tables = tables_of(raw_tables(tmp_path))
    found = rows["seeds", "capacity", "norm", "head", "", "0"]
    first, second = POINTS[0], POINTS[2]
    text = [{name: tables_point(made, name) for name in SETTINGS} for made in (first, second)]
    for measure in ("kl", "accepted_mean", "speedup"):
        sides = [tables.value(made, measure) for made in text]
        assert float(found[measure]) == pytest.approx(sides[1] - sides[0])
        assert float(found[f"{measure}_low"]) <= float(found[measure]) <= float(found[f"{measure}_high"])
    # units are so unlike that the sides' own intervals overlap; the pairs tell them apart
    ends = [
        tables.bootstrap.ratio(sums["over"], sums["under"], ("one", made["capacity"]))
        for made in text
        if (sums := tables.sums(made, "kl")) is not None
    ]
    assert ends[0].low < ends[1].high
    assert ends[1].low < ends[0].high
    assert float(found["kl_high"]) < 0


def tables_point(made, name):
    return str(made[name])


def test_quality_is_empty_where_only_decoding_differs(rows):
    assert rows["ways", "drafting", "fixed", "trimmed", "head", "0"]["kl"] == ""
    assert float(rows["ways", "drafting", "fixed", "trimmed", "head", "0"]["speedup_low"]) > 0


def test_what_one_side_lacks_is_empty_and_fewer_than_8_units_have_no_interval_and_say_so(tmp_path):
    lacking = [("quality", 0), ("speed", 0)]
    made = by_pair(make_differences(tables_of(raw_tables(tmp_path, units=5, lacking=lacking)), SWEEPS))
    row = made["seeds", "seed", "0", "1", "norm", ""]
    assert row["kl"] == row["speedup"] == ""
    assert row["accepted_mean"] != ""
    assert row["accepted_mean_low"] == row["accepted_mean_high"] == ""
    assert "no interval: 5 prompts, 8 needed (accepted_mean)" in row["interval_note"]
    assert "5 conversations" in made["seeds", "seed", "0", "1", "head", ""]["interval_note"]


def test_the_spread_is_that_between_seeds(tmp_path):
    tables = tables_of(raw_tables(tmp_path))
    spread = {row["capacity"]: row for row in make_spread(tables)}
    assert set(spread) == {"norm", "head"}
    text = [{name: str(made[name]) for name in SETTINGS} for made in POINTS[:2]]
    values = [tables.value(made, "kl") for made in text]
    assert spread["norm"]["seeds"] == "0 1"
    assert float(spread["norm"]["kl_sd"]) == pytest.approx(statistics.stdev(values))
    assert float(spread["norm"]["kl_least"]) == pytest.approx(min(values))
    assert float(spread["norm"]["accepted_mean_sd"]) == 0


def test_the_stage_writes_both_tables_the_same_each_time(tmp_path):
    paths = raw_tables(tmp_path)
    words = [word for kind, path in paths.items() for word in (f"--{kind}", str(path))]
    words += ["--sweeps", json.dumps(SWEEPS), "--settings", '{"resamples": 200}', "--commit", "abc"]
    for name in ("a", "b"):
        assert (
            main(["differences", *words, "--out", str(tmp_path / f"{name}.csv"), "--spread", str(tmp_path / name)]) == 0
        )
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    with (tmp_path / "a.csv").open() as file:
        written = list(csv.DictReader(file))
    assert len(written) == 5
    assert {row["commit"] for row in written} == {"abc"}
    assert {f"{name}_low" for name in MEASURES} <= set(written[0])


@pytest.mark.parametrize("units", [24, 60])
def test_intervals_of_paired_differences_cover_as_often_as_they_say(units):
    """Skewed units, shared by both sides; nominal 95 %. Unpaired sides would make the interval far too wide."""
    chance = np.random.default_rng(11)
    bootstrap, runs, covered, widths = Bootstrap(600), 400, 0, []
    for run in range(runs):
        tokens = chance.integers(60, 400, units).astype(float)
        hard = chance.lognormal(0.0, 0.5, units)
        sides = [tokens * hard * mean * chance.lognormal(-0.02, 0.2, units) for mean in (2.0, 1.9)]
        columns = [sides[0], tokens, sides[1], tokens]
        made = bootstrap.estimate(lambda n, s, m, t: difference((n, s), (m, t)), columns, (str(run),))
        truth = (1.9 - 2.0) * np.exp(0.5**2 / 2)
        covered += made.low <= truth <= made.high
        widths.append(made.high - made.low)
    assert 0.90 <= covered / runs <= 0.985
