"""Gates: the layers that let a network learn how much of a branch to use."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sktime_tlstm.nn.normalization import make_norm
from sktime_tlstm.nn.randomness import Dropout


class GatedLinearUnit(nn.Module):
    r"""Linear map whose output is scaled by a learned gate.

    .. math:: u = W \, \mathrm{Dropout}(x) + b, \qquad
              y = u_{:n} \odot \sigma(u_{n:})

    with ``n = out_features``: Lim et al. 2021, "Temporal Fusion Transformers", equation 5, after
    Dauphin et al. 2017. ``W`` starts Xavier uniform and ``b`` at zero.

    Parameters
    ----------
    in_features : int
        Width of the input.
    out_features : int
        Width of the output; the weight has ``2 * out_features`` rows, values first, gates last.
    dropout : float, default=0.0
        Probability with which an input entry is dropped in training.

    Raises
    ------
    ValueError
        If ``dropout`` lies outside [0, 1].

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import GatedLinearUnit
    >>> GatedLinearUnit(5, 3)(torch.ones(2, 7, 5)).shape
    torch.Size([2, 7, 3])
    """

    def __init__(self, in_features: int, out_features: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.linear = nn.Linear(in_features, 2 * out_features)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` of shape (..., in_features) to (..., out_features)."""
        return functional.glu(self.linear(self.dropout(x)), dim=-1)


class AddNorm(nn.Module):
    r"""Residual connection followed by normalization.

    .. math:: y = \mathrm{LayerNorm}(x + r) \quad\text{or, trainable,}\quad
              y = \mathrm{LayerNorm}(x + 2 \sigma(m) \odot r)

    The vector ``m`` starts at zero, where both forms agree.

    Parameters
    ----------
    d_model : int
        Width of both inputs and of the output.
    trainable_add : bool, default=False
        Whether the residual is scaled by a learned factor between 0 and 2 per feature.
    norm : str or None, default="layer"
        Kind of normalization, one of `NORMS`; None for the bare sum (where a block normalizes
        first).
    condition_features : int, default=0
        Width of the condition that an adaptive norm follows.

    Raises
    ------
    ValueError
        If ``norm`` is unknown, or adaptive without ``condition_features``.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import AddNorm
    >>> AddNorm(2)(torch.tensor([1.0, 2.0]), torch.tensor([0.0, 1.0])).round(decimals=2).tolist()
    [-1.0, 1.0]
    """

    def __init__(
        self,
        d_model: int,
        trainable_add: bool = False,
        norm: str | None = "layer",
        condition_features: int = 0,
    ) -> None:
        super().__init__()
        self.residual_logit = nn.Parameter(torch.zeros(d_model)) if trainable_add else None
        self.norm = make_norm(norm, d_model, condition_features)

    def forward(self, x: Tensor, residual: Tensor, condition: Tensor | None = None) -> Tensor:
        """Add ``residual`` to ``x``, both of shape (..., d_model), and normalize.

        An adaptive norm takes (batch, time, d_model) and needs ``condition``, of shape (batch,
        condition_features); the others ignore it.
        """
        if self.residual_logit is not None:
            residual = residual * 2 * torch.sigmoid(self.residual_logit)
        normalized: Tensor = self.norm(x + residual, condition)
        return normalized


