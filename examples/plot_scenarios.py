"""
Scenarios: what if
==================

A forecast that reads known future covariates can be asked what would happen if they were others.
The same Monday, as it was and as a holiday.
"""

import matplotlib.pyplot as plt

from sktime_tlstm import TransformerLSTMForecaster, plotting
from sktime_tlstm.datasets import load_metro_traffic

settings = {"max_epochs": 6, "random_state": 0}

# %%
# Two years of hourly traffic up to the end of August 2018; X says which hours are of a holiday.

y, X = load_metro_traffic()
X = X[["temp", "holiday"]]
midnight = y.index.get_loc("2018-08-27 00:00")  # a Monday
forecaster = TransformerLSTMForecaster(**settings)
forecaster.fit(y[:midnight], X=X[:midnight], fh=range(1, 25))

# %%
# The day as it was, and the same day as a holiday: only the one column differs.

usual = X[midnight : midnight + 24]
festive = usual.assign(holiday=1)
_, axes = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True, layout="constrained")
for ax, future, name in zip(axes, (usual, festive), ("as it was", "as a holiday"), strict=True):
    plotting.plot_forecast(forecaster, y[:midnight], future, num_history=0, ax=ax)
    ax.set_title(name, loc="left")

# %%
# The sums over the day. The network has seen 22 holidays in two years: what it says of one is
# learnt from these few, on any day of the week.

for name, future in {"as it was": usual, "as a holiday": festive}.items():
    print(f"{name}: {forecaster.predict(X=future).sum():,.0f} vehicles")
print(f"happened: {y[midnight : midnight + 24].sum():,.0f} vehicles")

# %%
# A scenario says what the network has learnt to go along with a holiday, not what a holiday causes.
# Where the two differ, for example since prices are set high when demand is, an experiment is
# needed.
