"""The exit drafter with a learner behind it: what it proposes and what comes of that is what it learns from."""

from collections.abc import Collection

import torch

from selfdraft.decoding.clock import now
from selfdraft.decoding.drafter import Draft
from selfdraft.decoding.outcome import Outcome
from selfdraft.decoding.policy import Policy
from selfdraft.decoding.session import Session
from selfdraft.drafters.exit import ExitDrafter
from selfdraft.online.learner import OnlineLearner
from selfdraft.online.records import records_of


class LearningDrafter:
    """Drafts with the learner's serving exit, and may change it after any verification.

    Drafts are chosen as the settings say, whatever the verification's policy is: a token that was drawn is told with
    the distribution that it was drawn from, so that the output is the target's own. `ends` are tokens that end a text.
    """

    learns = True

    def __init__(self, learner: OnlineLearner, ends: Collection[int] = ()) -> None:
        settings, pair = learner.settings, learner.pair
        self.learner, self.ends = learner, frozenset(ends)
        self.inner = ExitDrafter(pair.target, pair.serving)
        self._states = (pair.student.depth, pair.target.config.n_layers)
        self.depths: tuple[int, ...] = self._states
        chosen = 0.0 if settings.draft == "argmax" else settings.draft_temperature
        self.policy = Policy("draft", chosen)
        self._alive: list[bool] = []
        self._sequences: list[int] = []
        self._draft: Draft | None = None
        self._session: Session | None = None  # whose cache is anew at an update: of a verifier that learns too

    def start(self, session: Session) -> None:
        self._session = session if self.learner.pair.verifier is not None else None
        self.inner.start(session)
        first = self.learner.sequences
        self.learner.sequences += session.batch
        self._alive = [True] * session.batch
        self._sequences = list(range(first, first + session.batch))
        if self.learner.pair.attends:
            oldest = self.learner.buffer.oldest_sequence
            kept = {key: text for key, text in self.learner.texts.items() if int(key) >= oldest}
            self.learner.texts = kept | {
                str(number): list(text) for number, text in zip(self._sequences, session.text, strict=True)
            }
        self._draft = None

    def draft(self, session: Session, gamma: int, policy: Policy, generator: torch.Generator) -> Draft:
        self._draft = self.inner.draft(session, gamma, self.policy, generator)
        return self._draft

    def observe(self, outcome: Outcome) -> None:
        with torch.inference_mode():  # what it keeps was made there
            self.inner.observe(outcome)
        draft, self._draft = self._draft, None
        if self.learner.pair.attends:
            self._go_on_with_texts(outcome, draft)
        if draft is not None and draft.tokens.shape[1]:
            records = records_of(
                outcome,
                draft.tokens.clone(),
                self._alive,
                self._sequences,
                self._states,
                self.learner.updates,
                self.ends,
            )
            drafted = sum(count for count, living in zip(outcome.drafted, self._alive, strict=True) if living)
            if self.learner.receive(records, {"drafted": drafted} | counted(outcome)):
                self._renew_caches()
        self._alive = [bool(tokens) for tokens in outcome.tokens]

    def _renew_caches(self) -> None:
        """After an update: no key of older tensors may be in use."""
        self.inner.forget()
        if self._session is not None:
            device = self.learner.pair.target.device
            begin = now(device)
            self._session.reread()
            self.learner.spent["learning_s"] += now(device) - begin

    def _go_on_with_texts(self, outcome: Outcome, draft: Draft | None) -> None:
        """Of a text that ends in this cycle no tokens are told, though drafted ones were decided in it."""
        drafted = draft.tokens.tolist() if draft is not None else [[] for _ in outcome.tokens]
        for row, tokens in enumerate(outcome.tokens):
            if self._alive[row]:
                self.learner.texts[str(self._sequences[row])] += tokens or drafted[row][: outcome.accepted[row]]


def counted(outcome: Outcome) -> dict[str, float]:
    """The cycle's verified tokens, how many nats they surprise the verifier by at temperature 1, and its seconds."""
    verified, surprise = 0, 0.0
    for row, tokens in enumerate(outcome.tokens):
        if tokens:
            logits = outcome.logits[row, : len(tokens)].float()
            taken = logits[torch.arange(len(tokens)), torch.tensor(tokens)]
            surprise += float((logits.logsumexp(-1) - taken).sum())
            verified += len(tokens)
    return {"verified": verified, "surprise": surprise, "decoding_s": outcome.draft_s + outcome.verify_s}
