"""What a network may not do while it is exported: read values on the host.

`torch.export` follows one pass and keeps the shapes, of which the batch may stay free. What depends
on a value, such as the stretches of time between two lengths, has a second form that reads none,
for export alone: on the usual path it would be slower. Networks count rows by ``shape[0]``, for
``len`` of a tensor would make their number a constant.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Before torch 2.7 the two could not be told apart.
_is_exporting = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


def is_readable(values: Tensor) -> bool:
    """Return whether ``values`` can be read on the host.

    They cannot while `torch.export` traces, and those on the meta device do not exist.

    Examples
    --------
    >>> is_readable(torch.ones(3)), is_readable(torch.ones(3, device="meta"))
    (True, False)
    """
    return not _is_exporting() and not values.is_meta
