"""FromTransformerTF: a network trained in TransformerTF, on the channels of our forecasters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sktime_tlstm.nn.attention_lstm import AttentionLSTM
from sktime_tlstm.nn.transformer_lstm import TransformerLSTM
from sktime_tlstm.nn.transformertf import bare_state_dict


class FromTransformerTF(nn.Module):
    """TransformerTF's TransformerLSTM or AttentionLSTM with its weights, for `SkorchForecaster`.

    The architecture is read from the weights, but for what has none. The network picks the channels
    that it was trained on, in their order, out of those of a forecaster and passes over the others:
    flags of what was observed, the step and the window's scale.

    ========  =====================================  ==========================================
    sequence  a forecaster's channels                what is picked
    ========  =====================================  ==========================================
    past      targets, numeric columns of X, flags   numeric columns of X, targets
    future    known columns of X, flags, step, loc   known columns of X
              and log scale of each target
    ========  =====================================  ==========================================

    So X has the columns of TransformerTF's ``known_covariates`` first, in their order, and then
    those of its ``known_past_covariates``, which ``past_covariates`` names. There must be no
    calendar, no lags, no categories and no static covariates.

    Parameters
    ----------
    num_past_features, num_future_features : int
        Numbers of channels of a forecaster's past and future.
    output_dim : int, default=1
        Numbers per future step: targets times parameters of the head.
    state_dict : mapping of str to Tensor
        The weights: a ``state_dict``, of the bare network or of its Lightning module, whose prefix
        ``model.`` is stripped; or the whole content of a Lightning checkpoint.
    num_targets : int, default=1
        Number of targets, the first channels of the past.
    dropout : float, default=0.1
        Dropout probability in training.
    causal_attention : bool, default=True
        As in TransformerTF: whether a future step sees only the past and the future steps before
        it.

    Attributes
    ----------
    network : TransformerLSTM or AttentionLSTM

    Raises
    ------
    ValueError
        If the weights are those of another network, or have other numbers of channels or outputs.

    Examples
    --------
    >>> import torch
    >>> from sktime_tlstm.nn import FromTransformerTF
    >>> sizes = {
    ...     "encoder.weight_ih_l0": (8, 3),
    ...     "encoder.weight_hh_l0": (8, 2),
    ...     "encoder.bias_ih_l0": (8,),
    ...     "encoder.bias_hh_l0": (8,),
    ...     "decoder.weight_ih_l0": (8, 2),
    ...     "decoder.weight_hh_l0": (8, 2),
    ...     "decoder.bias_ih_l0": (8,),
    ...     "decoder.bias_hh_l0": (8,),
    ...     "attention.query_layers.0.weight": (2, 2),
    ...     "attention.query_layers.0.bias": (2,),
    ...     "attention.key_layers.0.weight": (2, 2),
    ...     "attention.key_layers.0.bias": (2,),
    ...     "attention.value_layer.weight": (2, 2),
    ...     "attention.value_layer.bias": (2,),
    ...     "attention.output_layer.weight": (2, 2),
    ...     "attention.output_layer.bias": (2,),
    ...     "layer_norm.weight": (2,),
    ...     "layer_norm.bias": (2,),
    ...     "output_head.weight": (1, 2),
    ...     "output_head.bias": (1,),
    ... }
    >>> weights = {f"model.{name}": torch.ones(size) for name, size in sizes.items()}
    >>> network = FromTransformerTF(6, 7, state_dict={"state_dict": weights})
    >>> type(network.network).__name__, network.network.widths
    ('AttentionLSTM', (3, 2))
    >>> network(torch.ones(2, 11, 6), torch.ones(2, 5, 7)).shape
    torch.Size([2, 5, 1])
    """

    #: Whether training in bfloat16 does as well.
    trains_in_bfloat16 = True
    #: Whether the network forecasts before any training.
    comes_trained = True

    def __init__(
        self,
        num_past_features: int,
        num_future_features: int,
        output_dim: int = 1,
        *,
        state_dict: Mapping[str, Any],
        num_targets: int = 1,
        dropout: float = 0.1,
        causal_attention: bool = True,
    ) -> None:
        super().__init__()
        weights = bare_state_dict(state_dict)
        _check_names(weights)
        build = _transformer_lstm if "encoder_grn.fc1.weight" in weights else _attention_lstm
        self.network = build(weights, dropout=dropout, causal_attention=causal_attention)
        past, self.num_known = self.network.widths
        self.num_targets, self.num_numeric = num_targets, past - num_targets
        self._check_widths(num_past_features, num_future_features)
        if self.network.output.out_features != output_dim:
            raise ValueError(
                f"Got weights with {self.network.output.out_features} outputs, expected "
                f"{output_dim} for {num_targets} targets and this loss. Pass the loss that they "
                "were trained with: loss='mse' for 1 output, loss='quantile' and its quantiles."
            )
        if not self.network.output.weight.is_meta:  # where only shapes are asked for
            self.network.load_transformertf_state_dict(weights)

    def forward(
        self,
        past: Tensor,
        future: Tensor,
        past_lengths: Tensor | None = None,
        future_lengths: Tensor | None = None,
    ) -> Tensor:
        """Map a past and a known future to the numbers of every future step.

        Parameters
        ----------
        past : Tensor of shape (batch, past_time, num_past_features)
        future : Tensor of shape (batch, future_time, num_future_features)
        past_lengths, future_lengths : Tensor of shape (batch,), int64, or None
            Numbers of real steps, at least 1; None where nothing is padded.

        Returns
        -------
        Tensor of shape (batch, future_time, output_dim)
        """
        output: Tensor = self.network(*self._picked(past, future), past_lengths, future_lengths)
        return output

    def attention_weights(
        self,
        past: Tensor,
        future: Tensor,
        past_lengths: Tensor | None = None,
        future_lengths: Tensor | None = None,
    ) -> Tensor:
        """Return where the future looks, (batch, head, future_time, past_time + future_time)."""
        lengths = past_lengths, future_lengths
        weights: Tensor = self.network.attention_weights(*self._picked(past, future), *lengths)
        return weights

    def _picked(self, past: Tensor, future: Tensor) -> tuple[Tensor, Tensor]:
        """Return TransformerTF's channels, in its order."""
        targets, numeric = past.split([self.num_targets, past.shape[-1] - self.num_targets], dim=-1)
        # (batch, time, numeric + target) and (batch, time, known)
        return (
            torch.cat([numeric[..., : self.num_numeric], targets], dim=-1),
            future[..., : self.num_known],
        )

    def _check_widths(self, num_past_features: int, num_future_features: int) -> None:
        targets, numeric, known = self.num_targets, self.num_numeric, self.num_known
        # a flag beside each; the step, loc and log scale of each target
        expected = 2 * (targets + numeric), 2 * known + 1 + 2 * targets
        got = num_past_features, num_future_features
        if got != expected or numeric < known:
            raise ValueError(
                f"Got windows with {got[0]} channels of the past and {got[1]} of the future, "
                f"expected {expected[0]} and {expected[1]}: the weights read {known} known and "
                f"{max(numeric - known, 0)} past covariates and {targets} targets. Pass X with "
                "these columns, the past ones named by past_covariates, time_features=(), "
                "target_lags=(), and no categories or identities of series."
            )


