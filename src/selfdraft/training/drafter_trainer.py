"""Training a drafter on its own unrolled steps (EAGLE-3): what each step draws from, and what is accepted of it."""

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from selfdraft.errors import StudyError
from selfdraft.models.eagle3 import Eagle3
from selfdraft.models.llama import Llama
from selfdraft.training.batches import steps as grouped
from selfdraft.training.confidence import confidence_losses
from selfdraft.training.drafter_settings import DrafterSettings
from selfdraft.training.drafter_start import regress
from selfdraft.training.interruption import Stop, Stopped
from selfdraft.training.known import Known
from selfdraft.training.losses import head_losses
from selfdraft.training.optimised import Optimised, learning_rate_factor
from selfdraft.training.packed import Packed, packed, packed_label_counts
from selfdraft.training.progress import Progress
from selfdraft.training.saved import Saving
from selfdraft.training.settings import DTYPES
from selfdraft.training.states import CapturedStates
from selfdraft.training.unrolled import rows_of, unrolled

PART = 1024  # labels whose unrolled steps are worked on together, at least
CHUNK = 256  # labels whose draft logits are looked at together when they are only measured


@dataclass(frozen=True)
class Measured:
    """What a drafter does on held-out text, its tokens given.

    By step: `accuracy` (its best token is the teacher's), `overlap` Σ min(p, q), `kl` of the teacher restricted to the
    draft vocabulary, in nats. `accepted`: how many steps on end are right, mean over the rows that have all of them;
    what a greedy draft of so many tokens would have accepted, had the text been the teacher's own. `missed`: of a
    drafter with a confidence head, by how much that is off the overlap, mean distance; else empty.
    """

    accuracy: list[float]
    overlap: list[float]
    kl: list[float]
    accepted: float
    missed: list[float]

    def row(self) -> dict[str, float]:
        """As columns of the log: accuracy_1, accuracy_2, …"""
        by_step = {"accuracy": self.accuracy, "overlap": self.overlap, "kl": self.kl}
        by_step |= {"confidence_error": self.missed}
        named = {f"validation_{name}_{k}": value for name, found in by_step.items() for k, value in enumerate(found, 1)}
        return {"validation_accepted": self.accepted} | named


class DrafterLearner(Optimised):
    """Keeps the tensors with the most accepted on the validation text."""

    numbers = ("best", "best_step", "untrained", "seconds")

    def __init__(self, draft: Eagle3, settings: DrafterSettings, log: Callable[[str], object]) -> None:
        groups = {part: (found, settings.rate(part)) for part, found in draft.parameter_groups().items()}
        super().__init__(groups, settings.weight_decay, settings.gradient_clip, log, apart=("confidence",))
        self.best = self.untrained = -1.0


