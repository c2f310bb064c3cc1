# Drafters of kind dvi: each learns from its own verifications while it serves a stream of prompts.


rule train_dvi:
    """One run of one seed. It claims the machine: what learning costs beside decoding is one of its results."""
    input:
        target=rules.target.output.config,
        tokenizer=rules.target.output.tokenizer,
        weights=rules.target.output.weights,
        data=rules.data.output.prompts,
        sequences=rules.data.output.sequences,
        read=lambda wildcards: online.files_read(config, wildcards.drafter),
        code=code_digests.code_of("dvi"),
    output:
        weights="results/drafters/{drafter}/draft.safetensors",
        config="results/drafters/{drafter}/config.json",
        log="results/drafters/{drafter}/train_log.jsonl",
        results="results/drafters/{drafter}/results.json",
    log:
        "results/logs/train_dvi/{drafter}.log",
    benchmark:
        "results/benchmarks/train_dvi/{drafter}.tsv"
    wildcard_constraints:
        drafter=options.any_of(online.learners(config)),
    conda:
        ENVIRONMENT
    threads: workflow.cores
    resources:
        gpu=1,
        whole_machine=1,
        mem_mb=4000,
        runtime=720,
    params:
        target=subpath(input.target, parent=True),
        data=subpath(input.data, parent=True),
        folder=subpath(output.weights, parent=True),
        state="results/state/train_dvi/{drafter}.safetensors",
        settings=lambda wildcards: online.options_of(config, wildcards.drafter),
        dtype=lookup(dpath="target/dtype", within=config),
        dataset=lookup(dpath="data/name", within=config),
        config_hash=lambda wildcards: online.hash_of(config, wildcards.drafter),
    message:
        "Learn while decoding: the drafter {wildcards.drafter}"
    shell:
        "python -m selfdraft dvi --target {params.target:q} --data {params.data:q} --name {wildcards.drafter:q}"
        " {params.settings:q} --state {params.state:q} --dtype {params.dtype} --dataset {params.dataset:q}"
        " --config-hash {params.config_hash} --commit $commit --threads {threads} --out-dir {params.folder:q} > {log} 2>&1"


rule online:
    """What they learnt, over their seeds: acceptance before, during and after, and what it cost."""
    input:
        results=collect("results/drafters/{drafter}/results.json", drafter=online.learners_in_use(config)),
        configs=collect("results/drafters/{drafter}/config.json", drafter=online.learners_in_use(config)),
        code=code_digests.code_of("online"),
    output:
        "results/online.csv",
    log:
        "results/logs/online.log",
    benchmark:
        "results/benchmarks/online.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        folders=collect("results/drafters/{drafter}", drafter=online.learners_in_use(config)),
        settings=options.settings_of(config, "statistics"),
        config_hash=options.config_hash(config),
    message:
        "Online: what drafts learnt while they decoded"
    shell:
        "python -m selfdraft online --runs {params.folders:q} --settings {params.settings:q} --commit $commit"
        " --config-hash {params.config_hash} --out {output:q} > {log} 2>&1"
