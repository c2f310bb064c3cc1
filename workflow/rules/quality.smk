rule quality:
    """How close one draft is to the teacher on held-out text: a row per conversation."""
    input:
        target=rules.target.output.config,
        weights=rules.target.output.weights,
        data=rules.data.output.index,
        sequences=rules.data.output.sequences,
        capture=ancient(rules.capture.output.description),
        states=ancient(STATES),
        draft=rules.train.output.weights,
        draft_config=rules.train.output.config,
        code=code_digests.code_of("capture", "quality"),
    output:
        "results/raw/quality/layer{layer}_T{T}_{capacity}{variant}.csv",
    log:
        "results/logs/quality/layer{layer}_T{T}_{capacity}{variant}.log",
    benchmark:
        "results/benchmarks/quality/layer{layer}_T{T}_{capacity}{variant}.tsv"
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
        capture=subpath(input.capture, parent=True),
        checkpoint=subpath(input.draft, parent=True),
        dtype=lookup(dpath="target/dtype", within=config),
    message:
        "Quality of {wildcards.capacity}{wildcards.variant} after layer {wildcards.layer}, T = {wildcards.T}"
    shell:
        "python -m selfdraft quality --target {params.target:q} --data {params.data:q} --capture {params.capture:q}"
        " --checkpoint {params.checkpoint:q} --dtype {params.dtype} --threads {threads} --out {output:q} > {log} 2>&1"


rule gather_quality:
    input:
        tables=collect("results/raw/quality/{draft.name}.csv", draft=sweeps.checkpoints(config)),
        domains=collect(
            "results/raw/domains/{set}/quality/{draft.name}.csv",
            set=sweeps.sets_with(config, "held_out_tokens"),
            draft=DOMAIN_DRAFTS,
        ),
        code=code_digests.code_of("gather"),
    output:
        "results/quality.csv",
    log:
        "results/logs/gather_quality.log",
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    message:
        "Gather the quality tables"
    shell:
        "python -m selfdraft gather --tables {input.tables:q} {input.domains:q} --out {output:q} > {log} 2>&1"
