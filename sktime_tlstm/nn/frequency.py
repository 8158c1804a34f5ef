"""Frequency attention: a learned mixing of a few Fourier modes."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from sktime_tlstm.nn.randomness import Dropout

#: How many modes are kept unless told: a daily cycle in two weeks of hours is mode 14.
DEFAULT_MODES = 32


def check_width(d_model: int, num_heads: int) -> None:
    """Raise a ValueError if an attention of this width cannot have that many heads."""
    if num_heads < 1 or d_model < 1 or d_model % num_heads:
        raise ValueError(
            f"Got an attention width of {d_model} (d_model) and num_heads={num_heads}; the "
            "width must be a positive multiple of the number of heads. Pass a d_model that "
            "num_heads divides."
        )


class FrequencyAttention(nn.Module):
    r"""Mixes the lowest Fourier modes of a sequence, each by a learned complex matrix per head.

    .. math:: q = W_q x + b_q, \qquad
              X_k = \sum_n q_n e^{-2 \pi \mathrm{i} k n / L}, \qquad
              Y_k = X_k R_k \;(k < \mathrm{num\_modes}), \qquad
              y_n = W_o \, \frac{1}{L} \sum_{k=-L/2}^{L/2} Y_k e^{2 \pi \mathrm{i} k n / L} + b_o

    The frequency enhanced block of Zhou et al. 2022, "FEDformer", equations 3 to 5, with its modes
    the lowest ones, ``Y_{-k}`` the conjugate of ``Y_k`` (so that the output is real) and ``R_k``
    one matrix per head. ``L`` and ``n`` count the real steps of each row: a row is transformed over
    its own length, whatever the padding, and modes above ``L // 2`` of a short row are left out.

    It is called like an `Attention`, but each output sees the whole sequence: it can be neither
    causal nor computed step by step.

    Parameters
    ----------
    d_model : int
        Width of input and output.
    num_heads : int
        Number of heads, the blocks of ``R_k``, each ``d_model // num_heads`` wide.
    dropout : float, default=0.0
        Dropout probability of the mixed sequence, in front of the output projection.
    num_modes : int, default=32
        Number of modes that are kept, the mean (mode 0) among them; at least 2. A cycle of ``p``
        steps is mode ``L / p`` of a row of ``L`` steps, and lost where that is not below
        ``num_modes``.

    Raises
    ------
    ValueError
        If ``num_heads`` is no positive divisor of ``d_model``, or ``num_modes`` is below 2.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import FrequencyAttention
    >>> x = torch.ones(2, 11, 6)
    >>> FrequencyAttention(6, 3, num_modes=4)(x, x, x).shape
    torch.Size([2, 11, 6])
    """

    sees_whole_sequence: ClassVar[bool] = True

    def __init__(
        self, d_model: int, num_heads: int, dropout: float = 0.0, num_modes: int = DEFAULT_MODES
    ) -> None:
        super().__init__()
        check_width(d_model, num_heads)
        if num_modes < 2:
            raise ValueError(
                f"Got num_modes={num_modes}; expected 2 or more, for mode 0 is only the mean. Pass "
                "the number of Fourier modes to keep."
            )
        self.num_heads = num_heads
        self.num_modes = num_modes
        width = d_model // num_heads
        self.query = nn.Linear(d_model, d_model)
        # Mode 0 of a real sequence is real, and stays it: its matrix needs no imaginary part.
        self.mixing_real = nn.Parameter(torch.empty(num_modes, num_heads, width, width))
        self.mixing_imaginary = nn.Parameter(torch.empty(num_modes - 1, num_heads, width, width))
        self.dropout = Dropout(dropout)
        self.output = nn.Linear(d_model, d_model)
        # On average a mode keeps its power.
        nn.init.normal_(self.mixing_real, std=1 / math.sqrt(2 * width))
        nn.init.normal_(self.mixing_imaginary, std=1 / math.sqrt(2 * width))

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        query_positions: Tensor | None = None,
        key_positions: Tensor | None = None,
    ) -> Tensor:
        """Mix the real steps of ``value`` and return the last ``query_time`` steps.

        Parameters
        ----------
        query : Tensor of shape (batch, query_time, d_model)
            Only its number of steps counts: the queries are the last steps of the sequence.
        key, value : Tensor of shape (batch, key_time, d_model)
            The sequence, which is ``value``; ``key`` is there so that the call is an attention's.
        mask : Tensor broadcastable to (batch, 1, 1, key_time), bool, or None
            True at real steps, which need not be contiguous: the n-th of them is step n.
        query_positions, key_positions : None
            Not accepted, for the transform counts the steps itself.

        Returns
        -------
        Tensor of shape (batch, query_time, d_model)

        Raises
        ------
        ValueError
            If the mask differs between queries or heads, if there are more queries than steps, or
            if positions are given.
        """
        self._check(query, value, mask, query_positions, key_positions)
        steps, lengths = _count_real_steps(value, mask)
        cosines, sines, weights = self._basis(steps, lengths, value)
        real, imaginary = self._transform(value, mask, cosines, sines)
        real, imaginary = self._mix(real, imaginary)
        last = slice(value.shape[1] - query.shape[1], None)
        # (batch or 1, query_time, modes) times (batch, modes, d_model)
        mixed = (cosines[:, last] * weights) @ real - (sines[:, last] * weights) @ imaginary
        output: Tensor = self.output(self.dropout(mixed))
        return output

    def weights(
        self,
        query: Tensor,
        key: Tensor,
        mask: Tensor | None = None,
        query_positions: Tensor | None = None,
        key_positions: Tensor | None = None,
    ) -> Tensor:
        """Raise a ValueError: modes are mixed, and no weight says how much a step counted."""
        raise ValueError(
            "Got a request for the weights of a frequency attention, which has none: it mixes "
            "Fourier modes, not steps. Build the network with attention='interpretable' or "
            "'multi_head' to read attention weights."
        )

    def last_maps(self) -> list[nn.Linear]:
        """Return the linear maps whose outputs are the layer's."""
        return [self.output]

    def _check(
        self,
        query: Tensor,
        value: Tensor,
        mask: Tensor | None,
        query_positions: Tensor | None,
        key_positions: Tensor | None,
    ) -> None:
        if mask is not None and mask.shape[1:3] != (1, 1):
            raise ValueError(
                f"Got a mask of shape {tuple(mask.shape)} for a frequency attention; expected "
                "(batch, 1, 1, key_time), the same for every query: each output sees the whole "
                "sequence, so it cannot be causal. Use it without causality, or choose another "
                "attention."
            )
        if query.shape[1] > value.shape[1]:
            raise ValueError(
                f"Got {query.shape[1]} queries and {value.shape[1]} steps for a frequency "
                "attention; expected the queries to be the last of the steps. Pass the sequence "
                "that ends with them as value."
            )
        if query_positions is not None or key_positions is not None:
            raise ValueError(
                "Got rotary positions for a frequency attention; expected None, for it counts the "
                "steps itself. Choose other positions, or another attention."
            )

    def _basis(
        self, steps: Tensor, lengths: Tensor, value: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        # steps (batch or 1, time), lengths (batch or 1, 1) -> cosines and sines (batch or 1, time,
        # modes), and the weight (batch or 1, 1, modes) of each mode in the inverse transform.
        modes = min(self.num_modes, value.shape[1] // 2 + 1)
        modes_axis = torch.arange(modes, device=value.device)
        # Whole turns are taken off as integers, so that long sequences lose no digits.
        # (batch or 1, time, 1) times (modes,) modulo (batch or 1, 1, 1)
        turns = (steps[..., None] * modes_axis) % lengths[..., None]
        dtype = torch.promote_types(value.dtype, torch.float32)
        angles = turns.to(dtype) * (2 * math.pi / lengths[..., None].to(dtype))
        # Modes k and -k are one term; the mean and, in an even row, mode L / 2 are their own -k.
        alone = (modes_axis == 0) | (2 * modes_axis == lengths)
        weights = (2 - alone.to(dtype)) * (modes_axis <= lengths // 2) / lengths
        return (
            angles.cos().to(value.dtype),
            angles.sin().to(value.dtype),
            weights[:, None].to(value.dtype),
        )

    def _transform(
        self, value: Tensor, mask: Tensor | None, cosines: Tensor, sines: Tensor
    ) -> tuple[Tensor, Tensor]:
        # -> real and imaginary part of every mode, each (batch, modes, d_model)
        sequence = self.query(value)
        if mask is not None:
            # mask (batch, 1, 1, time) -> (batch, time, 1)
            sequence = sequence.masked_fill(~mask[:, 0, 0, :, None], 0.0)
        # (batch or 1, modes, time) times (batch, time, d_model)
        return cosines.transpose(1, 2) @ sequence, -(sines.transpose(1, 2) @ sequence)

    def _mix(self, real: Tensor, imaginary: Tensor) -> tuple[Tensor, Tensor]:
        # (batch, modes, head * width) times (modes, head, width, width), complex
        modes = real.shape[1]
        # (batch, modes, head * width) -> (batch, modes, head, width)
        real, imaginary = (x.unflatten(-1, (self.num_heads, -1)) for x in (real, imaginary))
        mixing_real = self.mixing_real[:modes]
        mixing_imaginary = functional.pad(
            self.mixing_imaginary[: modes - 1], (0, 0, 0, 0, 0, 0, 1, 0)
        )

        def apply(x: Tensor, matrix: Tensor) -> Tensor:
            return torch.einsum("bkhi,khij->bkhj", x, matrix)

        mixed_real = apply(real, mixing_real) - apply(imaginary, mixing_imaginary)
        mixed_imaginary = apply(real, mixing_imaginary) + apply(imaginary, mixing_real)
        # (batch, modes, head, width) -> (batch, modes, head * width)
        return mixed_real.flatten(-2), mixed_imaginary.flatten(-2)


def _count_real_steps(value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    # -> the number (batch or 1, time) of each real step and the length (batch or 1, 1) of each row
    if mask is None:
        time = value.shape[1]
        steps = torch.arange(time, device=value.device)[None]
        return steps, torch.full((1, 1), time, device=value.device)
    # (batch, 1, 1, time) -> (batch, time)
    real = mask[:, 0, 0]
    return real.cumsum(-1) - 1, real.sum(-1, keepdim=True).clamp(min=1)
