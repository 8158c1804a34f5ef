"""Normalizations that can be conditioned on the row, all called alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import Tensor, nn
from torch.nn import functional

from sktime_tlstm.nn.masks import padding_mask


def masked_mean(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the mean of every row over its real steps.

    Parameters
    ----------
    x : Tensor of shape (batch, time, d_model)
        Left-aligned sequences; padding may hold anything, NaN included.
    lengths : Tensor of shape (batch,) or None
        Numbers of real steps, at least 1; None where nothing is padded.

    Returns
    -------
    Tensor of shape (batch, d_model)

    Examples
    --------
    >>> import torch
    >>> x = torch.tensor([[[1.0], [3.0], [8.0]], [[1.0], [3.0], [8.0]]])
    >>> masked_mean(x, torch.tensor([2, 3])).flatten().tolist()
    [2.0, 4.0]
    """
    if lengths is None:
        return x.mean(dim=1)
    real = padding_mask(lengths.to(x.device), x.shape[1])
    # (batch, time) -> (batch, time, 1)
    total = x.masked_fill(~real[:, :, None], 0.0).sum(dim=1)
    # (batch, d_model) by (batch, 1)
    return total / lengths.to(x)[:, None]


class LayerNorm(nn.LayerNorm):
    """Layer normalization (Ba et al. 2016), torch's own, which takes a condition and ignores it.

    Examples
    --------
    >>> import torch
    >>> LayerNorm(2)(torch.tensor([[[1.0, 3.0]]])).round(decimals=2).tolist()
    [[[-1.0, 1.0]]]
    """

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Normalize the last axis of ``x`` (..., d_model)."""
        return super().forward(x)


class RMSNorm(nn.RMSNorm):
    r"""Root mean square normalization, which takes a condition and ignores it.

    .. math:: y = g \odot x / \sqrt{\mathrm{mean}(x^2) + \epsilon}

    Zhang and Sennrich 2019, "Root mean square layer normalization", equation 4: no mean is taken
    off and no bias added.

    Examples
    --------
    >>> import torch
    >>> RMSNorm(2)(torch.tensor([[[1.0, 7.0]]])).detach()
    tensor([[[0.2000, 1.4000]]])
    """

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model, eps=1e-5)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Normalize the last axis of ``x`` (..., d_model)."""
        # In mixed precision the weight is wider than x, for which torch has no fused kernel.
        weight = self.weight.to(x.dtype)
        return functional.rms_norm(x, self.normalized_shape, weight, self.eps)


class AdaptiveLayerNorm(nn.LayerNorm):
    r"""Layer normalization whose gain and bias follow a vector that describes the row.

    .. math:: y = \mathrm{LayerNorm}(x) \odot (1 + \gamma(c)) + \beta(c), \qquad
              [\gamma(c); \beta(c)] = W c + b

    Conditional normalization: Perez et al. 2018, "FiLM", equation 2; as layer normalization that
    starts unconditioned, Peebles and Xie 2023, "Scalable diffusion models with transformers". ``W``
    and ``b`` start at zero, so that at first it is an ordinary layer normalization.

    Parameters
    ----------
    d_model : int
        Width of input and output.
    condition_features : int
        Width of the condition ``c``.

    Raises
    ------
    ValueError
        If ``condition_features`` is below 1, or ``forward`` gets a condition of another shape.

    Examples
    --------
    >>> import torch
    >>> norm = AdaptiveLayerNorm(5, condition_features=3)
    >>> norm(torch.ones(2, 7, 5), torch.ones(2, 3)).shape
    torch.Size([2, 7, 5])
    """

    def __init__(self, d_model: int, condition_features: int) -> None:
        super().__init__(d_model)
        if condition_features < 1:
            raise ValueError(
                f"Got condition_features={condition_features} for norm='adaptive'; expected 1 or "
                "more. Pass the width of the vector that describes a row, and the vector itself as "
                "the condition of forward; or choose another norm."
            )
        self.modulation = nn.Linear(condition_features, 2 * d_model)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Normalize ``x`` (batch, time, d_model) given ``condition`` (batch, condition_features).

        Raises
        ------
        ValueError
            If the condition is missing or has another shape.
        """
        expected = (x.shape[0], self.modulation.in_features)
        if condition is None or condition.shape != expected:
            got = None if condition is None else f"shape {tuple(condition.shape)}"
            raise ValueError(
                f"Got a condition of {got} for an adaptive norm; expected the shape {expected}, "
                "(batch, condition_features). Pass one vector for each row, of the width that the "
                "norm was built with."
            )
        # (batch, 2 * d_model) -> two of (batch, 1, d_model)
        gain, bias = self.modulation(condition)[:, None].chunk(2, dim=-1)
        modulated: Tensor = super().forward(x) * (1 + gain) + bias
        return modulated


class Identity(nn.Identity):
    """No normalization, called like one.

    Examples
    --------
    >>> import torch
    >>> Identity()(torch.ones(1, 1, 2)).tolist()
    [[[1.0, 1.0]]]
    """

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Return ``x``."""
        return x


NORMS: Mapping[str, Callable[[int, int], nn.Module]] = MappingProxyType(
    {
        "layer": lambda d_model, condition_features: LayerNorm(d_model),
        "rms": lambda d_model, condition_features: RMSNorm(d_model),
        "adaptive": AdaptiveLayerNorm,
    }
)


def make_norm(kind: str | None, d_model: int, condition_features: int = 0) -> nn.Module:
    """Build the normalization named ``kind``, called as ``norm(x, condition=None)``.

    Parameters
    ----------
    kind : str or None
        One of `NORMS`; None for no normalization.
    d_model : int
        Width of input and output.
    condition_features : int, default=0
        Width of the condition; only "adaptive" reads it, and needs it.

    Raises
    ------
    ValueError
        If no normalization has that name, or an adaptive one gets no ``condition_features``.

    Examples
    --------
    >>> make_norm("rms", 5)
    RMSNorm((5,), eps=1e-05, elementwise_affine=True)
    """
    if kind is None:
        return Identity()
    if kind not in NORMS:
        raise ValueError(f"Got norm={kind!r}; expected one of {list(NORMS)}, or None for no norm.")
    return NORMS[kind](d_model, condition_features)
