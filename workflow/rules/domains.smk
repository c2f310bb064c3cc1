# The section `domains`: the same drafts on other text than the study's own. Its rows join those of
# the study in results/quality.csv and results/acceptance.csv.


use rule data as domain_data with:
    # A set whose answers quality is measured on; one that has prompts too is `domain_conversations`.
    input:
        source=lambda wildcards: files_on_disk(options.sets(config)[wildcards.set]["source"]),
        target=rules.target.output.tokenizer,
        code=code_digests.code_of("data"),
    output:
        sequences="results/data/{set}/held_out.safetensors",
        index="results/data/{set}/index.json",
        sources="results/data/{set}/sources.json",
    log:
        "results/logs/data/{set}.log",
    benchmark:
        "results/benchmarks/data/{set}.tsv"
    wildcard_constraints:
        set=options.any_of(options.sets_with(config, "held_out_tokens", without="prompts")),
    params:
        target=subpath(input.target, parent=True),
        folder=subpath(output.sources, parent=True),
        name="{set}",
        option="source",
        source=lambda wildcards: options.as_json(options.sets(config)[wildcards.set]["source"]),
        settings=lookup(dpath="{set}", within=options.set_settings(config)),


use rule domain_data as domain_prompts with:
    # A set whose prompts acceptance is measured on.
    output:
        index="results/data/{set}/index.json",
        prompts="results/data/{set}/prompts.json",
        sources="results/data/{set}/sources.json",
    wildcard_constraints:
        set=options.any_of(options.sets_with(config, "prompts", without="held_out_tokens")),


use rule domain_data as domain_conversations with:
    # A set that is measured for both.
    output:
        sequences="results/data/{set}/held_out.safetensors",
        index="results/data/{set}/index.json",
        prompts="results/data/{set}/prompts.json",
        sources="results/data/{set}/sources.json",
    wildcard_constraints:
        set=options.any_of(options.sets_with(config, "held_out_tokens", "prompts")),


rule domain_capture:
    """One pass of the teacher over the held-out text of one set."""
    input:
        target=rules.target.output.config,
        weights=rules.target.output.weights,
        data="results/data/{set}/index.json",
        sequences="results/data/{set}/held_out.safetensors",
        code=code_digests.code_of("capture"),
    output:
        description=temp("results/capture/{set}/capture.json"),
        states=temp(
            collect(
                "results/capture/{{set}}/depth{depth}.safetensors",
                depth=DOMAIN_DEPTHS,
            )
        ),
    log:
        "results/logs/capture/{set}.log",
    benchmark:
        "results/benchmarks/capture/{set}.tsv"
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        gpu=1,
        mem_mb=4000,
        runtime=60,
    params:
        target=subpath(input.target, parent=True),
        data=subpath(input.data, parent=True),
        dtype=lookup(dpath="target/dtype", within=config),
        kept="results/capture/.states",
        folder=subpath(output.description, parent=True),
        depths=DOMAIN_DEPTHS,
    message:
        "Capture: the teacher's hidden states, in {params.folder}"
    shell:
        "python -m selfdraft capture --target {params.target:q} --data {params.data:q} --depths {params.depths}"
        " --splits held_out --dtype {params.dtype} --threads {threads}"
        " --cache-dir {params.kept:q} --out-dir {params.folder:q} > {log} 2>&1"


use rule quality as domain_quality with:
    input:
        target=rules.target.output.config,
        weights=rules.target.output.weights,
        data="results/data/{set}/index.json",
        name="results/data/{set}/sources.json",
        sequences="results/data/{set}/held_out.safetensors",
        capture=ancient(rules.domain_capture.output.description),
        states=ancient(
            collect(
                "results/capture/{{set}}/depth{depth}.safetensors",
                depth=lookup(dpath="{group}", within=job_groups.depths_together(DOMAIN_POINTS)),
            )
        ),
        drafts=collect(
            "results/checkpoints/{draft.name}/{file}",
            draft=lookup(dpath="{group}", within=job_groups.trained_together(DOMAIN_POINTS)),
            file=["draft.safetensors", "config.json"],
        ),
        code=code_digests.code_of("capture", "quality"),
    output:
        "results/raw/domains/{set}/quality/{group}.csv",
    log:
        "results/logs/domains/{set}/quality/{group}.log",
    benchmark:
        "results/benchmarks/domains/{set}/quality/{group}.tsv"
    params:
        target=subpath(input.target, parent=True),
        data=subpath(input.data, parent=True),
        capture=subpath(input.capture, parent=True),
        checkpoints=collect(
            "results/checkpoints/{draft.name}",
            draft=lookup(dpath="{group}", within=job_groups.trained_together(DOMAIN_POINTS)),
        ),
        dtype=lookup(dpath="target/dtype", within=config),
        kept="results/kept/quality/{set}",
    message:
        "Quality of the drafts of {wildcards.group}, on {wildcards.set}"


