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
        settings=lambda wildcards: sweeps.acceptance_settings(config, wildcards.text),
    message:
        "Greedy answers of the target alone to the prompts of {wildcards.text}"
    shell:
        "python -m selfdraft vanilla --target {params.target:q} --data {params.data:q}"
        " --settings {params.settings:q} --threads {threads} --out {output:q} > {log} 2>&1"


rule acceptance:
    """How many draft tokens the target accepts at one point: a row per cycle."""
    input:
        target=rules.target.output.config,
        tokenizer=rules.target.output.tokenizer,
        weights=rules.target.output.weights,
        data=rules.data.output.prompts,
        vanilla=lambda wildcards: sweeps.truth(config, wildcards.policy, config["data"]["name"]),
        draft=rules.train.output.weights,
        draft_config=rules.train.output.config,
        sequences=rules.data.output.sequences,
        code=code_digests.code_of("acceptance"),
    output:
        "results/raw/acceptance/layer{layer}_T{T}_{capacity}{variant}_gamma{gamma}_{policy}{drafting}{shard}.csv",
    log:
        "results/logs/acceptance/layer{layer}_T{T}_{capacity}{variant}_gamma{gamma}_{policy}{drafting}{shard}.log",
    benchmark:
        "results/benchmarks/acceptance/layer{layer}_T{T}_{capacity}{variant}_gamma{gamma}_{policy}{drafting}{shard}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=1,
        mem_mb=3500,
        runtime=120,
    params:
        target=subpath(input.target, parent=True),
        data=subpath(input.data, parent=True),
        draft=lambda wildcards, input: ["--checkpoint", os.path.dirname(input.draft)],
        vanilla=lambda wildcards, input: sweeps.options("--vanilla", input.vanilla),
        policy=lookup(dpath="{policy}", within=sweeps.policy_settings(config)),
        drafting=lambda wildcards: sweeps.ways_of_drafting(config)[wildcards.drafting],
        shard=lambda wildcards: sweeps.shard_numbers(config)[wildcards.shard],
        settings=sweeps.settings_of(config, "acceptance"),
    message:
        "Acceptance of {wildcards.capacity}{wildcards.variant} after layer {wildcards.layer}, T = {wildcards.T},"
        " gamma = {wildcards.gamma}, {wildcards.policy}{wildcards.drafting}{wildcards.shard}"
    shell:
        "python -m selfdraft acceptance --target {params.target:q} --data {params.data:q} {params.draft:q} {params.vanilla:q}"
        " --gamma {wildcards.gamma} --drafting {params.drafting:q}"
        " --policy {wildcards.policy:q} --policy-settings {params.policy:q}"
        " --settings {params.settings:q} --shard {params.shard} --threads {threads} --out {output:q} > {log} 2>&1"


use rule acceptance as acceptance_of_others with:
    # A drafter of the config's `drafters`: nothing is trained for it.
    input:
        target=rules.target.output.config,
        tokenizer=rules.target.output.tokenizer,
        weights=rules.target.output.weights,
        data=rules.data.output.prompts,
        vanilla=lambda wildcards: sweeps.truth(config, wildcards.policy, config["data"]["name"]),
        sequences=rules.data.output.sequences,
        models=DRAFT_MODELS,
        code=code_digests.code_of("acceptance"),
    output:
        "results/raw/acceptance/{drafter}_gamma{gamma}_{policy}{drafting}{shard}.csv",
    log:
        "results/logs/acceptance/{drafter}_gamma{gamma}_{policy}{drafting}{shard}.log",
    benchmark:
        "results/benchmarks/acceptance/{drafter}_gamma{gamma}_{policy}{drafting}{shard}.tsv"
    params:
        target=subpath(input.target, parent=True),
        data=subpath(input.data, parent=True),
        draft=lambda wildcards: ["--drafter", wildcards.drafter, "--drafters", sweeps.drafter_settings(config)],
        vanilla=lambda wildcards, input: sweeps.options("--vanilla", input.vanilla),
        policy=lookup(dpath="{policy}", within=sweeps.policy_settings(config)),
        drafting=lambda wildcards: sweeps.ways_of_drafting(config)[wildcards.drafting],
        shard=lambda wildcards: sweeps.shard_numbers(config)[wildcards.shard],
        settings=sweeps.settings_of(config, "acceptance"),
    message:
        "Acceptance of {wildcards.drafter}, gamma = {wildcards.gamma}, {wildcards.policy}{wildcards.drafting}{wildcards.shard}"


rule gather_acceptance:
    input:
        tables=collect(
            "results/raw/acceptance/{point.name}{shard}.csv",
            point=sweeps.points(config),
            shard=sweeps.shards(config),
        ),
        domains=collect(
            "results/raw/domains/{set}/acceptance/{point.name}{shard}.csv",
            set=sweeps.sets_with(config, "prompts"),
            point=sweeps.points_for(config, "domains"),
            shard=sweeps.shards(config),
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
