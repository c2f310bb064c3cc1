"""The workflow's jobs for a config, as Snakemake plans them, each with its work, its bytes and what it waits for."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from selfdraft.capacities import RANKS
from selfdraft.evaluation.shards import Shard
from selfdraft.plan import decoding, disk, learning
from selfdraft.plan.decoding import Prompts
from selfdraft.plan.dimensions import Dimensions
from selfdraft.plan.learning import EMPTY, Text
from selfdraft.plan.work import NOTHING, Work
from selfdraft.study import sweeps
from selfdraft.study.sweeps import Checkpoint, Config, Point

# What is a label: of a chat the answers (0.73 of the reference data's tokens), of a summary little, of other text all.
LABELS = {"conversations": 0.73, "summaries": 0.1, "text": 1.0}
FULL = 0.8  # mean length of a sequence over the longest allowed one, which cuts the rest
TIMED_CYCLES = 3  # of a point, each round and context
WHOLE = 0  # threads of a job that claims the whole machine
GPU = (
    *("capture", "domain_capture", "train", "quality", "domain_quality", "vanilla", "machine", "speed", "steps"),
    *("acceptance", "acceptance_of_others", "domain_acceptance", "domain_acceptance_of_others"),
    *("batch", "peers", "identity", "compile"),
)


@dataclass(frozen=True)
class Job:
    """One job. `stage` is what its costs are called, `benchmark` the file under results/benchmarks with its seconds.

    `needs` are names of jobs that come before it, `threads` the cores it takes (WHOLE: all), `disk` the bytes it
    leaves, `scratch` those that it keeps only while it runs.
    """

    rule: str
    name: str
    stage: str
    work: Work
    needs: tuple[str, ...] = ()
    disk: float = 0.0
    scratch: float = 0.0
    threads: int = 1
    benchmark: str = ""

    @property
    def on_gpu(self) -> bool:
        """Whether its rule asks for a GPU."""
        return self.rule in GPU


class Planner:
    """Jobs of one config. `scenario` says how many drafts are accepted, see `decoding`."""

    def __init__(self, config: Config, models: dict[str, Dimensions], scenario: str = "expected") -> None:
        self.config, self.models, self.scenario = config, models, scenario
        self.target = models[config["target"]["name"]]
        names = sweeps.teachers(config)
        self.teacher = models[names[0]] if names else self.target
        self.dtype: str = config["target"]["dtype"]
        self.settings = config["training"] | {"ranks": RANKS | config["training"]["ranks"]}
        self.data: dict[str, Any] = config["data"]
        self.parts = int(config.get("shards", 1))
        self.points, self.drafts = sweeps.points(config), sweeps.checkpoints(config)
        self.domain_points = sweeps.points_for(config, "domains")

    # --- texts ---

    def section(self, name: str) -> dict[str, Any]:
        """The settings of the study's own data or of a set of `domains`."""
        return self.data if name == self.data["name"] else sweeps.sets(self.config)[name]

    def text(self, name: str, split: str = "held_out") -> Text:
        """One split of the study's own data or of a set of `domains`. It ends with a whole sequence."""
        section = self.section(name)
        budget = section.get(f"{split}_tokens", 0)
        if not budget:
            return EMPTY
        longest = section["sequence_length"]
        parts = section.get("mixture", {"": section | {"weight": 1}}).values()
        share = sum(part["weight"] * LABELS.get(part.get("shape", "conversations"), 1.0) for part in parts)
        tokens = budget + longest / 2
        return Text(tokens, tokens * share / sum(part["weight"] for part in parts), FULL * longest)

    def texts(self, splits: Iterable[str]) -> list[Text]:
        return [self.text(self.data["name"], split) for split in splits]

    def prompts(self, name: str, count: int = 0, batch: int = 0) -> list[Prompts]:
        """Batches of the first `count` prompts (0: all) of a data set; one batch of all for `batch` 0."""
        section = self.section(name)
        if not section.get("prompts"):
            return []
        rows, length = count or section["prompts"], decoding.mean_length(section["prompt_length"])
        return [Prompts(size, length) for size in decoding.groups(rows, batch or rows)]

    def points_by_text(self) -> dict[str, list[Point]]:
        """The points that acceptance is measured at, by the data set whose prompts are answered."""
        elsewhere = dict.fromkeys(sweeps.sets_with(self.config, "prompts"), self.domain_points)
        return {self.data["name"]: self.points, **elsewhere}

    # --- stages ---

    def sources(self) -> Iterator[Job]:
        own = self.config["target"]["name"]
        for name, made in self.models.items():
            rule = "target" if name == own else "draft_model"
            benchmark = "target.tsv" if name == own else f"draft_model/{name}.tsv"
            work, written = Work(units=made.parameters / 1e9), disk.model(made)
            yield Job(rule, f"target {name}", "target", work, (), written, 0, 2, benchmark)
        for name in (self.data["name"], *sweeps.sets(self.config)):
            section = self.section(name)
            splits = ("train", "validation", "held_out") if name == self.data["name"] else ("held_out",)
            texts = [self.text(name, split) for split in splits]
            batches = self.prompts(name)
            rule = "data"
            if name != self.data["name"]:
                kinds = {(True, False): "domain_data", (False, True): "domain_prompts"}
                rule = kinds.get(("held_out_tokens" in section, "prompts" in section), "domain_conversations")
            written = disk.data(texts, batches[0] if batches else None)
            benchmark = "data.tsv" if rule == "data" else f"data/{name}.tsv"
            units = sum(text.tokens for text in texts) / 1e6
            yield Job(rule, f"data {name}", "data", Work(units=units), (f"target {own}",), written, 0, 2, benchmark)
        yield Job("machine", "machine", "machine", NOTHING, (), 400, 0, WHOLE)

    def captures(self) -> Iterator[Job]:
        name, teachers = self.data["name"], sweeps.teachers(self.config)
        texts = self.texts(sweeps.captured_splits(self.config))
        depths = len({*sweeps.depths(self.drafts), self.target.layers})
        work = learning.capture(self.target, self.dtype, texts, depths)
        written = disk.states(self.target, self.dtype, texts, depths)
        if teachers:
            work += learning.capture(self.teacher, self.dtype, texts, 1)
            written += disk.states(self.teacher, self.dtype, texts, 1)
        needs = (*self.inputs(name), *(f"target {other}" for other in teachers))
        yield Job("capture", f"capture {name}", "capture", work, needs, written, 0, 2, "capture.tsv")
        depths = len({*sweeps.depths(sweeps.trained(self.domain_points)), self.target.layers})
        for other in sweeps.sets_with(self.config, "held_out_tokens"):
            texts = [self.text(other)]
            work = learning.capture(self.target, self.dtype, texts, depths)
            written = disk.states(self.target, self.dtype, texts, depths)
            benchmark = f"capture/{other}.tsv"
            yield Job(
                "domain_capture", f"capture {other}", "capture", work, self.inputs(other), written, 0, 2, benchmark
            )

    def inputs(self, data: str) -> tuple[str, str]:
        return f"target {self.config['target']['name']}", f"data {data}"

    def trainings(self) -> Iterator[Job]:
        name = self.data["name"]
        learn, check = self.texts(("train", "validation"))
        needs = [*self.inputs(name), *(f"target {other}" for other in sweeps.teachers(self.config))]
        needs += [f"capture {name}"] if sweeps.offline(self.config) else []
        for draft in self.drafts:
            work = learning.train(self.target, self.teacher, draft.layer, draft.capacity, learn, check, self.settings)
            parameters = self.target.trained(draft.layer, draft.capacity, self.settings["ranks"])
            steps = self.settings["epochs"] * learn.labels / self.settings["tokens_per_step"]
            yield Job(
                *("train", f"train {draft.name}", "train", work, tuple(needs)),
                disk.checkpoint(parameters, steps),
                4.0 * disk.STATE_NUMBERS * parameters,
                benchmark=f"train/{draft.name}.tsv",
            )

    def qualities(self) -> Iterator[Job]:
        def job(rule: str, draft: Checkpoint, text: str, folder: str) -> Job:
            held_out = self.text(text)
            ranks = self.settings["ranks"]
            work = learning.quality(self.target, self.dtype, draft.layer, draft.capacity, held_out, ranks)
            needs = (*self.inputs(text), f"capture {text}", f"train {draft.name}")
            name, written = f"quality {draft.name} {text}", disk.rows("quality", 2 * held_out.sequences)
            return Job(rule, name, "quality", work, needs, written, benchmark=f"{folder}quality/{draft.name}.tsv")

        yield from (job("quality", draft, self.data["name"], "") for draft in self.drafts)
        for text in sweeps.sets_with(self.config, "held_out_tokens"):
            for draft in sweeps.trained(self.domain_points):
                yield job("domain_quality", draft, text, f"domains/{text}/")

    def acceptances(self) -> Iterator[Job]:
        section, parts = self.config["acceptance"], self.parts
        dtype, new = section["dtype"], section["max_new_tokens"]
        for text, points in self.points_by_text().items():
            own = text == self.data["name"]
            batches = self.prompts(text, section.get("prompts", 0) if own else 0, section["batch"])
            if any(sweeps.truth(self.config, point.policy, text) for point in points):
                work = _sum(decoding.vanilla(self.target, dtype, batch, new, True) for batch in batches)
                written = 6.0 * new * sum(batch.rows for batch in batches)
                yield Job(
                    *("vanilla", f"vanilla {text}", "vanilla", work, self.inputs(text), written),
                    benchmark=f"vanilla/{text}.tsv",
                )
            for point in points:
                trained = isinstance(point.draft, Checkpoint)
                rule = f"{'' if own else 'domain_'}acceptance{'' if trained else '_of_others'}"
                needs = [*self.inputs(self.data["name"]), f"data {text}", *self.drafters([point])]
                needs += [f"vanilla {text}" for _ in sweeps.truth(self.config, point.policy, text)]
                how = decoding.drafting_of(point, self.config, self.models)
                greedy = decoding.is_greedy(self.config, point.policy)
                for number, ending in enumerate(sweeps.shards(self.config), start=1):
                    mine = Shard(number, parts).of(batches)
                    work = _sum(
                        decoding.speculative(self.target, dtype, how, point.gamma, batch, new, greedy, self.scenario)
                        for batch in mine
                    )
                    cycles = sum(
                        batch.rows * decoding.cycles(new, point.gamma, 1, how.chance, self.scenario) for batch in mine
                    )
                    folder = "" if own else f"domains/{text}/"
                    yield Job(
                        *(rule, f"acceptance {point.name}{ending} {text}", "acceptance", work, tuple(needs)),
                        disk.rows("acceptance", 2 * cycles),
                        benchmark=f"{folder}acceptance/{point.name}{ending}.tsv",
                    )

    def drafters(self, points: Iterable[Point]) -> list[str]:
        """The jobs that leave what the points draft with. Every model of the config is an input of other drafters."""
        chosen = list(points)
        needs = [f"train {draft.name}" for draft in sweeps.trained(chosen)]
        if any(not isinstance(point.draft, Checkpoint) for point in chosen):
            needs += [f"target {name}" for name in sweeps.draft_models(self.config)]
        return needs

    def models_and(self, points: Iterable[Point]) -> tuple[str, ...]:
        """What the stages need that measure several points in one job."""
        trained = [f"train {draft.name}" for draft in sweeps.trained(points)]
        models = [f"target {name}" for name in sweeps.draft_models(self.config)]
        return (*self.inputs(self.data["name"]), *trained, *models)

    def speeds(self) -> Iterator[Job]:
        """A prompt is read once; all methods then decode stretches of its answer, a vanilla run for two drafts."""
        section = self.config["speed"]
        new, length = section["max_new_tokens"], decoding.mean_length(self.data["prompt_length"])
        one = Prompts(1, length)
        read = decoding.prefill(self.target, self.dtype, one)
        for policy, points in sweeps.by_policy(self.points).items():
            greedy = decoding.is_greedy(self.config, policy)
            plain = decoding.vanilla(self.target, self.dtype, Prompts(1, 1), new, greedy)
            stretch = plain * (len(points) / 2 + 2)
            for point in points:
                how = decoding.drafting_of(point, self.config, self.models)
                stretch += decoding.cycle(
                    self.target, self.dtype, how, point.gamma, 1, length, greedy
                ) * decoding.cycles(new, point.gamma, 1, how.chance, self.scenario)
                stretch += decoding.start(self.target, self.dtype, how, one)
            stretch += decoding.vanilla(self.target, self.dtype, Prompts(1, 1), len(points), greedy)  # references
            each = read + stretch * section["repeats"]
            each += decoding.transformers(self.target, self.dtype, length, new)
            for number, ending in enumerate(sweeps.shards(self.config), start=1):
                prompts = len(Shard(number, self.parts).of(range(section["prompts"])))
                runs = 1.5 * prompts * section["repeats"] * len(points)
                warm_up = read + stretch
                yield Job(
                    *("speed", f"speed {policy}{ending}", "speed", each * prompts + warm_up * (prompts > 0)),
                    self.models_and(points),
                    disk.rows("speed", 2 * runs),
                    threads=WHOLE,
                    benchmark=f"speed/{policy}{ending}.tsv",
                )

    def steps(self) -> Iterator[Job]:
        """Of each point some cycles of full length at each context, and vanilla steps beside them."""
        section = self.config["steps"]
        for policy, points in sweeps.by_policy(self.points).items():
            greedy, work = decoding.is_greedy(self.config, policy), NOTHING
            for context in section["contexts"]:
                one = Prompts(1, context)
                work += decoding.prefill(self.target, self.dtype, one)
                for point in points:
                    how = decoding.drafting_of(point, self.config, self.models)
                    work += decoding.cycle(self.target, self.dtype, how, point.gamma, 1, context, greedy) * TIMED_CYCLES
                    step = decoding.vanilla(self.target, self.dtype, Prompts(1, 1), 3, greedy)
                    work += step * 2
            rounds = section["rounds"] + 1
            yield Job(
                *("steps", f"steps {policy}", "steps", work * rounds, self.models_and(points)),
                disk.rows("steps", 2 * 5 * len(points) * len(section["contexts"]) * section["rounds"]),
                threads=WHOLE,
                benchmark=f"steps/{policy}.tsv",
            )

    def generation(self, point: Point, dtype: str, prompts: Prompts, new: int) -> Work:
        how = decoding.drafting_of(point, self.config, self.models)
        greedy = decoding.is_greedy(self.config, point.policy)
        return decoding.speculative(self.target, dtype, how, point.gamma, prompts, new, greedy, self.scenario)

    def tables(self) -> Iterator[Job]:
        """Gathered tables and results.csv."""
        quality = [f"quality {draft.name} {self.data['name']}" for draft in self.drafts]
        for text in sweeps.sets_with(self.config, "held_out_tokens"):
            quality += [f"quality {draft.name} {text}" for draft in sweeps.trained(self.domain_points)]
        endings = sweeps.shards(self.config)
        answered = [(point, text) for text, points in self.points_by_text().items() for point in points]
        accepted = [f"acceptance {point.name}{ending} {text}" for point, text in answered for ending in endings]
        speed = [f"speed {policy}{e}" for policy in sweeps.policies(self.config) for e in endings]
        steps = [f"steps {policy}" for policy in sweeps.policies(self.config)]
        gathered = {"gather_quality": quality, "gather_acceptance": accepted}
        gathered |= {"gather_speed": speed, "gather_steps": steps}
        for rule, needs in gathered.items():
            yield Job(rule, rule, "gather", NOTHING, tuple(needs))
        count = len(self.points) + len(self.domain_points)
        resampled = count * self.config["statistics"]["resamples"] * self.data["prompts"] / 1e6
        yield Job(
            *("results", "results", "results", Work(units=resampled), (*gathered, "machine")),
            disk.rows("results", count),
            benchmark="results.tsv",
        )
        pairs = sum(_pairs(sweep) for sweep in self.config["sweeps"].values())
        resampled = pairs * self.config["statistics"]["resamples"] * self.data["prompts"] / 1e6
        yield Job(
            *("differences", "differences", "results", Work(units=resampled), tuple(gathered)),
            disk.rows("results", pairs / 2),
            benchmark="differences.tsv",
        )

    def side_tables(self) -> Iterator[Job]:
        """batch, peers, identity and compile, and the tables made of them."""
        length = decoding.mean_length(self.data["prompt_length"])
        if "batch" in self.config:
            section, names = self.config["batch"], []
            for policy, points in sweeps.by_policy(sweeps.points_for(self.config, "batch")).items():
                work, greedy, new = NOTHING, decoding.is_greedy(self.config, policy), section["max_new_tokens"]
                for size in section["sizes"]:
                    rows = Prompts(size, length)
                    each = decoding.vanilla(self.target, self.dtype, rows, new, greedy)
                    each += _sum(self.generation(point, self.dtype, rows, new) for point in points)
                    work += each * (section["batches"] + 1)
                count = 2 * len(section["sizes"]) * section["batches"] * (len(points) + 1)
                names.append(f"batch {policy}")
                yield Job(
                    *("batch", names[-1], "batch", work, self.models_and(points), disk.rows("batch", count)),
                    threads=WHOLE,
                    benchmark=f"batch/{policy}.tsv",
                )
            yield Job("gather_batch", "gather_batch", "gather", NOTHING, tuple(names))
            yield Job("side_table", "table batch", "results", NOTHING, ("gather_batch",), 10_000)
        if "peers" in self.config:
            written = disk.rows("peers", 500)
            yield Job(
                *("peers", "peers", "peers", self.contest(length), self.models_and([]), written),
                threads=WHOLE,
                benchmark="peers.tsv",
            )
            yield Job("side_table", "table peers", "results", NOTHING, ("peers",), 10_000)
        if "identity" in self.config:
            yield self.identity()
            yield Job("side_table", "table identity", "results", NOTHING, ("identity",), 10_000)
        if "compile" in self.config:
            section, model = self.config["compile"], self.target
            depths = 1 + len(section["layers"])
            one = decoding.vanilla(model, self.dtype, Prompts(section["batch"], section["context"]), 1, True)
            work = one * (3 * depths * section["steps"]) + Work(units=2 * depths)
            yield Job(
                *("compile", "compile", "compile", work, (f"target {self.config['target']['name']}",), 3000),
                threads=WHOLE,
                benchmark="compile.tsv",
            )

    def contest(self, length: float) -> Work:
        """peers: each method once in this project, and twice (transformers, economize) started layer by layer."""
        section, model = self.config["peers"], self.target
        new, gamma, work = section["max_new_tokens"], section["gamma"], NOTHING
        exit_ = Point(Checkpoint(section["layer"], 1.0, "head"), gamma, "")
        ways = [decoding.drafting_of(exit_, self.config, self.models), decoding.Drafting(0, 0, 0, 0, 0.24, reads=False)]
        if name := section.get("draft_model"):
            made = self.models[name]
            ways.append(decoding.Drafting(0, made.layers * made.layer, made.head, made.layers, decoding.OTHER_KINDS))
        for dtype in section["dtypes"]:
            for size in section["batches"]:
                rows = Prompts(size, length)
                each = decoding.vanilla(model, dtype, rows, new, True)
                drafted = _sum(
                    decoding.speculative(model, dtype, way, gamma, rows, new, True, self.scenario) for way in ways
                )
                layers = 2.0 * new * model.layers
                if size == 1:
                    each = each * 3 + drafted * 3
                    layers += 2.0 * new * (len(ways) * model.layers + gamma * (section["layer"] + 1))
                else:
                    each = each * 3 + drafted * 2
                work += (each + Work(eager_layers=layers)) * (section["groups"] + 1)
        return work

    def identity(self) -> Job:
        section, points = self.config["identity"], sweeps.identity_points(self.config)
        new, work = section["max_new_tokens"], NOTHING
        for dtype in section["dtypes"]:
            for batch in self.prompts(self.data["name"], section["prompts"], section["batch"]):
                work += decoding.vanilla(self.target, dtype, batch, new, True)
                work += _sum(self.generation(point, dtype, batch, new) for point in points)
        count = len(section["dtypes"]) * section["prompts"] * len(points)
        needs, written = self.models_and(points), disk.rows("identity", count)
        return Job(*("identity", "identity", "identity", work, needs, written), threads=2, benchmark="identity.tsv")

    def provenance(self) -> Iterator[Job]:
        needs = ("results", "differences", "machine", *(f"train {draft.name}" for draft in self.drafts))
        yield Job("provenance", "provenance", "gather", NOTHING, needs, 30_000)
        if tables := sweeps.side_tables(self.config):
            points = [*sweeps.points_for(self.config, "batch"), *sweeps.identity_points(self.config)]
            needs = (*map(table_job, tables), "machine", *(f"train {draft.name}" for draft in sweeps.trained(points)))
            name = "provenance_of_benchmarks"
            yield Job(name, name, "gather", NOTHING, needs, 30_000)

    def figures(self) -> Iterator[Job]:
        for name, drawn in sweeps.figures(self.config).items():
            needs: tuple[str, ...] = ("results",)
            if name == "histograms":
                needs = ("gather_acceptance",)
            elif name == "training_curves":
                needs = tuple(f"train {draft}" for draft in drawn["drafts"])
            elif name in sweeps.TABLE_FIGURES:
                needs = (table_job(name),)
            yield Job(f"figure_{name}", f"figure {name}", "figure", NOTHING, needs, disk.FIGURE)

    def all(self) -> dict[str, Job]:
        """Every job that the config can have, by name, each after what it needs."""
        stages = (
            *(self.sources(), self.captures(), self.trainings(), self.qualities(), self.acceptances()),
            *(self.speeds(), self.steps(), self.tables(), self.side_tables(), self.provenance(), self.figures()),
        )
        return {job.name: job for stage in stages for job in stage}


def table_job(table: str) -> str:
    """The job that leaves a table beside results.csv."""
    return "compile" if table == "compile" else f"table {table}"


def _pairs(sweep: dict[str, Any]) -> int:
    """How many pairs of a sweep's points differ in one setting alone."""
    sizes = [len(values) for values in sweep.values()]
    points = math.prod(sizes)
    return sum(points * (size - 1) // 2 for size in sizes)


def _sum(works: Iterable[Work]) -> Work:
    return sum(works, start=NOTHING)
