"""Feed-forward networks: what a transformer block does to every step by itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from sktime_tlstm.nn.exporting import is_readable
from sktime_tlstm.nn.randomness import Dropout

ACTIVATIONS: Mapping[str, type[nn.Module]] = MappingProxyType(
    {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}
)


def _hidden_width(d_model: int, dim_feedforward: int | None) -> int:
    if dim_feedforward is None:
        return 4 * d_model
    if dim_feedforward < 1:
        raise ValueError(
            f"Got dim_feedforward={dim_feedforward}; expected 1 or more. Pass None for four times "
            "d_model."
        )
    return dim_feedforward


class FeedForward(nn.Module):
    r"""Two linear maps with an activation between them.

    .. math:: y = W_2 \, \mathrm{Dropout}(\phi(W_1 x + b_1)) + b_2

    Vaswani et al. 2017, "Attention is all you need", equation 2.

    Parameters
    ----------
    d_model : int
        Width of input and output.
    dim_feedforward : int, optional
        Width of the hidden layer; the default is ``4 * d_model``.
    dropout : float, default=0.0
        Dropout probability of the hidden layer.
    activation : str, default="relu"
        Name of the activation, one of `ACTIVATIONS`.

    Raises
    ------
    ValueError
        If the activation is unknown or ``dim_feedforward`` below 1.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import FeedForward
    >>> FeedForward(5, activation="gelu")(torch.ones(2, 7, 5)).shape
    torch.Size([2, 7, 5])
    """

    def __init__(
        self,
        d_model: int,
        dim_feedforward: int | None = None,
        dropout: float = 0.0,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"Got activation={activation!r}; expected one of {list(ACTIVATIONS)}.")
        width = _hidden_width(d_model, dim_feedforward)
        self.hidden = nn.Linear(d_model, width)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = Dropout(dropout)
        self.output = nn.Linear(width, d_model)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map every step of ``x`` (..., d_model); ``mask`` is that of `MixtureOfExperts`."""
        output: Tensor = self.output(self.dropout(self.activation(self.hidden(x))))
        return output

    def last_maps(self) -> list[nn.Linear]:
        """Return the linear maps whose outputs are the layer's."""
        return [self.output]


