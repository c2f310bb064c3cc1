"""A drafter of trees for tests of the loop: of any shape, chosen or drawn, from a table of what follows a token."""

import torch

from selfdraft.decoding.drafter import Draft
from selfdraft.decoding.drafting import Tree


class Branching:
    """Trees of one shape. `chance`: siblings are drawn without replacement; else they are the most likely, in order.

    `parents` is the shape; nodes deeper than the draft asked for are filler, and every second row has one node less
    that counts. With `replacing` siblings are drawn with replacement, and q says that they were not: a mistake.
    """

    learns = False

    def __init__(self, vocab, parents, chance, depths=(), replacing=False, sharpness=1.0, seed=7):
        table = torch.randn((vocab, vocab), generator=torch.Generator().manual_seed(seed)) * sharpness
        self.likely = torch.softmax(table, dim=-1)
        self.parents, self.chance, self.depths, self.replacing = parents, chance, depths, replacing
        self.tree = Tree(len(parents), 1)
        self.heard = []
        levels = []
        for parent in parents:
            levels.append(1 if parent < 0 else levels[parent] + 1)
        self.levels = levels

    def start(self, session):
        self.prompt = session.prompt_features

    def draft(self, session, gamma, policy, generator):
        nodes = [node for node, level in enumerate(self.levels) if level <= gamma][: session.room]
        tokens, drawn_from = [], []
        for node in nodes:
            parent = self.parents[node]
            token = session.pending if parent < 0 else tokens[parent]
            q = self.likely[token[:, 0]]
            fair = q
            for sibling in nodes:
                if sibling < node and self.parents[sibling] == parent:
                    q = q.scatter(1, tokens[sibling], 0.0)
            q = self.normed(q)
            if not self.chance:
                drawn = q.argmax(-1, keepdim=True)
            else:
                drawn = torch.multinomial(fair if self.replacing else q, 1, generator=generator)
            tokens.append(drawn)
            drawn_from.append(q)
        lengths = torch.tensor([len(nodes) - (row % 2 if len(nodes) > 1 else 0) for row in range(session.batch)])
        parents = torch.tensor([self.parents[node] for node in nodes]).expand(session.batch, -1)
        q = torch.stack(drawn_from, dim=1) if self.chance else None
        return Draft(torch.cat(tokens, dim=1), q, lengths, parents)

    def normed(self, q):
        return q / q.sum(-1, keepdim=True)

    def observe(self, outcome):
        self.heard.append(outcome)
