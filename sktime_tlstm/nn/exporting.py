"""What a network may not do while it is exported: read values on the host.

`torch.export` follows one pass and keeps the shapes, of which the batch may stay free. What depends
on a value, such as the stretches of time between two lengths, has a second form that reads none,
for export alone: on the usual path it would be slower. Networks count rows by ``shape[0]``, for
``len`` of a tensor would make their number a constant.
"""

from __future__ import annotations

import torch
from torch import Tensor


def is_readable(values: Tensor) -> bool:
    """Return whether ``values`` can be read on the host.

    They cannot while `torch.export` traces, and those on the meta device do not exist.

    Examples
    --------
    >>> is_readable(torch.ones(3)), is_readable(torch.ones(3, device="meta"))
    (True, False)
    """
    return not torch.compiler.is_exporting() and not values.is_meta


def traces_all() -> bool:
    """Whether this torch traces, for exports and the compiler, all that networks here do.

    Before 2.13 it gets shapes of LSTMs wrong, and loses what mixtures of experts add to the loss.
    """
    return tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 13)
