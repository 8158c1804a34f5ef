"""SkorchForecaster: any torch network under the network contract as an sktime forecaster."""

from __future__ import annotations

import copy
import functools
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from sktime.datatypes import convert_to
from sktime.forecasting.base import BaseForecaster, ForecastingHorizon

from sktime_tlstm import backtest, families
from sktime_tlstm.calls import (
    answering,
    converted,
    from_any_past,
    reading,
    restoring,
    seeing,
)
from sktime_tlstm.checkpoints import known_seed
from sktime_tlstm.data.rows import check_covered, check_levels, grouped, portable
from sktime_tlstm.data.source import Source
from sktime_tlstm.data.timeline import Timeline
from sktime_tlstm.fitted import INNER_MTYPES, Fitted, Learn, relative_steps
from sktime_tlstm.fitting import finetune_model, fit_model, update_model
from sktime_tlstm.forecasting import covariances, forecast, parametric, sample
from sktime_tlstm.inspectable import Inspectable
from sktime_tlstm.notices import told_once
from sktime_tlstm.options import Options, check_parameters, check_pretrained, remembered
from sktime_tlstm.parameter_texts import documented
from sktime_tlstm.storable import Storable
from sktime_tlstm.surroundings import usual_torch

__all__ = ["SkorchForecaster"]

#: Number of quantiles that variances and distributions are computed from.
DISTRIBUTION_LEVELS = 200
#: What is fitted: a frame, or what a `PanelDataset` reads.
Data: TypeAlias = pd.DataFrame | Source
#: Held while sktime writes an fh and reads it again, so that threads do not take each other's.
_ONE_FH = threading.Lock()


