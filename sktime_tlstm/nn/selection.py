"""Variable selection: how much of every channel a network should use, step by step."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from sktime_tlstm.nn.exporting import is_readable
from sktime_tlstm.nn.gating import GatedResidualNetwork
from sktime_tlstm.nn.randomness import Dropout

# Numbers in the widest intermediate result of `VariableSelectionNetwork` on a CPU. Rows are
# independent, and slices of them that stay in the cache are more than twice as fast as all at once.
NUMBERS_AT_ONCE = 2**21


class VariableNetworks(nn.Module):
    r"""An embedding and a gated residual network for every variable, all at once, and their sum.

    .. math:: \xi^{(j)} = a_j x_j + b_j, \qquad
              \tilde\xi = \sum_j v_j \, \mathrm{GRN}_j(\xi^{(j)})

    Lim et al. 2021, section 4.2, equations 7 and 8, each network with weights of its own. It
    computes what one `GatedResidualNetwork` for each variable computes, from parameters with a
    leading variable axis. The first layer of a network is linear in its embedding, which is
    linear in its channel: the product of both maps is formed once for all rows.

    Parameters
    ----------
    num_features : int
        Number of variables, one a channel.
    d_model : int
        Width of embeddings, hidden layers and outputs.
    dropout : float, default=0.0
        Dropout probability in front of the gates.

    Examples
    --------
    >>> import torch
    >>> VariableNetworks(3, 6)(torch.ones(11, 3), torch.full((11, 3), 1 / 3)).shape
    torch.Size([11, 6])
    """

    def __init__(self, num_features: int, d_model: int, dropout: float = 0.0) -> None:
        super().__init__()
        # The bounds are those of nn.Linear and, for the gates, of GatedLinearUnit.
        by_width, per_layer = 1 / math.sqrt(d_model), (num_features, d_model, d_model)
        per_feature = (num_features, d_model)
        self.embedding_weight = _uniform(1.0, *per_feature)
        self.embedding_bias = _uniform(1.0, *per_feature)
        self.input_weight = _uniform(by_width, *per_layer)
        self.input_bias = _uniform(by_width, *per_feature)
        self.hidden_weight = _uniform(by_width, *per_layer)
        self.hidden_bias = _uniform(by_width, *per_feature)
        self.gate_weight = _uniform(math.sqrt(2 * by_width**2), num_features, 2 * d_model, d_model)
        self.gate_bias = nn.Parameter(torch.zeros(num_features, 2 * d_model))
        self.norm_weight = nn.Parameter(torch.ones(per_feature))
        self.norm_bias = nn.Parameter(torch.zeros(per_feature))
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Map ``x`` and ``weights``, each of shape (row, num_features), to (row, d_model)."""
        # With a one beside each channel, "weight times channel plus bias" is a product of matrices.
        # (row, variable) -> (variable, row, 2)
        channels = torch.stack((x.T, torch.ones_like(x.T)), dim=-1)
        # (variable, row, 2) times (variable, 2, d_model) -> (variable, row, d_model)
        entered = torch.bmm(channels, self._first_layer())
        hidden = functional.elu(entered, inplace=True)
        hidden = _per_variable(hidden, self.hidden_weight, self.hidden_bias)
        gates = _per_variable(self.dropout(hidden), self.gate_weight, self.gate_bias)
        # (variable, d_model) -> (variable, 2, d_model)
        embedding = torch.stack((self.embedding_weight, self.embedding_bias), dim=1)
        added = torch.baddbmm(functional.glu(gates), channels, embedding)
        normalized = functional.layer_norm(added, added.shape[-1:])
        # The gain of the norm joins the weights, its bias a product of matrices: two passes less.
        # (variable, row, 1) times (variable, 1, d_model)
        gains = weights.T[:, :, None] * self.norm_weight[:, None]
        return (normalized * gains).sum(0) + weights @ self.norm_bias

    def of_embeddings(self, layer: nn.Linear, x: Tensor) -> Tensor:
        """Apply ``layer`` to all embeddings end to end, without forming them.

        Parameters
        ----------
        layer : nn.Linear
            Reads ``num_features * d_model`` numbers, variable outermost.
        x : Tensor of shape (..., num_features)
            The channels.

        Returns
        -------
        Tensor of shape (..., out_features)
        """
        # (out, variable * d_model) -> (out, variable, d_model)
        weight = layer.weight.unflatten(1, self.embedding_weight.shape)
        per_channel = torch.einsum("ovd,vd->ov", weight, self.embedding_weight)
        # (variable, d_model) -> (variable * d_model)
        bias = functional.linear(self.embedding_bias.flatten(), layer.weight, layer.bias)
        return functional.linear(x, per_channel, bias)

    def _first_layer(self) -> Tensor:
        """Return weight and bias of the first layers as maps of the channels: (feature, 2, d)."""
        weight = torch.einsum("vhd,vd->vh", self.input_weight, self.embedding_weight)
        bias = torch.einsum("vhd,vd->vh", self.input_weight, self.embedding_bias) + self.input_bias
        return torch.stack((weight, bias), dim=1)