class DrafterTrainer:
    """One drafter, and the captured states that it learns from; the teacher is the target.

    A state of `Saving` holds all that decides the rest of the run, so that one that goes on ends as one that never
    stopped.
    """

    def __init__(
        self,
        target: Llama,
        draft: Eagle3,
        learn: CapturedStates,
        check: CapturedStates,
        settings: DrafterSettings,
        log: Callable[[str], object],
        begun: bool = False,
    ) -> None:
        """A drafter that has `begun` was trained before: it starts as it is, whatever `settings.start` says.

        Raises StudyError if no sequence is long enough for the unrolled steps.
        """
        self.begun = begun
        self.target, self.draft, self.settings = target, draft, settings
        self.dtype = DTYPES[settings.dtype] or target.dtype
        self.learn, self.check = learn, check
        self.counts = packed_label_counts(learn.sequences, settings.ttt_length)
        self.check_counts = packed_label_counts(check.sequences, settings.ttt_length)
        self.known = Known(target, learn.final, draft.kept_ids, self.dtype, with_mass=draft.confidence is not None)
        self.check_known = Known(target, check.final, draft.kept_ids, self.dtype, with_mass=True)
        self.learner = DrafterLearner(draft, settings, log)
        generator = torch.Generator().manual_seed(settings.seed)
        self.plan = [
            group
            for _ in range(settings.epochs)
            for group in grouped(
                self.counts,
                settings.tokens_per_step,
                torch.randperm(len(learn.sequences), generator=generator).tolist(),
            )
        ]

    def run(self, saving: Saving | None = None, stop: Stop | None = None) -> dict[str, Any]:
        """Train to the end and leave the drafter with its best tensors; returns a summary for its config.

        Raises Stopped after `stop` was set, with the state saved; StudyError when a loss is not finite, or the saved
        state is not this run's.
        """
        settings, learner = self.settings, self.learner
        clock = time.perf_counter()
        total, warmup = len(self.plan), math.ceil(settings.warmup_fraction * len(self.plan))
        checks = {round((k + 1) * total / settings.evaluations) for k in range(settings.evaluations)}
        found = saving.take_up([learner]) if saving is not None else None
        first, tokens = found or (0, 0)
        if found is None:
            self._begin()
        else:
            tqdm.write(f"training goes on after step {first} of {total}", file=sys.stderr)
        learnt, busy = 0, 0.0
        progress = Progress(total, first, "train eagle3", measure="accepted")
        for done in range(first + 1, total + 1):
            begin = time.perf_counter()
            losses, of_confidence, labels, outside = self._gradients(self.plan[done - 1], done)
            loss = sum(weight * one for weight, one in zip(settings.weights, losses, strict=True))
            if not math.isfinite(loss + sum(of_confidence)):
                loss = loss if not math.isfinite(loss) else sum(of_confidence)
                raise StudyError(f"training: loss is {loss:g} at step {done}; lower training.learning_rate")
            rates, norm = learner.update(learning_rate_factor(done - 1, total, warmup))
            tokens, learnt, busy = tokens + labels, learnt + labels, busy + time.perf_counter() - begin
            row: dict[str, Any] = {"step": done, "tokens": tokens, "loss": loss, "lr": max(rates.values())}
            row |= {"rates": rates, "grad_norm": norm, "outside": outside / max(1, labels)}
            row |= {f"loss_{k}": one for k, one in enumerate(losses, start=1)}
            row |= {f"confidence_loss_{k}": one for k, one in enumerate(of_confidence, start=1)}
            if done in checks:
                row |= self._checked(done).row()
            learner.write(row)
            clock = learner.spend(clock)
            stopping = stop is not None and stop.is_set()
            if saving is not None and done < total and (stopping or saving.due(done)):
                saving.save([learner], done, tokens)
            progress.step(done, labels, loss, learner.best)
            if stopping and done < total:
                raise Stopped(done, saving is not None)
        progress.close()
        learner.finish()
        return {
            "steps": total,
            "tokens": tokens,
            "seconds": round(learner.seconds, 3),
            "best_step": learner.best_step,
            "validation_accepted": learner.best,
            "untrained_validation_accepted": learner.untrained,
            "tokens_per_second": round(learnt / busy, 1) if learnt else None,
        }

    def _begin(self) -> None:
        """Find where training starts, and note the drafter there."""
        if self.settings.start == "regression" and not self.begun:
            regress(self.target, self.draft, self.learn)
        nothing = dict.fromkeys(self.learner.parts, 0.0)
        row: dict[str, Any] = {"step": 0, "tokens": 0, "loss": None, "lr": 0.0, "rates": nothing, "grad_norm": None}
        found = self._checked(0)
        self.learner.untrained = found.accepted
        self.learner.write(row | found.row())

    def _checked(self, step: int) -> Measured:
        """Look at the validation text, and keep the tensors if they are the best so far."""
        found = self.measure()
        if found.accepted >= self.learner.best:  # the later ones: a confidence head alone moves nothing of it
            self.learner.best = found.accepted
            self.learner.keep(step)
        return found

    def _outputs(
        self, states: CapturedStates, pack: Packed, steps: int, rows: Sequence[Tensor] | None = None
    ) -> list[Tensor]:
        """The unrolled steps' outputs of a pack, of each step's `rows` or of all."""
        device = self.target.device
        parts = [states.by_depth[depth][pack.index] for depth in self.draft.features]
        features = torch.cat(parts, dim=-1).to(device, self.dtype)
        tokens = torch.from_numpy(states.sequences.tokens)[pack.index].long().to(device)
        return unrolled(self.target, self.draft, tokens, features, pack.lengths, steps, rows)

    def _predictions(self, states: CapturedStates, pack: Packed, labels: Sequence[Tensor]) -> list[Tensor]:
        """The output from which each step predicts its labels, places of the pack: `[labels, hidden]` a step."""
        predicting = [some - 2 - step for step, some in enumerate(labels)]
        rows = rows_of(predicting)
        outputs = self._outputs(states, pack, len(labels), rows)
        found = zip(outputs, rows, predicting, strict=True)
        return [output[torch.searchsorted(own, some).to(output.device)] for output, own, some in found]

    def _before(self, states: CapturedStates, places: Tensor) -> Tensor:
        """The tokens before those at these places of a split, on the target's device."""
        return torch.from_numpy(states.sequences.tokens)[places - 1].long().to(self.target.device)

    def _gradients(self, group: Sequence[int], number: int = 0) -> tuple[list[float], list[float], int, int]:
        """Each parameter's gradient of the loss of training step `number`.

        Returns the mean loss of each unrolled step, the same of the confidence head (nothing without one), the labels,
        and how many of them no step can learn from; the confidence head learns from these too.
        """
        settings, draft, device = self.settings, self.draft, self.target.device
        steps = settings.ttt_length
        total = sum(self.counts[i] for i in group)
        # What a step's sum is divided by is the number of labels that it is expected to have.
        each = torch.tensor(settings.weights, dtype=torch.float64) / total / torch.tensor(settings.shares)
        sums = torch.zeros(steps, dtype=torch.float64, device=device)
        confident = torch.zeros_like(sums)
        learnt, asked = torch.zeros(steps), torch.zeros(steps)
        outside = 0
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + number)
        for part in grouped(self.counts, PART, group):
            pack = packed(self.learn.sequences, part, steps)
            inside, _ = self.known.of(pack.index[pack.labels])
            outside += int((~inside).sum())
            chosen = self._chosen(pack, pack.labels if draft.confidence is not None else pack.labels[inside], generator)
            if not any(len(labels) for labels in chosen):
                continue
            outputs = self._predictions(self.learn, pack, chosen)
            if draft.confidence is not None:
                places = [pack.index[labels] for labels in chosen]
                told = confidence_losses(
                    draft, self.known, outputs, places, [self._before(self.learn, at) for at in places]
                )
                (told @ each.to(told)).backward()
                confident += told.detach()
                asked += torch.tensor([len(labels) for labels in chosen])
                kept = [inside[torch.searchsorted(pack.labels, labels)] for labels in chosen]
                outputs = [output[some.to(device)] for output, some in zip(outputs, kept, strict=True)]
                chosen = [labels[some] for labels, some in zip(chosen, kept, strict=True)]
                if not any(len(labels) for labels in chosen):
                    continue
            losses = self._losses(pack, outputs, chosen)
            (losses @ each.to(losses)).backward()
            sums += losses.detach()
            learnt += torch.tensor([len(labels) for labels in chosen])
        of_confidence = [] if draft.confidence is None else (confident.cpu() / asked.clamp(min=1)).tolist()
        return (sums.cpu() / learnt.clamp(min=1)).tolist(), of_confidence, total, outside

    def _chosen(self, pack: Packed, labels: Tensor, generator: torch.Generator) -> list[Tensor]:
        """Which labels each unrolled step learns from: a share of the rows that the step before had, drawn by row."""
        shares = self.settings.shares
        if self.settings.step_share == 1:
            return [labels] * len(shares)
        lots = torch.rand(len(pack.index), generator=generator)
        return [labels[lots[labels - 2 - step] < share] for step, share in enumerate(shares)]

    def _losses(self, pack: Packed, outputs: Sequence[Tensor], chosen: Sequence[Tensor]) -> Tensor:
        """The loss of each step, summed over its labels, float64 `[steps]`.

        The teacher is asked once if all steps have the same labels.
        """
        steps = range(len(chosen))
        together: list[Sequence[int]] = [steps] if self.settings.step_share == 1 else [[step] for step in steps]
        found = []
        for some in together:
            labels = chosen[some[0]]
            if len(labels) == 0:
                found.append(torch.zeros(len(some), dtype=torch.float64, device=self.target.device))
                continue
            places = pack.index[labels]
            before = self._before(self.learn, places)
            losses = head_losses(
                [self.draft.products(self.draft.read(outputs[step]), before) for step in some],
                self.known.states(places),
                self.known.kept,
                torch.zeros(len(labels), dtype=torch.int64, device=self.target.device),
                [self.settings.objective] * len(some),
            )
            found.append(losses)
        return torch.cat(found)

    @torch.no_grad()
    def measure(self, steps: int | None = None) -> Measured:
        """What the drafter does on the validation text in `steps` unrolled steps (those of training if left out)."""
        steps = steps or self.settings.ttt_length
        confidence = self.draft.confidence
        sums = torch.zeros((3 if confidence is None else 4, steps), dtype=torch.float64)
        count, accepted, rows = 0, 0, 0
        counts = packed_label_counts(self.check.sequences, steps)
        for group in grouped(counts, PART):
            pack = packed(self.check.sequences, group, steps)
            places = pack.index[pack.labels]
            inside, mass = self.check_known.of(places)
            before = self._before(self.check, places)
            outputs = self._predictions(self.check, pack, [pack.labels] * steps)
            right = torch.zeros((steps, len(pack.index)), dtype=torch.bool)  # by row
            known = torch.zeros_like(right)
            for some in torch.arange(len(places)).split(CHUNK):
                teacher = F.linear(self.check_known.states(places[some]), self.check_known.kept).float()
                best = teacher.argmax(-1)
                log_p = F.log_softmax(teacher, dim=-1)
                p = (teacher - mass[some].to(teacher.device).unsqueeze(1)).exp()
                for step, output in enumerate(outputs):
                    at = pack.labels[some] - 2 - step
                    log_q = F.log_softmax(self.draft.logits(output[some], before[some]).float(), dim=-1)
                    hits = (log_q.argmax(-1) == best).cpu() & inside[some]
                    right[step, at], known[step, at] = hits, True
                    shares = torch.minimum(p, log_q.exp()).sum(-1)
                    found = [hits.sum(), shares.sum(), (log_p.exp() * (log_p - log_q)).sum()]
                    if confidence is not None:
                        found.append((confidence.chance(self.draft.read(output[some])) - shares).abs().sum())
                    sums[:, step] += torch.tensor([float(one) for one in found], dtype=torch.float64)
            whole = known.all(0)
            accepted += int(right[:, whole].long().cumprod(0).sum())
            rows += int(whole.sum())
            count += len(places)
        accuracy, overlap, kl, *missed = (sums / count).tolist()
        return Measured(accuracy, overlap, kl, accepted / max(1, rows), [error for found in missed for error in found])
