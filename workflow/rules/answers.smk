use rule data as questions with:
    # More of the training split than exits are trained on, for what it asks; the splits are the same.
    output:
        sequences=collect(f"{QUESTIONS}/{{split}}.safetensors", split=splits_of(config["data"])),
        index=f"{QUESTIONS}/index.json",
        prompts=f"{QUESTIONS}/prompts.json",
        sources=f"{QUESTIONS}/sources.json",
    log:
        "results/logs/questions.log",
    benchmark:
        "results/benchmarks/questions.tsv"
    params:
        target=subpath(input.target, parent=True),
        folder=subpath(output.index, parent=True),
        name=lookup(dpath="data/name", within=config),
        option="mixture" if "mixture" in config["data"] else "source",
        source=lambda _: options.as_json(config["data"].get("mixture") or config["data"]["source"]),
        settings=lambda _: teaching.question_settings(config),
    message:
        "Questions of {params.name} that the target will answer, in {params.folder}"


rule regenerate:
    """The target's own answers to the questions of the training split, and its states on the way.

    Batches that were answered lie in results/state until all are: a job that was killed answers the rest.
    """
    input:
        target=rules.target.output.config,
        tokenizer=rules.target.output.tokenizer,
        weights=rules.target.output.weights,
        questions=rules.questions.output.index,
        sequences=rules.questions.output.sequences,
        code=code_digests.code_of("regenerate"),
    output:
        index=f"{ANSWERS}/index.json",
        summary=f"{ANSWERS}/answers.json",
        sequences=collect(f"{ANSWERS}/{{split}}.safetensors", split=["train", "validation"]),
        description=f"{ANSWERS}/capture.json",
        states=collect(f"{ANSWERS}/depth{{depth}}.safetensors", depth=teaching.answered_depths(config)),
    log:
        "results/logs/regenerate.log",
    benchmark:
        "results/benchmarks/regenerate.tsv"
    conda:
        ENVIRONMENT
    threads: teaching.answering_threads(config, workflow.cores)
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=240,
    params:
        target=subpath(input.target, parent=True),
        questions=subpath(input.questions, parent=True),
        folder=subpath(output.index, parent=True),
        depths=teaching.answered_depths(config),
        answers=lambda _: teaching.answer_options(config),
        dtype=lookup(dpath="target/dtype", within=config),
        config_hash=options.config_hash(teaching.answering(config), "target", "data", "answers", "policies"),
        parts="results/state/answers",
    message:
        "The target answers the questions of the training split, in {params.folder}"
    shell:
        "python -m selfdraft regenerate --target {params.target:q} --data {params.questions:q} --depths {params.depths}"
        " {params.answers:q} --dtype {params.dtype} --parts-dir {params.parts:q} --config-hash {params.config_hash}"
        " --commit $commit --threads {threads} --out-dir {params.folder:q} > {log} 2>&1"
