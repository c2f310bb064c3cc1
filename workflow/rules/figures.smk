# One rule for each figure of the config: its own sweep, style, modules and caption, so that a change
# to one of them draws that figure alone.
for figure, drawn in drawing.figures(config).items():

    rule:
        name:
            f"figure_{figure}"
        input:
            table=lookup(
                dpath=figure,
                within={
                    "histograms": rules.gather_acceptance.output,
                    "training_curves": collect(
                        "results/checkpoints/{name}/train_log.jsonl",
                        name=drawn["drafts"],
                    ),
                    "methods": rules.methods.output,
                    "learning": collect(
                        "results/drafters/{drafter}/train_log.jsonl",
                        drafter=entries.in_use_by(config, "train_drafter"),
                    ),
                    "heads": "results/head_curves.csv",
                    "exits": "results/exit_layers.csv",
                    "unverified": "results/unverified.csv",
                    "online": "results/online.csv",
                    "shift": "results/online.csv",
                    "batch": "results/batch.csv",
                    "lengths": "results/lengths.csv",
                    "peers": "results/peers.csv",
                    "compile": "results/compile.csv",
                },
                default=rules.results.output,
            ),
            code=code_digests.code_of_figure(figure, others=drawing.ALL_FIGURES),
        output:
            report(
                multiext(f"paper_figures/{figure}", ".pdf", ".png"),
                caption=f"../report/{figure}.rst",
                category="Figures",
                labels={"figure": figure.replace("_", " ")},
            ),
        log:
            f"results/logs/figure/{figure}.log",
        priority: 10  # drawn as soon as its table is there
        conda:
            ENVIRONMENT
        threads: 1
        resources:
            mem_mb=1000,
            runtime=10,
        params:
            figure=figure,
            sweep=options.as_json(drawn["sweep"]),
            style=options.as_json(drawn["style"]),
            statistics=branch(
                figure == "histograms",
                then=["--statistics", options.settings_of(config, "statistics")],
                otherwise=[],
            ),
            folder=subpath(output[0], parent=True),
            option=lookup(
                dpath=figure,
                within={"histograms": "--acceptance", "training_curves": "--logs", "learning": "--logs"}
                | dict.fromkeys(
                    ["methods", "heads", "exits", "unverified", "online", "shift", *drawing.TABLE_FIGURES], "--table"
                ),
                default="--results",
            ),
        message:
            "Figure {params.figure}"
        shell:
            "python -m selfdraft figure {params.figure} {params.option} {input.table:q}"
            " --sweep {params.sweep:q} --style {params.style:q} {params.statistics:q} --out-dir {params.folder:q} > {log} 2>&1"