@documented
class SkorchForecaster(Inspectable, Storable, BaseForecaster):
    """Forecast with any torch network, trained through skorch on windows of all series.

    One network is trained over all series of a panel or hierarchy. It sees a context before each
    cutoff, and for every step of its horizon the covariates known in the future, the calendar,
    and the target one and seven seasons before. Targets are scaled by series and normalised by
    window, missing values are flagged.

    The parameters, by what they are for:

    {groups}

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    net_ : skorch.NeuralNet
        The trained net (the first of ``members_``), with its ``history`` and ``module_``.
    members_ : list of skorch.NeuralNet
    history_ : pandas.DataFrame
        A row for every epoch of every member.
    context_length_, prediction_length_ : int
        As chosen by the rules above.

    Raises
    ------
    TypeError, ValueError
        In ``fit``, before training: for parameters out of range, an index that is irregular, has
        gaps or repeats, infinite values, or columns of X that are missing.

    Examples
    --------
    >>> from sktime.datasets import load_airline
    >>> from sktime_tlstm import SkorchForecaster
    >>> from sktime_tlstm.nn import AttentionLSTM
    >>> y = load_airline()
    >>> forecaster = SkorchForecaster(AttentionLSTM, {"d_model": 8}, max_epochs=1, random_state=0)
    >>> forecaster.fit(y, fh=[1, 2, 3]).predict().index.astype(str).tolist()
    ['1961-01', '1961-02', '1961-03']
    """

    _tags = {
        "authors": "sktime-tlstm developers",
        "maintainers": "sktime-tlstm developers",
        "python_dependencies": ["torch", "skorch"],
        "y_inner_mtype": INNER_MTYPES,
        "X_inner_mtype": INNER_MTYPES,
        "requires-fh-in-fit": False,
        "X-y-must-have-same-index": True,
        "capability:multivariate": True,
        "capability:exogenous": True,
        "capability:insample": True,
        "capability:pred_int": True,
        "capability:pred_int:insample": True,
        "capability:missing_values": True,
        "capability:categorical_in_X": True,
        "capability:unequal_length": True,
        "capability:pretrain": True,
        "capability:update": True,
        "capability:non_contiguous_X": True,
        "capability:random_state": True,
        "property:randomness": "derandomized",
        "pretrain:fitted_params": ["pretrained_model_", "pretrained_parameters_"],
    }
    _config = {"remember_data": False}

    def __init__(  # type: ignore[no-untyped-def]
        self,
        module=None,
        module_params=None,
        context_length=None,
        prediction_length=None,
        mode="forecast",
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

    def _set_up(self, parameters: dict[str, Any]) -> None:
        """Keep the constructor's arguments as they are, and nothing else, as sktime asks."""
        for name, value in parameters.items():
            if name not in ("self", "__class__"):
                setattr(self, name, value)
        super().__init__()
        self._y = self._X = None  # sktime reads them although remember_data is off

    def _network(self) -> tuple[Callable[..., Any], dict[str, Any]]:
        """Return the network's class and its keyword arguments."""
        return self.module, dict(self.module_params or {})

    def _check_fh(self, fh: Any, pred_int: bool = False) -> ForecastingHorizon | None:
        """Do what sktime does, which writes fh and reads it again, one thread at a time."""
        with _ONE_FH:
            return super()._check_fh(fh, pred_int)

    def _get_varnames(self) -> Any:
        """Return the names that label forecasts.

        sktime's are those of the y that came last, in its order; a single series has any name.
        """
        targets = self._fitted.model.encoder.targets
        return targets if len(targets) > 1 else super()._get_varnames()

    def set_params(self, **params: Any) -> SkorchForecaster:
        """Set parameters by name, and start over.

        Raises
        ------
        ValueError
            If a name is unknown, or asks for an entry of a dict: those are set as a whole.
        """
        for name, value in params.items():
            whole, _, entry = name.partition("__")
            held = getattr(self, whole, None)
            if entry and whole in self.get_param_names() and not hasattr(held, "set_params"):
                wanted = {"module": "module_params", "optimizer": "net_params"}.get(whole, whole)
                raise ValueError(
                    f"Got {name}={value!r}, but {whole} has no parameters that are set one by one. "
                    f"Pass {wanted} as a whole, with all that it is to hold."
                )
        return super().set_params(**params)

    # The public methods, undone if they fail.

    predict = from_any_past(answering(BaseForecaster.predict))
    predict_quantiles = from_any_past(answering(BaseForecaster.predict_quantiles))
    predict_interval = from_any_past(answering(BaseForecaster.predict_interval))
    predict_var = from_any_past(answering(BaseForecaster.predict_var))
    predict_proba = from_any_past(answering(BaseForecaster.predict_proba))
    update = restoring(BaseForecaster.update)
    update_predict = restoring(BaseForecaster.update_predict)
    update_predict_single = restoring(BaseForecaster.update_predict_single)
    pretrain = restoring(BaseForecaster.pretrain)
    _check_X_y = reading(BaseForecaster._check_X_y)  # noqa: N815
    _update_y_X = seeing(BaseForecaster._update_y_X)  # noqa: N815

    @functools.wraps(BaseForecaster.fit)
    def fit(self, y: Any, X: Any = None, fh: Any = None) -> SkorchForecaster:  # noqa: D102
        try:
            told = hasattr(self, "pretrained_model_")
            check_levels(y, X)
            with usual_torch():
                return super().fit(portable(y, told), X=portable(X, True), fh=fh)
        except BaseException:
            self._reset_at("pretrained")
            raise

    # Fitting.

    def _fit(
        self, y: Data, X: pd.DataFrame | None, fh: ForecastingHorizon | None
    ) -> SkorchForecaster:
        options, seed = self._checked_options(), self._draw_seed()
        source = _source(y, X)
        if hasattr(self, "pretrained_model_"):
            model, history = finetune_model(options, self.pretrained_model_, source, seed)
        else:
            largest_step = functools.partial(_largest_step, fh, source, self.cutoff)
            model, history = fit_model(options, self._network(), source, largest_step, seed)
        names, has_covariates = list(source.y.index.names), source.X is not None
        self._keep(Fitted(model, history, history.lengths, names, has_covariates))
        return self

    def _checked_options(self) -> Options:
        """Return all parameters, checked."""
        options = Options.checked(self._parameters())
        if hasattr(self, "pretrained_parameters_"):
            check_pretrained(self.pretrained_parameters_, self._parameters())
        return options

    def _parameters(self) -> dict[str, Any]:
        names = [*SkorchForecaster.get_param_names(), *self.get_param_names()]
        return {name: getattr(self, name) for name in names if hasattr(self, name)}

    def _draw_seed(self) -> int:
        if self.random_state is None:
            known = None if self.checkpoint_dir is None else known_seed(Path(self.checkpoint_dir))
            return int(np.random.SeedSequence().generate_state(1)[0]) if known is None else known
        if isinstance(self.random_state, np.random.RandomState):
            return int(self.random_state.randint(2**31))
        return int(self.random_state)

    def _keep(self, fitted: Fitted) -> None:
        """Set the fitted attributes."""
        model = fitted.model
        self._fitted = fitted
        self.members_ = model.members
        self.net_ = model.members[0]
        self.context_length_ = model.spec.context_length
        self.prediction_length_ = model.spec.horizon

    # Pretraining.

    def _pretrain(self, y: Data, X: Any = None, fh: Any = None) -> SkorchForecaster:
        options = self._checked_options()
        fh = fh if fh is not None and fh.is_relative else None  # series may end at any time
        network, source, seed = self._network(), _source(y, X), self._draw_seed()
        largest_step = functools.partial(_largest_step, fh, source, self.cutoff)
        model, _ = fit_model(options, network, source, largest_step, seed, "pretraining")
        self.pretrained_model_ = model
        self.pretrained_parameters_ = remembered(self._parameters())
        return self

    def _pretrain_update(self, y: Data, X: Any = None, fh: Any = None) -> SkorchForecaster:
        if not hasattr(self, "pretrained_model_"):
            return self._pretrain(y, X, fh)
        options = self._checked_options()
        options = replace(options, finetune_epochs=options.max_epochs)
        source, seed = _source(y, X), self._draw_seed()
        self.pretrained_model_, _ = finetune_model(options, self.pretrained_model_, source, seed)
        return self

    # Forecasting.

    def _with_past(self, y: Any, X: Any, and_future: bool = False) -> SkorchForecaster:
        """Return the forecaster as if it had seen ``y``, and nothing else since training.

        ``and_future`` says that X holds the rows to forecast too.
        """
        self.check_is_fitted()
        check_levels(y, X)
        if and_future:
            check_covered(y, X, "Pass X with the rows of y and those to forecast, in one frame")
        other = copy.copy(self)
        other._converter_store_y = {}
        with usual_torch():
            X, y = other._check_X_y(portable(X, True), portable(y, True))
            other._update_y_X(y, X)
            y, X = grouped(y), None if X is None else grouped(X)
            other._fitted = self._fitted.with_past(y, X)
        return other

    def _predict(self, fh: ForecastingHorizon, X: pd.DataFrame | None) -> pd.DataFrame:
        asked, index = self._fitted.asked(fh, X)
        values = forecast(self._fitted.model, asked)
        return pd.DataFrame(values, index=index, columns=self._get_varnames())

    def _predict_quantiles(
        self, fh: ForecastingHorizon, X: pd.DataFrame | None, alpha: list[float]
    ) -> pd.DataFrame:
        asked, index = self._fitted.asked(fh, X)
        values = forecast(self._fitted.model, asked, [float(level) for level in alpha])
        columns = self._get_columns("predict_quantiles", alpha=alpha)
        # (row, target, alpha) -> (row, column)
        return pd.DataFrame(values.reshape(len(index), -1), index=index, columns=columns)

    def _predict_var(
        self, fh: ForecastingHorizon, X: pd.DataFrame | None, cov: bool = False
    ) -> pd.DataFrame:
        asked, index = self._fitted.asked(fh, X)
        exact = parametric(self._fitted.model, asked)
        if exact is None:
            values = forecast(self._fitted.model, asked, _distribution_levels()).var(axis=-1)
        else:
            values = exact.variance()
        if not cov:
            return pd.DataFrame(values, index=index, columns=self._get_varnames())
        values = covariances(self._fitted.model, asked, values, self.num_samples)
        return families.square(values, index, self._get_varnames())

    def _predict_proba(
        self, fh: ForecastingHorizon, X: pd.DataFrame | None, marginal: bool = True
    ) -> Any:
        asked, index = self._fitted.asked(fh, X)
        columns = pd.Index(self._get_varnames())
        exact = parametric(self._fitted.model, asked)
        if exact is not None and exact.suits_skpro:
            return exact.skpro(index, columns)
        values = forecast(self._fitted.model, asked, _distribution_levels())
        return families.empirical(values, index, columns)

    @from_any_past
    @answering
    def predict_samples(
        self, fh: Any = None, X: Any = None, num_samples: int | None = None
    ) -> pd.DataFrame:
        """Draw sample paths of the future.

        A path follows one quantile level through each block of the horizon, the same for all
        targets, and sees its own past beyond it; series are independent of each other. The draws
        are the same for the same fitted forecaster and ``random_state``.

        Parameters
        ----------
        fh : as in ``predict``
        X : as in ``predict``
        num_samples : int or None, default=None
            Number of paths; None for the parameter ``num_samples``.

        Returns
        -------
        pandas.DataFrame
            Indexed by (sample, levels of y ..., time), a column for each target; "path" in the
            place of "sample" if y has a level of that name.

        Raises
        ------
        TypeError, ValueError
            If ``num_samples`` is no integer of at least 2, and as ``predict`` does.
        """
        self.check_is_fitted()
        number = self.num_samples if num_samples is None else num_samples
        check_parameters({"num_samples": number})
        fh, X = self._check_fh(fh, pred_int=True), self._check_X(X)
        asked, index = self._fitted.asked(fh, X)
        values = sample(self._fitted.model, asked, number)
        # (sample, row, target) -> (row, target, sample)
        targets = self._fitted.model.encoder.targets
        return families.stacked(np.moveaxis(values, 0, -1), index, targets)

    @restoring
    def predict_residuals(self, y: Any = None, X: Any = None) -> Any:
        """Return ``y - forecast`` at the rows of y, in-sample rows one step ahead.

        Parameters
        ----------
        y : any sktime series, panel or hierarchy, default=None
            Observations. None: those seen so far (kept in float32), in the layout of ``fit``.
        X : as y, default=None
            Covariates of rows after the cutoff; in-sample ones are remembered.

        Returns
        -------
        Residuals in the type and index of y.
        """
        self.check_is_fitted()
        if isinstance(y, np.ndarray):
            return super().predict_residuals(y, X)
        fitted = self._fitted
        frame = fitted.seen_targets() if y is None else converted(y, "y")
        if not isinstance(y, pd.Series):
            frame = fitted.model.encoder.aligned(frame)
        X = None if X is None else converted(X, "X")
        observed = fitted.model.encoder.target_values(frame)
        values = forecast(fitted.model, fitted.asked_at(frame, X))
        residuals = pd.DataFrame(observed - values, frame.index, frame.columns)
        if isinstance(y, pd.Series):
            return pd.Series(residuals.iloc[:, 0], name=y.name)
        if y is None:
            mtype, names = self._y_metadata["mtype"], self._converter_store_y
            return convert_to(residuals, mtype, store=names, store_behaviour="freeze")
        return residuals

    # Updating.

    def _update(
        self, y: pd.DataFrame, X: pd.DataFrame | None = None, update_params: bool = True
    ) -> SkorchForecaster:
        learn = self._learn() if update_params else None
        self._keep(self._fitted.updated(y, X, self.calibration == "adaptive", learn))
        return self

    def _update_predict_single(
        self,
        y: pd.DataFrame,
        fh: ForecastingHorizon,
        X: pd.DataFrame | None = None,
        update_params: bool = True,
    ) -> pd.DataFrame:
        """Update and forecast on sktime's inner frames, so that the type of y stays known."""
        self._update(y, X, update_params)
        return self._predict(fh, X)

    def _learn(self, checkpoints: bool = True) -> Learn:
        """Return the function that trains a copy of a model on new rows."""
        options = self._checked_options()
        if not checkpoints:  # of many updates in a row, each would refuse the others'
            options = replace(options, checkpoint_dir=None)
        return functools.partial(update_model, options)

    @told_once()  # windows repeat each other
    def _predict_moving_cutoff(
        self,
        y: pd.DataFrame,
        cv: Any,
        X: pd.DataFrame | None = None,
        update_params: bool = True,
        reset_forecaster: bool = True,
    ) -> Any:
        """Forecast from all cutoffs at once, where that equals sktime's loop over updates."""
        y = grouped(y)
        layout = backtest.Layout(self._y_metadata["mtype"], self._converter_store_y)
        if reset_forecaster and not update_params:
            self._fitted.check_covariates(X)
            forecasts = backtest.moving_cutoffs(self._fitted, layout, y, cv, X)
            if forecasts is not None:
                return forecasts
        if y.shape[1] == 1:  # a series may have any name, and is a frame now
            y = y.set_axis(self._fitted.model.encoder.targets, axis=1)
        before = {name: getattr(self, name) for name in ("_y_metadata", "_converter_store_y")}
        # The loop answers in the type of what it updates with.
        given = layout.of(y) if layout.mtype == "pd.Series" else y
        forecasts = super()._predict_moving_cutoff(given, cv, X, update_params, reset_forecaster)
        self.__dict__.update(before)
        return forecasts

    @answering
    def backtest(
        self,
        y: Any,
        X: Any,
        cv: Any,
        method: str = "predict",
        alpha: float | list[float] | None = None,
        coverage: float | list[float] = 0.9,
        scoring: Any = None,
        update_every: int | None = None,
        return_data: bool = False,
    ) -> pd.DataFrame:
        """Forecast from every cutoff of a splitter and score, all windows in a few passes.

        What sktime's ``evaluate`` tabulates, for a forecaster that is fitted already: as if it
        was updated with the rows up to every cutoff (``update_params=False``) and then asked. It
        stays as it is. Cutoffs before the end of the training data forecast what it has seen.

        Parameters
        ----------
        y : any sktime series, panel or hierarchy
            Observations, those of the training data included or not.
        X : as y, or None
            Covariates of all rows of y.
        cv : sktime splitter
            Splits y; its relative fh is forecast.
        method : {"predict", "predict_quantiles", "predict_interval"}, default="predict"
        alpha : float or list of float or None, default=None
            Levels of ``predict_quantiles``; None for 0.05 and 0.95.
        coverage : float or list of float, default=0.9
            Of ``predict_interval``.
        scoring : sktime metric, list of them, or None, default=None
            Scores observed rows. None: the mean absolute percentage error, of quantiles and
            intervals the pinball loss.
        update_every : int or None, default=None
            Number of cutoffs after which the network is trained on the rows that are new since it
            last was, as ``update(update_params=True)`` does; None for never.
        return_data : bool, default=False
            Whether the table holds the training, test and forecast rows of each window.

        Returns
        -------
        pandas.DataFrame
            A row a window: ``test_<metric>``, ``fit_time`` and ``pred_time`` in seconds,
            ``len_train_window``, ``cutoff``, and with ``return_data`` ``y_train``, ``y_test`` and
            ``y_pred``; "pred" reads "pred_quantiles" or "pred_interval" with these methods.

        Raises
        ------
        TypeError, ValueError
            If the fh of ``cv`` is absolute or absent, ``cv`` gives no window, an argument is out of
            range, and as ``update`` and ``predict`` do.
        """
        self.check_is_fitted()
        check_parameters({"update_every": update_every})
        if not isinstance(y, pd.Series):
            y = self._fitted.model.encoder.aligned(grouped(converted(y, "y")))
        X = None if X is None else grouped(converted(X, "X"))
        self._fitted.check_covariates(X)
        return backtest.backtest(
            self._fitted,
            y,
            X,
            cv,
            backtest.wanted(method, alpha, coverage, scoring, self._get_columns),
            self.calibration == "adaptive",
            self._learn(checkpoints=False),
            update_every,
            return_data,
        )

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Return small settings that train in milliseconds, for sktime's test suite."""
        from sktime_tlstm.nn import AttentionLSTM, TransformerLSTM

        tiny = {
            "max_epochs": 1,
            "batch_size": 8,
            "max_windows_per_epoch": 8,
            "num_samples": 4,
            "random_state": 0,
        }
        return [
            {
                **tiny,
                "module": AttentionLSTM,
                "module_params": {"d_model": 4, "num_heads": 2, "num_layers": 1},
                "context_length": 3,
            },
            {
                **tiny,
                "module": TransformerLSTM,
                "module_params": {"d_model": 4, "num_heads": 2, "num_transformer_blocks": 0},
                "context_length": 5,
                "loss": "mse",
                "scaler": "standard",
                "window_norm": "mean",
            },
        ]


def _distribution_levels() -> list[float]:
    """Return evenly spaced levels; the mean over their quantiles is the distribution's mean."""
    return ((np.arange(DISTRIBUTION_LEVELS) + 0.5) / DISTRIBUTION_LEVELS).tolist()


def _source(y: Data, X: pd.DataFrame | None) -> Source:
    """Return the data of a training, whatever form they have."""
    return y if isinstance(y, Source) else Source.of(grouped(y), None if X is None else grouped(X))


def _largest_step(
    fh: ForecastingHorizon | None, source: Source, cutoff: Any, timeline: Timeline
) -> int | None:
    """Return the horizon that fh asks for: its largest relative step, at least 1."""
    if fh is None:
        return None
    if fh.is_relative:  # durations may last more steps behind some series than behind others
        last = timeline.ordinals(source.first) + source.lengths - 1
    else:
        last = timeline.ordinals(cutoff)
    return max(1, int(relative_steps(fh, timeline, last).max()))
