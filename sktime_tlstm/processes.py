"""Data-parallel training: processes that share the windows of every step."""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

__all__ = ["ALONE", "Processes", "is_launched", "joined"]


@dataclass(frozen=True)
class Processes:
    """Processes that train the same network on the same data, each on its share of a step.

    Parameters
    ----------
    rank : int
        Which of them this one is.
    number : int
    """

    rank: int
    number: int

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Put the mean over the processes in the place of each tensor, of the same dtype all."""
        if self.number == 1 or not tensors:
            return
        joint = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(joint)
        joint /= self.number
        parts = joint.split([tensor.numel() for tensor in tensors])
        for tensor, mean in zip(tensors, parts, strict=True):
            tensor.copy_(mean.view_as(tensor))

    def average_gradients(self, module: nn.Module) -> None:
        """Put the mean over the processes in the place of each gradient.

        A gradient that some processes lack, since their windows did not pass a layer, counts as
        zero there; what all lack stays so.
        """
        if self.number == 1:
            return
        weights = [weight for weight in module.parameters() if weight.requires_grad]
        if not weights:
            return
        had = weights[0].new_tensor([weight.grad is not None for weight in weights])
        distributed.all_reduce(had)
        shared = [weight for weight, by in zip(weights, had.tolist(), strict=True) if by]
        for weight in shared:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
        self.average([weight.grad for weight in shared if weight.grad is not None])

    def check_agreement(self, facts: dict[str, float], device: str) -> None:
        """Raise a ValueError in all of several processes if they have not the same numbers.

        Parameters
        ----------
        facts : dict of str to float
            What must be the same, by its name.
        device : str
            Where the processes' messages are.
        """
        low = torch.tensor(list(facts.values()), dtype=torch.float64, device=device)
        high = low.clone()
        distributed.all_reduce(low, distributed.ReduceOp.MIN)
        distributed.all_reduce(high, distributed.ReduceOp.MAX)
        different = [
            f"{name} ({least:g} to {most:g})"
            for name, least, most in zip(facts, low.tolist(), high.tolist(), strict=True)
            if least != most
        ]
        if different:
            raise ValueError(
                f"Got data_parallel in {self.number} processes that differ in their "
                f"{', '.join(different)}, expected the same call in all of them. Pass the same "
                "data, parameters and an integer random_state everywhere."
            )


#: One process, which trains as ever.
ALONE = Processes(0, 1)


def is_launched() -> bool:
    """Whether a launcher has started this process, or somebody has made torch's process group."""
    made = distributed.is_available() and distributed.is_initialized()
    return made or "WORLD_SIZE" in os.environ


def joined() -> Processes:
    """Return the processes that a launcher has started together, and join them.

    A launcher (``accelerate launch``, ``torchrun``) tells each process its place in the
    environment. Who has made torch's process group has made it as it should be.
    """
    if not distributed.is_available():
        return ALONE
    if not distributed.is_initialized():
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return ALONE
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        # now and then a process that ends with threads of its group is aborted
        atexit.register(_leave)
    return Processes(distributed.get_rank(), distributed.get_world_size())


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
