"""Capacity `norm`: the logit lens, the target's own reading of a shallow state; its norm alone is trained."""

from selfdraft.capacities.capacity import Capacity


class Norm(Capacity):
    name = "norm"
    about = "nothing else"
    rates = {"norm": 6e-2}


CAPACITY = Norm()
