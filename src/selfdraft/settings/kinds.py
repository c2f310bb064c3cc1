"""What the kinds of drafters say of themselves: read from the text of their files, so that it takes no torch."""

import ast
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

DRAFTERS = Path(__file__).resolve().parents[1] / "drafters"


class Kind(NamedTuple):
    """What a kind's file says of it: its first line, and the settings of the config's `drafters.NAME`.

    `settings` are JSON schemas by key, as the file's SETTINGS has them; `required` is its REQUIRED. `trained`: a
    stage makes it of its settings first, and the others know it by the folder that this leaves alone. `trees`: whether
    it can draft trees (its TREES). `heads`: whether its tokens leave at several layers, by the heads of kind exits that
    it names as its `drafter` (its HEADS). `rule` is the workflow's that trains it (its RULE, `train_drafter` usually);
    none of what is not trained.
    """

    about: str
    settings: dict[str, dict[str, Any]]
    required: tuple[str, ...]
    trained: bool
    trees: bool
    heads: bool
    files: tuple[str, ...]
    rule: str

    @property
    def defaults(self) -> dict[str, Any]:
        """What the stage that trains it takes for keys that an entry leaves out."""
        return deepcopy({key: rule["default"] for key, rule in self.settings.items() if "default" in rule})

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of an entry of this kind."""
        known = {"kind": {}, **self.settings}
        return {"type": "object", "additionalProperties": False, "properties": known, "required": list(self.required)}

    @property
    def known_by(self) -> dict[str, bool]:
        """The keys that the stages which draft with it know, and whether they must be there."""
        if self.trained:
            return {"folder": True}
        return {"folder" if key == "source" else key: key in self.required for key in self.settings}


@cache
def kind_of(name: str) -> Kind:
    """What the file of a kind says, read and not run."""
    tree = ast.parse((DRAFTERS / f"{name}.py").read_text(encoding="utf-8"))
    said = {
        node.targets[0].id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    about = (ast.get_docstring(tree) or "").partition("\n")[0]
    required = ast.literal_eval(said["REQUIRED"]) if "REQUIRED" in said else ()
    trained, trees, heads = (name in said and ast.literal_eval(said[name]) for name in ("TRAINED", "TREES", "HEADS"))
    usual = ("config.json", "draft.safetensors" if trained else "model.safetensors")
    files = ast.literal_eval(said["FILES"]) if "FILES" in said else usual
    rule = ast.literal_eval(said["RULE"]) if "RULE" in said else "train_drafter" if trained else ""
    return Kind(about, ast.literal_eval(said["SETTINGS"]), required, trained, trees, heads, files, rule)
