"""The kinds of drafters that are not trained, and the settings that each has in the config."""

# A source is needed where there is one; the stages know such a model by its folder.
KINDS = {"lookup": ("max_ngram",), "model": ("source",)}
