"""Training exits on the teacher's predictions: one pass over the text for any number of drafts."""

import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from selfdraft.errors import StudyError
from selfdraft.models.exit import Exit
from selfdraft.models.llama import Llama
from selfdraft.models.regression import Regression
from selfdraft.training.batches import label_counts, make_batch, shares, steps
from selfdraft.training.interruption import Stop, Stopped
from selfdraft.training.learner import Learner
from selfdraft.training.losses import Products, head_kls, head_losses
from selfdraft.training.optimised import learning_rate_factor
from selfdraft.training.processes import Processes
from selfdraft.training.progress import Progress
from selfdraft.training.saved import Saving
from selfdraft.training.settings import DTYPES, Settings
from selfdraft.training.states import Loaded, States
from selfdraft.training.words import Words

# Labels of a regression: at least, and for each number of a state.
LEAST_PAIRS, PAIRS_A_NUMBER = 32768, 32
CHECKED_TOGETHER = 2048  # labels of validation text that are looked at together


def read_of(target: Llama, draft: Exit, loaded: Loaded, positions: Tensor, dtype: torch.dtype) -> Tensor:
    """What the draft's head reads at `positions`, `[positions, hidden]`; differentiable in its trained parameters."""
    hidden = loaded.inputs[draft.depth].to(dtype)  # [sequences, longest, hidden]
    if draft.cache_layers:
        step = target.step([0], hidden.shape[1])
        step.cos, step.sin = step.cos.to(dtype), step.sin.to(dtype)
        assert draft.body is not None
        return draft.norm(draft.body(hidden, step).flatten(0, 1)[positions])
    # Without attention only the positions that are learnt from matter.
    return draft(hidden.flatten(0, 1)[positions], None)


def products_of(target: Llama, draft: Exit, loaded: Loaded, positions: Tensor, dtype: torch.dtype) -> Products:
    """What the draft's logits at `positions` are the sum of; differentiable in its trained parameters."""
    return draft.head.products(read_of(target, draft, loaded, positions, dtype))


ABSENT = -1e4  # a logit without mass


@torch.no_grad()
def teachers_part(
    teacher: Llama, loaded: Loaded, dtype: torch.dtype, rows: int, words: Words | None = None
) -> tuple[Tensor, Tensor]:
    """The teacher's normed final states `[labels, hidden]` and its LM head of `rows`, in the dtype of the products.

    With `words` the head's rows of them alone.

    A teacher of the same tokens may have other padding rows behind them than the target: more are cut, fewer are
    filled with rows of no mass (one more input, always 1, has the logit ABSENT there).
    """
    assert teacher.head.weight is not None, "train before packing"
    hidden = teacher.norm(loaded.final.to(dtype))
    if words is not None and int(words.ids.max()) < len(teacher.head.weight):
        return hidden, words.of(teacher.head.weight, dtype)
    weight = teacher.head.weight[:rows].to(dtype)
    lacking = rows - len(weight)
    if lacking:
        hidden = torch.cat((hidden, hidden.new_ones(len(hidden), 1)), dim=1)
        weight = F.pad(weight, (0, 1, 0, lacking))
        weight[-lacking:, -1] = ABSENT
    return hidden, weight if words is None else weight[words.ids]


