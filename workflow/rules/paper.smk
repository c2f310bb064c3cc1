# The paper: a stage chooses its sentences and tables by the study's tables, and Typst sets the text of paper/ with them.

TEXT = os.path.relpath(f"{workflow.basedir}/paper")


rule paper_numbers:
    """All that the paper says of the study: sentences, and tables as CSV and as LaTeX."""
    input:
        results=rules.results.output,
        differences=rules.differences.output,
        provenance=rules.provenance.output,
        beside=collect("results/{table}.csv", table=drawing.paper_tables(config)),
        code=code_digests.code_of("paper_numbers"),
    output:
        directory("results/paper"),
    log:
        "results/logs/paper_numbers.log",
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        beside=[f"--{table} results/{table}.csv" for table in drawing.paper_tables(config)],
    message:
        "Numbers of the paper"
    shell:
        "python -m selfdraft paper-numbers --results {input.results:q} --differences {input.differences[0]:q}"
        " --seed-spread {input.differences[1]:q} --provenance {input.provenance:q} {params.beside}"
        " --out-dir {output:q} > {log} 2>&1"


rule paper:
    """paper_figures/paper.pdf; makes the study and its benchmarks first, as far as they are not there."""
    input:
        numbers=rules.paper_numbers.output,
        figures=collect("paper_figures/{figure}.pdf", figure=drawing.paper_figures(config)),
        text=f"{TEXT}/paper.typ",
        parts=[f"{TEXT}/style.typ", f"{TEXT}/references.bib"],
        code=code_digests.code_of("paper"),
    output:
        report(
            "paper_figures/paper.pdf",
            caption="../report/paper.rst",
            category="Paper",
            labels={"paper": "PDF"},
        ),
    log:
        "results/logs/paper.log",
    localrule: True
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        folder=subpath(input.text, parent=True),
    message:
        "The paper"
    shell:
        "python -m selfdraft paper --text {params.folder:q} --numbers {input.numbers:q} --figures {input.figures:q}"
        " --out {output:q} > {log} 2>&1"
