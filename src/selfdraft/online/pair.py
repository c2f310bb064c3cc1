"""One exit twice: the one that learns, in float32 and open to gradients, and the one that drafts, packed."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from selfdraft.errors import StudyError
from selfdraft.models.exit import Exit, exit_of
from selfdraft.models.linear import Linear
from selfdraft.models.llama import Llama
from selfdraft.models.lora import LoraLayers
from selfdraft.models.low_rank_head import LowRankHead
from selfdraft.models.own_layers import OwnLayers
from selfdraft.online.shared import SharedVerifier


@dataclass
class Pair:
    """`student` learns, `serving` drafts; what they have in common is copied from the one to the other by `publish`.

    `head` is the target's own LM head as it was before packing: gradients go through it, and the verifier's
    distributions come from it. Where the target's head is its embedding it is the same memory.
    """

    target: Llama
    student: Exit
    serving: Exit
    head: Linear
    verifier: SharedVerifier | None = None

    @classmethod
    def of(cls, draft: Exit, target: Llama, shared: bool = False, seed: int = 0) -> "Pair":
        """Before the target is packed. `draft` becomes the student.

        With `shared` its layers are the target's too: what drafts is an exit without a body on the target's layers, and
        those behind it have adapters of the same rank, whose random halves are `seed`'s.

        Raises StudyError for an exit whose body attends, but for layers with LoRA: its states without their context
            would be others.
        """
        if draft.cache_layers and not isinstance(draft.body, LoraLayers):
            raise StudyError(
                f"capacity: {draft.capacity} attends, and what it learns from is one state of it; "
                "norm, translator, low_rank_head or head is right, or lora with share split"
            )
        assert target.head.weight is not None, "pair an exit before the target is packed"
        tensors = {name: tensor.to(target.dtype, copy=True) for name, tensor in draft.named_tensors().items()}
        serving = exit_of(target, draft.layer, "norm" if shared else draft.capacity, tensors)
        for parameter in draft.trained():
            parameter.data = parameter.data.float()
        head = Linear(target.head.weight.data)
        if draft.head is target.head:
            draft.head = head
        elif isinstance(draft.head, LowRankHead):
            draft.head.head = head
        pair = cls(target, draft, serving.pack(), head)
        if shared:
            assert isinstance(draft.body, LoraLayers), "what is shared are layers with LoRA"
            rank = next(len(tensor) for name, tensor in tensors.items() if name.endswith(".A"))
            pair.verifier = SharedVerifier(target, head, draft.body, rank, seed)
            pair.publish()
        return pair

    def publish(self, deep: bool = True) -> None:
        """What the student has learnt is what is drafted with from now on; `deep`: and a verifier's deeper layers.

        An exit without a cache has nothing else of the old tensors; one with a cache has it run again
        (`ExitDrafter.forget`). What the verifier shares makes the session's cache old (`Session.reread`).
        """
        with torch.no_grad():
            if self.verifier is not None:
                self.verifier.publish(deep)
                self.serving.norm.take(self.student.norm.weight)
            elif isinstance(self.student.body, LoraLayers):
                assert isinstance(self.serving.body, OwnLayers)
                self.student.body.merge_into(list(self.serving.body.blocks))
                self.serving.norm.take(self.student.norm.weight)
            else:
                self.serving.take(self.student)

    @property
    def attends(self) -> bool:
        """Whether the student's states depend on the text before them, so that they are made again with it."""
        return bool(self.student.cache_layers)

    def logits_in(self, text: Sequence[int], positions: Tensor) -> Tensor:
        """The student's logits `[records, vocab]` at positions of a text, each with all that stands before it."""
        tokens = torch.tensor([text], device=self.target.device)
        hidden = self.student(self.target.embed(tokens), self.target.step([0], len(text)))
        return self.student.head(hidden[0, positions.to(hidden.device)])

    def draft_logits(self, exit_hidden: Tensor) -> Tensor:
        """The student's logits `[records, vocab]` of states `[records, hidden]`, in the target's number format."""
        return self.student.head(self.student(exit_hidden.unsqueeze(0), None))[0]

    @torch.no_grad()
    def verifier_logits(self, verifier_hidden: Tensor) -> Tensor:
        """The verifier's own logits of its last states."""
        return self.head(self.target.norm(verifier_hidden))

    def parameters(self) -> dict[str, list[nn.Parameter]]:
        """The student's, by part; those of a shared verifier's deeper layers are `slow`."""
        groups = self.student.parameter_groups()
        if self.verifier is not None:
            groups["slow"] = self.verifier.adapters()
        return groups
