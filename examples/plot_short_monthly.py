"""
A short monthly series
======================

Twelve years of airline passengers by month: 144 rows. A network alone would overfit them. The
default forecast leans on simple ones as far as held-out errors ask for it, and its intervals are as
wide as those errors were.
"""

from sktime.datasets import load_airline
from sktime.performance_metrics.forecasting import MeanAbsoluteError
from sktime.split import ExpandingWindowSplitter

from sktime_tlstm import TransformerLSTMForecaster, plotting

settings = {"random_state": 0}

# %%
# Ten years to learn from, two to forecast.

y = load_airline()
forecaster = TransformerLSTMForecaster(**settings).fit(y[:-24], fh=range(1, 25))
plotting.plot_forecast(forecaster, y, num_history=60)

# %%
# How the forecast is made up:

print(forecaster.summary().split("\n\n")[0])

# %%
# Beside the same month of the year before, from all cutoffs of the last two years: the table's
# columns are mean absolute errors.

cv = ExpandingWindowSplitter(fh=range(1, 13), initial_window=120, step_length=1)
year = TransformerLSTMForecaster(**settings).fit(y[:-24], fh=range(1, 13))
table = year.backtest(y, None, cv, scoring=MeanAbsoluteError(), return_data=True)
last_year = [(truth - y.shift(12)[truth.index]).abs().mean() for truth in table["y_test"]]
print(f"forecast {table['test_MeanAbsoluteError'].mean():.1f} thousand passengers")
print(f"the same month of the year before {sum(last_year) / len(last_year):.1f}")

# %%
# Errors by month ahead:

plotting.plot_error_by_step(table)
