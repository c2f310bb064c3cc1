rule provenance:
    """What made the results: code, settings, packages, machine, and how long each rule ran."""
    input:
        results=rules.results.output,
        tables=[
            QUALITY,
            rules.gather_acceptance.output,
            rules.gather_speed.output,
            rules.gather_steps.output,
            rules.differences.output,
            rules.methods.output,
            rules.online.output if online.learners_in_use(config) else [],
            rules.exit_layers.output if entries.several_heads(config) else [],
            rules.gather_unverified.output if entries.in_use_by(config, "train_exits") else [],
            rules.gather_heads.output if entries.in_use_by(config, "train_exits") else [],
        ],
        machine=rules.machine.output,
        checkpoints=collect("results/checkpoints/{draft.name}/config.json", draft=sweeps.checkpoints(config)),
        code=code_digests.code_of("record"),
    output:
        "results/provenance.json",
    log:
        "results/logs/provenance.log",
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    params:
        config=lambda _: options.as_json(options.recorded(config)),
        benchmarks="results/benchmarks",
        rules=options.as_json(benchmark_patterns(workflow.rules)),
    message:
        "Provenance of the results"
    shell:
        "python -m selfdraft record --config {params.config:q} --commit $commit --machine {input.machine:q}"
        " --checkpoints {input.checkpoints:q} --benchmarks {params.benchmarks:q} --rules {params.rules:q}"
        " --out {output:q} > {log} 2>&1"


use rule provenance as provenance_of_benchmarks with:
    # The same of the tables beside results.csv, which are made on their own.
    input:
        tables=collect("results/{table}.csv", table=drawing.side_tables(config)),
        machine=rules.machine.output,
        checkpoints=collect(
            "results/checkpoints/{draft.name}/config.json",
            draft=sweeps.trained(sweeps.points_beside(config)),
        ),
        code=code_digests.code_of("record"),
    output:
        "results/provenance_of_benchmarks.json",
    log:
        "results/logs/provenance_of_benchmarks.log",
    message:
        "Provenance of the tables of batch, lengths, peers, identity and compile"
