# Tables beside results.csv, each of a section of the config: batch sizes, lengths of the answer,
# other implementations, compilers, identity with vanilla decoding.


rule batch:
    """Vanilla and speculative decoding of the same batches, of several sizes, under one policy."""
    input:
        target=rules.target.output.config,
        weights=rules.target.output.weights,
        data=rules.data.output.prompts,
        sequences=rules.data.output.sequences,
        drafts=collect(
            "results/checkpoints/{draft.name}/{file}",
            draft=lookup(dpath="{policy}", within=sweeps.drafts_by_policy(sweeps.points_for(config, "batch"))),
            file=["draft.safetensors", "config.json"],
        ),
        drafters=DRAFTERS,
        code=code_digests.code_of("batch"),
    output:
        "results/raw/batch/{policy}.csv",
    log:
        "results/logs/batch/{policy}.log",
    benchmark:
        "results/benchmarks/batch/{policy}.tsv"
    conda:
        ENVIRONMENT
    threads: workflow.cores
    resources:
        gpu=1,
        whole_machine=1,
        mem_mb=6000,
        runtime=240,
    params:
        target=subpath(input.target, parent=True),
        data=subpath(input.data, parent=True),
        checkpoints=collect(
            "results/checkpoints/{draft.name}",
            draft=lookup(dpath="{policy}", within=sweeps.drafts_by_policy(sweeps.points_for(config, "batch"))),
        ),
        points=lookup(dpath="{policy}", within=sweeps.points_by_policy(sweeps.points_for(config, "batch"))),
        drafters=entries.drafter_settings(config),
        drafting=options.as_json(config["drafting"]),
        policy=lookup(dpath="{policy}", within=options.policy_settings(config)),
        sizes=config.get("batch", {}).get("sizes", []),
        settings=options.settings_of(config, "batch", without=["sweeps", "sizes"]),
        dtype=lookup(dpath="target/dtype", within=config),
    message:
        "Batches of {params.sizes}, {wildcards.policy}"
    shell:
        "python -m selfdraft batch --target {params.target:q} --data {params.data:q}"
        " --checkpoints {params.checkpoints:q} --drafters {params.drafters:q} --drafting {params.drafting:q}"
        " --points {params.points:q} --policy {wildcards.policy:q} --policy-settings {params.policy:q}"
        " --sizes {params.sizes} --settings {params.settings:q} --dtype {params.dtype} --threads {threads}"
        " --out {output:q} > {log} 2>&1"


rule gather_batch:
    input:
        tables=collect("results/raw/batch/{policy}.csv", policy=sweeps.by_policy(sweeps.points_for(config, "batch"))),
        code=code_digests.code_of("gather"),
    output:
        "results/raw/batch.csv",
    log:
        "results/logs/gather_batch.log",
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    message:
        "Gather the batch tables"
    shell:
        "python -m selfdraft gather --tables {input.tables:q} --out {output:q} > {log} 2>&1"


rule lengths:
    """Whole answers of several lengths, vanilla and speculative decoding of the same prompts, under one policy."""
    input:
        target=rules.target.output.config,
        weights=rules.target.output.weights,
        data=rules.data.output.prompts,
        sequences=rules.data.output.sequences,
        drafts=collect(
            "results/checkpoints/{draft.name}/{file}",
            draft=lookup(dpath="{policy}", within=sweeps.drafts_by_policy(sweeps.points_for(config, "lengths"))),
            file=["draft.safetensors", "config.json"],
        ),
        drafters=entries.drafter_files(config, sweeps.points_for(config, "lengths")),
        code=code_digests.code_of("lengths"),
    output:
        "results/raw/lengths/{policy}.csv",
    log:
        "results/logs/lengths/{policy}.log",
    benchmark:
        "results/benchmarks/lengths/{policy}.tsv"
    # Before all else that is ready: what needs no training is a first figure to look at.
    priority: 100
    conda:
        ENVIRONMENT
    threads: workflow.cores
    resources:
        gpu=1,
        whole_machine=1,
        mem_mb=6000,
        runtime=240,
    params:
        target=subpath(input.target, parent=True),
        data=subpath(input.data, parent=True),
        checkpoints=collect(
            "results/checkpoints/{draft.name}",
            draft=lookup(dpath="{policy}", within=sweeps.drafts_by_policy(sweeps.points_for(config, "lengths"))),
        ),
        points=lookup(dpath="{policy}", within=sweeps.points_by_policy(sweeps.points_for(config, "lengths"))),
        drafters=entries.drafter_settings(config),
        drafting=options.as_json(config["drafting"]),
        policy=lookup(dpath="{policy}", within=options.policy_settings(config)),
        lengths=config.get("lengths", {}).get("lengths", []),
        settings=options.settings_of(config, "lengths", without=["sweeps", "lengths"]),
        dtype=lookup(dpath="target/dtype", within=config),
    message:
        "Answers of {params.lengths} tokens, {wildcards.policy}"
    shell:
        "python -m selfdraft lengths --target {params.target:q} --data {params.data:q}"
        " --checkpoints {params.checkpoints:q} --drafters {params.drafters:q} --drafting {params.drafting:q}"
        " --points {params.points:q} --policy {wildcards.policy:q} --policy-settings {params.policy:q}"
        " --lengths {params.lengths} --settings {params.settings:q} --dtype {params.dtype} --threads {threads}"
        " --out {output:q} > {log} 2>&1"


