# The section `domains`: the same drafts on other text than the study's own. Its rows join those of
# the study in results/quality.csv and results/acceptance.csv.


use rule data as domain_data with:
    # A set whose answers quality is measured on; one that has prompts too is `domain_conversations`.
    input:
        source=lambda wildcards: files_on_disk(sweeps.sets(config)[wildcards.set]["source"]),
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
        set=sweeps.any_of(sweeps.sets_with(config, "held_out_tokens", without="prompts")),
    params:
        target=subpath(input.target, parent=True),
        folder=subpath(output.sources, parent=True),
        name="{set}",
        option="source",
        source=lambda wildcards: sweeps.as_json(sweeps.sets(config)[wildcards.set]["source"]),
        settings=lookup(dpath="{set}", within=sweeps.set_settings(config)),


use rule domain_data as domain_prompts with:
    # A set whose prompts acceptance is measured on.
    output:
        index="results/data/{set}/index.json",
        prompts="results/data/{set}/prompts.json",
        sources="results/data/{set}/sources.json",
    wildcard_constraints:
        set=sweeps.any_of(sweeps.sets_with(config, "prompts", without="held_out_tokens")),


use rule domain_data as domain_conversations with:
    # A set that is measured for both.
    output:
        sequences="results/data/{set}/held_out.safetensors",
        index="results/data/{set}/index.json",
        prompts="results/data/{set}/prompts.json",
        sources="results/data/{set}/sources.json",
    wildcard_constraints:
        set=sweeps.any_of(sweeps.sets_with(config, "held_out_tokens", "prompts")),


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
        sequences="results/data/{set}/held_out.safetensors",
        capture=ancient(rules.domain_capture.output.description),
        states=ancient(
            collect(
                "results/capture/{{set}}/depth{depth}.safetensors",
                depth=lookup(dpath="layer{layer}_T{T}_{capacity}{variant}", within=sweeps.depth_by_draft(config)),
            )
        ),
        draft=rules.train.output.weights,
        draft_config=rules.train.output.config,
        code=code_digests.code_of("capture", "quality"),
    output:
        "results/raw/domains/{set}/quality/layer{layer}_T{T}_{capacity}{variant}.csv",
    log:
        "results/logs/domains/{set}/quality/layer{layer}_T{T}_{capacity}{variant}.log",
    benchmark:
        "results/benchmarks/domains/{set}/quality/layer{layer}_T{T}_{capacity}{variant}.tsv"
    params:
        target=subpath(input.target, parent=True),
        data=subpath(input.data, parent=True),
        capture=subpath(input.capture, parent=True),
        checkpoint=subpath(input.draft, parent=True),
        dtype=lookup(dpath="target/dtype", within=config),
    message:
        "Quality of {wildcards.capacity}{wildcards.variant} after layer {wildcards.layer}, T = {wildcards.T}, on {wildcards.set}"


use rule acceptance as domain_acceptance with:
    # All prompts of the set; a trimmed vocabulary is still that of the text the draft was trained on.
    input:
        target=rules.target.output.config,
        tokenizer=rules.target.output.tokenizer,
        weights=rules.target.output.weights,
        data="results/data/{set}/prompts.json",
        name="results/data/{set}/sources.json",
        vanilla=lambda wildcards: sweeps.truth(config, wildcards.policy, wildcards.set),
        draft=rules.train.output.weights,
        draft_config=rules.train.output.config,
        sequences=rules.data.output.sequences,
        index=rules.data.output.index,
        code=code_digests.code_of("acceptance"),
    output:
        "results/raw/domains/{set}/acceptance/layer{layer}_T{T}_{capacity}{variant}_gamma{gamma}_{policy}{drafting}{shard}.csv",
    log:
        "results/logs/domains/{set}/acceptance/layer{layer}_T{T}_{capacity}{variant}_gamma{gamma}_{policy}{drafting}{shard}.log",
    benchmark:
        "results/benchmarks/domains/{set}/acceptance/layer{layer}_T{T}_{capacity}{variant}_gamma{gamma}_{policy}{drafting}{shard}.tsv"
    params:
        target=subpath(input.target, parent=True),
        data=subpath(input.data, parent=True),
        draft=lambda wildcards, input: ["--checkpoint", os.path.dirname(input.draft), "--trained-on", DATA],
        vanilla=lambda wildcards, input: sweeps.options("--vanilla", input.vanilla),
        policy=lookup(dpath="{policy}", within=sweeps.policy_settings(config)),
        drafting=lambda wildcards: sweeps.ways_of_drafting(config)[wildcards.drafting],
        shard=lambda wildcards: sweeps.shard_numbers(config)[wildcards.shard],
        settings=sweeps.settings_of(config, "acceptance", without=["prompts"]),
    message:
        "Acceptance of {wildcards.capacity}{wildcards.variant} after layer {wildcards.layer}, T = {wildcards.T},"
        " gamma = {wildcards.gamma}, {wildcards.policy}{wildcards.drafting}{wildcards.shard}, on {wildcards.set}"


use rule domain_acceptance as domain_acceptance_of_others with:
    # A drafter of the config's `drafters`: nothing is trained for it.
    input:
        target=rules.target.output.config,
        tokenizer=rules.target.output.tokenizer,
        weights=rules.target.output.weights,
        data="results/data/{set}/prompts.json",
        name="results/data/{set}/sources.json",
        vanilla=lambda wildcards: sweeps.truth(config, wildcards.policy, wildcards.set),
        sequences=rules.data.output.sequences,
        index=rules.data.output.index,
        models=DRAFT_MODELS,
        code=code_digests.code_of("acceptance"),
    output:
        "results/raw/domains/{set}/acceptance/{drafter}_gamma{gamma}_{policy}{drafting}{shard}.csv",
    log:
        "results/logs/domains/{set}/acceptance/{drafter}_gamma{gamma}_{policy}{drafting}{shard}.log",
    benchmark:
        "results/benchmarks/domains/{set}/acceptance/{drafter}_gamma{gamma}_{policy}{drafting}{shard}.tsv"
    params:
        target=subpath(input.target, parent=True),
        data=subpath(input.data, parent=True),
        draft=lambda wildcards: [
            "--drafter",
            wildcards.drafter,
            "--drafters",
            sweeps.drafter_settings(config),
            "--trained-on",
            DATA,
        ],
        vanilla=lambda wildcards, input: sweeps.options("--vanilla", input.vanilla),
        policy=lookup(dpath="{policy}", within=sweeps.policy_settings(config)),
        drafting=lambda wildcards: sweeps.ways_of_drafting(config)[wildcards.drafting],
        shard=lambda wildcards: sweeps.shard_numbers(config)[wildcards.shard],
        settings=sweeps.settings_of(config, "acceptance", without=["prompts"]),
    message:
        "Acceptance of {wildcards.drafter}, gamma = {wildcards.gamma}, {wildcards.policy}{wildcards.drafting}{wildcards.shard},"
        " on {wildcards.set}"
