rule capture:
    """One pass of the teacher over the text: the hidden states that all drafts are trained on."""
    input:
        target=rules.target.output.config,
        weights=rules.target.output.weights,
        data=rules.data.output.index,
        sequences=rules.data.output.sequences,
        teacher=TEACHER,
        code=code_digests.code_of("capture"),
    output:
        description=temp(f"{CAPTURE}/capture.json"),
        states=temp(collect(f"{CAPTURE}/{{state}}.safetensors", state=teaching.states(config))),
    log:
        "results/logs/capture.log",
    benchmark:
        "results/benchmarks/capture.tsv"
    # Before the long jobs of one core: a core that waits to take it with another one's would stand idle beside them.
    priority: 15
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=120,
    params:
        target=subpath(input.target, parent=True),
        data=subpath(input.data, parent=True),
        dtype=lookup(dpath="target/dtype", within=config),
        teacher=teaching.teacher_option(config),
        splits=teaching.captured_splits(config),
        kept="results/capture/.states",
        folder=subpath(output.description, parent=True),
    message:
        "Capture: the teacher's hidden states, in {params.folder}"
    shell:
        "python -m selfdraft capture --target {params.target:q} --data {params.data:q} --depths $depths"
        " {params.teacher:q} --splits {params.splits} --dtype {params.dtype} --threads {threads}"
        " --cache-dir {params.kept:q} --out-dir {params.folder:q} > {log} 2>&1"


rule train:
    """One draft. A new capture alone does not train it again: all that shapes it is an input here too.

    A job that was killed goes on from its last state, which lies in results/state and is no output.
    A profile that asks for more than one GPU has as many processes train, through `accelerate launch`.
    """
    input:
        target=rules.target.output.config,
        weights=rules.target.output.weights,
        data=rules.data.output.index,
        sequences=rules.data.output.sequences,
        teacher=TEACHER,
        capture=ancient(rules.capture.output.description) if teaching.offline(config) else [],
        states=ancient(STATES) if teaching.offline(config) else [],
        final=ancient(collect(f"{CAPTURE}/{{file}}", file=teaching.teacher_files(config))),
        code=code_digests.code_of("capture", "train"),
    output:
        weights=f"{CHECKPOINT}/draft.safetensors",
        config=f"{CHECKPOINT}/config.json",
        log=f"{CHECKPOINT}/train_log.jsonl",
    log:
        "results/logs/train/layer{layer}_T{T}_{capacity}{variant}.log",
    benchmark:
        "results/benchmarks/train/layer{layer}_T{T}_{capacity}{variant}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=1,
        # The state is saved every minute, and every so many steps too if this is not 0.
        save_steps=0,
        mem_mb=4000,
        runtime=240,
    params:
        target=subpath(input.target, parent=True),
        data=subpath(input.data, parent=True),
        capture=["--capture", CAPTURE] if teaching.offline(config) else [],
        teacher=teaching.teacher_option(config),
        folder=subpath(output.weights, parent=True),
        state="results/state/train/layer{layer}_T{T}_{capacity}{variant}.safetensors",
        settings=lambda wildcards: teaching.training_of(config, wildcards),
        dataset=lookup(dpath="data/name", within=config),
        config_hash=lambda wildcards: teaching.training_hash(config, wildcards),
    message:
        "Train {wildcards.capacity}{wildcards.variant} after layer {wildcards.layer}, T = {wildcards.T}"
    shell:
        "python -m selfdraft train --target {params.target:q} --data {params.data:q} {params.capture:q}"
        " {params.teacher:q} --state {params.state:q} --save-steps {resources.save_steps}"
        " --layer {wildcards.layer} --T {wildcards.T} --capacity {wildcards.capacity}"
        " --settings {params.settings:q} --dataset {params.dataset:q} --config-hash {params.config_hash} --commit $commit"
        " --threads {threads} --processes {resources.gpu} --out-dir {params.folder:q} > {log} 2>&1"


