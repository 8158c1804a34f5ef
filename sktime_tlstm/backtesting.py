"""Backtesting: forecasts from many cutoffs of one series in a few forward passes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sktime_tlstm.history import History
from sktime_tlstm.rolling import Model

__all__ = ["forecast_cutoffs", "wide_frame"]


def forecast_cutoffs(
    model: Model,
    history: History,
    seen: np.ndarray,
    y: pd.DataFrame,
    X: pd.DataFrame | None,
    cutoffs: pd.Index,
    step: np.ndarray,
) -> np.ndarray:
    """Forecast a single series from many cutoffs, as updates without training would.

    Parameters
    ----------
    model : Model
    history : History
        Of the fitted forecaster; not changed.
    seen : numpy.ndarray of int64, shape (1,)
    y : pandas.DataFrame
        Rows that become known, up to the last cutoff.
    X : pandas.DataFrame or None
        Covariates of these rows and of the future.
    cutoffs : pandas.Index
        Times of the last known row of each forecast.
    step : numpy.ndarray of int64
        Steps within the horizon, all positive.

    Returns
    -------
    numpy.ndarray of float64, shape (cutoff, step, num_targets)

    Raises
    ------
    ValueError
        If X lacks what is to be forecast.
    """
    horizon = model.spec.horizon
    merged, _ = model.encoder.extend(history, seen, y, X, horizon)
    known = merged.lengths
    place = merged.timeline.ordinals(cutoffs) - merged.first[0] + 1  # rows before each forecast
    beyond = place[:, None] + step - 1 - known[0]
    wanted = np.zeros((1, horizon), dtype=bool)
    wanted[0, beyond[beyond >= 0]] = True
    whole, _ = model.encoder.tail(merged, known, int(known[0]), wanted, X)
    series = np.zeros(len(place), dtype=np.int64)
    forecast = model.windows(whole.store, series, place)
    return model.encoder.decode(merged, model.point(forecast).numpy()[:, step - 1], series)


def wide_frame(
    values: np.ndarray, times: pd.DatetimeIndex | pd.Index, place: np.ndarray, columns: pd.Index
) -> pd.DataFrame:
    """Lay forecasts out by time and cutoff, NaN where nothing was forecast.

    Parameters
    ----------
    values : numpy.ndarray of shape (cutoff, step, num_targets)
    times : pandas.Index
        Of all forecast rows.
    place : numpy.ndarray of int64, shape (cutoff, step)
        Row of each forecast in ``times``.
    columns : pandas.Index
        One a cutoff and target, target innermost.
    """
    num_cutoffs, _, num_targets = values.shape
    wide = np.full((len(times), num_cutoffs, num_targets), np.nan)
    wide[place, np.arange(num_cutoffs)[:, None]] = values
    return pd.DataFrame(wide.reshape(len(times), -1), index=times, columns=columns)