use rule acceptance as domain_acceptance with:
    # All prompts of the set; a trimmed vocabulary is still that of the text the draft was trained on.
    input:
        target=rules.target.output.config,
        tokenizer=rules.target.output.tokenizer,
        weights=rules.target.output.weights,
        data="results/data/{set}/prompts.json",
        name="results/data/{set}/sources.json",
        vanilla=lambda wildcards: job_groups.truth_of(config, DOMAIN_POINTS, wildcards.set)[wildcards.group],
        drafts=collect(
            "results/checkpoints/{draft.name}/{file}",
            draft=lookup(dpath="{group}", within=job_groups.drafts_by_group(config, DOMAIN_POINTS)),
            file=["draft.safetensors", "config.json"],
        ),
        drafters=lookup(dpath="{group}", within=job_groups.files_by_group(config, DOMAIN_POINTS)),
        sequences=rules.data.output.sequences,
        index=rules.data.output.index,
        code=code_digests.code_of("acceptance"),
    output:
        "results/raw/domains/{set}/acceptance/{group}{shard}.csv",
    log:
        "results/logs/domains/{set}/acceptance/{group}{shard}.log",
    benchmark:
        "results/benchmarks/domains/{set}/acceptance/{group}{shard}.tsv"
    params:
        target=subpath(input.target, parent=True),
        data=subpath(input.data, parent=True),
        trained_on=lambda wildcards: DATA,
        checkpoints=collect(
            "results/checkpoints/{draft.name}",
            draft=lookup(dpath="{group}", within=job_groups.drafts_by_group(config, DOMAIN_POINTS)),
        ),
        asked=lookup(dpath="{group}", within=job_groups.asked_of_groups(config, DOMAIN_POINTS)),
        vanilla=lambda wildcards, input: options.before_each("--vanilla", input.vanilla),
        shard=lambda wildcards: job_groups.shard_numbers(config)[wildcards.shard],
        settings=options.settings_of(config, "acceptance", without=["prompts"]),
        kept="results/kept/acceptance/{set}",
    message:
        "Acceptance of all points of {wildcards.group}{wildcards.shard}, on {wildcards.set}"


use rule speed as domain_speed with:
    # The points of domains.timed, on as many prompts of the set as are timed of the study's own.
    input:
        target=rules.target.output.config,
        tokenizer=rules.target.output.tokenizer,
        weights=rules.target.output.weights,
        data="results/data/{set}/prompts.json",
        name="results/data/{set}/sources.json",
        drafts=collect(
            "results/checkpoints/{draft.name}/{file}",
            draft=lookup(dpath="{policy}", within=sweeps.drafts_by_policy(TIMED_ELSEWHERE)),
            file=["draft.safetensors", "config.json"],
        ),
        sequences=rules.data.output.sequences,
        index=rules.data.output.index,
        drafters=entries.drafter_files(config, TIMED_ELSEWHERE),
        code=code_digests.code_of("speed"),
    output:
        "results/raw/domains/{set}/speed/{policy}{shard}.csv",
    log:
        "results/logs/domains/{set}/speed/{policy}{shard}.log",
    benchmark:
        "results/benchmarks/domains/{set}/speed/{policy}{shard}.tsv"
    params:
        trained_on=lambda wildcards: DATA,
        checkpoints=collect(
            "results/checkpoints/{draft.name}",
            draft=lookup(dpath="{policy}", within=sweeps.drafts_by_policy(TIMED_ELSEWHERE)),
        ),
        points=lookup(dpath="{policy}", within=sweeps.points_by_policy(TIMED_ELSEWHERE)),
        settings=lookup(dpath="{set}", within=options.speed_settings(config)),
    message:
        "Speed of the drafts of domains.timed and both baselines, {wildcards.policy}{wildcards.shard}, on {wildcards.set}"
