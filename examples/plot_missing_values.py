"""
Missing values
==============

Sensors fail. Gaps in the target, in covariates and in the rows themselves need no imputation: the
network is told which values were seen.
"""

import numpy as np
from sktime.performance_metrics.forecasting import MeanAbsoluteError
from sktime.split import ExpandingWindowSplitter

from sktime_tlstm import TransformerLSTMForecaster, plotting
from sktime_tlstm.datasets import load_metro_traffic

settings = {"max_epochs": 4, "random_state": 0}

# %%
# Five months of traffic; four of ten hours are blanked at random, whole days of temperatures are
# lost, and a week has no rows at all.

y, X = load_metro_traffic()
y, X = y[-4500:], X[["temp", "holiday"]][-4500:]
start = len(y) - 14 * 24
rng = np.random.default_rng(0)
y_holes, X_holes = y[:start].copy(), X[:start].copy()
y_holes[rng.random(start) < 0.4] = np.nan
X_holes.loc["2018-06-10":"2018-06-20", "temp"] = np.nan
week = slice("2018-08-06", "2018-08-12")
y_holes = y_holes.drop(y_holes[week].index)
X_holes = X_holes.drop(X_holes[week].index)

# %%
# Absent rows are an error in ``fit``, since they may be a mistake. ``asfreq`` makes them rows of
# NaN.

try:
    TransformerLSTMForecaster(**settings).fit(y_holes, X=X_holes, fh=range(1, 25))
except ValueError as error:
    print(error)
y_holes, X_holes = y_holes.asfreq("h"), X_holes.asfreq("h")
print(f"{y_holes.isna().mean():.0%} of the target is missing")

# %%
# Trained on what is left, and on all: the errors of the same two weeks.

cv = ExpandingWindowSplitter(fh=range(1, 25), initial_window=start, step_length=24)
for name, own, covariates in (("all", y[:start], X[:start]), ("holes", y_holes, X_holes)):
    forecaster = TransformerLSTMForecaster(**settings)
    forecaster.fit(own, X=covariates, fh=range(1, 25))
    table = forecaster.backtest(y, X, cv, scoring=MeanAbsoluteError())
    error = table["test_MeanAbsoluteError"].mean()
    print(f"trained on {name}: mean absolute error {error:.0f} vehicles an hour")

# %%
# The first forecast after the training with holes:

plotting.plot_forecast(forecaster, y, X[start : start + 24], num_history=72)