rule train_drafter:
    """One drafter with a layer of its own, on its own unrolled steps; goes on from its last state, as `train` does."""
    input:
        target=rules.target.output.config,
        weights=rules.target.output.weights,
        data=lookup(dpath="{drafter}/index", within=teaching.taught_by(config)),
        sequences=lookup(dpath="{drafter}/sequences", within=teaching.taught_by(config)),
        capture=ancient(lookup(dpath="{drafter}/capture", within=teaching.taught_by(config))),
        states=ancient(lookup(dpath="{drafter}/states", within=teaching.taught_by(config))),
        initial=lookup(dpath="{drafter}/initial", within=teaching.taught_by(config)),
        code=code_digests.code_of("capture", "train_drafter"),
    output:
        weights="results/drafters/{drafter}/draft.safetensors",
        config="results/drafters/{drafter}/config.json",
        log="results/drafters/{drafter}/train_log.jsonl",
    log:
        "results/logs/train_drafter/{drafter}.log",
    benchmark:
        "results/benchmarks/train_drafter/{drafter}.tsv"
    wildcard_constraints:
        drafter=options.any_of(entries.drafters_by_weights(config)["draft"]),
    conda:
        ENVIRONMENT
    threads: entries.threads_of_each(config, workflow.cores)
    resources:
        gpu=1,
        save_steps=0,
        mem_mb=4000,
        runtime=720,
    params:
        target=subpath(input.target, parent=True),
        data=subpath(input.data, parent=True),
        capture=subpath(input.capture, parent=True),
        initial=lambda wildcards: teaching.taught_by(config)[wildcards.drafter]["initial_option"],
        folder=subpath(output.weights, parent=True),
        state="results/state/train_drafter/{drafter}.safetensors",
        settings=lambda wildcards: options.as_json(teaching.learnt(config["drafters"][wildcards.drafter])),
        dataset=lookup(dpath="data/name", within=config),
        config_hash=lambda wildcards: teaching.drafter_hash(config, wildcards.drafter),
    message:
        "Train the drafter {wildcards.drafter}"
    shell:
        "python -m selfdraft train-drafter --target {params.target:q} --data {params.data:q} --capture {params.capture:q}"
        " --name {wildcards.drafter:q} --settings {params.settings:q} {params.initial:q} --state {params.state:q}"
        " --save-steps {resources.save_steps} --dataset {params.dataset:q} --config-hash {params.config_hash}"
        " --commit $commit --threads {threads} --out-dir {params.folder:q} > {log} 2>&1"


# Several exits together, in one file of weights.
use rule train_drafter as train_exits with:
    output:
        weights="results/drafters/{drafter}/aux_heads.safetensors",
        config="results/drafters/{drafter}/config.json",
        log="results/drafters/{drafter}/train_log.jsonl",
    log:
        "results/logs/train_exits/{drafter}.log",
    benchmark:
        "results/benchmarks/train_exits/{drafter}.tsv"
    wildcard_constraints:
        drafter=options.any_of(entries.drafters_by_weights(config)["aux_heads"]),


rule calibrate:
    """Thresholds of heads, and what is promised of them, on held-out conversations."""
    input:
        target=rules.target.output.config,
        weights=rules.target.output.weights,
        data=rules.data.output.index,
        sequences=rules.data.output.sequences,
        heads=rules.train_exits.output.weights,
        drafter=rules.train_exits.output.config,
        code=code_digests.code_of("calibrate"),
    output:
        "results/drafters/{drafter}/calibration.json",
    log:
        "results/logs/calibrate/{drafter}.log",
    benchmark:
        "results/benchmarks/calibrate/{drafter}.tsv"
    wildcard_constraints:
        drafter=options.any_of(entries.drafters_by_weights(config)["aux_heads"]),
    conda:
        ENVIRONMENT
    threads: workflow.cores
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=120,
    params:
        target=subpath(input.target, parent=True),
        data=subpath(input.data, parent=True),
        folder=subpath(input.drafter, parent=True),
        dtype=lookup(dpath="target/dtype", within=config),
        risk=lambda wildcards: teaching.calibration_options(config["drafters"][wildcards.drafter]),
    message:
        "Calibrate the heads of {wildcards.drafter}"
    shell:
        "python -m selfdraft calibrate --target {params.target:q} --data {params.data:q} --drafter {params.folder:q}"
        " {params.risk:q} --dtype {params.dtype} --threads {threads} --out {output:q} > {log} 2>&1"


