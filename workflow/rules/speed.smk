rule machine:
    """What this machine can do at best; claims it whole, as `speed` does."""
    input:
        code=code_digests.code_of("machine"),
    output:
        "results/machine.json",
    log:
        "results/logs/machine.log",
    conda:
        ENVIRONMENT
    threads: workflow.cores
    resources:
        gpu=1,
        whole_machine=1,
        mem_mb=4000,
        runtime=30,
    message:
        "Machine: read bandwidth and matrix rates"
    shell:
        "python -m selfdraft machine --threads {threads} --out {output:q} > {log} 2>&1"


rule speed:
    """Drafts and both baselines side by side in one process: a row a run."""
    input:
        target=rules.target.output.config,
        tokenizer=rules.target.output.tokenizer,
        weights=rules.target.output.weights,
        data=rules.data.output.prompts,
        drafts=collect(
            "results/checkpoints/{draft.name}/{file}",
            draft=lookup(dpath="{policy}", within=sweeps.drafts_by_policy(sweeps.points(config))),
            file=["draft.safetensors", "config.json"],
        ),
        sequences=rules.data.output.sequences,
        drafters=DRAFTERS,
        code=code_digests.code_of("speed"),
    output:
        "results/raw/speed/{policy}{shard}.csv",
    log:
        "results/logs/speed/{policy}{shard}.log",
    benchmark:
        "results/benchmarks/speed/{policy}{shard}.tsv"
    conda:
        ENVIRONMENT
    # All cores, so that nothing else runs meanwhile; a job of its own claims the machine on a cluster.
    threads: workflow.cores
    resources:
        gpu=1,
        whole_machine=1,
        mem_mb=6000,
        runtime=240,
    params:
        target=subpath(input.target, parent=True),
        data=subpath(input.data, parent=True),
        trained_on=subpath(input.data, parent=True),
        checkpoints=collect(
            "results/checkpoints/{draft.name}",
            draft=lookup(dpath="{policy}", within=sweeps.drafts_by_policy(sweeps.points(config))),
        ),
        points=lookup(dpath="{policy}", within=sweeps.points_by_policy(sweeps.points(config))),
        drafters=entries.drafter_settings(config),
        drafting=options.as_json(config["drafting"]),
        policy=lookup(dpath="{policy}", within=options.policy_settings(config)),
        shard=lambda wildcards: job_groups.shard_numbers(config)[wildcards.shard],
        settings=options.settings_of(config, "speed"),
        dtype=lookup(dpath="target/dtype", within=config),
    message:
        "Speed of all drafts and both baselines, {wildcards.policy}{wildcards.shard}"
    shell:
        "python -m selfdraft speed --target {params.target:q} --data {params.data:q} --trained-on {params.trained_on:q}"
        " --checkpoints {params.checkpoints:q} --drafters {params.drafters:q} --drafting {params.drafting:q}"
        " --points {params.points:q} --policy {wildcards.policy:q} --policy-settings {params.policy:q}"
        " --settings {params.settings:q} --shard {params.shard} --dtype {params.dtype} --threads {threads} --out {output:q} > {log} 2>&1"


rule steps:
    """Single steps of the same drafts by context: what predictions of speed rest on, measured apart from the runs."""
    input:
        target=rules.target.output.config,
        tokenizer=rules.target.output.tokenizer,
        weights=rules.target.output.weights,
        data=rules.data.output.prompts,
        drafts=collect(
            "results/checkpoints/{draft.name}/{file}",
            draft=lookup(dpath="{policy}", within=sweeps.drafts_by_policy(sweeps.points(config))),
            file=["draft.safetensors", "config.json"],
        ),
        sequences=rules.data.output.sequences,
        drafters=DRAFTERS,
        code=code_digests.code_of("steps"),
    output:
        "results/raw/steps/{policy}.csv",
    log:
        "results/logs/steps/{policy}.log",
    benchmark:
        "results/benchmarks/steps/{policy}.tsv"
    conda:
        ENVIRONMENT
    threads: workflow.cores
    resources:
        gpu=1,
        whole_machine=1,
        mem_mb=6000,
        runtime=120,
    params:
        target=subpath(input.target, parent=True),
        data=subpath(input.data, parent=True),
        checkpoints=collect(
            "results/checkpoints/{draft.name}",
            draft=lookup(dpath="{policy}", within=sweeps.drafts_by_policy(sweeps.points(config))),
        ),
        points=lookup(dpath="{policy}", within=sweeps.points_by_policy(sweeps.points(config))),
        drafters=entries.drafter_settings(config),
        drafting=options.as_json(config["drafting"]),
        policy=lookup(dpath="{policy}", within=options.policy_settings(config)),
        settings=options.settings_of(config, "steps"),
        dtype=lookup(dpath="target/dtype", within=config),
    message:
        "Steps of all drafts and of vanilla decoding, {wildcards.policy}"
    shell:
        "python -m selfdraft steps --target {params.target:q} --data {params.data:q}"
        " --checkpoints {params.checkpoints:q} --drafters {params.drafters:q} --drafting {params.drafting:q}"
        " --points {params.points:q} --policy {wildcards.policy:q} --policy-settings {params.policy:q}"
        " --settings {params.settings:q} --dtype {params.dtype} --threads {threads} --out {output:q} > {log} 2>&1"


rule gather_speed:
    input:
        tables=collect(
            "results/raw/speed/{policy}{shard}.csv",
            policy=sweeps.policies(config),
            shard=job_groups.shards(config),
        ),
        domains=collect(
            "results/raw/domains/{set}/speed/{policy}{shard}.csv",
            set=options.sets_with(config, "prompts"),
            policy=sweeps.by_policy(TIMED_ELSEWHERE),
            shard=job_groups.shards(config),
        ),
        code=code_digests.code_of("gather"),
    output:
        "results/speed.csv",
    log:
        "results/logs/gather_speed.log",
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    message:
        "Gather the speed tables"
    shell:
        "python -m selfdraft gather --tables {input.tables:q} {input.domains:q} --out {output:q} > {log} 2>&1"


rule gather_steps:
    input:
        tables=collect(
            "results/raw/steps/{policy}.csv",
            policy=sweeps.policies(config),
        ),
        code=code_digests.code_of("gather"),
    output:
        "results/steps.csv",
    log:
        "results/logs/gather_steps.log",
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    message:
        "Gather the tables of steps"
    shell:
        "python -m selfdraft gather --tables {input.tables:q} --out {output:q} > {log} 2>&1"
