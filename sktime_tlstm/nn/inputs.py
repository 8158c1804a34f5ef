"""What every network does first: check the shapes it got, and clear the padding."""

from __future__ import annotations

from torch import Tensor

from sktime_tlstm.nn.attention import padding_mask


def prepare_inputs(
    past: Tensor,
    future: Tensor,
    past_lengths: Tensor | None,
    future_lengths: Tensor | None,
    widths: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Check the inputs of a network and set their padding to zero.

    Padding is never attended, but zero times infinity is not zero: cleared padding is what makes a
    row independent of anything that lies in it, NaN included.

    Parameters
    ----------
    past : Tensor of shape (batch, past_time, num_past_features)
    future : Tensor of shape (batch, future_time, num_future_features)
    past_lengths, future_lengths : Tensor of shape (batch,) or None
        Numbers of real steps; None where nothing is padded.
    widths : tuple of int
        The expected ``(num_past_features, num_future_features)``.

    Returns
    -------
    past, future : Tensor
        The same, zero in the padding.

    Raises
    ------
    ValueError
        If a shape is not the expected one.

    Examples
    --------
    >>> import torch
    >>> past, future = torch.ones(1, 3, 1), torch.ones(1, 2, 1)
    >>> prepare_inputs(past, future, torch.tensor([2]), None, (1, 1))[0].flatten().tolist()
    [1.0, 1.0, 0.0]
    """
    for name, sequence, width in (("past", past, widths[0]), ("future", future, widths[1])):
        if sequence.ndim != 3 or sequence.shape[-1] != width:
            raise ValueError(
                f"Got {name} of shape {tuple(sequence.shape)}; expected (batch, time, {width}). "
                f"Build the network with num_{name}_features={sequence.shape[-1]}, or pass "
                f"{width} features."
            )
    if len(past) != len(future):
        raise ValueError(
            f"Got a past of {len(past)} rows and a future of {len(future)}; expected as many. "
            "Pass the past and the future of the same windows."
        )
    return (
        _clear_padding(past, past_lengths, "past_lengths"),
        _clear_padding(future, future_lengths, "future_lengths"),
    )


def _clear_padding(sequence: Tensor, lengths: Tensor | None, name: str) -> Tensor:
    if lengths is None:
        return sequence
    if lengths.shape != sequence.shape[:1]:
        raise ValueError(
            f"Got {name} of shape {tuple(lengths.shape)}; expected ({len(sequence)},), one length "
            "for each row. Pass None where nothing is padded."
        )
    real = padding_mask(lengths.to(sequence.device), sequence.shape[1])
    return sequence.masked_fill(~real[:, :, None], 0.0)