rule evaluate_heads:
    """How often each head is right on held-out conversations, and whether it knows: a row per head, and curves."""
    input:
        target=rules.target.output.config,
        weights=rules.target.output.weights,
        data=rules.data.output.index,
        sequences=rules.data.output.sequences,
        heads=rules.train_exits.output.weights,
        drafter=rules.train_exits.output.config,
        code=code_digests.code_of("evaluate_heads"),
    output:
        table="results/drafters/{drafter}/heads.csv",
        curves="results/drafters/{drafter}/head_curves.csv",
    log:
        "results/logs/evaluate_heads/{drafter}.log",
    benchmark:
        "results/benchmarks/evaluate_heads/{drafter}.tsv"
    wildcard_constraints:
        drafter=options.any_of(entries.drafters_by_weights(config)["aux_heads"]),
    conda:
        ENVIRONMENT
    threads: workflow.cores
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=120,
    params:
        target=subpath(input.target, parent=True),
        data=subpath(input.data, parent=True),
        folder=subpath(input.drafter, parent=True),
        settings=options.settings_of(config, "statistics"),
        config_hash=lambda wildcards: teaching.drafter_hash(config, wildcards.drafter),
    message:
        "Look at the heads of {wildcards.drafter}"
    shell:
        "python -m selfdraft evaluate-heads --target {params.target:q} --data {params.data:q} --drafter {params.folder:q}"
        " --settings {params.settings:q} --commit $commit --config-hash {params.config_hash} --threads {threads}"
        " --out {output.table:q} --curves {output.curves:q} > {log} 2>&1"


rule gather_heads:
    """The curves of all heads, for their figure."""
    input:
        tables=collect(
            "results/drafters/{drafter}/head_curves.csv",
            drafter=entries.in_use_by(config, "train_exits"),
        ),
        code=code_digests.code_of("gather"),
    output:
        "results/head_curves.csv",
    log:
        "results/logs/gather_heads.log",
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    message:
        "Gather the curves of heads"
    shell:
        "python -m selfdraft gather --tables {input.tables:q} --out {output:q} > {log} 2>&1"


rule unverified:
    """Speed and disagreement where nothing verifies what heads say: a row per head, and per accuracy level."""
    input:
        target=rules.target.output.config,
        weights=rules.target.output.weights,
        data=rules.data.output.prompts,
        name=rules.data.output.sources,
        heads=rules.train_exits.output.weights,
        drafter=rules.train_exits.output.config,
        calibration=rules.calibrate.output,
        code=code_digests.code_of("unverified"),
    output:
        "results/drafters/{drafter}/unverified.csv",
    log:
        "results/logs/unverified/{drafter}.log",
    benchmark:
        "results/benchmarks/unverified/{drafter}.tsv"
    wildcard_constraints:
        drafter=options.any_of(entries.drafters_by_weights(config)["aux_heads"]),
    conda:
        ENVIRONMENT
    # All cores, so that nothing else runs meanwhile; a job of its own claims the machine on a cluster.
    threads: workflow.cores
    resources:
        gpu=1,
        whole_machine=1,
        mem_mb=4000,
        runtime=120,
    params:
        target=subpath(input.target, parent=True),
        data=subpath(input.data, parent=True),
        folder=subpath(input.drafter, parent=True),
        settings=options.settings_of(config, "speed", without=["attempts", "retime_minutes", "strict"]),
        statistics=options.settings_of(config, "statistics"),
        dtype=lookup(dpath="target/dtype", within=config),
        config_hash=lambda wildcards: teaching.drafter_hash(config, wildcards.drafter),
    message:
        "Decode without verification by the heads of {wildcards.drafter}"
    shell:
        "python -m selfdraft unverified --target {params.target:q} --data {params.data:q} --drafter {params.folder:q}"
        " --settings {params.settings:q} --statistics {params.statistics:q} --dtype {params.dtype} --commit $commit"
        " --config-hash {params.config_hash} --threads {threads} --out {output:q} > {log} 2>&1"


use rule gather_heads as gather_unverified with:
    input:
        tables=collect(
            "results/drafters/{drafter}/unverified.csv",
            drafter=entries.in_use_by(config, "train_exits"),
        ),
        code=code_digests.code_of("gather"),
    output:
        "results/unverified.csv",
    log:
        "results/logs/gather_unverified.log",
    message:
        "Gather what was decoded without verification"
