"""Attention and the masks that tell it where it may look.

Masks are boolean, True where a key may be attended, and broadcast to (batch, head, query_time,
key_time). None stands for "everywhere" and is the fastest mask of all.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional


def padding_mask(lengths: Tensor, time: int) -> Tensor:
    """Return True at the real steps of left-aligned sequences.

    Parameters
    ----------
    lengths : Tensor of shape (batch,)
        Number of real steps of each sequence.
    time : int
        Padded number of steps.

    Returns
    -------
    Tensor of shape (batch, time), bool

    Examples
    --------
    >>> import torch
    >>> padding_mask(torch.tensor([1, 3]), 3).tolist()
    [[True, False, False], [True, True, True]]
    """
    return torch.arange(time, device=lengths.device) < lengths[:, None]


def encoder_mask(
    past_time: int, past_lengths: Tensor | None, device: torch.device | str | None = None
) -> Tensor | None:
    """Return where the encoder may look: at every real past step, never causal.

    Parameters
    ----------
    past_time : int
        Padded number of past steps.
    past_lengths : Tensor of shape (batch,) or None
        Number of real past steps; None where nothing is padded.
    device : torch.device or str, optional
        Device of the mask; the default is that of the lengths.

    Returns
    -------
    Tensor of shape (batch, 1, 1, past_time), bool, or None
        None where nothing is padded.

    Examples
    --------
    >>> import torch
    >>> encoder_mask(2, torch.tensor([1, 2])).tolist()
    [[[[True, False]]], [[[True, True]]]]
    """
    if past_lengths is None:
        return None
    return padding_mask(past_lengths, past_time).to(device)[:, None, None, :]


def decoder_mask(
    past_time: int,
    future_time: int,
    past_lengths: Tensor | None = None,
    future_lengths: Tensor | None = None,
    causal: bool = True,
    device: torch.device | str | None = None,
) -> Tensor | None:
    """Return where a decoder step may look among the past and future steps, end to end.

    With ``causal``, step i sees the real past steps and the future steps j < i: strictly before
    it, for its own content reaches it by the residual connection. Without, it sees every real
    step. Lengths are never read on the host, so a device is not made to wait.

    Parameters
    ----------
    past_time, future_time : int
        Padded numbers of steps.
    past_lengths, future_lengths : Tensor of shape (batch,) or None
        Numbers of real steps; None where nothing is padded.
    causal : bool, default=True
        Whether a step is kept from seeing itself and later ones.
    device : torch.device or str, optional
        Device of the mask; the default is that of the lengths, else torch's.

    Returns
    -------
    Tensor of shape (batch or 1, 1, future_time or 1, past_time + future_time), bool, or None
        None where nothing is padded and nothing is causal.

    Examples
    --------
    >>> decoder_mask(1, 3).int().tolist()
    [[[[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]]]]
    """
    lengths = past_lengths if past_lengths is not None else future_lengths
    if lengths is None and not causal:
        return None
    device = device if device is not None or lengths is None else lengths.device
    mask = torch.ones(1, 1, 1, past_time + future_time, dtype=torch.bool, device=device)
    if lengths is not None:
        past = _real_steps(past_lengths, past_time, len(lengths), device)
        future = _real_steps(future_lengths, future_time, len(lengths), device)
        mask = torch.cat((past, future), dim=1)[:, None, None, :]
    if causal:
        square = torch.ones(future_time, future_time, dtype=torch.bool, device=device)
        mask = mask & functional.pad(square.tril(-1), (past_time, 0), value=True)
    return mask


def _real_steps(
    lengths: Tensor | None, time: int, batch: int, device: torch.device | str | None
) -> Tensor:
    if lengths is None:
        return torch.ones(batch, time, dtype=torch.bool, device=device)
    return padding_mask(lengths, time).to(device)


class Attention(nn.Module):
    """Scaled dot-product attention with several heads; subclasses say what the heads read.

    Queries and keys are projected per head, by one linear map for all heads. The kernel is torch's
    fused ``scaled_dot_product_attention``; weights are computed only by `weights`.

    Parameters
    ----------
    d_model : int
        Width of queries, keys, values and output.
    num_heads : int
        Number of heads, each ``d_model // num_heads`` wide.
    dropout : float, default=0.0
        Dropout probability of the attended values, in front of the output projection. Dropout of
        the weights themselves would rule out the fused kernel.
    head_values : int, optional
        Number of heads which have values of their own, given by the subclass.

    Raises
    ------
    ValueError
        If ``num_heads`` is no positive divisor of ``d_model``.
    """

    def __init__(
        self, d_model: int, num_heads: int, dropout: float = 0.0, *, head_values: int
    ) -> None:
        super().__init__()
        if num_heads < 1 or d_model < 1 or d_model % num_heads:
            raise ValueError(
                f"Got an attention width of {d_model} (d_model) and num_heads={num_heads}; the "
                "width must be a positive multiple of the number of heads. Pass a d_model that "
                "num_heads divides."
            )
        self.num_heads = num_heads
        self.head_width = d_model // num_heads
        self.query = nn.Linear(d_model, d_model)
        self.key = nn.Linear(d_model, d_model)
        self.value = nn.Linear(d_model, head_values * self.head_width)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(head_values * self.head_width, d_model)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None
    ) -> Tensor:
        """Attend to ``value`` where ``query`` meets ``key``.

        Parameters
        ----------
        query : Tensor of shape (batch, query_time, d_model)
        key, value : Tensor of shape (batch, key_time, d_model)
        mask : Tensor broadcastable to (batch, head, query_time, key_time), bool, or None
            True where a key may be attended. Every query must have one.

        Returns
        -------
        Tensor of shape (batch, query_time, d_model)
        """
        attended = functional.scaled_dot_product_attention(
            self._split(self.query(query)),
            self._split(self.key(key)),
            self._spread(self.value(value)),
            attn_mask=mask,
        )
        output: Tensor = self.output(self.dropout(self._merge(attended)))
        return output

    def weights(self, query: Tensor, key: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the attention weights of every head.

        Returns
        -------
        Tensor of shape (batch, head, query_time, key_time)
            Rows sum to one and are zero where the mask is False.
        """
        queries, keys = self._split(self.query(query)), self._split(self.key(key))
        scores = queries @ keys.transpose(-2, -1) / self.head_width**0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        return torch.softmax(scores, dim=-1)

    def _split(self, x: Tensor) -> Tensor:
        # (batch, time, head * width) -> (batch, head, time, width)
        return x.reshape(*x.shape[:-1], -1, self.head_width).transpose(1, 2)

    @abstractmethod
    def _spread(self, values: Tensor) -> Tensor:
        """Give every head its values: -> (batch, head, key_time, head_width)."""

    @abstractmethod
    def _merge(self, attended: Tensor) -> Tensor:
        """Join what the heads (batch, head, query_time, head_width) read into one sequence."""