class SwiGLU(nn.Module):
    r"""Feed-forward network whose hidden layer is gated.

    .. math:: y = W_2 \, \mathrm{Dropout}(\mathrm{SiLU}(W x + b) \odot (V x + c)) + b_2

    Shazeer 2020, "GLU variants improve transformer", equation 6. It has three matrices where the
    plain network has two, so its hidden layer is 2/3 as wide: the parameters are as many.

    Parameters
    ----------
    d_model : int
        Width of input and output.
    dim_feedforward : int, optional
        Hidden width of the plain network that it matches; the default is ``4 * d_model``.
    dropout : float, default=0.0
        Dropout probability of the hidden layer.

    Raises
    ------
    ValueError
        If ``dim_feedforward`` is below 1.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import SwiGLU
    >>> network = SwiGLU(5, dim_feedforward=12)
    >>> network(torch.ones(2, 7, 5)).shape, network.output.in_features
    (torch.Size([2, 7, 5]), 8)
    """

    def __init__(
        self, d_model: int, dim_feedforward: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        width = round(_hidden_width(d_model, dim_feedforward) * 2 / 3)
        self.hidden = nn.Linear(d_model, 2 * width)  # gates first, values last
        self.dropout = Dropout(dropout)
        self.output = nn.Linear(width, d_model)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map every step of ``x`` (..., d_model); ``mask`` is that of `MixtureOfExperts`."""
        gates, values = self.hidden(x).chunk(2, dim=-1)
        output: Tensor = self.output(self.dropout(functional.silu(gates) * values))
        return output

    def last_maps(self) -> list[nn.Linear]:
        """Return the linear maps whose outputs are the layer's."""
        return [self.output]


#: Kinds of experts of a mixture.
EXPERTS = (*ACTIVATIONS, "swiglu")


class MixtureOfExperts(nn.Module):
    r"""Feed-forward networks of which a router chooses a few for each step.

    .. math:: p = \mathrm{softmax}(W_r x), \qquad
              y = \sum_{e \in \mathrm{top}_k(p)} g_e \, \mathrm{FFN}_e(x), \qquad
              g_e = p_e \Big/ \sum_{j \in \mathrm{top}_k(p)} p_j

    Shazeer et al. 2017, "Outrageously large neural networks". With ``experts_per_token=1`` the gate
    is ``p_e`` itself (Fedus et al. 2021, "Switch transformers", equation 2): renormalized it would
    be one, and the router would learn nothing. The experts are `FeedForward` networks, or `SwiGLU`.

    In training two losses are kept for `auxiliary_loss`, over the real steps only: the balance of
    load, ``num_experts * sum_e f_e P_e`` (Fedus et al. 2021, equation 4; ``f_e`` the share of
    choices that fell on expert e, ``P_e`` its mean probability; 1 where all are used alike), and
    the router's ``mean logsumexp(W_r x)^2`` (Zoph et al. 2022, "ST-MoE", equation 5).

    On the CPU an expert sees the steps that are sent to it alone. A GPU would have to be waited for
    to learn how many these are: there, without a capacity, every expert sees every step, and most
    of what they say is weighed by zero.

    Parameters
    ----------
    d_model : int
        Width of input and output.
    dim_feedforward : int, optional
        Hidden width of each expert; the default is ``4 * d_model``.
    dropout : float, default=0.0
        Dropout probability of the hidden layers.
    num_experts : int, default=4
        Number of experts.
    experts_per_token : int, default=2
        Number of experts that each step is sent to.
    capacity_factor : float, optional
        In training an expert takes at most ``capacity_factor`` times its even share of the steps of
        a batch; those beyond get nothing from it (first choices come before second ones, earlier
        steps before later ones). None, the default, for no bound. There is none in evaluation,
        where a row must not depend on its batch.
    balance_weight : float, default=0.01
        Weight of the load-balancing loss.
    z_weight : float, default=0.001
        Weight of the router's loss.
    expert : {"relu", "gelu", "silu", "swiglu"}, default="gelu"
        Kind of each expert, one of `EXPERTS`.

    Attributes
    ----------
    expert_load : Tensor of shape (num_experts,)
        Shares of the choices that fell on each expert in the last forward pass, before any bound.

    Raises
    ------
    ValueError
        If ``experts_per_token`` is not in 1 to ``num_experts``, ``capacity_factor`` is not above 0,
        or ``expert`` is unknown.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import MixtureOfExperts, auxiliary_loss
    >>> network = MixtureOfExperts(5, num_experts=3, experts_per_token=2)
    >>> network(torch.randn(2, 7, 5)).shape, network.expert_load.shape
    (torch.Size([2, 7, 5]), torch.Size([3]))
    >>> bool(auxiliary_loss(network) > 0)
    True
    """

    expert_load: Tensor

    def __init__(
        self,
        d_model: int,
        dim_feedforward: int | None = None,
        dropout: float = 0.0,
        num_experts: int = 4,
        experts_per_token: int = 2,
        capacity_factor: float | None = None,
        balance_weight: float = 0.01,
        z_weight: float = 0.001,
        expert: str = "gelu",
    ) -> None:
        super().__init__()
        if not 1 <= experts_per_token <= num_experts:
            raise ValueError(
                f"Got experts_per_token={experts_per_token} and num_experts={num_experts}; "
                "expected 1 <= experts_per_token <= num_experts. Send each step to fewer experts, "
                "or build more."
            )
        if capacity_factor is not None and not capacity_factor > 0:
            raise ValueError(
                f"Got capacity_factor={capacity_factor}; expected a number above 0. Pass None for "
                "experts without a bound."
            )
        if expert not in EXPERTS:
            raise ValueError(f"Got expert={expert!r}; expected one of {list(EXPERTS)}.")
        self.experts_per_token = experts_per_token
        self.capacity_factor = capacity_factor
        self.balance_weight = balance_weight
        self.z_weight = z_weight
        self.router = nn.Linear(d_model, num_experts, bias=False)
        self.experts = nn.ModuleList(
            SwiGLU(d_model, dim_feedforward, dropout)
            if expert == "swiglu"
            else FeedForward(d_model, dim_feedforward, dropout, expert)
            for _ in range(num_experts)
        )
        self.register_buffer("expert_load", torch.zeros(num_experts), persistent=False)
        self._losses: list[Tensor] = []

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Send every real step to its experts.

        Parameters
        ----------
        x : Tensor of shape (batch, time, d_model)
        mask : Tensor of shape (batch, time), bool, or None
            True at real steps; None where nothing is padded.

        Returns
        -------
        Tensor of shape (batch, time, d_model)
            Zero in the padding.
        """
        blind = x.device.type != "cpu" and self._capacity(1) is None
        if blind or not is_readable(x):
            return self._mix_all(x, mask)
        # (batch, time, d_model) -> (token, d_model), a token being a real step
        tokens = x.flatten(0, -2) if mask is None else x[mask]
        logits = self._route(tokens)
        probabilities = torch.softmax(logits, dim=-1)
        gates, experts = self._choose(probabilities)
        self._observe(logits, probabilities, experts)
        mixed = self._dispatch(tokens, gates, experts)
        if mask is None:
            # (token, d_model) -> (batch, time, d_model)
            return mixed.view_as(x)
        # (token, d_model) -> (batch, time, d_model), the tokens in the places they were taken from
        return torch.zeros_like(x).masked_scatter(mask[..., None], mixed)

    def _mix_all(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Do what `forward` does, without a look at any choice: every expert sees every step."""
        if self._capacity(1) is not None:
            raise ValueError(
                f"Got capacity_factor={self.capacity_factor} in a training pass that is exported "
                "or has no values; expected evaluation, for it cannot be told which steps lie "
                "beyond the capacity. Call eval() first."
            )
        if mask is not None:  # zero times infinity is not zero, in gradients neither
            x = x.masked_fill(~mask[..., None], 0.0)
        logits = self._route(x)
        probabilities = torch.softmax(logits, dim=-1)
        gates, experts = self._choose(probabilities)
        if is_readable(x):
            # (batch, time, ...) -> (token, ...)
            self._observe(
                logits.flatten(0, -2),
                probabilities.flatten(0, -2),
                experts.flatten(0, -2),
                None if mask is None else mask.flatten(),
            )
        # (batch, time, choice) -> (batch, time, expert), zero where an expert was not chosen
        shares = torch.zeros_like(probabilities).scatter(-1, experts, gates).to(x.dtype)
        outputs = [
            # (batch, time, 1) times (batch, time, d_model)
            shares[..., number, None] * expert(x)
            for number, expert in enumerate(self.experts)
        ]
        mixed = torch.stack(outputs).sum(0)
        return mixed if mask is None else mixed.masked_fill(~mask[..., None], 0.0)

    def last_maps(self) -> list[nn.Linear]:
        """Return the linear maps whose outputs are the layer's: those of all experts."""
        return [
            last
            for expert in self.experts
            for last in cast(FeedForward | SwiGLU, expert).last_maps()
        ]

    def hand_over_losses(self) -> list[Tensor]:
        """Return the losses that are kept, each of shape (), and keep them no longer."""
        losses, self._losses = self._losses, []
        return losses

    def keep_losses(self, losses: list[Tensor]) -> None:
        """Keep these losses, each of shape (), in the place of those kept so far."""
        self._losses = losses

    def __getstate__(self) -> dict[str, object]:
        """Leave the kept losses behind, whose graph can be neither copied nor pickled."""
        return {**self.__dict__, "_losses": []}

    def _route(self, tokens: Tensor) -> Tensor:
        # In float32 at least, in mixed precision too: rounded logits choose other experts.
        dtype = torch.promote_types(tokens.dtype, torch.float32)
        # The meta device knows no autocast.
        with torch.autocast("cpu" if tokens.is_meta else tokens.device.type, enabled=False):
            return functional.linear(tokens.to(dtype), self.router.weight.to(dtype))

    def _choose(self, probabilities: Tensor) -> tuple[Tensor, Tensor]:
        # (..., expert) -> gates and experts, best first, each (..., experts_per_token)
        gates, experts = probabilities.topk(self.experts_per_token, dim=-1)
        if self.experts_per_token > 1:
            gates = gates / gates.sum(dim=-1, keepdim=True)
        return gates, experts

    def _observe(
        self, logits: Tensor, probabilities: Tensor, experts: Tensor, real: Tensor | None = None
    ) -> None:
        if not logits.shape[0]:  # no step, no mean
            return
        # (token, choice) -> (token, choice, expert)
        chosen = functional.one_hot(experts, len(self.experts)).to(probabilities.dtype)
        load = chosen.mean(dim=(0, 1)) if real is None else _mean(chosen.mean(dim=1), real)
        recomputing = _is_recomputing()
        if not recomputing:
            self.expert_load = load
        if not self.training or not torch.is_grad_enabled():
            return
        balance = len(self.experts) * (load * _mean(probabilities, real)).sum()
        z_loss = _mean(logits.logsumexp(dim=-1).square(), real)
        loss = self.balance_weight * balance + self.z_weight * z_loss
        # A recomputation must do all that the first run did, and keep its loss from counting twice.
        if not recomputing:
            self._losses.append(loss)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _dispatch(self, tokens: Tensor, gates: Tensor, experts: Tensor) -> Tensor:
        # Choices are numbered choice * len(tokens) + token: first choices come first. Sorted by
        # expert, each expert's choices lie together and keep that order.
        # (token, choice) -> (choice * token)
        experts, gates = experts.T.flatten(), gates.T.flatten().to(tokens.dtype)
        order = torch.argsort(experts, stable=True)
        counts = torch.bincount(experts, minlength=len(self.experts)).tolist()
        capacity = self._capacity(len(experts))
        mixed = torch.zeros_like(tokens)
        # An expert without steps runs too, on none, so that its gradient is zero and not missing.
        for expert, chosen in zip(self.experts, order.split(counts), strict=True):
            chosen = chosen[:capacity]
            # numbers of choices -> numbers of tokens
            rows = chosen % len(tokens)
            output = gates[chosen, None] * expert(tokens[rows])
            mixed.index_add_(0, rows, output.to(mixed.dtype))
        return mixed

    def _capacity(self, choices: int) -> int | None:
        if self.capacity_factor is None or not self.training:
            return None
        return math.ceil(self.capacity_factor * choices / len(self.experts))


def _mean(values: Tensor, real: Tensor | None) -> Tensor:
    """Return the mean of ``values`` (token, ...) over the tokens that are real (token,)."""
    if real is None:
        return values.mean(dim=0)
    # No boolean index, which a device is waited for, and no matrix product, which autocast rounds.
    weight = (real / real.sum().clamp(min=1)).to(values.dtype)
    return (weight.reshape(-1, *[1] * (values.ndim - 1)) * values).sum(dim=0)


def _is_recomputing() -> bool:
    # A forward pass within a backward pass is the second run of a checkpointed block. Only the
    # graph task says so, and torch has no public name for it. A compiled backward pass never
    # comes here.
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def auxiliary_loss(network: nn.Module) -> Tensor:
    """Hand over the losses of all mixtures of experts since they were last read or forgotten.

    A block that is applied several times in a pass contributes as often; a gradient-checkpointed
    block contributes once. The losses leave the network, so that no graph stays in it: a second
    call returns zero.

    Parameters
    ----------
    network : nn.Module
        Any network, with or without a `MixtureOfExperts` in it.

    Returns
    -------
    Tensor of shape ()
        Zero in evaluation, without gradients and where there is no mixture of experts.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import auxiliary_loss
    >>> auxiliary_loss(torch.nn.Linear(2, 3))
    tensor(0.)
    """
    parameter = next(network.parameters(), None)
    losses = [loss for mixture in _mixtures(network) for loss in mixture.hand_over_losses()]
    if losses:
        return torch.stack(losses).sum()
    return torch.zeros(()) if parameter is None else parameter.new_zeros(())


def forget_auxiliary_loss(network: nn.Module) -> None:
    """Drop the losses that no `auxiliary_loss` has read.

    A network does this where its forward pass starts, so that a pass that nobody trained on leaves
    nothing to the next.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import MixtureOfExperts, auxiliary_loss, forget_auxiliary_loss
    >>> network = MixtureOfExperts(5)
    >>> output = network(torch.randn(2, 7, 5))
    >>> forget_auxiliary_loss(network)
    >>> auxiliary_loss(network)
    tensor(0.)
    """
    for mixture in _mixtures(network):
        mixture.hand_over_losses()


@contextmanager
def auxiliary_loss_untouched(network: nn.Module) -> Iterator[None]:
    """Keep what `auxiliary_loss` would read as it is, whatever the network does within.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import MixtureOfExperts, auxiliary_loss
    >>> network = MixtureOfExperts(5)
    >>> with auxiliary_loss_untouched(network):
    ...     output = network(torch.randn(2, 7, 5))
    >>> auxiliary_loss(network)
    tensor(0.)
    """
    kept = [(mixture, mixture.hand_over_losses()) for mixture in _mixtures(network)]
    try:
        yield
    finally:
        for mixture, losses in kept:
            mixture.keep_losses(losses)


def _mixtures(network: nn.Module) -> list[MixtureOfExperts]:
    return [module for module in network.modules() if isinstance(module, MixtureOfExperts)]


AnyFeedForward = FeedForward | SwiGLU | MixtureOfExperts
_Builder = Callable[[int, int | None, float, int, int, float | None, str], AnyFeedForward]


def _make_plain(activation: str) -> _Builder:
    return lambda d_model, dim_feedforward, dropout, *routing: FeedForward(
        d_model, dim_feedforward, dropout, activation
    )


def _make_mixture(
    d_model: int,
    dim_feedforward: int | None,
    dropout: float,
    num_experts: int,
    experts_per_token: int,
    capacity_factor: float | None,
    expert: str,
) -> MixtureOfExperts:
    routing = num_experts, experts_per_token, capacity_factor
    return MixtureOfExperts(d_model, dim_feedforward, dropout, *routing, expert=expert)


FEEDFORWARDS: Mapping[str, _Builder] = MappingProxyType(
    {
        **{activation: _make_plain(activation) for activation in ACTIVATIONS},
        "swiglu": lambda d_model, dim_feedforward, dropout, *routing: SwiGLU(
            d_model, dim_feedforward, dropout
        ),
        "moe": _make_mixture,
    }
)


#: The options of `make_feedforward` that not all read: their defaults, and who reads them.
_OPTIONS: Mapping[str, tuple[object, tuple[str, ...]]] = MappingProxyType(
    {
        "dim_feedforward": (None, tuple(FEEDFORWARDS)),
        "num_experts": (4, ("moe",)),
        "experts_per_token": (2, ("moe",)),
        "capacity_factor": (None, ("moe",)),
        "expert": ("gelu", ("moe",)),
    }
)


def check_feedforward(
    kind: str | None,
    dim_feedforward: int | None,
    num_experts: int,
    experts_per_token: int,
    capacity_factor: float | None,
    expert: str = "gelu",
) -> None:
    """Raise a ValueError if an option is chosen that the feed-forward network does not read.

    Parameters
    ----------
    kind : str or None
        One of `FEEDFORWARDS`; None for no feed-forward network.
    dim_feedforward, num_experts, experts_per_token, capacity_factor, expert
        As in `make_feedforward`.

    Raises
    ------
    ValueError
        If one is not its default and ``kind`` does not read it, or no network has that name.
    """
    if kind is not None:
        _check_kind(kind)
    given = (dim_feedforward, num_experts, experts_per_token, capacity_factor, expert)
    for value, (name, (default, readers)) in zip(given, _OPTIONS.items(), strict=True):
        if value != default and kind not in readers:
            raise ValueError(
                f"Got {name}={value!r} with feedforward={kind!r}; expected the default, "
                f"{default!r}, for it is read by {list(readers)} only. Choose one of these, or "
                f"leave {name} out."
            )


def _check_kind(kind: str) -> None:
    if kind not in FEEDFORWARDS:
        raise ValueError(f"Got feedforward={kind!r}; expected one of {list(FEEDFORWARDS)}.")


def make_feedforward(
    kind: str,
    d_model: int,
    dim_feedforward: int | None = None,
    dropout: float = 0.0,
    num_experts: int = 4,
    experts_per_token: int = 2,
    capacity_factor: float | None = None,
    expert: str = "gelu",
) -> AnyFeedForward:
    """Build the feed-forward network named ``kind``, called as ``feedforward(x, mask=None)``.

    Parameters
    ----------
    kind : str
        One of `FEEDFORWARDS`.
    d_model : int
        Width of input and output.
    dim_feedforward : int, optional
        Width of the hidden layer; the default is ``4 * d_model``.
    dropout : float, default=0.0
        Dropout probability of the hidden layer.
    num_experts, experts_per_token, capacity_factor, expert : int, int, float, str
        As in `MixtureOfExperts`, and read by "moe" only.

    Raises
    ------
    ValueError
        If no feed-forward network has that name, or one of its widths is impossible.

    Examples
    --------
    >>> make_feedforward("swiglu", 6).output.out_features
    6
    """
    _check_kind(kind)
    build = FEEDFORWARDS[kind]
    sizes = d_model, dim_feedforward, dropout
    return build(*sizes, num_experts, experts_per_token, capacity_factor, expert)