class Trainer:
    """Several drafts, the states that they all read, and the processes that share the work.

    Tensors and logs do not depend on the number of processes, on `gradient_accumulation` or on which
    drafts are trained together, but for the order in which floats are added.
    """

    def __init__(
        self,
        target: Llama,
        teacher: Llama,
        drafts: Sequence[Exit],
        temperatures: Sequence[float],
        learn: States,
        check: States,
        settings: Settings,
        logs: Sequence[Callable[[str], object]],
        processes: Processes | None = None,
        words: Tensor | None = None,
    ) -> None:
        """`logs` take one JSON line a step, one of them for each draft. The loss is over the tokens `words [kept]`
        alone, where they are given; what is measured on the validation text is over all."""
        self.target, self.teacher, self.settings = target, teacher, settings
        self.dtype = DTYPES[settings.dtype] or target.dtype
        self.learn, self.check = learn, check
        self.processes = processes or Processes()
        self.depths = sorted({draft.depth for draft in drafts})
        self.counts = label_counts(learn.sequences)
        self.check_counts = label_counts(check.sequences)
        self.words = None if words is None else Words(words.to(target.device))
        self.learners = [
            Learner(draft, T, settings, log, self.words)
            for draft, T, log in zip(drafts, temperatures, logs, strict=True)
        ]
        generator = torch.Generator().manual_seed(settings.seed)
        self.plan = [
            group
            for _ in range(settings.epochs)
            for group in steps(
                self.counts,
                settings.tokens_per_step,
                torch.randperm(len(learn.sequences), generator=generator).tolist(),
            )
            if settings.objective != "none"
        ]

    def run(self, saving: Saving | None = None, stop: Stop | None = None) -> list[dict[str, Any]]:
        """Train to the end and leave each draft with the tensors of the lowest validation KL seen.

        A state that `saving` has is taken up. Returns a summary for each checkpoint's config. Raises
        Stopped after `stop` was set, with the state saved; StudyError when a loss is not finite, the
        validation KL diverges, or the state is not this run's.
        """
        settings, vocab = self.settings, self.target.config.vocab_size
        clock = time.perf_counter()
        total, warmup = len(self.plan), math.ceil(settings.warmup_fraction * len(self.plan))
        checks = {round((k + 1) * total / settings.evaluations) for k in range(settings.evaluations)}
        resumed = saving is not None and saving.path.exists()
        if settings.start == "regression" and (not resumed or self.words is not None):
            self.regress()  # the rows that no loss sees are not in a saved state: they are found again
        found = saving.take_up(self.learners) if saving is not None else None
        first, tokens = found or (0, 0)
        if not self.processes.agree(first, self.target.device):
            raise StudyError(
                "training: the processes do not find the same saved state; give it a file system that all of them see"
            )
        if found is None:
            for learner, (kl, left_out) in zip(self.learners, self.held_out(), strict=True):
                learner.begin(kl, left_out)
        elif self.processes.first:
            tqdm.write(f"training goes on after step {first} of {total}", file=sys.stderr)
        learnt, busy = 0, 0.0
        label = f"train {', '.join(f'{x.draft.layer} {x.draft.capacity}' for x in self.learners)}"
        progress = Progress(total, first, label, self.processes.first)
        for done in range(first + 1, total + 1):
            begin = time.perf_counter()
            losses, stopping = self._gradients(self.plan[done - 1], stop is not None and stop.is_set())
            for loss in losses:
                if not math.isfinite(loss):
                    raise StudyError(f"training: loss is {loss:g} at step {done}; lower training.learning_rate")
            factor = learning_rate_factor(done - 1, total, warmup)
            updates = [learner.update(factor) for learner in self.learners]
            labels = sum(self.counts[i] for i in self.plan[done - 1])
            tokens, learnt = tokens + labels, learnt + labels
            busy += time.perf_counter() - begin
            kls: list[float | None] = [None] * len(self.learners)
            if done in checks:
                kls = [found for found, _ in self.held_out()]
            for learner, loss, (rates, norm), found_kl in zip(self.learners, losses, updates, kls, strict=True):
                if found_kl is not None:
                    learner.measured(done, found_kl, vocab)
                row = {"step": done, "tokens": tokens, "loss": loss, "lr": max(rates.values()), "rates": rates}
                learner.write(row | {"grad_norm": norm, "validation_kl": found_kl})
            clock = max(learner.spend(clock) for learner in self.learners)
            if saving is not None and done < total and self.processes.first and (stopping or saving.due(done)):
                saving.save(self.learners, done, tokens)
            progress.step(done, labels, losses[0], self.learners[0].best)
            if stopping and done < total:
                raise Stopped(done, saving is not None)
        progress.close()
        summaries = []
        for learner in self.learners:
            learner.finish()
            summary: dict[str, Any] = {
                "steps": total,
                "tokens": tokens,
                "seconds": round(learner.seconds, 3),  # of the pass, however many drafts shared it
                "best_step": learner.best_step,
                "validation_kl": learner.best,
                "untrained_validation_kl": learner.untrained,
                "tokens_per_second": round(learnt / busy, 1) if learnt else None,
            }
            if settings.teacher_top_k or self.words is not None:
                summary["teacher_mass_left_out"] = learner.left_out
            summaries.append(summary)
        return summaries

    @torch.no_grad()
    def regress(self) -> None:
        """Start each draft from the map that its states have to the target's own final ones, by least squares.

        The pairs are those of the first training texts: as many labels as tell the map well.
        """
        world, target = self.processes, self.target
        size, last = target.config.hidden_size, target.config.n_layers
        found = [Regression(size, size, target.device) for _ in self.learners]
        groups, left = [], max(LEAST_PAIRS, PAIRS_A_NUMBER * size)
        for group in steps(self.counts, CHECKED_TOGETHER):
            if left > 0:
                groups.append(group)
            left -= sum(self.counts[i] for i in group)
        depths = self.depths if self.teacher is target else sorted({*self.depths, last})
        for group in groups[world.rank :: world.size]:
            batch = make_batch(self.learn.sequences, group)
            loaded = self.learn.load(batch, depths)
            positions = batch.positions.to(target.device)
            final = loaded.final if self.teacher is target else loaded.inputs[last].flatten(0, 1)[positions]
            outputs = {"read": target.norm(final.to(self.dtype)), "state": self._unit(final)}
            for learner, regression in zip(self.learners, found, strict=True):
                draft, maps = learner.draft, learner.draft.kind.maps
                if maps == "state":
                    inputs = self._unit(loaded.inputs[draft.depth].flatten(0, 1)[positions])
                else:
                    inputs = read_of(target, draft, loaded, positions, self.dtype)
                regression.add(inputs, outputs[maps])
        for learner, regression in zip(self.learners, found, strict=True):
            for sums in regression.sums:
                sums.copy_(world.sum(sums))
            learner.draft.kind.regressed(learner.draft, regression)
            learner.take()

    def _unit(self, states: Tensor) -> Tensor:
        """States of mean square 1, float32."""
        return torch.nn.functional.rms_norm(states.float(), states.shape[-1:], eps=self.target.config.norm_eps)

    def _gradients(self, group: Sequence[int], stop: bool) -> tuple[list[float], bool]:
        """Each parameter's gradient of the step's mean loss; returns those losses, and whether any process stops."""
        world, parts = self.processes, self.settings.gradient_accumulation
        dealt = shares(group, self.counts, world.size * parts)
        total = sum(self.counts[i] for i in group)
        sums = torch.zeros(len(self.learners) + 1, dtype=torch.float64, device=self.target.device)
        for part in dealt[world.rank :: world.size]:
            if not part:
                continue
            batch = make_batch(self.learn.sequences, part)
            loaded = self.learn.load(batch, self.depths)
            teacher_hidden, teacher_weight = teachers_part(
                self.teacher, loaded, self.dtype, self.target.config.vocab_size, self.words
            )
            positions = batch.positions.to(self.target.device)
            products = [products_of(self.target, x.draft, loaded, positions, self.dtype) for x in self.learners]
            losses = head_losses(
                [
                    made if x.rows is None else x.rows.products(made)
                    for x, made in zip(self.learners, products, strict=True)
                ],
                teacher_hidden,
                teacher_weight,
                batch.labels.to(self.target.device),
                [x.objective for x in self.learners],
            )
            (losses.sum() / total).backward()
            sums[:-1] += losses.detach()
        sums[-1] = stop
        *losses_of_step, stops = world.sum(sums).tolist()
        for learner in self.learners:
            world.sum_gradients(learner.parameters)
        return [loss / total for loss in losses_of_step], stops > 0

    def held_out(self) -> list[tuple[float, float]]:
        """Each draft's mean KL(teacher ‖ draft) at its T over all labels of the validation text, nats per token.

        With it the mean of the teacher's mass that the loss does not see.
        """
        for learner in self.learners:
            learner.put_back()
        world = self.processes
        sums = torch.zeros((2, len(self.learners)), dtype=torch.float64, device=self.target.device)
        with torch.no_grad():
            for group in steps(self.check_counts, CHECKED_TOGETHER)[world.rank :: world.size]:
                batch = make_batch(self.check.sequences, group)
                loaded = self.check.load(batch, self.depths)
                positions = batch.positions.to(self.target.device)
                sums += torch.stack(
                    head_kls(
                        [products_of(self.target, x.draft, loaded, positions, self.dtype) for x in self.learners],
                        *teachers_part(self.teacher, loaded, self.dtype, self.target.config.vocab_size),
                        [x.temperature for x in self.learners],
                        [x.objective.teacher_top_k for x in self.learners],
                        None if self.words is None else self.words.ids,
                    )
                )
        kls, left_out = (world.sum(sums) / sum(self.check_counts)).tolist()
        return list(zip(kls, left_out, strict=True))
