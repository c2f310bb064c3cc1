"""What learns from records: when it is time, one step on those that no update has seen and some older ones."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from selfdraft.capacities import capacity_named
from selfdraft.decoding.policy import Policy
from selfdraft.errors import StudyError
from selfdraft.models.llama import Llama
from selfdraft.online.buffer import Buffer
from selfdraft.online.noise import gradients_of, halves_of, variance
from selfdraft.online.objectives import Seen, chosen, losses_of, slow
from selfdraft.online.pair import Pair
from selfdraft.online.records import Records
from selfdraft.online.schedule import weights_of
from selfdraft.online.settings import OnlineSettings
from selfdraft.online.shared import SharedVerifier
from selfdraft.training.optimised import Optimised

PATIENCE = 8  # an update comes after `fast_batch` times as many decided tokens at the latest, were none accepted
SHARED_RATE = 2e-4  # of adapters that the verifier shares, where no rate is asked for
ROWS = 128  # records whose logits exist at once
COUNTS = ("accepted", "decided", "drafted", "verified", "surprise", "decoding_s")  # since the last update


class Broken(StudyError):
    """A loss or a gradient is not finite. The tensors are still those of the last update."""


class OnlineLearner(Optimised):
    """Learns as its settings say. `numbers` are all that decides the rest of a run, beside tensors.

    Attributes:
        updates: so far; baseline: the moving average of the reward, 0 before the first update.
        since: what was counted since the last update, see COUNTS; `surprise` are nats of the verified tokens.
        position: prompts of the stream that are done; tokens: new ones in their answers; sequences: texts begun;
        served: [accepted draft tokens, cycles, new tokens] of each prompt, where cycles could have accepted all
        gamma; spent: seconds; evaluations: what was measured, and when. (Whoever runs the stream keeps these.)
        gradients: sums over updates: of the squared norm of the gradient, and of its variance.
        texts: the tokens of each text that the buffer has records of, by its number (as a string, as JSON has it); kept
        only where gradients need them.
    """

    numbers = (
        *("updates", "baseline", "since", "position", "sequences", "tokens", "served", "spent", "gradients"),
        *("evaluations", "texts"),
    )

    def __init__(self, pair: Pair, settings: OnlineSettings, log: Callable[[str], object]) -> None:
        """With the objective `none` it records and never updates."""
        kind, rate = capacity_named(pair.student.capacity), settings.learning_rate
        rate = SHARED_RATE if rate is None and pair.verifier is not None else rate
        groups = {}
        for part, found in pair.parameters().items():
            if part != "slow":
                groups[part] = found, kind.rate(part) if rate is None else rate
            elif settings.slow_every:
                groups[part] = found, settings.slow_learning_rate
        super().__init__(groups, settings.weight_decay, settings.gradient_clip, log)
        self.pair, self.settings, self.learns = pair, settings, settings.objective != "none"
        target = pair.target
        self.buffer = Buffer(settings.buffer, target.config.hidden_size, target.dtype, target.device)
        self.generator = torch.Generator().manual_seed(settings.seed + 1)  # of what is replayed
        self.policy = Policy("verification", settings.temperature)
        self.updates, self.baseline = 0, 0.0
        self.since: dict[str, float] = dict.fromkeys(COUNTS, 0)
        self.position = self.sequences = self.tokens = 0
        self.served: list[list[int]] = []
        self.spent = {"decoding_s": 0.0, "learning_s": 0.0}
        self.gradients = {"grad_square": 0.0, "grad_variance": 0.0}
        self.evaluations: list[dict[str, Any]] = []
        self.texts: dict[str, list[int]] = {}
        self.keep(0)

    @property
    def target(self) -> Llama:
        return self.pair.target

    def receive(self, records: Records, counted: dict[str, float]) -> bool:
        """Take in a verification's records and what was counted in it; learn if it is time. Whether it did.

        Raises Broken if the update would have spoilt the draft.
        """
        begin = time.perf_counter()
        self.buffer.add(records)
        for name, number in counted.items():
            self.since[name] += number
        self.since["accepted"] += float(records.reward.sum())
        self.since["decided"] += len(records)
        most = self.settings.fast_batch
        due = self.since["accepted"] >= most or self.since["decided"] >= PATIENCE * most
        if due and self.learns:
            self._update(begin)
        self.spent["learning_s"] += time.perf_counter() - begin
        return due and self.learns

    def _update(self, begin: float) -> None:
        """One step of the optimiser, and its line in the log."""
        settings, buffer = self.settings, self.buffer
        fresh = buffer.newest(buffer.fresh)
        replayed = buffer.replayed(round(settings.replay * len(fresh)), self.generator)
        slots = torch.cat((fresh, replayed))
        records = buffer.read(slots)
        weights = weights_of(settings.objective, settings.mixture, self.updates)
        losses, entropy, log_policy, noise = self._gradients(records, dict(weights))
        loss = sum(weights[name] * value for name, value in losses.items())
        norm = self._norm()
        slow_loss, whole = None, norm
        if self.pair.verifier is not None and settings.slow_every and (self.updates + 1) % settings.slow_every == 0:
            slow_loss = self._slow_gradients(self.pair.verifier, records)
            whole = self._norm()
        both = loss + (slow_loss or 0.0)
        if not math.isfinite(both) or not math.isfinite(whole):
            for parameter in self.parameters:
                parameter.grad = None
            what = f"its loss is {both:g}" if not math.isfinite(both) else f"its gradient's norm is {whole:g}"
            raise Broken(f"update {self.updates + 1}: {what}; lower the learning rate")
        self.gradients["grad_square"] += norm**2
        self.gradients["grad_variance"] += noise or 0.0
        self.update(1.0)
        self.pair.publish(deep=slow_loss is not None)
        first = log_policy[: len(fresh)]
        buffer.note_policy(fresh, first)
        buffer.use()
        reward = float(records.reward[: len(fresh)].mean())
        stale = (self.updates - records.updates).float()
        self.updates += 1
        since, now = self.since, time.perf_counter()
        row: dict[str, Any] = {
            "step": self.updates,
            "loss_rl": loss,
            "loss_slow": slow_loss,
            "accept_rate": since["accepted"] / since["drafted"] if since["drafted"] else None,
            "ppl_sample": math.exp(min(700.0, since["surprise"] / since["verified"])) if since["verified"] else None,
            "baseline": self.baseline,
            "reward": reward,
            "entropy": entropy,
            "grad_norm": norm,
            "grad_variance": noise,
            "staleness": float(stale.mean()),
            "staleness_most": int(stale.max()),
            "records": len(slots),
            "replayed": len(replayed),
            "losses": losses,
            "weights": dict(weights),
            "prompts": self.position,
            "tokens": self.tokens,
            "decoding_s": round(since["decoding_s"], 4),
            "learning_s": round(now - begin, 4),
        }
        momentum = settings.baseline_momentum
        self.baseline = momentum * self.baseline + (1 - momentum) * reward
        self.since = dict.fromkeys(COUNTS, 0)
        self.write(row)

    def _norm(self) -> float:
        """Of the whole gradient."""
        found = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        return float(torch.nn.utils.get_total_norm(found)) if found else 0.0

    def _gradients(
        self, records: Records, weights: dict[str, float]
    ) -> tuple[dict[str, float], float, Tensor, float | None]:
        """Each parameter's gradient of the weighted losses.

        Returns the mean of each loss, the mean entropy of π, log π of each record's token, and the gradient's variance
        (`noise.variance`), None for a single record.
        """
        settings, count = self.settings, len(records)
        whole = {name: float(records.reward.sum()) if name == "ce" else float(count) for name in weights}
        sums, entropy, log_policy = dict.fromkeys(weights, 0.0), 0.0, torch.empty(count)
        halves = halves_of(records.sequence)
        first: list[Tensor] = []
        for place, rows in [(place, rows) for place, half in enumerate(halves) for rows in self._parts(records, half)]:
            if place == 1 and not first:
                first = gradients_of(self.parameters)
            part = records.at(rows)
            seen = Seen(
                part,
                self._draft_logits(part),
                self.pair.verifier_logits(part.verifier_hidden),
                settings.draft_temperature,
                settings.tau,
                self.policy,
                self.baseline,
                settings.draft == "sample",
            )
            losses, log_q = losses_of(seen, weights)
            loss = sum(weights[name] * terms.sum() / max(1.0, whole[name]) for name, terms in losses.items())
            assert isinstance(loss, Tensor)
            loss.backward()
            for name, terms in losses.items():
                sums[name] += float(terms.detach().sum()) / max(1.0, whole[name])
            with torch.no_grad():
                entropy -= float((log_q.exp() * log_q).sum()) / count
                log_policy[rows] = chosen(log_q, part).cpu()
        noise = variance(first, self.parameters, *map(len, halves)) if first else None
        return sums, entropy, log_policy, noise

    def _slow_gradients(self, verifier: SharedVerifier, records: Records) -> float:
        """The gradient of the verifier's deeper layers; returns the mean loss, see `objectives.slow`."""
        mean = 0.0
        for rows in self._parts(records, torch.arange(len(records))):
            part = records.at(rows)
            text = self._text_of(part)
            now, base = verifier.logits_in(text, part.position), verifier.base_logits_in(text, part.position)
            loss = slow(now, base, part.draft_token, self.settings.beta_kl).sum() / len(records)
            loss.backward()
            mean += float(loss.detach())
        return mean

    def _parts(self, records: Records, among: Tensor) -> Iterator[Tensor]:
        """Which of the records at `among` are computed together: those of one text where its layers are run again."""
        if not self.pair.attends:
            yield from among.split(ROWS)
            return
        of_text = records.sequence[among]
        for sequence in of_text.unique().tolist():
            yield from among[of_text == sequence].split(ROWS)

    def _draft_logits(self, part: Records) -> Tensor:
        """The student's logits `[records, vocab]`, of the states that were kept or in the context of their text."""
        if not self.pair.attends:
            return self.pair.draft_logits(part.exit_hidden)
        return self.pair.logits_in(self._text_of(part), part.position)

    def _text_of(self, part: Records) -> list[int]:
        """The one text that records are of, as far as they need it."""
        return self.texts[str(int(part.sequence[0]))][: int(part.position.max()) + 1]
