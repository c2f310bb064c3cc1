# The table of quality; none in a study without exits, of which alone quality is measured.
QUALITY = rules.gather_quality.output if sweeps.checkpoints(config) else []


rule results:
    """Estimates with confidence intervals: a row per measured point."""
    input:
        quality=QUALITY,
        acceptance=rules.gather_acceptance.output,
        speed=rules.gather_speed.output,
        steps=rules.gather_steps.output,
        machine=rules.machine.output,
        trained=collect("{folder}/config.json", folder=entries.trained_folders(config)),
        code=code_digests.code_of("results"),
    output:
        "results/results.csv",
    log:
        "results/logs/results.log",
    benchmark:
        "results/benchmarks/results.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        quality=options.before_each("--quality", QUALITY),
        settings=options.settings_of(config, "statistics"),
        config_hash=options.config_hash(config),
        trained=entries.folders_called(config),
    message:
        "Results: bootstrap intervals for every point"
    shell:
        "python -m selfdraft results {params.quality:q} --acceptance {input.acceptance:q}"
        " --speed {input.speed:q} --steps {input.steps:q} --machine {input.machine:q} --drafters {params.trained:q}"
        " --settings {params.settings:q} --commit $commit --config-hash {params.config_hash} --out {output:q} > {log} 2>&1"


rule methods:
    """Each way to draft at its best setting, on the prompts of every data set."""
    input:
        results=rules.results.output,
        acceptance=rules.gather_acceptance.output,
        steps=rules.gather_steps.output,
        code=code_digests.code_of("methods"),
    output:
        "results/methods.csv",
    log:
        "results/logs/methods.log",
    benchmark:
        "results/benchmarks/methods.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        dataset=lookup(dpath="data/name", within=config),
        settings=options.settings_of(config, "statistics"),
        config_hash=options.config_hash(config),
    message:
        "Methods: each way to draft at its best setting"
    shell:
        "python -m selfdraft methods --results {input.results:q} --acceptance {input.acceptance:q} --steps {input.steps:q}"
        " --dataset {params.dataset:q} --settings {params.settings:q} --commit $commit --config-hash {params.config_hash}"
        " --out {output:q} > {log} 2>&1"


rule exit_layers:
    """Where the tokens of drafters with several heads left, and what that was worth."""
    input:
        results=rules.results.output,
        acceptance=rules.gather_acceptance.output,
        speed=rules.gather_speed.output,
        steps=rules.gather_steps.output,
        heads=collect("results/drafters/{name}/config.json", name=entries.in_use_by(config, "train_exits")),
        code=code_digests.code_of("exit_layers"),
    output:
        "results/exit_layers.csv",
    log:
        "results/logs/exit_layers.log",
    benchmark:
        "results/benchmarks/exit_layers.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        drafters=entries.drafter_settings(config),
        settings=options.settings_of(config, "statistics"),
        config_hash=options.config_hash(config),
    message:
        "Exit layers: where drafted tokens left"
    shell:
        "python -m selfdraft exit-layers --results {input.results:q} --acceptance {input.acceptance:q}"
        " --speed {input.speed:q} --steps {input.steps:q} --drafters {params.drafters:q} --settings {params.settings:q} --commit $commit"
        " --config-hash {params.config_hash} --out {output:q} > {log} 2>&1"


rule differences:
    """Paired differences between the points of each sweep, and the spread between training seeds."""
    input:
        quality=QUALITY,
        acceptance=rules.gather_acceptance.output,
        speed=rules.gather_speed.output,
        code=code_digests.code_of("differences"),
    output:
        table="results/differences.csv",
        spread="results/seed_spread.csv",
    log:
        "results/logs/differences.log",
    benchmark:
        "results/benchmarks/differences.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
    params:
        quality=options.before_each("--quality", QUALITY),
        sweeps=options.as_json(config["sweeps"]),
        settings=options.settings_of(config, "statistics"),
        config_hash=options.config_hash(config),
    message:
        "Differences: paired intervals within each sweep"
    shell:
        "python -m selfdraft differences {params.quality:q} --acceptance {input.acceptance:q}"
        " --speed {input.speed:q} --sweeps {params.sweeps:q} --settings {params.settings:q}"
        " --commit $commit --config-hash {params.config_hash} --out {output.table:q} --spread {output.spread:q}"
        " > {log} 2>&1"
