"""A stream of prompts served by a draft that learns from it: decode, learn, evaluate now and then, save, go on."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from tqdm import tqdm

from selfdraft.decoding.loop import Timings, cycles
from selfdraft.online.drafter import LearningDrafter
from selfdraft.online.learner import OnlineLearner
from selfdraft.training.interruption import Stop, Stopped
from selfdraft.training.saved import Saving


class OnlineRun:
    """Nothing of a run lives only in the process: between two prompts the learner, its buffer and the generators are
    all that decides what comes, and a saved state has them.
    """

    def __init__(
        self, learner: OnlineLearner, prompts: Sequence[Sequence[int]], ends: frozenset[int], measure: Callable[[], Any]
    ) -> None:
        """`measure` evaluates the serving draft; what it returns stands in `learner.evaluations`."""
        self.learner, self.prompts, self.ends, self.measure = learner, prompts, ends, measure
        self.drafter = LearningDrafter(learner, ends)
        self.generator = torch.Generator(learner.target.device).manual_seed(learner.settings.seed)

    def go(self, saving: Saving | None = None, stop: Stop | None = None) -> None:
        """Serve the rest of the stream.

        Raises Stopped after `stop` was set, with the state saved; `learner.Broken` where an update would have spoilt
        the draft; StudyError if the saved state is not this run's.
        """
        learner, settings, total = self.learner, self.learner.settings, len(self.prompts)
        if saving is not None and saving.take_up([learner]) is not None:
            learner.buffer.take_up(saving.more)
            learner.generator.set_state(saving.more["replay"])
            self.generator.set_state(saving.more["verification"])
            learner.pair.publish()
        else:
            self._evaluate()
        bar = tqdm(total=total, initial=learner.position, unit="prompt", desc=f"dvi {settings.objective}", disable=None)
        while learner.position < total:
            look = self._next_look()
            prompts = self.prompts[learner.position : min(look, learner.position + settings.batch)]
            self._serve([list(prompt) for prompt in prompts])
            learner.position += len(prompts)
            bar.update(len(prompts))
            if learner.position == look:
                self._evaluate()
            stopping = stop is not None and stop.is_set() and learner.position < total
            if saving is not None and learner.position < total and (stopping or saving.due(learner.position)):
                saving.more = learner.buffer.tensors()
                saving.more |= {"replay": learner.generator.get_state(), "verification": self.generator.get_state()}
                saving.save([learner], learner.updates, learner.tokens)
            if stopping:
                raise Stopped(learner.position, saving is not None)
        bar.close()

    def _next_look(self) -> int:
        """After how many prompts of the stream the next evaluation comes: no batch is served across it."""
        every, total = self.learner.settings.evaluate_every, len(self.prompts)
        return min(total, (self.learner.position // every + 1) * every) if every else total

    def _serve(self, prompts: list[list[int]]) -> None:
        """An answer to each, all at once."""
        learner, settings, timings = self.learner, self.learner.settings, Timings()
        before, served = learner.spent["learning_s"], [[0, 0, 0] for _ in prompts]
        for cycle in cycles(
            learner.target,
            self.drafter,
            prompts,
            learner.policy,
            settings.gamma,
            settings.max_new_tokens,
            self.generator,
            self.ends,
            timings=timings,
        ):
            learner.tokens += len(cycle.tokens)
            of_prompt = served[cycle.row]
            of_prompt[2] += len(cycle.tokens)
            if not cycle.cut:
                of_prompt[0], of_prompt[1] = of_prompt[0] + cycle.accepted, of_prompt[1] + 1
        learner.served += served
        learner.spent["decoding_s"] += timings.decode_s - (learner.spent["learning_s"] - before)

    def _evaluate(self) -> None:
        learner = self.learner
        at: dict[str, Any] = {"prompts": learner.position, "updates": learner.updates, "served_tokens": learner.tokens}
        at |= {name: round(seconds, 3) for name, seconds in learner.spent.items()}
        at |= learner.gradients
        learner.evaluations.append(at | self.measure())
