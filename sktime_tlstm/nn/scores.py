"""Attention scores: how well each key answers a query, and the attention that uses one of them.

A score maps queries (batch, query_time, width) and keys (batch, key_time, width) to (batch,
query_time, key_time). What it does to the keys alone is `AttentionScore.project`, so that a
network which decodes step by step does it once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from sktime_tlstm.nn.randomness import Dropout


class AttentionScore(nn.Module):
    """How well every key answers every query; subclasses say by which formula.

    Parameters
    ----------
    width : int
        Width of queries and keys.

    Raises
    ------
    ValueError
        If ``width`` is below 1.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        if width < 1:
            raise ValueError(
                f"Got an attention width of {width} (d_model); expected 1 or more. Pass the width "
                "of queries and keys."
            )

    def forward(self, query: Tensor, keys: Tensor) -> Tensor:
        """Score every key for every query.

        Parameters
        ----------
        query : Tensor of shape (batch, query_time, width)
        keys : Tensor of shape (batch, key_time, width)

        Returns
        -------
        Tensor of shape (batch, query_time, key_time)
        """
        return self.compare(query, self.project(keys))

    @abstractmethod
    def project(self, keys: Tensor) -> Tensor:
        """Do what concerns the keys alone: (batch, key_time, width) -> the same shape."""

    @abstractmethod
    def compare(self, query: Tensor, projected: Tensor) -> Tensor:
        """Score projected keys for every query: -> (batch, query_time, key_time)."""


class AdditiveScore(AttentionScore):
    r"""Score by a small network with one hidden layer.

    .. math:: e_{ij} = v^\top \tanh(W_1 h_j + W_2 q_i)

    Bahdanau et al. 2015, "Neural Machine Translation by Jointly Learning to Align and Translate",
    appendix A.1.2. The hidden layer is as wide as the keys and there are no biases. It holds
    (batch, query_time, key_time, width) numbers at once, ``width`` times as many as the others.

    Parameters
    ----------
    width : int
        Width of queries and keys.

    Raises
    ------
    ValueError
        If ``width`` is below 1.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import AdditiveScore
    >>> AdditiveScore(3)(torch.ones(2, 5, 3), torch.ones(2, 7, 3)).shape
    torch.Size([2, 5, 7])
    """

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.key = nn.Linear(width, width, bias=False)
        self.query = nn.Linear(width, width, bias=False)
        self.energy = nn.Linear(width, 1, bias=False)

    def project(self, keys: Tensor) -> Tensor:
        """Return ``W_1 h`` of every key."""
        projected: Tensor = self.key(keys)
        return projected

    def compare(self, query: Tensor, projected: Tensor) -> Tensor:
        """Score projected keys for every query: -> (batch, query_time, key_time)."""
        # (batch, 1, key_time, width) plus (batch, query_time, 1, width)
        hidden = torch.tanh(projected[:, None] + self.query(query)[:, :, None])
        # (batch, query_time, key_time, 1) -> (batch, query_time, key_time)
        scores: Tensor = self.energy(hidden).squeeze(-1)
        return scores


class DotScore(AttentionScore):
    r"""Score by the scalar product, without parameters.

    .. math:: e_{ij} = q_i^\top h_j

    Luong et al. 2015, "Effective Approaches to Attention-based Neural Machine Translation",
    section 3.1, "dot".

    Parameters
    ----------
    width : int
        Width of queries and keys.

    Raises
    ------
    ValueError
        If ``width`` is below 1.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import DotScore
    >>> DotScore(2)(torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[3.0, 4.0], [0.0, 5.0]]]))
    tensor([[[11., 10.]]])
    """

    def project(self, keys: Tensor) -> Tensor:
        """Return the keys as they are."""
        return keys

    def compare(self, query: Tensor, projected: Tensor) -> Tensor:
        """Score projected keys for every query: -> (batch, query_time, key_time)."""
        # (batch, query_time, width) times (batch, width, key_time)
        return query @ projected.transpose(1, 2)


