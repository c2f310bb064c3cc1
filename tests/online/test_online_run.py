"""A stream whose prompts are served together: the same text, each prompt counted for itself, looks where they were."""

import torch
from online.learning import learner_on, served
from tiny_llama import perturbed_exit, tiny_llama

from selfdraft.decoding.loop import vanilla
from selfdraft.decoding.policy import Policy
from selfdraft.online.held_out import measured
from selfdraft.sequences import Prompt

PROMPTS = [[3, 1, 4, 1, 5], [9, 2], [6, 5, 3, 5, 8, 9, 7], [9, 3], [2, 3, 8], [4, 6], [2, 6, 4, 3]]
NEW = 14


def learner_of(batch):
    settings = {"max_new_tokens": NEW, "fast_batch": 4, "evaluate_every": 5, "learning_rate": 0.01}
    return learner_on(tiny_llama(), "translator", layer=2, draft="sample", batch=batch, **settings)[0]


def test_prompts_that_are_served_together_are_counted_apart(tmp_path):
    alone, together = (served(tmp_path / str(batch), PROMPTS, lambda b=batch: learner_of(b)) for batch in (1, 3))
    for learner in (alone, together):
        assert [look["prompts"] for look in learner.evaluations] == [0, 5, 7]  # a batch of three, of two, of two
        assert [tokens for _, _, tokens in learner.served] == [NEW] * 7
        assert all(0 <= accepted <= 4 * cycles <= 4 * NEW for accepted, cycles, _ in learner.served)
        assert learner.tokens == 7 * NEW
        assert learner.updates > 1
        assert learner.evaluations[-1]["grad_square"] == learner.gradients["grad_square"] > 0
    assert together.sequences == alone.sequences == 7
    assert len({accepted for accepted, _, _ in together.served}) > 1


def test_a_stream_of_batches_is_taken_up_where_it_stopped(tmp_path):
    whole = served(tmp_path / "a", PROMPTS, lambda: learner_of(3))
    stopped = served(tmp_path / "b", PROMPTS, lambda: learner_of(3), stopped_at=5)
    assert stopped.served == whole.served
    assert stopped.gradients == whole.gradients
    for one, other in zip(stopped.parameters, whole.parameters, strict=True):
        assert torch.equal(one, other)


def test_a_look_at_prompts_together_is_that_at_each_alone():
    target, greedy = tiny_llama(), Policy("greedy", 0.0)
    prompts = [Prompt(str(number), "", tuple(tokens), "") for number, tokens in enumerate(PROMPTS)]
    draft = perturbed_exit(target, 2, "translator").pack()
    ends = frozenset(vanilla(target, PROMPTS[:1], greedy, 6, torch.Generator()).tokens[0][-1:])  # one ends early
    alone, together = (measured(target, draft, prompts, greedy, 3, 12, 0, ends, batch) for batch in (1, 3))
    assert together["by_prompt"] == alone["by_prompt"]
    assert together["tokens"] == alone["tokens"] < 7 * 12
    assert len({tuple(found) for found in alone["by_prompt"].values()}) > 2
