"""What every network does first: check the shapes it got, and clear the padding."""

from __future__ import annotations

import torch
from torch import Tensor

from sktime_tlstm.nn.masks import padding_mask


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
        If a shape is not the expected one, or a length is not between 1 and the number of steps.

    Examples
    --------
    >>> import torch
    >>> past, future = torch.ones(1, 3, 1), torch.ones(1, 2, 1)
    >>> prepare_inputs(past, future, torch.tensor([2]), None, (1, 1))[0].flatten().tolist()
    [1.0, 1.0, 0.0]
    """
    _check_width("past", past, widths[0])
    _check_width("future", future, widths[1])
    if past.shape[0] != future.shape[0]:
        raise ValueError(
            f"Got a past of {past.shape[0]} rows and a future of {future.shape[0]}; expected as "
            "many. Pass the past and the future of the same windows."
        )
    return (
        clear_padding(past, past_lengths, "past"),
        clear_padding(future, future_lengths, "future"),
    )


def prepare_past(past: Tensor, past_lengths: Tensor | None, width: int) -> Tensor:
    """Do what `prepare_inputs` does, where there is no future yet (``init_state``).

    Parameters
    ----------
    past : Tensor of shape (batch, past_time, num_past_features)
    past_lengths : Tensor of shape (batch,) or None
        Numbers of real steps; None where nothing is padded.
    width : int
        The expected ``num_past_features``.

    Returns
    -------
    Tensor
        The past, zero in the padding.

    Raises
    ------
    ValueError
        If a shape is not the expected one, or a length is not between 1 and the number of steps.

    Examples
    --------
    >>> import torch
    >>> prepare_past(torch.ones(1, 3, 1), torch.tensor([2]), 1).flatten().tolist()
    [1.0, 1.0, 0.0]
    """
    _check_width("past", past, width)
    return clear_padding(past, past_lengths, "past")


def prepare_step(future_t: Tensor, batch: int, width: int) -> Tensor:
    """Check the input of one step of incremental decoding.

    Parameters
    ----------
    future_t : Tensor of shape (batch, num_future_features)
    batch : int
        Number of rows of the state which is continued.
    width : int
        The expected ``num_future_features``.

    Returns
    -------
    Tensor of shape (batch, 1, num_future_features)
        A future of one step.

    Raises
    ------
    ValueError
        If the shape is not the expected one.

    Examples
    --------
    >>> import torch
    >>> prepare_step(torch.ones(5, 3), 5, 3).shape
    torch.Size([5, 1, 3])
    """
    if future_t.shape != (batch, width):
        raise ValueError(
            f"Got a step of shape {tuple(future_t.shape)}; expected ({batch}, {width}), "
            "(batch, num_future_features) of the state. Pass one step of each row's future."
        )
    # (batch, num_future_features) -> (batch, 1, num_future_features)
    return future_t[:, None]


def prepare_static(static: Tensor | None, batch: int, num_static_features: int) -> Tensor | None:
    """Check the static features of a network that may have been built without any.

    Parameters
    ----------
    static : Tensor of shape (batch, num_static_features) or None
    batch : int
        Number of rows.
    num_static_features : int
        The expected width; 0 in a network without static features.

    Returns
    -------
    Tensor of shape (batch, num_static_features) or None
        ``static``, None where the network has none.

    Raises
    ------
    ValueError
        If static features are missing, unexpected or of another shape.

    Examples
    --------
    >>> import torch
    >>> prepare_static(torch.ones(5, 3), 5, 3).shape
    torch.Size([5, 3])
    """
    expected = (batch, num_static_features) if num_static_features else None
    got = None if static is None else tuple(static.shape)
    if got != expected:
        raise ValueError(
            f"Got static {'None' if got is None else f'of shape {got}'} for a network with "
            f"num_static_features={num_static_features} and a batch of {batch}; expected "
            f"{'None' if expected is None else f'the shape {expected}'}. Pass static features "
            "exactly where the network was built with them, one vector for each row."
        )
    return static


def check_static_features(num_static_features: int) -> None:
    """Raise a ValueError if a network is to be built with a negative number of static features."""
    if num_static_features < 0:
        raise ValueError(
            f"Got num_static_features={num_static_features}; expected 0 or more. Pass the "
            "number of static features."
        )


def check_lengths(lengths: Tensor | None, time: int, name: str) -> None:
    """Raise a ValueError if a length is not between 1 and the number of steps.

    Only lengths on the host are read: a device is not made to wait, and a compiler cannot read
    them.

    Parameters
    ----------
    lengths : Tensor of shape (batch,) or None
        Numbers of real steps; None where nothing is padded.
    time : int
        Padded number of steps.
    name : str
        Of the sequence, "past" or "future".

    Examples
    --------
    >>> import torch
    >>> check_lengths(torch.tensor([1, 3]), 3, "past")
    """
    readable = lengths is not None and lengths.device.type == "cpu" and lengths.shape[0] > 0
    if lengths is None or not readable or torch.compiler.is_compiling():
        return
    shortest, longest = (int(bound) for bound in torch.aminmax(lengths))
    if shortest < 1 or longest > time:
        raise ValueError(
            f"Got {name}_lengths between {shortest} and {longest} for a {name} of {time} steps; "
            f"expected lengths from 1 to {time}. Give an empty {name} one row of zeros."
        )


def _check_width(name: str, sequence: Tensor, width: int) -> None:
    if sequence.ndim != 3 or sequence.shape[-1] != width:
        raise ValueError(
            f"Got {name} of shape {tuple(sequence.shape)}; expected (batch, time, {width}). "
            f"Build the network with num_{name}_features={sequence.shape[-1]}, or pass "
            f"{width} features."
        )


def clear_padding(sequence: Tensor, lengths: Tensor | None, name: str) -> Tensor:
    """Check the lengths of a sequence (batch, time, width) and set its padding to zero."""
    if lengths is None:
        return sequence
    if lengths.shape != sequence.shape[:1]:
        raise ValueError(
            f"Got {name}_lengths of shape {tuple(lengths.shape)}; expected ({sequence.shape[0]},), "
            "one length for each row. Pass None where nothing is padded."
        )
    check_lengths(lengths, sequence.shape[1], name)
    real = padding_mask(lengths.to(sequence.device), sequence.shape[1])
    # (batch, time) -> (batch, time, 1)
    return sequence.masked_fill(~real[:, :, None], 0.0)
