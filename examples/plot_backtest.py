"""
Backtest: how good are the forecasts?
=====================================

One day's forecast proves nothing. A backtest stands at every midnight of two months in turn, sees
what was known then, and forecasts the next day; all of it takes a few passes of the network.
"""

import numpy as np
from sktime.split import ExpandingWindowSplitter

from sktime_tlstm import TransformerLSTMForecaster, plotting
from sktime_tlstm.datasets import load_metro_traffic

settings = {"max_epochs": 5, "random_state": 0}

# %%
# Fit once, on what lies before.

y, X = load_metro_traffic()
y, X = y[-7500:], X.drop(columns="rain_1h")[-7500:]
start = len(y) - 60 * 24
forecaster = TransformerLSTMForecaster(**settings)
forecaster.fit(y[:start], X=X[:start], fh=range(1, 25))

# %%
# Sixty cutoffs, a day apart. Eleven quantiles of each forecast are kept to be judged.

cv = ExpandingWindowSplitter(fh=range(1, 25), initial_window=start, step_length=24)
levels = [0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95]
table = forecaster.backtest(y, X, cv, "predict_quantiles", alpha=levels, return_data=True)
table.iloc[:3, :4]

# %%
# The last two weeks, and the error of each day.

plotting.plot_backtest(table[-14:])

# %%
# The error by hour ahead. Here it follows the hour of the day more than the distance: each forecast
# begins at midnight.

plotting.plot_error_by_step(table)

# %%
# Do the quantiles hold what they promise? On the left, points on the line do. On the right, flat
# would be perfect.

plotting.plot_calibration(table)

# %%
# In one number: what the 90 % intervals held.

held = [
    truth.between(q.iloc[:, 0], q.iloc[:, -1])[truth.notna()]
    for truth, q in zip(table["y_test"], table["y_pred_quantiles"], strict=True)
]
print(f"the 90 % intervals held {np.mean(np.concatenate(held)):.1%} of 60 days")
