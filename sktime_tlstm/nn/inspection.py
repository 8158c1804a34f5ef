"""What methods share that look into a network: they see it as it is in evaluation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

import torch
from torch import nn

from sktime_tlstm.nn.feedforward import auxiliary_loss_untouched

_Network = TypeVar("_Network", bound=nn.Module)
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def in_evaluation(
    method: Callable[Concatenate[_Network, _Arguments], _Result],
) -> Callable[Concatenate[_Network, _Arguments], _Result]:
    """Let a method of a network run without dropout and gradients, and leave no trace.

    Every module is put back into its own mode afterwards, and what mixtures of experts have kept
    for `auxiliary_loss` is kept still.

    Examples
    --------
    >>> import torch
    >>> class Dropped(torch.nn.Dropout):
    ...     look = in_evaluation(torch.nn.Dropout.forward)
    >>> network = Dropped(0.9)
    >>> network.look(torch.ones(3)), network.training
    (tensor([1., 1., 1.]), True)
    """

    @functools.wraps(method)
    def look(self: _Network, /, *args: _Arguments.args, **keywords: _Arguments.kwargs) -> _Result:
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            with torch.no_grad(), auxiliary_loss_untouched(self):
                return method(self, *args, **keywords)
        finally:
            for module, training in modes:
                module.training = training

    return look
