"""
Pretrain, then fine-tune
========================

What many series teach helps with one that has few rows. A network is trained on a panel, then
forecasts a series that was not among them: as it is, and after a few more epochs on it.
"""

import pandas as pd
from sktime.performance_metrics.forecasting import MeanAbsoluteError
from sktime.split import ExpandingWindowSplitter
from statsmodels.datasets import elnino

from sktime_tlstm import TransformerLSTMForecaster, plotting

settings = {"max_epochs": 5, "random_state": 0}

# %%
# Sea surface temperatures by month, 1950 to 2010. Each decade but the last is a series of the
# panel; it might as well be shops, stations or customers.

raw = elnino.load_pandas().data.set_index("YEAR")
monthly = raw.stack()
monthly.index = pd.period_range("1950-01", periods=len(monthly), freq="M")
monthly = monthly.rename("temperature")
parts = {
    f"{year} to {year + 9}": monthly[f"{year}" : f"{year + 9}"] for year in range(1950, 2000, 10)
}
panel = pd.concat(parts, names=["decade", "month"]).to_frame()
new = monthly["2003":]

# %%
# Pretraining needs no series to forecast. Then ``fit`` on three years of the new one: zero epochs
# use the network as it is, two fine-tune it. The error is that of all forecasts of a year ahead in
# the five years that follow.

cv = ExpandingWindowSplitter(fh=range(1, 13), initial_window=36, step_length=1)


def error(forecaster):
    table = forecaster.backtest(new, None, cv, scoring=MeanAbsoluteError())
    return table["test_MeanAbsoluteError"].mean()


alone = TransformerLSTMForecaster(**settings).fit(new[:36], fh=range(1, 13))
print(f"never pretrained: {error(alone):.2f} degrees")
for epochs in (2, 0):
    forecaster = TransformerLSTMForecaster(**settings, finetune_epochs=epochs)
    forecaster.pretrain(panel, fh=range(1, 13)).fit(new[:36], fh=range(1, 13))
    print(f"pretrained, {epochs} epochs of fine-tuning: {error(forecaster):.2f} degrees")

# %%
# What the decades before taught carries over. On this series fine-tuning adds nothing to it: three
# years say little that five decades have not said.

plotting.plot_forecast(forecaster, new, num_history=36)
