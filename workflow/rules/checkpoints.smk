rule capture:
    """One pass of the teacher over the text: the hidden states that all drafts are trained on."""
    input:
        target=rules.target.output.config,
        weights=rules.target.output.weights,
        data=rules.data.output.index,
        sequences=rules.data.output.sequences,
        code=imports.code_of("capture"),
    output:
        description=temp(f"{CAPTURE}/capture.json"),
        states=temp(collect(f"{CAPTURE}/depth{{depth}}.safetensors", depth=DEPTHS)),
    log:
        "results/logs/capture.log",
    benchmark:
        "results/benchmarks/capture.tsv"
    conda:
        "../../envs/study.yaml"
    threads: 2
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=120,
    params:
        target=subpath(input.target, parent=True),
        data=subpath(input.data, parent=True),
        dtype=lookup(dpath="target/dtype", within=config),
        folder=subpath(output.description, parent=True),
    message:
        "Capture: the teacher's hidden states, in {params.folder}"
    shell:
        "python -m selfdraft capture --target {params.target:q} --data {params.data:q} --depths $depths"
        " --dtype {params.dtype} --threads {threads} --out-dir {params.folder:q} > {log} 2>&1"


rule train:
    """One draft. A new capture alone does not train it again: all that shapes it is an input here too."""
    input:
        target=rules.target.output.config,
        weights=rules.target.output.weights,
        data=rules.data.output.index,
        sequences=rules.data.output.sequences,
        capture=ancient(rules.capture.output.description),
        states=ancient(STATES),
        code=imports.code_of("capture", "train"),
    output:
        weights=f"{CHECKPOINT}/draft.safetensors",
        config=f"{CHECKPOINT}/config.json",
        log=f"{CHECKPOINT}/train_log.jsonl",
    log:
        "results/logs/train/layer{layer}_T{T}_{capacity}.log",
    benchmark:
        "results/benchmarks/train/layer{layer}_T{T}_{capacity}.tsv"
    conda:
        "../../envs/study.yaml"
    threads: 1
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=240,
    params:
        target=subpath(input.target, parent=True),
        data=subpath(input.data, parent=True),
        capture=subpath(input.capture, parent=True),
        folder=subpath(output.weights, parent=True),
        settings=sweeps.settings_of(config, "training"),
        dataset=lookup(dpath="data/name", within=config),
        config_hash=sweeps.config_hash(config, "target", "data", "training"),
    message:
        "Train {wildcards.capacity} after layer {wildcards.layer}, T = {wildcards.T}"
    shell:
        "python -m selfdraft train --target {params.target:q} --data {params.data:q} --capture {params.capture:q}"
        " --layer {wildcards.layer} --T {wildcards.T} --capacity {wildcards.capacity}"
        " --settings {params.settings:q} --dataset {params.dataset:q} --config-hash {params.config_hash} --commit $commit"
        " --threads {threads} --out-dir {params.folder:q} > {log} 2>&1"
