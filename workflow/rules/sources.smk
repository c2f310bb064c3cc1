rule target:
    """The model as a plain folder. A layer that it does not have stops the study here."""
    input:
        source=files_on_disk(config["target"]["source"]),
        code=code_digests.code_of("target"),
    output:
        config=f"{TARGET}/config.json",
        weights=f"{TARGET}/model.safetensors",
        tokenizer=f"{TARGET}/tokenizer.json",
        source=f"{TARGET}/source.json",
    log:
        "results/logs/target.log",
    benchmark:
        "results/benchmarks/target.tsv"
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        folder=subpath(output.config, parent=True),
        name=lookup(dpath="target/name", within=config),
        source=lambda _: options.as_json(config["target"]["source"]),  # a function: braces in a path are no wildcards
        layers="--layers $layers",
        quantization=options.quantization(config),
    message:
        "Target {params.name}: to plain files in {params.folder}"
    shell:
        "python -m selfdraft target --name {params.name:q} --source {params.source:q}"
        " {params.layers} {params.quantization} --threads {threads} --out-dir {params.folder:q} > {log} 2>&1"


use rule target as draft_model with:
    # A model of `drafters` with kind model, or a teacher of its own: a plain folder beside the target's.
    input:
        source=lambda wildcards: files_on_disk(teaching.other_models(config)[wildcards.model]),
        code=code_digests.code_of("target"),
    output:
        config="results/target/{model}/config.json",
        weights="results/target/{model}/model.safetensors",
        tokenizer="results/target/{model}/tokenizer.json",
        source="results/target/{model}/source.json",
    log:
        "results/logs/draft_model/{model}.log",
    benchmark:
        "results/benchmarks/draft_model/{model}.tsv"
    params:
        folder=subpath(output.config, parent=True),
        name="{model}",
        source=lambda wildcards: options.as_json(teaching.other_models(config)[wildcards.model]),
        layers="",
        quantization="",


rule data:
    """Text as token sequences, split by origin, and prompts."""
    input:
        source=[path for source in sources_of(config["data"]) for path in files_on_disk(source)],
        target=rules.target.output.tokenizer,
        code=code_digests.code_of("data"),
    output:
        sequences=collect(f"{DATA}/{{split}}.safetensors", split=splits_of(config["data"])),
        index=f"{DATA}/index.json",
        prompts=f"{DATA}/prompts.json",
        sources=f"{DATA}/sources.json",
    log:
        "results/logs/data.log",
    benchmark:
        "results/benchmarks/data.tsv"
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        target=subpath(input.target, parent=True),
        folder=subpath(output.index, parent=True),
        name=lookup(dpath="data/name", within=config),
        option="mixture" if "mixture" in config["data"] else "source",
        source=lambda _: options.as_json(config["data"].get("mixture") or config["data"]["source"]),
        settings=lambda _: options.settings_of(config, "data", without=["name", "source", "mixture"]),
    message:
        "Data {params.name}: tokens and prompts in {params.folder}"
    shell:
        "python -m selfdraft data --name {params.name:q} --{params.option} {params.source:q} --target {params.target:q}"
        " --settings {params.settings:q} --threads {threads} --out-dir {params.folder:q} > {log} 2>&1"
