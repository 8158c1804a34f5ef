"""Positions: which step of a window a vector stands for, counted from the cutoff.

The first future step has position 0 and the last real past step -1, in every row, so that neither
the length of a past nor its padding moves anything.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sktime_tlstm.nn.exporting import is_readable


def window_positions(
    past_time: int,
    future_time: int,
    past_lengths: Tensor | None = None,
    device: torch.device | str | None = None,
) -> tuple[Tensor, Tensor]:
    """Count the steps of windows from each row's own cutoff.

    Parameters
    ----------
    past_time, future_time : int
        Padded numbers of steps.
    past_lengths : Tensor of shape (batch,) or None
        Numbers of real past steps; None where nothing is padded.
    device : torch.device or str, optional
        Device of the positions; the default is that of the lengths, else torch's.

    Returns
    -------
    past_positions : Tensor of shape (batch or 1, past_time), int64
        Ends with -1 at each row's last real step. Padding has the position -1 too, which matters
        nowhere but lies in any table.
    future_positions : Tensor of shape (1, future_time), int64
        0, 1, 2, ...

    Examples
    --------
    >>> import torch
    >>> past, future = window_positions(3, 2, torch.tensor([3, 1]))
    >>> past.tolist(), future.tolist()
    ([[-3, -2, -1], [-1, -1, -1]], [[0, 1]])
    """
    if device is None and past_lengths is not None:
        device = past_lengths.device
    steps = torch.arange(past_time, device=device)[None]
    ends = past_time if past_lengths is None else past_lengths.to(device)[:, None]
    future = torch.arange(future_time, device=device)[None]
    # (1, past_time) less (batch, 1) or a number
    return (steps - ends).clamp(max=-1), future


def _angles(positions: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    # (..., time) -> (..., time, ceil(width / 2)): position / 10000^(2 i / width)
    exponents = torch.arange(0, width, 2, device=positions.device, dtype=dtype) / width
    return positions[..., None].to(dtype) * 10000.0**-exponents


def sinusoidal(positions: Tensor, d_model: int, dtype: torch.dtype = torch.float32) -> Tensor:
    r"""Return the fixed encoding of positions by sines and cosines.

    .. math:: p_{2i} = \sin(t / 10000^{2i/d}), \qquad p_{2i+1} = \cos(t / 10000^{2i/d})

    Vaswani et al. 2017, "Attention is all you need", section 3.5.

    Parameters
    ----------
    positions : Tensor of shape (..., time)
        Positions, of any sign.
    d_model : int
        Width; with an odd one the last cosine is left out.
    dtype : torch.dtype, default=torch.float32
        Precision of the angles and of the result; lower ones than float32 lose large positions.

    Returns
    -------
    Tensor of shape (..., time, d_model)

    Examples
    --------
    >>> import torch
    >>> sinusoidal(torch.tensor([0, 1]), 3)
    tensor([[0.0000, 1.0000, 0.0000],
            [0.8415, 0.5403, 0.0022]])
    """
    angles = _angles(positions, d_model, dtype)
    # (..., time, width / 2, 2) -> (..., time, d_model), sines and cosines in turn
    return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(-2)[..., :d_model]


def rotate(x: Tensor, positions: Tensor) -> Tensor:
    r"""Turn pairs of features by angles that grow with the position (rotary embedding).

    .. math:: (x_{2i} + \mathrm{i} x_{2i+1}) \, e^{\mathrm{i} t / 10000^{2i/d}}

    Su et al. 2021, "RoFormer", equation 34. Scores of queries and keys turned so depend on the
    positions' difference only.

    Parameters
    ----------
    x : Tensor of shape (batch, head, time, width)
    positions : Tensor of shape (batch or 1, time)

    Returns
    -------
    Tensor of shape (batch, head, time, width)

    Raises
    ------
    ValueError
        If the width is odd.

    Examples
    --------
    >>> import torch
    >>> rotate(torch.ones(1, 1, 1, 2), torch.tensor([[1]]))  # cos 1 - sin 1, sin 1 + cos 1
    tensor([[[[-0.3012,  1.3818]]]])
    """
    if x.shape[-1] % 2:
        raise ValueError(
            f"Got a head width of {x.shape[-1]} for rotary positions; expected an even one, for "
            "features are turned in pairs. Pass a d_model that is a multiple of 2 * num_heads."
        )
    angles = _angles(positions, x.shape[-1], torch.promote_types(x.dtype, torch.float32))
    # (batch or 1, time, width / 2) -> (batch or 1, 1, time, width / 2)
    cosines, sines = angles.cos()[:, None].to(x.dtype), angles.sin()[:, None].to(x.dtype)
    # (batch, head, time, width) -> two of (batch, head, time, width / 2)
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = (even * cosines - odd * sines, even * sines + odd * cosines)
    # (batch, head, time, width / 2, 2) -> (batch, head, time, width)
    return torch.stack(turned, dim=-1).flatten(-2)


class LearnedPositions(nn.Module):
    """A learned vector for every position on either side of the cutoff.

    Learned position embeddings of Gehring et al. 2017, "Convolutional sequence to sequence
    learning", section 3.1, with positions counted from the cutoff. They start small (normal, with
    standard deviation 0.02), so that at first the content counts.

    Parameters
    ----------
    d_model : int
        Width of the vectors.
    max_positions : int
        Number of positions on either side: the table holds -max_positions to max_positions - 1.

    Raises
    ------
    ValueError
        If ``max_positions`` is below 1, or ``forward`` gets a position outside the table.

    Examples
    --------
    >>> import torch
    >>> LearnedPositions(5, max_positions=3)(torch.tensor([[-3, -2, -1, 0, 1, 2]])).shape
    torch.Size([1, 6, 5])
    """

    def __init__(self, d_model: int, max_positions: int) -> None:
        super().__init__()
        if max_positions < 1:
            raise ValueError(
                f"Got max_positions={max_positions}; expected 1 or more. Pass the larger of the "
                "longest past and the longest future, in steps."
            )
        self.max_positions = max_positions
        self.table = nn.Embedding(2 * max_positions, d_model)
        nn.init.normal_(self.table.weight, std=0.02)

    def forward(self, positions: Tensor, bound: int | None = None) -> Tensor:
        """Look up the vectors of positions.

        Parameters
        ----------
        positions : Tensor of shape (..., time), integers
        bound : int or None, default=None
            How many steps from the cutoff the host knows all positions to lie within, at most.
            Where the table is as long, the positions are not read: a device need not wait.

        Returns
        -------
        Tensor of shape (..., time, d_model)

        Raises
        ------
        ValueError
            If a position lies outside the table.
        """
        known = bound is not None and bound <= self.max_positions
        # A compiler cannot read values; there torch checks alone.
        if not known and not torch.compiler.is_compiling() and is_readable(positions):
            self._check(positions)
        vectors: Tensor = self.table(positions + self.max_positions)
        return vectors

    def _check(self, positions: Tensor) -> None:
        lowest, highest = (int(bound) for bound in torch.aminmax(positions))
        if lowest < -self.max_positions or highest >= self.max_positions:
            needed = max(-lowest, highest + 1)
            raise ValueError(
                f"Got positions from {lowest} to {highest}; expected {-self.max_positions} to "
                f"{self.max_positions - 1}. Build the network with max_positions={needed} or more, "
                "or shorten the windows."
            )
