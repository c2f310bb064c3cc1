"""`selfdraft evaluate`: quality, acceptance and speed of any set of checkpoints, in one results.csv."""

import argparse

from selfdraft.commands.capture import HELP_DATA, HELP_TARGET

POLICIES = '{"greedy": {"temperature": 0.0}, "t0.7": {"temperature": 0.7, "top_p": 0.95, "top_k": 0}}'


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help=f"the target: {HELP_TARGET} (default: the one under results/target)")
    parser.add_argument("--data", help=f"{HELP_DATA} (default: the one under results/data)")
    parser.add_argument(
        "--checkpoints", required=True, nargs="+", help="checkpoint folders, patterns of them, or hub:OWNER/NAME@COMMIT"
    )
    parser.add_argument("--gammas", type=int, nargs="+", default=[4], help="draft lengths")
    parser.add_argument("--policies", default=POLICIES, help="sampling policies by name, as JSON")
    parser.add_argument("--acceptance", default="{}", help="the config's `acceptance` section as JSON")
    parser.add_argument("--speed", default="{}", help="the config's `speed` section as JSON")
    parser.add_argument("--statistics", default="{}", help="the config's `statistics` section as JSON")
    parser.add_argument("--no-speed", action="store_true", help="leave out the timing runs")
    parser.add_argument("--out-dir", required=True, help="folder for the raw tables and results.csv")
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's own choice)")


def run(args: argparse.Namespace) -> None:
    import json
    from pathlib import Path

    from selfdraft.capacities import shared_depth
    from selfdraft.cli import dispatch
    from selfdraft.commands import acceptance, results, speed
    from selfdraft.commands.folders import expand, only_folder
    from selfdraft.commands.settings import json_option, known_keys
    from selfdraft.decoding.policy import Policy
    from selfdraft.errors import StudyError
    from selfdraft.files import scratch_folder
    from selfdraft.models.exit import load_exit
    from selfdraft.models.runtime import start
    from selfdraft.provenance import commit
    from selfdraft.provenance.config_hash import as_json, config_hash
    from selfdraft.sequences import check_room, read_prompts

    target = only_folder(args.model, "results/target", "model.safetensors", "--model")
    # Left out, it is the text that drafts were trained on: the sets of `domains` lie beside it.
    data = only_folder(
        args.data, "results/data", "held_out.safetensors" if args.data else "train.safetensors", "--data"
    )
    checkpoints = expand(args.checkpoints, "draft.safetensors", "--checkpoints")
    # All that can be wrong is looked at before the first hour of work.
    policies = json_option(args.policies, "--policies")
    for policy, chosen in policies.items():
        Policy.from_settings(policy, chosen)
    for gamma in args.gammas:
        if gamma < 1:
            raise StudyError(f"--gammas: {gamma} is not ≥ 1")
    accepting = known_keys(json_option(args.acceptance, "--acceptance"), acceptance.DEFAULTS, "acceptance")
    timing = known_keys(json_option(args.speed, "--speed"), speed.DEFAULTS, "speed")
    bootstrap = results.bootstrap_settings(args.statistics)
    prompts = read_prompts(data)
    if not args.no_speed and timing["prompts"] > len(prompts):
        raise StudyError(f"--speed: prompts: {timing['prompts']} asked, {data}/prompts.json has {len(prompts)}")
    model = start(target, "auto", "cpu")
    timed = (timing["repeats"] + 1) * timing["max_new_tokens"]
    new_tokens = max(accepting["max_new_tokens"], timed) + max(args.gammas)
    check_room(prompts, new_tokens, model.config.max_positions, data)
    depths = set()
    names: dict[str, str] = {}
    for folder in checkpoints:
        _, config = load_exit(folder, model)
        depths.add(shared_depth(config["layer"], config["capacity"]))
        if (name := Path(folder).name) in names:
            raise StudyError(f"--checkpoints: {folder} and {names[name]} have the same name; rename one")
        names[name] = folder

    del model

    out = Path(args.out_dir)
    machine = ["--device", args.device, *(["--threads", str(args.threads)] if args.threads else [])]
    common = ["--target", target, "--data", data, *machine]
    raw: dict[str, list[str]] = {"quality": [], "acceptance": [], "speed": [], "steps": []}

    def stage(name: str, *options: str, table: str | None = None) -> None:
        if table is not None:
            raw[name].append(table)
            options = (*options, "--out", table)
        dispatch([name, *options])

    out.mkdir(parents=True, exist_ok=True)
    with scratch_folder(out / "capture") as scratch:
        states = str(scratch / "states")
        wanted = ["--depths", *map(str, sorted(depths)), "--splits", "held_out"]
        stage("capture", *common, *wanted, "--out-dir", states)
        table = str(out / "raw" / "quality.csv")
        stage("quality", *common, "--capture", states, "--checkpoints", *checkpoints, table=table)
    points = [[name, gamma] for name in names for gamma in args.gammas]
    every = ["--points", json.dumps(dict.fromkeys(policies, points)), "--policies", json.dumps(policies)]
    table = str(out / "raw" / "acceptance.csv")
    stage("acceptance", *common, "--checkpoints", *checkpoints, *every, "--settings", args.acceptance, table=table)
    for policy, settings in policies.items():
        chosen = ["--policy", policy, "--policy-settings", json.dumps(settings)]
        if not args.no_speed:
            table = str(out / "raw" / "speed" / f"{policy}.csv")
            options = ["--checkpoints", *checkpoints, "--points", json.dumps(points), "--settings", args.speed]
            stage("speed", *common, *chosen, *options, table=table)
            table = str(out / "raw" / "steps" / f"{policy}.csv")
            stage("steps", *common, *chosen, "--checkpoints", *checkpoints, "--points", json.dumps(points), table=table)
    tables: list[str] = []
    for name, files in raw.items():
        if files:
            stage("gather", "--tables", *files, "--out", str(out / f"{name}.csv"))
            tables += [f"--{name}", str(out / f"{name}.csv")]
    stage("machine", *machine, "--out", str(out / "machine.json"))
    tables += ["--drafters", *checkpoints, "--machine", str(out / "machine.json"), "--settings", args.statistics]
    measured = {"gammas": args.gammas, "policies": policies, "acceptance": accepting, "statistics": bootstrap}
    measured |= {} if args.no_speed else {"speed": timing}
    made_by = ["--commit", commit()]
    stage("results", *tables, *made_by, "--config-hash", config_hash(measured), "--out", str(out / "results.csv"))
    made_by += ["--config", as_json(measured), "--machine", str(out / "machine.json")]
    configs = [str(Path(folder) / "config.json") for folder in checkpoints]
    stage("record", *made_by, "--checkpoints", *configs, "--out", str(out / "provenance.json"))