class InterpretableMultiHeadAttention(Attention):
    r"""Attention whose heads share their values, so that the mean of the weights is the model.

    .. math:: A_h = \mathrm{softmax}(Q W_Q^h (K W_K^h)^\top / \sqrt{d_k}), \qquad
              y = W_o \, \frac{1}{H} \sum_h A_h V W_V

    Lim et al. 2021, equations 13 to 16: queries and keys per head, one value projection
    ``d_model -> d_k = d_model / num_heads`` for all heads.

    Parameters
    ----------
    d_model : int
        Width of queries, keys, values and output.
    num_heads : int
        Number of heads.
    dropout : float, default=0.0
        Dropout probability of the attended values.

    Raises
    ------
    ValueError
        If ``num_heads`` is no positive divisor of ``d_model``.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import InterpretableMultiHeadAttention
    >>> attention = InterpretableMultiHeadAttention(6, 3)
    >>> query, key = torch.ones(2, 5, 6), torch.ones(2, 7, 6)
    >>> attention(query, key, key).shape, attention.weights(query, key).shape
    (torch.Size([2, 5, 6]), torch.Size([2, 3, 5, 7]))
    """

    def __init__(self, d_model: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__(d_model, num_heads, dropout, head_values=1)

    def _spread(self, values: Tensor) -> Tensor:
        return values.unsqueeze(1).expand(-1, self.num_heads, -1, -1)

    def _merge(self, attended: Tensor) -> Tensor:
        return attended.mean(dim=1)


class MultiHeadAttention(Attention):
    r"""Ordinary multi-head attention: every head has its own queries, keys and values.

    .. math:: y = W_o \, [A_1 V W_V^1; \dots; A_H V W_V^H], \qquad
              A_h = \mathrm{softmax}(Q W_Q^h (K W_K^h)^\top / \sqrt{d_k})

    Vaswani et al. 2017, "Attention is all you need", section 3.2.2.

    Parameters
    ----------
    d_model : int
        Width of queries, keys, values and output.
    num_heads : int
        Number of heads.
    dropout : float, default=0.0
        Dropout probability of the attended values.

    Raises
    ------
    ValueError
        If ``num_heads`` is no positive divisor of ``d_model``.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import MultiHeadAttention
    >>> MultiHeadAttention(6, 3)(torch.ones(2, 5, 6), *[torch.ones(2, 7, 6)] * 2).shape
    torch.Size([2, 5, 6])
    """

    def __init__(self, d_model: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__(d_model, num_heads, dropout, head_values=num_heads)

    def _spread(self, values: Tensor) -> Tensor:
        return self._split(values)

    def _merge(self, attended: Tensor) -> Tensor:
        return attended.transpose(1, 2).flatten(-2)


ATTENTIONS: Mapping[str, type[InterpretableMultiHeadAttention] | type[MultiHeadAttention]] = (
    MappingProxyType(
        {"interpretable": InterpretableMultiHeadAttention, "multi_head": MultiHeadAttention}
    )
)


def make_attention(kind: str, d_model: int, num_heads: int, dropout: float = 0.0) -> Attention:
    """Build the attention named ``kind``, one of `ATTENTIONS`.

    Raises
    ------
    ValueError
        If no attention has that name.

    Examples
    --------
    >>> make_attention("multi_head", 6, 3).num_heads
    3
    """
    if kind not in ATTENTIONS:
        raise ValueError(f"Got attention={kind!r}; expected one of {list(ATTENTIONS)}.")
    return ATTENTIONS[kind](d_model, num_heads, dropout)
