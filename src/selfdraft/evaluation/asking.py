"""What it takes to ask a head of a token that is there: its norm and map, its LM head, how sure it is, and the wait.

A step of its own, beside those that take tokens through layers: adaptive drafts ask heads in vain, too.
"""

from dataclasses import dataclass

import torch

from selfdraft.decoding.clock import now
from selfdraft.decoding.prefill import Prefill
from selfdraft.decoding.session import Session
from selfdraft.decoding.sureness import sureness
from selfdraft.drafters.running_exit import RunningExit
from selfdraft.models.llama import Llama

TIMES = 3  # asked in a row; the first one is not counted


@dataclass(frozen=True)
class Asking:
    """A head, and the measure by which it is asked how sure it is."""

    head: RunningExit
    measure: str = "entropy"

    @torch.inference_mode()
    def seconds(self, target: Llama, start: Prefill) -> float:
        """Seconds of asking it once, of the token behind a text that was read with the head's depths kept."""
        found = []
        for _ in range(TIMES):
            depths = (self.head.depth,) if self.head.attends else ()
            session = Session(target, start.prompts, 1, depths, start)
            self.head.start(session)
            hidden = session.extend(session.pending, self.head.depth)
            begin = now(target.device)
            logits = self.head.logits(session, hidden, 0)
            # The best token and the measure cross over together, as in a draft.
            torch.stack((logits.argmax(-1).float(), sureness(logits, self.measure).float())).tolist()
            found.append(now(target.device) - begin)
        return sum(found[1:]) / (TIMES - 1)