def _check_names(weights: Mapping[str, Any]) -> None:
    """Raise a ValueError unless there is all that tells the architecture."""
    needed = ["encoder.weight_hh_l0", "decoder.weight_hh_l0", "output_head.weight"]
    needed += ["encoder.weight_ih_l0", "decoder.weight_ih_l0"]
    missing = [name for name in needed if name not in weights]
    if missing:
        raise ValueError(
            f"Got weights without {missing}, the names of TransformerTF's TransformerLSTM and "
            f"AttentionLSTM; they begin with {list(weights)[:3]}. Pass the state_dict of one of "
            "these."
        )


def _transformer_lstm(weights: Mapping[str, Tensor], **options: Any) -> TransformerLSTM:
    blocks = [int(found[1]) for name in weights if (found := _BLOCK.match(name))]
    recurrent = [name.partition(".")[2] for name in weights if name.startswith("encoder.")]
    shared = all(
        torch.equal(weights[f"encoder.{name}"], weights[f"decoder.{name}"])
        for name in recurrent
        if f"decoder.{name}" in weights
    )
    return TransformerLSTM(
        weights["encoder_grn.fc1.weight"].shape[1],
        weights["decoder_grn.fc1.weight"].shape[1],
        weights["output_head.weight"].shape[0],
        d_model=weights["output_head.weight"].shape[1],
        num_layers=_num_layers(weights),
        num_transformer_blocks=max(blocks, default=-1) + 1,
        num_heads=_num_heads(weights),
        share_lstm_weights=shared,
        trainable_add=_has_masks(weights),
        **options,
    )


def _attention_lstm(weights: Mapping[str, Tensor], **options: Any) -> AttentionLSTM:
    return AttentionLSTM(
        weights["encoder.weight_ih_l0"].shape[1],
        weights["decoder.weight_ih_l0"].shape[1],
        weights["output_head.weight"].shape[0],
        d_encoder=weights["encoder.weight_hh_l0"].shape[1],
        d_decoder=weights["decoder.weight_hh_l0"].shape[1],
        num_layers=_num_layers(weights),
        num_heads=_num_heads(weights),
        use_gating=any(name.startswith("gate_add_norm.") for name in weights),
        trainable_add=_has_masks(weights),
        **options,
    )


_BLOCK = re.compile(r"transformer_blocks\.(\d+)\.")


def _num_layers(weights: Mapping[str, Tensor]) -> int:
    return sum(name.startswith("encoder.weight_hh_l") for name in weights)


def _num_heads(weights: Mapping[str, Tensor]) -> int:
    found = [re.search(r"query_layers\.(\d+)\.", name) for name in weights]
    return max((int(one[1]) for one in found if one), default=0) + 1


def _has_masks(weights: Mapping[str, Tensor]) -> bool:
    return any(name.endswith(".mask") for name in weights)
