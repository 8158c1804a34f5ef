"""Augmentation: noise on what a network reads in training, and contexts that are cut short."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sktime_tlstm.data.windows import WindowSpec, moved_to_front
from sktime_tlstm.nn.randomness import generator_on

__all__ = ["Augmentation", "check_shortest_context"]


@dataclass(frozen=True)
class Augmentation:
    """What is done at random to the inputs of every training step, and to no others.

    Gaussian noise on the inputs is, to second order, a penalty on how steeply the network answers
    them (Bishop 1995, "Training with noise is equivalent to Tikhonov regularization"). Draws come
    from what the training draws from, so that one that is broken off goes on to the same bits.

    Parameters
    ----------
    spec : WindowSpec
        What the windows hold.
    input_noise : float
        Standard deviation of noise that is added to targets and numeric covariates of the context,
        in the units in which the network reads them. What was not observed gets none, nor do flags,
        calendar and codes, nor what the decoder reads: lags and known covariates.
    min_context_length : int or None
        Every context is cut to a number of its last rows that is drawn evenly between this and
        the whole; None leaves contexts whole. A context that has no more rows stays as it is.

    Raises
    ------
    ValueError
        If ``min_context_length`` is larger than the windows' context.
    """

    spec: WindowSpec
    input_noise: float
    min_context_length: int | None

    def __post_init__(self) -> None:
        check_shortest_context(self.min_context_length, self.spec.context_length)

    def __call__(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the network's keyword arguments, augmented; those given stay as they are."""
        if self.input_noise:
            inputs = {**inputs, "past": self._noisy(inputs["past"])}
        shortest = self.min_context_length
        if shortest is not None and shortest < self.spec.context_length:
            inputs = {**inputs, **self._shortened(inputs, shortest)}
        return inputs

    def _noisy(self, past: Tensor) -> Tensor:
        """Add noise to the first channels of (batch, time, channel), whose flags follow them."""
        number = self.spec.num_targets + self.spec.num_numeric
        values, flags, others = past.tensor_split((number, 2 * number), dim=-1)
        noise = torch.empty_like(values)
        noise.normal_(std=self.input_noise, generator=generator_on(past.device))
        return torch.cat([values + noise * flags, flags, others], dim=-1)

    def _shortened(self, inputs: dict[str, Tensor], shortest: int) -> dict[str, Tensor]:
        """Return the last rows of contexts (batch, context_length, channel), and their numbers."""
        past = inputs["past"]
        batch, whole, _ = past.shape
        drawn = torch.empty(batch, dtype=torch.int64, device=past.device)
        drawn.random_(shortest, whole + 1, generator=generator_on(past.device))
        lengths = inputs.get("past_lengths", torch.full_like(drawn, whole))
        kept = torch.minimum(drawn, lengths)
        return {"past": moved_to_front(past, lengths - kept, kept), "past_lengths": kept}


def check_shortest_context(min_context_length: int | None, context_length: int | None) -> None:
    """Raise a ValueError if the shortest context is longer than the whole; None is unknown."""
    if min_context_length is None or context_length is None:
        return
    if min_context_length > context_length:
        raise ValueError(
            f"Got min_context_length={min_context_length} with a context of {context_length} rows, "
            "expected at most as many. Pass a smaller min_context_length, or a context_length of "
            f"{min_context_length} or more."
        )
