"""Tiny drafts that learn: an enumerable model, and the pieces of a run around it."""

from types import SimpleNamespace

import torch
from tiny_llama import perturbed_exit, tiny_llama

from selfdraft.decoding.loop import speculate
from selfdraft.decoding.policy import Policy
from selfdraft.online.drafter import LearningDrafter
from selfdraft.online.learner import OnlineLearner
from selfdraft.online.pair import Pair
from selfdraft.online.run import OnlineRun
from selfdraft.online.settings import OnlineSettings
from selfdraft.training.interruption import Stopped
from selfdraft.training.saved import Saving

PROMPT = [1, 2, 0, 1, 2]


def enumerable():
    """Six tokens, two layers: every continuation can be computed."""
    return tiny_llama(vocab=6, layers=2, scale=0.5, seed=3, kv_heads=1)


def learner_on(target, capacity="head", layer=0, log=lambda line: None, amount=0.3, **settings):
    """A learner of an exit that was moved by `amount`, and its drafter."""
    pair = Pair.of(perturbed_exit(target, layer, capacity, amount), target, settings.get("share") == "shared", 2)
    learner = OnlineLearner(pair, OnlineSettings(**settings), log)
    return learner, LearningDrafter(learner)


def decode(learner, drafter, prompts, new, seed=0, gamma=None, ends=frozenset()):
    """Answers to prompts, verified as the learner's settings say."""
    settings = learner.settings
    generator = torch.Generator().manual_seed(seed)
    return speculate(
        learner.target,
        drafter,
        prompts,
        Policy("t", settings.temperature),
        gamma or settings.gamma,
        new,
        generator,
        ends,
    )


def served(path, prompts, learner_of, stopped_at=None, measure=dict):
    """The learner of a stream of prompts, stopped once if asked, and taken up from its state by another one."""
    for stop_at in (stopped_at, None) if stopped_at else (None,):
        learner = learner_of()
        stop = SimpleNamespace(is_set=lambda learner=learner, at=stop_at: learner.position == at)
        try:
            OnlineRun(learner, prompts, frozenset(), measure).go(Saving(path, {}), stop)
        except Stopped:
            assert stop_at
    return learner


def all_records(learner):
    """What the buffer holds, oldest first."""
    return learner.buffer.read(learner.buffer.newest(len(learner.buffer)))