class GateAddNorm(nn.Module):
    r"""Gated residual connection: gate, add, normalize.

    .. math:: y = \mathrm{LayerNorm}(\mathrm{GLU}(x) + r)

    Lim et al. 2021, equations 17, 20 and 22 (the same box in three places).

    Parameters
    ----------
    d_model : int
        Width of both inputs and of the output.
    dropout : float, default=0.0
        Dropout probability in front of the gate.
    trainable_add : bool, default=False
        Whether the residual is scaled by ``2 * sigmoid(m)``, ``m`` learned and zero at first.
    norm : str or None, default="layer"
        Kind of normalization, one of `NORMS`; None for the bare sum.
    condition_features : int, default=0
        Width of the condition that an adaptive norm follows.

    Raises
    ------
    ValueError
        If ``dropout`` lies outside [0, 1], ``norm`` is unknown, or it is adaptive without
        ``condition_features``.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import GateAddNorm
    >>> branch, residual = torch.ones(2, 7, 5), torch.zeros(2, 7, 5)
    >>> GateAddNorm(5)(branch, residual).shape
    torch.Size([2, 7, 5])
    """

    def __init__(
        self,
        d_model: int,
        dropout: float = 0.0,
        trainable_add: bool = False,
        norm: str | None = "layer",
        condition_features: int = 0,
    ) -> None:
        super().__init__()
        self.gate = GatedLinearUnit(d_model, d_model, dropout)
        self.add_norm = AddNorm(d_model, trainable_add, norm, condition_features)

    def forward(self, x: Tensor, residual: Tensor, condition: Tensor | None = None) -> Tensor:
        """Gate ``x``, add ``residual``, normalize (`AddNorm`); all of shape (..., d_model)."""
        normalized: Tensor = self.add_norm(self.gate(x), residual, condition)
        return normalized


class GatedResidualNetwork(nn.Module):
    r"""Two-layer network on a branch that a gate can close.

    .. math:: \eta_2 = \mathrm{ELU}(W_2 x + b_2 + W_3 c), \quad \eta_1 = W_1 \eta_2 + b_1, \quad
              y = \mathrm{LayerNorm}(\mathrm{GLU}(\eta_1) + \mathrm{project}(x))

    Lim et al. 2021, equations 2 to 4. ``project`` is the identity where the widths agree, else
    linear. Dropout acts once, in front of the gate.

    Parameters
    ----------
    in_features : int
        Width of ``x``.
    hidden_features : int
        Width of both hidden layers.
    out_features : int
        Width of the output.
    context_features : int or None, default=None
        Width of the context ``c``; None for a network without context.
    dropout : float, default=0.0
        Dropout probability in front of the gate.

    Raises
    ------
    ValueError
        If ``forward`` gets a context and the network was built without one, or the reverse.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import GatedResidualNetwork
    >>> network = GatedResidualNetwork(5, 11, 3, context_features=2)
    >>> network(torch.ones(2, 7, 5), torch.ones(2, 1, 2)).shape
    torch.Size([2, 7, 3])
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        out_features: int,
        context_features: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.input_layer = nn.Linear(in_features, hidden_features)
        self.context_layer = (
            None
            if context_features is None
            else nn.Linear(context_features, hidden_features, bias=False)
        )
        self.hidden_layer = nn.Linear(hidden_features, hidden_features)
        self.gate = GatedLinearUnit(hidden_features, out_features, dropout)
        self.project = (
            nn.Identity() if in_features == out_features else nn.Linear(in_features, out_features)
        )
        self.norm = nn.LayerNorm(out_features)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map ``x`` (..., in_features) and ``context`` (broadcastable) to (..., out_features)."""
        return self.refine(self.input_layer(x), self.project(x), context)

    def refine(self, entered: Tensor, residual: Tensor, context: Tensor | None = None) -> Tensor:
        """Do the rest of `forward`, for callers who map ``x`` themselves.

        Parameters
        ----------
        entered : Tensor of shape (..., hidden_features)
            What ``input_layer`` makes of ``x``.
        residual : Tensor of shape (..., out_features)
            What ``project`` makes of ``x``.
        context : Tensor of shape (..., context_features) or None

        Returns
        -------
        Tensor of shape (..., out_features)
        """
        hidden = functional.elu(self._add_context(entered, context))
        normalized: Tensor = self.norm(self.gate(self.hidden_layer(hidden)) + residual)
        return normalized

    def _add_context(self, hidden: Tensor, context: Tensor | None) -> Tensor:
        if (self.context_layer is None) != (context is None):
            raise ValueError(
                f"Got context={'None' if context is None else 'a tensor'} in a "
                f"GatedResidualNetwork built {'without' if self.context_layer is None else 'with'} "
                "context_features. Pass a context exactly where context_features is given."
            )
        if self.context_layer is None:
            return hidden
        enriched: Tensor = hidden + self.context_layer(context)
        return enriched