rule gather_lengths:
    input:
        tables=collect(
            "results/raw/lengths/{policy}.csv", policy=sweeps.by_policy(sweeps.points_for(config, "lengths"))
        ),
        code=code_digests.code_of("gather"),
    output:
        "results/raw/lengths.csv",
    log:
        "results/logs/gather_lengths.log",
    priority: 20
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    message:
        "Gather the tables of lengths"
    shell:
        "python -m selfdraft gather --tables {input.tables:q} --out {output:q} > {log} 2>&1"


rule peers:
    """The same methods in selfdraft, transformers and (where it is installed) economize, interleaved."""
    input:
        target=rules.target.output.config,
        tokenizer=rules.target.output.tokenizer,
        weights=rules.target.output.weights,
        data=rules.data.output.prompts,
        drafters=DRAFTERS,
        code=code_digests.code_of("peers"),
    output:
        "results/raw/peers.csv",
    log:
        "results/logs/peers.log",
    benchmark:
        "results/benchmarks/peers.tsv"
    conda:
        ENVIRONMENT
    threads: workflow.cores
    resources:
        gpu=1,
        whole_machine=1,
        mem_mb=6000,
        runtime=240,
    params:
        target=subpath(input.target, parent=True),
        data=subpath(input.data, parent=True),
        settings=options.settings_of(config, "peers", without=["dtypes", "batches", "draft_model"]),
        dtypes=config.get("peers", {}).get("dtypes", []),
        batches=config.get("peers", {}).get("batches", []),
        draft_model=options.peers_draft_model(config),
    message:
        "Peers: the same methods in other implementations"
    shell:
        "python -m selfdraft peers --target {params.target:q} --data {params.data:q} --settings {params.settings:q}"
        " --dtypes {params.dtypes} --batches {params.batches} {params.draft_model:q}"
        " --threads {threads} --out {output:q} > {log} 2>&1"


rule identity:
    """Greedy output of several drafters against vanilla decoding's, in float32 and bfloat16."""
    input:
        target=rules.target.output.config,
        weights=rules.target.output.weights,
        data=rules.data.output.prompts,
        sequences=rules.data.output.sequences,
        drafts=collect(
            "results/checkpoints/{draft.name}/{file}",
            draft=sweeps.trained(sweeps.identity_points(config)),
            file=["draft.safetensors", "config.json"],
        ),
        drafters=DRAFTERS,
        code=code_digests.code_of("identity"),
    output:
        "results/raw/identity.csv",
    log:
        "results/logs/identity.log",
    benchmark:
        "results/benchmarks/identity.tsv"
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=480,
    params:
        target=subpath(input.target, parent=True),
        data=subpath(input.data, parent=True),
        checkpoints=collect(
            "results/checkpoints/{draft.name}",
            draft=sweeps.trained(sweeps.identity_points(config)),
        ),
        points=options.as_json([sweeps.list_of(point) for point in sweeps.identity_points(config)]),
        drafters=entries.drafter_settings(config),
        drafting=options.as_json(config["drafting"]),
        dtypes=config.get("identity", {}).get("dtypes", []),
        settings=options.settings_of(config, "identity", without=["sweeps", "dtypes"]),
    message:
        "Identity of greedy outputs with vanilla decoding's"
    shell:
        "python -m selfdraft identity --target {params.target:q} --data {params.data:q}"
        " --checkpoints {params.checkpoints:q} --drafters {params.drafters:q} --drafting {params.drafting:q}"
        " --points {params.points:q} --dtypes {params.dtypes} --settings {params.settings:q} --threads {threads}"
        " --out {output:q} > {log} 2>&1"


rule side_table:
    """The raw rows of batch, lengths, peers or identity as one table with intervals."""
    input:
        table="results/raw/{table}.csv",
        code=code_digests.code_of("summary"),
    output:
        "results/{table}.csv",
    log:
        "results/logs/side_table/{table}.log",
    wildcard_constraints:
        table="batch|lengths|peers|identity",
    priority: 20
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        settings=options.settings_of(config, "statistics"),
        config_hash=options.config_hash(config),
    message:
        "Table {wildcards.table}: bootstrap intervals"
    shell:
        "python -m selfdraft summary {wildcards.table} --table {input.table:q} --settings {params.settings:q}"
        " --commit $commit --config-hash {params.config_hash} --out {output:q} > {log} 2>&1"


rule compile:
    """One decoding step eagerly, compiled, and from CUDA graphs; the full model and early exits."""
    input:
        target=rules.target.output.config,
        weights=rules.target.output.weights,
        code=code_digests.code_of("compile"),
    output:
        "results/compile.csv",
    log:
        "results/logs/compile.log",
    benchmark:
        "results/benchmarks/compile.tsv"
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
        depths=sweeps.compile_depths(config),
        settings=options.settings_of(config, "compile", without=["layers"]),
        dtype=lookup(dpath="target/dtype", within=config),
        config_hash=options.config_hash(config, "target", "compile"),
    message:
        "Compile: one step eagerly, compiled and captured"
    shell:
        "python -m selfdraft compile --target {params.target:q} --depths {params.depths} --settings {params.settings:q}"
        " --dtype {params.dtype} --threads {threads} --commit $commit --config-hash {params.config_hash}"
        " --out {output:q} > {log} 2>&1"
