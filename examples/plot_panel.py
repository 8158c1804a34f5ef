"""
Many series, one network
========================

A panel of economic series is learnt by one network, which then forecasts each of them, and also one
that it has never seen.
"""

import pandas as pd
from statsmodels.datasets import macrodata

from sktime_tlstm import TransformerLSTMForecaster, plotting

settings = {"max_epochs": 5, "random_state": 0}

# %%
# A panel is a frame whose index has two levels: the series, then the time. Here each series is the
# growth of a quantity over a quarter, in percent.

raw = macrodata.load_pandas().data
raw.index = pd.period_range("1959Q1", periods=len(raw), freq="Q").to_timestamp()
names = ["realgdp", "realcons", "realinv", "realgovt", "realdpi", "cpi", "m1"]
growth = 100 * raw[names].pct_change().iloc[1:].asfreq("QS")
panel = growth.T.stack().rename_axis(["series", "quarter"]).rename("growth").to_frame()
panel.groupby(level="series").tail(1)

# %%
# One series is kept out of the training, and of all others the last two years.

others = panel.drop("realcons", level="series")
seen = others.groupby(level="series").head(len(growth) - 8)
forecaster = TransformerLSTMForecaster(**settings).fit(seen, fh=range(1, 9))

# %%
# Forecasts of all series come in one call; the pictures show a chosen few. The two years are those
# of the crisis of 2008, which no past tells of: most points lie below the middle, some below all.

plotting.plot_forecast(forecaster, others, series=["realgdp", "realinv", "cpi"], num_history=24)

# %%
# A new series is forecast from its own past, ``y=``. The forecaster stays as it is.

new = panel.loc["realcons", "growth"].asfreq("QS")
forecast = forecaster.predict(range(1, 9), y=new[:-8])
intervals = forecaster.predict_interval(range(1, 9), coverage=[0.5, 0.9], y=new[:-8])
axes = plotting.plot_forecast(forecast, new, intervals=intervals, num_history=24)
axes.set_title("consumption, which was not in the training", loc="left")
