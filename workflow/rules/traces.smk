# Pages on which one can watch the study's own drafts: what came of each drafted token of a few prompts.


rule trace:
    """One prompt answered, with the fate of each drafted token."""
    input:
        target=rules.target.output.config,
        tokenizer=rules.target.output.tokenizer,
        weights=rules.target.output.weights,
        data=rules.data.output.prompts,
        draft=collect(
            "results/checkpoints/{draft.name}/{file}",
            draft=drawing.traced_draft(config),
            file=["draft.safetensors", "config.json"],
        ),
        code=code_digests.code_of("generate"),
    output:
        "results/traces/{policy}/prompt{number}.json",
    log:
        "results/logs/trace/{policy}_prompt{number}.log",
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=1,
        mem_mb=3500,
        runtime=30,
    params:
        target=subpath(input.target, parent=True),
        data=subpath(input.data, parent=True),
        draft=collect("results/checkpoints/{draft.name}", draft=drawing.traced_draft(config)),
        options=lambda wildcards: drawing.trace_options(config, wildcards.policy),
        dtype=lookup(dpath="target/dtype", within=config),
    message:
        "Trace of prompt {wildcards.number}, {wildcards.policy}"
    shell:
        "python -m selfdraft generate --target {params.target:q} --data {params.data:q} --number {wildcards.number}"
        " --checkpoint {params.draft:q} {params.options} --dtype {params.dtype} --threads {threads}"
        " --trace {output:q} > {log} 2>&1"


rule trace_page:
    input:
        traces=collect(
            "results/traces/{{policy}}/prompt{number}.json",
            number=range(config.get("traces", {}).get("prompts", 0)),
        ),
        code=code_digests.code_of("trace"),
        template=code_digests.path_of_file("traces/page.html"),
    output:
        report(
            "paper_figures/trace_{policy}.html",
            caption="../report/traces.rst",
            category="Traces",
            labels={"policy": "{policy}"},
        ),
    log:
        "results/logs/trace/{policy}.log",
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=500,
        runtime=10,
    message:
        "Page of the traces, {wildcards.policy}"
    shell:
        "python -m selfdraft trace {input.traces:q} --out {output:q} > {log} 2>&1"


rule all_traces:
    input:
        collect("paper_figures/trace_{policy}.html", policy=drawing.traced_policies(config)),
