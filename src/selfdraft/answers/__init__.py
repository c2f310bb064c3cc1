"""The target's own answers to the questions of a data set, with the states that drafters are trained on."""
