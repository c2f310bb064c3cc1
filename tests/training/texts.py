"""Random token sequences for tests of training, and their captured states in memory."""

import numpy as np
from tiny_llama import hidden_states

from selfdraft.sequences import Sequences
from selfdraft.training.states import CapturedStates


def text_of(seed, count=12, vocab=61):
    """`count` sequences of 5 to 29 random tokens; seven in ten are answers."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 30, count)
    total = int(lengths.sum())
    mask = (rng.random(total) < 0.7).astype(np.uint8)
    tokens = rng.integers(0, vocab, total).astype(np.int32)
    return Sequences(tokens, mask, np.concatenate(([0], lengths.cumsum())).astype(np.int64))


def captured(target, sequences, depths, teacher=None):
    """The states that the capture stage would leave."""
    last = target.config.n_layers
    states = hidden_states(target, sequences, [*depths, last])
    final = states[last]
    if teacher is not None:
        final = hidden_states(teacher, sequences, [teacher.config.n_layers])[teacher.config.n_layers]
    return CapturedStates(sequences, {depth: states[depth] for depth in [*depths, last]}, final, target)
