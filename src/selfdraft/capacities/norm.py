"""Capacity `norm`: the logit lens, the target's own reading of a shallow state; its norm alone is trained."""

from selfdraft.capacities.capacity import Capacity


class Norm(Capacity):
    name = "norm"
    about = "nothing else"


CAPACITY = Norm()
