rule vanilla:
    """Greedy answers of the target alone, once for all points that are compared with them."""
    input:
        target=rules.target.output.config,
        tokenizer=rules.target.output.tokenizer,
        weights=rules.target.output.weights,
        data="results/data/{text}/prompts.json",
        code=code_digests.code_of("vanilla"),
    output:
        "results/raw/vanilla/{text}.json",
    log:
        "results/logs/vanilla/{text}.log",
    benchmark:
        "results/benchmarks/vanilla/{text}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=1,
        mem_mb=3500,
        runtime=60,
    params:
        target=subpath(input.target, parent=True),
        data=subpath(input.data, parent=True),
        settings=lambda wildcards: options.acceptance_settings(config, wildcards.text),
    message:
        "Greedy answers of the target alone to the prompts of {wildcards.text}"
    shell:
        "python -m selfdraft vanilla --target {params.target:q} --data {params.data:q}"
        " --settings {params.settings:q} --threads {threads} --out {output:q} > {log} 2>&1"


rule acceptance:
    """How many draft tokens the target accepts: all points of drafts that differ in capacity alone.

    Rows lie in results/kept too, a file a point: a job that was killed or has a new point measures what is missing.
    """
    input:
        target=rules.target.output.config,
        tokenizer=rules.target.output.tokenizer,
        weights=rules.target.output.weights,
        data=rules.data.output.prompts,
        name=rules.data.output.sources,
        vanilla=lookup(
            dpath="{group}", within=job_groups.truth_of(config, sweeps.points(config), config["data"]["name"])
        ),
        drafts=collect(
            "results/checkpoints/{draft.name}/{file}",
            draft=lookup(dpath="{group}", within=job_groups.drafts_by_group(config, sweeps.points(config))),
            file=["draft.safetensors", "config.json"],
        ),
        drafters=lookup(dpath="{group}", within=job_groups.files_by_group(config, sweeps.points(config))),
        sequences=rules.data.output.sequences,
        index=rules.data.output.index,
        code=code_digests.code_of("acceptance"),
    output:
        "results/raw/acceptance/{group}{shard}.csv",
    log:
        "results/logs/acceptance/{group}{shard}.log",
    benchmark:
        "results/benchmarks/acceptance/{group}{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=1,
        mem_mb=3800,
        runtime=240,
    params:
        target=subpath(input.target, parent=True),
        data=subpath(input.data, parent=True),
        trained_on=subpath(input.data, parent=True),
        checkpoints=collect(
            "results/checkpoints/{draft.name}",
            draft=lookup(dpath="{group}", within=job_groups.drafts_by_group(config, sweeps.points(config))),
        ),
        asked=lookup(dpath="{group}", within=job_groups.asked_of_groups(config, sweeps.points(config))),
        vanilla=lambda wildcards, input: options.before_each("--vanilla", input.vanilla),
        shard=lambda wildcards: job_groups.shard_numbers(config)[wildcards.shard],
        settings=options.settings_of(config, "acceptance"),
        kept=f"results/kept/acceptance/{config['data']['name']}",
    message:
        "Acceptance of all points of {wildcards.group}{wildcards.shard}"
    shell:
        "python -m selfdraft acceptance --target {params.target:q} --data {params.data:q} --trained-on {params.trained_on:q}"
        " --checkpoints {params.checkpoints:q} {params.asked:q} {params.vanilla:q} --settings {params.settings:q}"
        " --shard {params.shard} --kept-dir {params.kept:q} --code {input.code:q} --threads {threads}"
        " --out {output:q} > {log} 2>&1"


rule gather_acceptance:
    input:
        tables=collect(
            "results/raw/acceptance/{group}{shard}.csv",
            group=job_groups.by_group(config, sweeps.points(config)),
            shard=job_groups.shards(config),
        ),
        domains=collect(
            "results/raw/domains/{set}/acceptance/{group}{shard}.csv",
            set=options.sets_with(config, "prompts"),
            group=job_groups.by_group(config, DOMAIN_POINTS),
            shard=job_groups.shards(config),
        ),
        code=code_digests.code_of("gather"),
    output:
        "results/acceptance.csv",
    log:
        "results/logs/gather_acceptance.log",
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    message:
        "Gather the acceptance tables"
    shell:
        "python -m selfdraft gather --tables {input.tables:q} {input.domains:q} --out {output:q} > {log} 2>&1"
