rule quality:
    """How close drafts that differ in capacity alone are to the teacher on held-out text: a row per conversation.

    Rows lie in results/kept too, a file a draft: a job that has a new draft measures that one alone.
    """
    input:
        target=rules.target.output.config,
        weights=rules.target.output.weights,
        data=rules.data.output.index,
        name=rules.data.output.sources,
        sequences=rules.data.output.sequences,
        capture=ancient(rules.capture.output.description),
        states=ancient(
            collect(
                f"{CAPTURE}/depth{{depth}}.safetensors",
                depth=lookup(dpath="{group}", within=job_groups.depths_together(sweeps.points(config))),
            )
        ),
        drafts=collect(
            "results/checkpoints/{draft.name}/{file}",
            draft=lookup(dpath="{group}", within=job_groups.trained_together(sweeps.points(config))),
            file=["draft.safetensors", "config.json"],
        ),
        code=code_digests.code_of("capture", "quality"),
    output:
        "results/raw/quality/{group}.csv",
    log:
        "results/logs/quality/{group}.log",
    benchmark:
        "results/benchmarks/quality/{group}.tsv"
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
        capture=subpath(input.capture, parent=True),
        checkpoints=collect(
            "results/checkpoints/{draft.name}",
            draft=lookup(dpath="{group}", within=job_groups.trained_together(sweeps.points(config))),
        ),
        dtype=lookup(dpath="target/dtype", within=config),
        kept=f"results/kept/quality/{config['data']['name']}",
    message:
        "Quality of the drafts of {wildcards.group}"
    shell:
        "python -m selfdraft quality --target {params.target:q} --data {params.data:q} --capture {params.capture:q}"
        " --checkpoints {params.checkpoints:q} --dtype {params.dtype} --kept-dir {params.kept:q} --code {input.code:q}"
        " --threads {threads} --out {output:q} > {log} 2>&1"


rule gather_quality:
    input:
        tables=collect("results/raw/quality/{group}.csv", group=job_groups.trained_together(sweeps.points(config))),
        domains=collect(
            "results/raw/domains/{set}/quality/{group}.csv",
            set=options.sets_with(config, "held_out_tokens"),
            group=job_groups.trained_together(DOMAIN_POINTS),
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
