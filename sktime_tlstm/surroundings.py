"""Surroundings: what a caller may have set in torch for the whole process or thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["usual_torch"]

#: Draw other numbers in another precision, so that a cast afterwards would come too late.
_RANDOM = (torch.rand, torch.randn, torch.normal)


@contextmanager
def usual_torch() -> Iterator[None]:
    """Run a block as if the caller had set nothing in torch.

    Undone, on this thread and within the block: ``torch.inference_mode``, ``no_grad``,
    ``autocast``, ``set_default_dtype`` and ``set_default_device``. A forecaster's ``device`` and
    ``precision`` say what they are; what was fitted within ``inference_mode`` can be trained on.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        default = torch.get_default_dtype()
        if default != torch.float32 or _default_device().type != "cpu":
            stack.enter_context(_UsualTensors(default))
        yield


def _default_device() -> torch.device:
    try:
        return torch.get_default_device()
    except AttributeError:  # torch before 2.13 stumbles over a default that was taken back
        return torch.device("cpu")


class _UsualTensors(TorchFunctionMode):
    """Lets new tensors be float32 and on the CPU, unless the call says otherwise.

    The default dtype belongs to all threads, so that it cannot be set and put back. What torch has
    computed in it is cast: exact from float64, rounded already from a default below float32.
    """

    def __init__(self, default: torch.dtype) -> None:
        super().__init__()
        self.default = default
        self.cpu = torch.device("cpu")

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Call a function of torch; its result is of the usual dtype, on the usual device."""
        kwargs = dict(kwargs or {})
        if func in _RANDOM and kwargs.get("dtype") is None:
            kwargs["dtype"] = torch.float32
        with self.cpu:  # torch's own mode: it goes by a device that is named
            result = func(*args, **kwargs)
        if not isinstance(result, Tensor) or result.dtype != self.default:
            return result
        if self.default == torch.float32 or self._names_the_default(func, args, kwargs):
            return result
        return result.to(torch.float32)

    def _names_the_default(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether the caller's default is what a function was given or asked for."""
        if getattr(func, "__name__", "") in ("double", "half", "bfloat16", "__get__"):
            return True
        return any(self._is_default(value) for value in (*args, *kwargs.values()))

    def _is_default(self, value: Any) -> bool:
        if isinstance(value, (list, tuple)):
            return any(map(self._is_default, value))
        if isinstance(value, Tensor):
            return value.dtype == self.default
        if isinstance(value, (np.ndarray, np.generic)):
            return str(value.dtype) == str(self.default).removeprefix("torch.")
        return value is self.default
