"""TransformerLSTMForecaster: the flagship, with the network's parameters flat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sktime_tlstm.forecaster import SkorchForecaster
from sktime_tlstm.nn import TransformerLSTM

__all__ = ["TransformerLSTMForecaster"]

NETWORK_PARAMETERS = (
    "d_model",
    "num_layers",
    "num_transformer_blocks",
    "num_heads",
    "dropout",
    "causal_attention",
    "attention",
    "num_modes",
    "encoder_attention",
    "share_lstm_weights",
    "trainable_add",
    "norm",
    "norm_first",
    "final_norm",
    "feedforward",
    "dim_feedforward",
    "num_experts",
    "experts_per_token",
    "capacity_factor",
    "share_layers",
    "gradient_checkpointing",
)


class TransformerLSTMForecaster(SkorchForecaster):
    """Forecast with an LSTM encoder-decoder refined by gated transformer blocks.

    The encoder reads the past, the decoder starts from its state and reads what is known of the
    future: covariates, calendar, the target one and seven seasons before. Gated attention blocks
    then let every forecast step look at all of the past and of the future. Trained by
    `SkorchForecaster`, whose parameters it shares.

    Without any argument it works on any series: the context is four seasons (of a day for hourly
    data; 64 rows where the index has no season), at least two horizons, at most 384 rows and what
    the data has; the horizon is that of ``fh`` in ``fit``, else ``prediction_length``, else one
    season; training takes at most 10 epochs of 2,560 windows, 400 steps of 64 windows, with
    smaller batches and fewer steps (at least 20 an epoch) on small data.

    Parameters
    ----------
    d_model : int, default=64
        Width of all layers, a multiple of ``num_heads``.
    num_layers : int, default=1
        LSTM layers of the encoder and of the decoder.
    num_transformer_blocks : int, default=1
        Attention blocks; 0 leaves the LSTM encoder-decoder with gated residual inputs.
    num_heads : int, default=4
    dropout : float, default=0.0
    causal_attention : bool, default=False
        Whether a forecast step may attend to earlier steps of the future only.
    attention : {"multi_head", "interpretable", "frequency"}, default="multi_head"
        "interpretable" shares the values over all heads (Lim et al. 2021). "frequency" mixes a few
        Fourier modes of the whole sequence (Zhou et al. 2022), and is never causal.
    num_modes : int, default=32
        Of "frequency": how many of the lowest modes are kept, at least 2. A cycle is lost that
        comes round ``num_modes`` times or more within context and horizon together.
    encoder_attention : bool, default=False
        Whether the blocks refine the encoded past by self-attention too.
    share_lstm_weights : bool, default=False
        Use one LSTM as encoder and decoder.
    trainable_add : bool, default=False
        Scale the residuals within blocks by learned factors.
    norm : {"layer", "rms", "adaptive"}, default="layer"
        Normalisation within blocks. Gain and bias of "adaptive" follow the mean of the window's
        past and its static covariates.
    norm_first : bool, default=False
        Normalise the input of each branch of a block, and not the sum.
    final_norm : bool, default=False
        Normalise in front of the output.
    feedforward : {None, "relu", "gelu", "silu", "swiglu", "moe"}, default=None
        The feed-forward layer after each attention; "moe" is a mixture of experts.
    dim_feedforward : int or None, default=None
        Width within feed-forward layers; None for ``4 * d_model``.
    num_experts : int, default=4
    experts_per_token : int, default=2
        Of "moe": how many experts there are, and how many see each step.
    capacity_factor : float or None, default=None
        Of "moe": how full an expert may get in training, as a multiple of its even share.
    share_layers : bool, default=False
        Apply one block ``num_transformer_blocks`` times.
    gradient_checkpointing : bool, default=False
        Train with less memory and more time, to the same result.
    **parameters
        All other parameters are those of `SkorchForecaster`.

    See Also
    --------
    SkorchForecaster : all other parameters, attributes and errors.
    sktime_tlstm.nn.TransformerLSTM : the network.

    References
    ----------
    Lim, Arik, Loeff, Pfister 2021, "Temporal Fusion Transformers for interpretable multi-horizon
    time series forecasting", International Journal of Forecasting 37(4).

    Zhou, Ma, Wen, Wang, Sun, Jin 2022, "FEDformer: Frequency enhanced decomposed transformer for
    long-term series forecasting", ICML. The sources of the other options stand with their layers
    in `sktime_tlstm.nn`.

    Examples
    --------
    >>> from sktime.datasets import load_longley
    >>> from sktime.split import temporal_train_test_split
    >>> from sktime_tlstm import TransformerLSTMForecaster
    >>> y, X = load_longley()
    >>> y_train, y_test, X_train, X_future = temporal_train_test_split(y, X, test_size=2)
    >>> forecaster = TransformerLSTMForecaster(d_model=8, max_epochs=1, random_state=0)
    >>> forecaster.fit(y_train, X=X_train, fh=[1, 2]).predict(X=X_future).shape
    (2,)
    >>> forecaster.predict_interval(X=X_future, coverage=0.9).shape
    (2, 2)
    """

    def __init__(
        self,
        context_length=None,
        prediction_length=None,
        d_model=64,
        num_layers=1,
        num_transformer_blocks=1,
        num_heads=4,
        dropout=0.0,
        causal_attention=False,
        attention="multi_head",
        num_modes=32,
        encoder_attention=False,
        share_lstm_weights=False,
        trainable_add=False,
        norm="layer",
        norm_first=False,
        final_norm=False,
        feedforward=None,
        dim_feedforward=None,
        num_experts=4,
        experts_per_token=2,
        capacity_factor=None,
        share_layers=False,
        gradient_checkpointing=False,
        window_sampling="by_series",
        max_windows_per_epoch=2560,
        past_covariates=None,
        static_covariates=None,
        series_embedding=False,
        time_features="auto",
        target_lags="auto",
        scaler="auto",
        window_norm="meanstd",
        loss="quantile",
        quantiles=None,
        calibration="none",
        num_samples=200,
        max_epochs=10,
        batch_size=64,
        lr=2e-3,
        optimizer="adamw",
        weight_decay=0.3,
        gradient_clip=1.0,
        lr_schedule="onecycle",
        validation_fraction=None,
        patience=3,
        finetune_epochs=2,
        update_epochs=1,
        num_members=1,
        callbacks=None,
        net_params=None,
        device="auto",
        precision="float32",
        compile=False,
        random_state=None,
        verbose=0,
    ):
        self._set_up(locals())

    def _network(self) -> tuple[Callable, dict[str, Any]]:
        return TransformerLSTM, {name: getattr(self, name) for name in NETWORK_PARAMETERS}

    @classmethod
    def get_test_params(cls, parameter_set="default"):
        """Return small settings that train in milliseconds, for sktime's test suite."""
        tiny = {
            "d_model": 4,
            "num_heads": 2,
            "max_epochs": 1,
            "batch_size": 8,
            "max_windows_per_epoch": 8,
            "num_samples": 4,
            "random_state": 0,
        }
        return [
            {**tiny, "context_length": 4, "quantiles": (0.2, 0.5, 0.8), "num_layers": 2},
            {
                **tiny,
                "context_length": 2,
                "prediction_length": 3,
                "num_transformer_blocks": 0,
                "share_lstm_weights": True,
                "loss": "mae",
                "scaler": "minmax",
                "window_norm": None,
            },
        ]