class GeneralScore(DotScore):
    r"""Score by the scalar product after a linear map of the keys.

    .. math:: e_{ij} = q_i^\top W h_j

    Luong et al. 2015, "Effective Approaches to Attention-based Neural Machine Translation",
    section 3.1, "general".

    Parameters
    ----------
    width : int
        Width of queries and keys.

    Raises
    ------
    ValueError
        If ``width`` is below 1.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import GeneralScore
    >>> GeneralScore(3)(torch.ones(2, 5, 3), torch.ones(2, 7, 3)).shape
    torch.Size([2, 5, 7])
    """

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.key = nn.Linear(width, width, bias=False)

    def project(self, keys: Tensor) -> Tensor:
        """Return ``W h`` of every key."""
        projected: Tensor = self.key(keys)
        return projected


SCORES: Mapping[str, type[AttentionScore]] = MappingProxyType(
    {"additive": AdditiveScore, "dot": DotScore, "general": GeneralScore}
)


def make_score(kind: str, width: int) -> AttentionScore:
    """Build the attention score named ``kind``, one of `SCORES`.

    Raises
    ------
    ValueError
        If no score has that name.

    Examples
    --------
    >>> make_score("dot", 3)
    DotScore()
    """
    if kind not in SCORES:
        raise ValueError(f"Got score={kind!r}; expected one of {list(SCORES)}. Pass one of these.")
    return SCORES[kind](width)


class ScoreAttention(nn.Module):
    r"""Attention of one head by a score: the weighted mean of the keys themselves.

    .. math:: \alpha_{ij} = \mathrm{softmax}_j(e_{ij}), \qquad c_i = \sum_j \alpha_{ij} h_j

    Bahdanau et al. 2015, equations 5 and 6; Luong et al. 2015, equation 7. Called as `Attention`
    is.

    Parameters
    ----------
    score : {"additive", "dot", "general"}
        Name of the score, one of `SCORES`.
    d_model : int
        Width of queries, keys, values and output.
    dropout : float, default=0.0
        Dropout probability of the attended values.

    Raises
    ------
    ValueError
        If ``score`` is unknown, or a number is out of its range.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import ScoreAttention
    >>> attention = ScoreAttention("additive", 3)
    >>> query, key = torch.ones(2, 5, 3), torch.ones(2, 7, 3)
    >>> attention(query, key, key).shape, attention.weights(query, key).shape
    (torch.Size([2, 5, 3]), torch.Size([2, 1, 5, 7]))
    """

    def __init__(self, score: str, d_model: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.score = make_score(score, d_model)
        self.dropout = Dropout(dropout)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Attend to ``value`` where ``query`` meets ``key``.

        Parameters
        ----------
        query : Tensor of shape (batch, query_time, d_model)
        key, value : Tensor of shape (batch, key_time, d_model)
        mask : Tensor broadcastable to (batch, 1, query_time, key_time), bool, or None
            True where a key may be attended. Every query must have one.

        Returns
        -------
        Tensor of shape (batch, query_time, d_model)
        """
        # values (batch, key_time, d_model) -> (batch, 1, key_time, d_model)
        return self.attend(query, self.project(key)[0], value.unsqueeze(1), mask)

    def project(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """Return what a cache holds of ``source``: keys and values, (batch, 1, time, d_model)."""
        return self.score.project(source).unsqueeze(1), source.unsqueeze(1)

    def attend(
        self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Attend to projected keys and values; returns (batch, query_time, d_model)."""
        attended: Tensor = self.dropout(self._weigh(query, keys, mask) @ values)
        # (batch, 1, query_time, d_model) -> (batch, query_time, d_model)
        return attended.squeeze(1)

    def weights(self, query: Tensor, key: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the attention weights.

        Returns
        -------
        Tensor of shape (batch, 1, query_time, key_time)
            Rows sum to one and are zero where the mask is False.
        """
        return self._weigh(query, self.project(key)[0], mask)

    def _weigh(self, query: Tensor, keys: Tensor, mask: Tensor | None) -> Tensor:
        # keys (batch, 1, key_time, d_model) -> scores (batch, 1, query_time, key_time)
        scores = self.score.compare(query, keys.squeeze(1)).unsqueeze(1)
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        return torch.softmax(scores, dim=-1)
