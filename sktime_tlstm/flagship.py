"""TransformerLSTMForecaster: the flagship, with the network's parameters flat."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sktime_tlstm.forecaster import SkorchForecaster
from sktime_tlstm.nn import TransformerLSTM
from sktime_tlstm.parameter_texts import GROUPS, documented

__all__ = ["TransformerLSTMForecaster"]

#: The network's own parameters, flat in the forecaster.
NETWORK_PARAMETERS = tuple(
    name for name in GROUPS["network"] if name not in ("module", "module_params")
)


@documented
class TransformerLSTMForecaster(SkorchForecaster):
    """Forecast with an LSTM encoder-decoder refined by gated transformer blocks.

    The encoder reads the past, the decoder starts from its state and reads what is known of the
    future: covariates, calendar, the target one and seven seasons before. Gated attention blocks
    then let every forecast step look at all of the past and of the future. Trained by
    `SkorchForecaster`.

    Without any argument it works on any series: the context is two seasons (of a day for hourly
    data; of short seasons four, up to 48 rows; 64 rows without a season), at least two horizons, at
    most 384 rows and what the data has; the horizon is that of ``fh`` in ``fit``, else
    ``prediction_length``, else one season; training takes at most 12 epochs of 2,560 windows, 480
    steps of 64 windows, with smaller batches and fewer steps (at least 20 an epoch) on small data.
    Errors on the last rows, which the first half
    of training leaves out, say how far the network is trusted beside simple forecasts, and how
    wide intervals are.

    The parameters, by what they are for:

    {groups}

    Parameters
    ----------
    {parameters}

    See Also
    --------
    SkorchForecaster : the same for any network; attributes and errors.
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

    def __init__(  # type: ignore[no-untyped-def]
        self,
        context_length=None,
        prediction_length=None,
        mode="forecast",
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
        expert="gelu",
        share_layers=False,
        gradient_checkpointing=False,
        attention_kernel="auto",
        past_covariates=None,
        hidden_past=None,
        static_covariates=None,
        series_embedding=False,
        time_features="auto",
        target_lags="auto",
        scaler="auto",
        window_norm="meanstd",
        loss="quantile",
        quantiles=None,
        weight_column=None,
        step_weights=None,
        calibration="adaptive",
        num_samples=200,
        window_sampling="by_series",
        max_windows_per_epoch=None,
        input_noise=0.0,
        min_context_length=None,
        max_epochs=10,
        batch_size=64,
        lr=4e-3,
        optimizer="adamw",
        weight_decay=None,
        gradient_clip=1.0,
        lr_schedule="onecycle",
        validation_fraction=None,
        validation_series=None,
        patience=3,
        finetune_epochs=2,
        update_epochs=1,
        num_members=1,
        callbacks=None,
        net_params=None,
        device="auto",
        precision="auto",
        compile=False,
        random_state=None,
        checkpoint_dir=None,
        verbose=0,
    ) -> None:
        self._set_up(locals())

    def _network(self) -> tuple[Callable[..., Any], dict[str, Any]]:
        return TransformerLSTM, {name: getattr(self, name) for name in NETWORK_PARAMETERS}

    @staticmethod
    def search_space() -> dict[str, list[Any]]:
        """Return values of parameters that are worth trying, for grid and random searches.

        Returns
        -------
        dict of str to list
            Names of parameters to values, the default among them: the ``param_distributions`` of
            sktime's ``ForecastingRandomizedSearchCV``. All combinations are allowed.

        Examples
        --------
        >>> from sktime_tlstm import TransformerLSTMForecaster
        >>> TransformerLSTMForecaster.search_space()["d_model"]
        [32, 64, 128]
        """
        return {
            "d_model": [32, 64, 128],
            "num_transformer_blocks": [0, 1, 2],
            "dropout": [0.0, 0.1, 0.3],
            "window_norm": ["meanstd", "mean", None],
            "lr": [1e-3, 2e-3, 4e-3, 8e-3],
            "weight_decay": [0.01, 0.1, None],
            "max_epochs": [5, 10, 20],
            "num_members": [1, 3],
        }

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
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