class VariableSelectionNetwork(nn.Module):
    r"""Weigh every variable by all of them, and sum what their own networks make of them.

    .. math:: v &= \mathrm{softmax}(\mathrm{GRN}([\xi^{(1)}; \dots; \xi^{(m)}], c)) \\
              \tilde\xi &= \sum_j v_j \, \mathrm{GRN}_j(\xi^{(j)})

    Lim et al. 2021, equations 6 to 8, with linear embeddings :math:`\xi^{(j)}` of the channels
    (`VariableNetworks`). As there, the network of the weights reads all embeddings and its hidden
    layers are ``d_model`` wide. Its maps of the embeddings are computed as maps of the channels,
    which they are, so that it costs little beside the variables' own networks.

    A single variable has nothing to be weighed against: its weight is one, and there is no network
    for it (the context is not read).

    Parameters
    ----------
    num_features : int
        Number of variables, one a channel.
    d_model : int
        Width of embeddings, hidden layers and output.
    context_features : int or None, default=None
        Width of the context ``c``; None for a network without context.
    dropout : float, default=0.0
        Dropout probability in front of the gates.

    Raises
    ------
    ValueError
        If ``num_features`` is below 1 or ``d_model`` below 2, or ``forward`` gets a context and
        the network was built without one, or the reverse.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import VariableSelectionNetwork
    >>> selection = VariableSelectionNetwork(3, 8, context_features=2)
    >>> x, context = torch.ones(2, 7, 3), torch.ones(2, 1, 2)
    >>> selection(x, context).shape, selection.weights(x, context).shape
    (torch.Size([2, 7, 8]), torch.Size([2, 7, 3]))
    """

    def __init__(
        self,
        num_features: int,
        d_model: int,
        context_features: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if num_features < 1 or d_model < 2:
            raise ValueError(
                f"Got num_features={num_features} and d_model={d_model}; expected at least one "
                "variable, and a width of 2 or more, for layer normalization of a single number "
                "forgets it. Pass a larger one."
            )
        self.rows_at_once = max(1, NUMBERS_AT_ONCE // (2 * num_features * d_model))
        self.variables = VariableNetworks(num_features, d_model, dropout)
        self.weighing = (
            GatedResidualNetwork(
                num_features * d_model, d_model, num_features, context_features, dropout
            )
            if num_features > 1
            else None
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map ``x`` (..., num_features) and ``context`` (broadcastable) to (..., d_model)."""
        weights = self.weights(x, context)
        # (..., num_features) -> (row, num_features)
        rows = [tensor.reshape(-1, x.shape[-1]) for tensor in (x, weights)]
        if x.is_cuda or not is_readable(x):
            selected = self.variables(*rows)
        else:
            pieces = zip(*(tensor.split(self.rows_at_once) for tensor in rows), strict=True)
            selected = torch.cat([self.variables(*piece) for piece in pieces])
        # (row, d_model) -> (..., d_model)
        return selected.reshape(*x.shape[:-1], selected.shape[-1])

    def weights(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the weight of every variable.

        Returns
        -------
        Tensor of shape (..., num_features)
            Positive, with sum one.
        """
        if self.weighing is None:
            return torch.ones_like(x)
        entered = self.variables.of_embeddings(self.weighing.input_layer, x)
        # Embeddings of width 2 or more are never as wide as the weights: no identity.
        residual = self.variables.of_embeddings(cast(nn.Linear, self.weighing.project), x)
        return torch.softmax(self.weighing.refine(entered, residual, context), dim=-1)


def _uniform(bound: float, *shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))


def _per_variable(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    # x (variable, row, in), weight (variable, out, in), bias (variable, out)
    return torch.baddbmm(bias[:, None], x, weight.mT)
