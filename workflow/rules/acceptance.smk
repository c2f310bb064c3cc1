rule acceptance:
    """How many draft tokens the target accepts at one point: a row per cycle."""
    input:
        target=rules.target.output.config,
        tokenizer=rules.target.output.tokenizer,
        weights=rules.target.output.weights,
        data=rules.data.output.prompts,
        draft=rules.train.output.weights,
        draft_config=rules.train.output.config,
        code=imports.code_of("acceptance"),
    output:
        "results/raw/acceptance/layer{layer}_T{T}_{capacity}_gamma{gamma}_{policy}.csv",
    log:
        "results/logs/acceptance/layer{layer}_T{T}_{capacity}_gamma{gamma}_{policy}.log",
    benchmark:
        "results/benchmarks/acceptance/layer{layer}_T{T}_{capacity}_gamma{gamma}_{policy}.tsv"
    conda:
        "../../envs/study.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=3500,
        runtime=120,
    params:
        target=subpath(input.target, parent=True),
        data=subpath(input.data, parent=True),
        checkpoint=subpath(input.draft, parent=True),
        policy=lookup(dpath="{policy}", within=sweeps.policy_settings(config)),
        settings=sweeps.settings_of(config, "acceptance"),
    message:
        "Acceptance of {wildcards.capacity} after layer {wildcards.layer}, T = {wildcards.T},"
        " gamma = {wildcards.gamma}, {wildcards.policy}"
    shell:
        "python -m selfdraft acceptance --target {params.target:q} --data {params.data:q} --checkpoint {params.checkpoint:q}"
        " --gamma {wildcards.gamma} --policy {wildcards.policy:q} --policy-settings {params.policy:q}"
        " --settings {params.settings:q} --threads {threads} --out {output:q} > {log} 2>&1"


rule gather_acceptance:
    input:
        tables=collect("results/raw/acceptance/{point.name}.csv", point=sweeps.points(config)),
        code=imports.code_of("gather"),
    output:
        "results/acceptance.csv",
    log:
        "results/logs/gather_acceptance.log",
    localrule: True
    conda:
        "../../envs/study.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    message:
        "Gather the acceptance tables"
    shell:
        "python -m selfdraft gather --tables {input.tables:q} --out {output:q} > {log} 2>&1"
