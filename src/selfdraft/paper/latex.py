"""A table as a LaTeX fragment: a booktabs tabular to \\input, all special characters escaped."""

from selfdraft.paper.tables import Table

ESCAPED = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "%": r"\%",
    "&": r"\&",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "−": "$-$",
    "…": r"\dots{}",
    "×": r"$\times$",
}


def escaped(text: str) -> str:
    """Text that LaTeX sets as it stands."""
    return "".join(ESCAPED.get(character, character) for character in text)


def fragment(table: Table) -> str:
    """The tabular; words to the left, numbers to the right."""
    lines = [
        rf"\begin{{tabular}}{{{table.align}}}",
        r"\toprule",
        rf"{' & '.join(map(escaped, table.columns))} \\",
        r"\midrule",
        *(rf"{' & '.join(map(escaped, row))} \\" for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"
