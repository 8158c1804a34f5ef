"""Masks: which steps of padded sequences are real, and where attention may look.

Masks are boolean, True where a key may be attended, and broadcast to (batch, head, query_time,
key_time). None stands for "everywhere" and is the fastest mask of all.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def padding_mask(lengths: Tensor, time: int) -> Tensor:
    """Return True at the real steps of left-aligned sequences.

    Parameters
    ----------
    lengths : Tensor of shape (batch,)
        Number of real steps of each sequence.
    time : int
        Padded number of steps.

    Returns
    -------
    Tensor of shape (batch, time), bool

    Examples
    --------
    >>> import torch
    >>> padding_mask(torch.tensor([1, 3]), 3).tolist()
    [[True, False, False], [True, True, True]]
    """
    # (time,) below (batch, 1) -> (batch, time)
    return torch.arange(time, device=lengths.device) < lengths[:, None]


def real_steps(
    time: int, lengths: Tensor | None, device: torch.device | str | None = None
) -> Tensor | None:
    """Return `padding_mask` on a device, or None where nothing is padded.

    Parameters
    ----------
    time : int
        Padded number of steps.
    lengths : Tensor of shape (batch,) or None
        Number of real steps of each sequence; None where nothing is padded.
    device : torch.device or str, optional
        Device of the mask; the default is that of the lengths.

    Returns
    -------
    Tensor of shape (batch, time), bool, or None

    Examples
    --------
    >>> import torch
    >>> real_steps(2, torch.tensor([1, 2])).tolist(), real_steps(2, None)
    ([[True, False], [True, True]], None)
    """
    return None if lengths is None else padding_mask(lengths, time).to(device)


def encoder_mask(
    past_time: int, past_lengths: Tensor | None, device: torch.device | str | None = None
) -> Tensor | None:
    """Return where the encoder may look: at every real past step, never causal.

    Parameters
    ----------
    past_time : int
        Padded number of past steps.
    past_lengths : Tensor of shape (batch,) or None
        Number of real past steps; None where nothing is padded.
    device : torch.device or str, optional
        Device of the mask; the default is that of the lengths.

    Returns
    -------
    Tensor of shape (batch, 1, 1, past_time), bool, or None
        None where nothing is padded.

    Examples
    --------
    >>> import torch
    >>> encoder_mask(2, torch.tensor([1, 2])).tolist()
    [[[[True, False]]], [[[True, True]]]]
    """
    real = real_steps(past_time, past_lengths, device)
    # (batch, past_time) -> (batch, 1, 1, past_time)
    return None if real is None else real[:, None, None, :]


def extend_mask(mask: Tensor | None) -> Tensor | None:
    """Return the mask of a cache that has grown by one real step.

    Parameters
    ----------
    mask : Tensor of shape (batch, 1, 1, time), bool, or None
        True at real steps; None where all are.

    Returns
    -------
    Tensor of shape (batch, 1, 1, time + 1), bool, or None

    Examples
    --------
    >>> import torch
    >>> extend_mask(torch.tensor([[[[True, False]]]])).tolist()
    [[[[True, False, True]]]]
    """
    return None if mask is None else functional.pad(mask, (0, 1), value=True)


def decoder_mask(
    past_time: int,
    future_time: int,
    past_lengths: Tensor | None = None,
    future_lengths: Tensor | None = None,
    causal: bool = True,
    device: torch.device | str | None = None,
    strict: bool = True,
) -> Tensor | None:
    """Return where a decoder step may look among the past and future steps, end to end.

    With ``causal``, step i sees the real past steps and the future steps j < i: strictly before
    it, for its own content reaches it by the residual connection. Where causality is not strict,
    it sees itself too (j <= i). Without ``causal``, it sees every real step. Lengths are never
    read on the host, so a device is not made to wait.

    Parameters
    ----------
    past_time, future_time : int
        Padded numbers of steps.
    past_lengths, future_lengths : Tensor of shape (batch,) or None
        Numbers of real steps; None where nothing is padded.
    causal : bool, default=True
        Whether a step is kept from seeing later ones.
    device : torch.device or str, optional
        Device of the mask; the default is that of the lengths, else torch's.
    strict : bool, default=True
        Whether causality keeps a step from seeing itself too; without, step i sees j <= i.

    Returns
    -------
    Tensor of shape (batch or 1, 1, future_time or 1, past_time + future_time), bool, or None
        None where nothing is padded and nothing is causal.

    Examples
    --------
    >>> decoder_mask(1, 3).int().tolist()
    [[[[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]]]]
    """
    lengths = past_lengths if past_lengths is not None else future_lengths
    if lengths is None and not causal:
        return None
    device = device if device is not None or lengths is None else lengths.device
    mask = torch.ones(1, 1, 1, past_time + future_time, dtype=torch.bool, device=device)
    if lengths is not None:
        past = _all_or_real_steps(past_lengths, past_time, lengths.shape[0], device)
        future = _all_or_real_steps(future_lengths, future_time, lengths.shape[0], device)
        # (batch, past_time), (batch, future_time) -> (batch, 1, 1, past_time + future_time)
        mask = torch.cat((past, future), dim=1)[:, None, None, :]
    if causal:
        square = torch.ones(future_time, future_time, dtype=torch.bool, device=device)
        # (future_time, future_time) -> (future_time, past_time + future_time), the past all True
        mask = mask & functional.pad(square.tril(-1 if strict else 0), (past_time, 0), value=True)
    return mask


def _all_or_real_steps(
    lengths: Tensor | None, time: int, batch: int, device: torch.device | str | None
) -> Tensor:
    real = real_steps(time, lengths, device)
    return torch.ones(batch, time, dtype=torch.bool, device=device) if real is None else real
