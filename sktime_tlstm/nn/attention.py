"""Scaled dot-product attention, its kernels, and the kinds of attention by name."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from sktime_tlstm.nn.frequency import DEFAULT_MODES, FrequencyAttention, check_width
from sktime_tlstm.nn.positions import rotate
from sktime_tlstm.nn.randomness import Dropout

# None leaves the choice to torch.
KERNELS: Mapping[str, SDPBackend | None] = MappingProxyType(
    {
        "auto": None,
        "flash": SDPBackend.FLASH_ATTENTION,
        "memory_efficient": SDPBackend.EFFICIENT_ATTENTION,
        "math": SDPBackend.MATH,
    }
)


def _attend_by_kernel(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, kernel: str
) -> Tensor:
    """Call torch's fused attention, by the kernel named ``kernel`` alone unless it is "auto"."""
    backend = KERNELS[kernel]
    if backend is None and queries.dtype == torch.bfloat16 and queries.device.type == "cpu":
        # there torch's backward takes six times as long in bfloat16
        wide = queries.float(), keys.float(), values.float()
        with torch.autocast("cpu", enabled=False):
            attended = functional.scaled_dot_product_attention(*wide, attn_mask=mask)
        return attended.to(queries.dtype)
    if backend is None:
        return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    if torch.compiler.is_compiling():  # the compiler can trace neither warnings nor the error below
        with sdpa_kernel(backend):
            return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    try:
        with warnings.catch_warnings(), sdpa_kernel(backend):
            # torch warns, from this one file, of each reason why a kernel was not taken.
            warnings.filterwarnings("ignore", r"(?s).*sdp_utils", UserWarning)
            return functional.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    except RuntimeError as error:
        if not str(error).startswith(("No available kernel", "No viable backend")):
            raise
        raise RuntimeError(
            f"Got kernel={kernel!r}, which torch cannot run on device {queries.device.type!r} with "
            f"{queries.dtype}, heads {queries.shape[-1]} wide and "
            f"{'no mask' if mask is None else 'a mask'}; expected a kernel that can. Pass 'auto', "
            "which takes the fastest one that can, or change the device or the precision. Causal "
            "and padded networks always give a mask, and 'flash' on CUDA takes none."
        ) from error


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
    kernel : str, default="auto"
        Which of torch's kernels computes it, one of `KERNELS`: the same mathematics at another
        cost in memory and time. "auto" leaves the choice to torch. Another kernel refuses what it
        has no code for, masks included: "flash" on CUDA takes none.
    head_values : int
        Number of heads which have values of their own, given by the subclass.

    Raises
    ------
    ValueError
        If ``num_heads`` is no positive divisor of ``d_model``, or ``kernel`` is unknown.
    """

    sees_whole_sequence: ClassVar[bool] = False

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        dropout: float = 0.0,
        kernel: str = "auto",
        *,
        head_values: int,
    ) -> None:
        super().__init__()
        check_width(d_model, num_heads)
        if kernel not in KERNELS:
            raise ValueError(f"Got kernel={kernel!r}; expected one of {list(KERNELS)}.")
        self.num_heads = num_heads
        self.head_width = d_model // num_heads
        self.kernel = kernel
        self.query = nn.Linear(d_model, d_model)
        self.key = nn.Linear(d_model, d_model)
        self.value = nn.Linear(d_model, head_values * self.head_width)
        self.dropout = Dropout(dropout)
        self.output = nn.Linear(head_values * self.head_width, d_model)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        mask: Tensor | None = None,
        query_positions: Tensor | None = None,
        key_positions: Tensor | None = None,
    ) -> Tensor:
        """Attend to ``value`` where ``query`` meets ``key``.

        Parameters
        ----------
        query : Tensor of shape (batch, query_time, d_model)
        key, value : Tensor of shape (batch, key_time, d_model)
        mask : Tensor broadcastable to (batch, head, query_time, key_time), bool, or None
            True where a key may be attended. Every query must have one.
        query_positions, key_positions : Tensor of shape (batch or 1, time), or None
            Positions of the steps, both or none: where given, queries and keys are turned by them
            (`rotate`), so that the scores know how far apart two steps are.

        Returns
        -------
        Tensor of shape (batch, query_time, d_model)

        Raises
        ------
        ValueError
            If only one of the positions is given, or they are and the heads' width is odd.
        RuntimeError
            If the kernel cannot run on this device, dtype or mask.
        """
        _check_positions(query_positions, key_positions)
        queries = self._turn(self.query(query), query_positions)
        keys, values = self._turn(self.key(key), key_positions), self._split(self.value(value))
        return self._read(queries, keys, values, mask)

    def project(self, source: Tensor, positions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Project ``source`` to what a cache holds, for `attend`.

        Parameters
        ----------
        source : Tensor of shape (batch, time, d_model)
            Keys and values at once.
        positions : Tensor of shape (batch or 1, time), or None
            Positions of the steps, if the queries have any.

        Returns
        -------
        keys : Tensor of shape (batch, head, time, head_width)
        values : Tensor of shape (batch, head or 1, time, head_width)
        """
        return self._turn(self.key(source), positions), self._split(self.value(source))

    def attend(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor | None = None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Attend to projected keys and values.

        Parameters
        ----------
        query : Tensor of shape (batch, query_time, d_model)
        keys, values : Tensor
            As `project` returns them, perhaps joined from several calls along time.
        mask, positions : Tensor or None
            As ``mask`` and ``query_positions`` of `forward`.

        Returns
        -------
        Tensor of shape (batch, query_time, d_model)
        """
        return self._read(self._turn(self.query(query), positions), keys, values, mask)

    def weights(
        self,
        query: Tensor,
        key: Tensor,
        mask: Tensor | None = None,
        query_positions: Tensor | None = None,
        key_positions: Tensor | None = None,
    ) -> Tensor:
        """Return the attention weights of every head; the arguments are those of `forward`.

        Returns
        -------
        Tensor of shape (batch, head, query_time, key_time)
            Rows sum to one and are zero where the mask is False.
        """
        _check_positions(query_positions, key_positions)
        queries = self._turn(self.query(query), query_positions)
        keys = self._turn(self.key(key), key_positions)
        # (batch, head, query_time, width) times (batch, head, width, key_time)
        scores = queries @ keys.transpose(-2, -1) / self.head_width**0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf"))
        return torch.softmax(scores, dim=-1)

    def last_maps(self) -> list[nn.Linear]:
        """Return the linear maps whose outputs are the layer's."""
        return [self.output]

    def _read(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        # (batch, head or 1, key_time, width) -> (batch, head, key_time, width)
        values = values.expand(-1, self.num_heads, -1, -1)
        attended = _attend_by_kernel(queries, keys, values, mask, self.kernel)
        output: Tensor = self.output(self.dropout(self._merge(attended)))
        return output

    def _split(self, x: Tensor) -> Tensor:
        # (batch, time, head * width) -> (batch, head, time, width)
        return x.unflatten(-1, (-1, self.head_width)).transpose(1, 2)

    def _turn(self, x: Tensor, positions: Tensor | None) -> Tensor:
        heads = self._split(x)
        return heads if positions is None else rotate(heads, positions)

    @abstractmethod
    def _merge(self, attended: Tensor) -> Tensor:
        """Join what the heads (batch, head, query_time, head_width) read into one sequence."""


def _check_positions(query_positions: Tensor | None, key_positions: Tensor | None) -> None:
    if (query_positions is None) != (key_positions is None):
        lacking = "query" if query_positions is None else "key"
        raise ValueError(
            f"Got no {lacking}_positions but the others; expected both or none. Pass the positions "
            "of queries and keys."
        )


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
    kernel : str, default="auto"
        Which of torch's kernels computes it, one of `KERNELS`.

    Raises
    ------
    ValueError
        If ``num_heads`` is no positive divisor of ``d_model``, or ``kernel`` is unknown.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import InterpretableMultiHeadAttention
    >>> attention = InterpretableMultiHeadAttention(6, 3)
    >>> query, key = torch.ones(2, 5, 6), torch.ones(2, 7, 6)
    >>> attention(query, key, key).shape, attention.weights(query, key).shape
    (torch.Size([2, 5, 6]), torch.Size([2, 3, 5, 7]))
    """

    def __init__(
        self, d_model: int, num_heads: int, dropout: float = 0.0, kernel: str = "auto"
    ) -> None:
        super().__init__(d_model, num_heads, dropout, kernel, head_values=1)

    def _merge(self, attended: Tensor) -> Tensor:
        # (batch, head, query_time, width) -> (batch, query_time, width)
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
    kernel : str, default="auto"
        Which of torch's kernels computes it, one of `KERNELS`.

    Raises
    ------
    ValueError
        If ``num_heads`` is no positive divisor of ``d_model``, or ``kernel`` is unknown.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import MultiHeadAttention
    >>> MultiHeadAttention(6, 3)(torch.ones(2, 5, 6), *[torch.ones(2, 7, 6)] * 2).shape
    torch.Size([2, 5, 6])
    """

    def __init__(
        self, d_model: int, num_heads: int, dropout: float = 0.0, kernel: str = "auto"
    ) -> None:
        super().__init__(d_model, num_heads, dropout, kernel, head_values=num_heads)

    def _merge(self, attended: Tensor) -> Tensor:
        # (batch, head, query_time, width) -> (batch, query_time, head * width)
        return attended.transpose(1, 2).flatten(-2)


ATTENTIONS: Mapping[
    str,
    type[InterpretableMultiHeadAttention] | type[MultiHeadAttention] | type[FrequencyAttention],
] = MappingProxyType(
    {
        "interpretable": InterpretableMultiHeadAttention,
        "multi_head": MultiHeadAttention,
        "frequency": FrequencyAttention,
    }
)


def check_modes(attention: str, num_modes: int) -> None:
    """Raise a ValueError if a number of modes is chosen for an attention that has no modes."""
    if attention != "frequency" and num_modes != DEFAULT_MODES:
        raise ValueError(
            f"Got num_modes={num_modes} with attention={attention!r}; expected the default, "
            f"{DEFAULT_MODES}, for only 'frequency' reads it. Pass attention='frequency', or leave "
            "num_modes out."
        )


def make_attention(
    kind: str,
    d_model: int,
    num_heads: int,
    dropout: float = 0.0,
    kernel: str = "auto",
    num_modes: int = DEFAULT_MODES,
) -> Attention | FrequencyAttention:
    """Build the attention named ``kind``, one of `ATTENTIONS`.

    ``kernel`` is that of the dot-product attentions, ``num_modes`` that of frequency attention;
    ``sees_whole_sequence`` of the result says whether it can be causal.

    Raises
    ------
    ValueError
        If no attention has that name, frequency attention is given a kernel, or another one a
        number of modes.

    Examples
    --------
    >>> make_attention("multi_head", 6, 3).num_heads
    3
    """
    if kind not in ATTENTIONS:
        raise ValueError(f"Got attention={kind!r}; expected one of {list(ATTENTIONS)}.")
    check_modes(kind, num_modes)
    attention = ATTENTIONS[kind]
    if not issubclass(attention, FrequencyAttention):
        return attention(d_model, num_heads, dropout, kernel)
    if kernel != "auto":
        raise ValueError(
            f"Got kernel={kernel!r} for attention={kind!r}; expected 'auto', for there are no "
            "other ways to compute it. Choose a dot-product attention to choose its kernel."
        )
    return attention(d_model, num_heads, dropout, num_modes)
