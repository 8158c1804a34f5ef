"""
Your own CSV, in ten minutes
============================

From a file with a column of dates to a forecast, its picture, its reasons, and a file with the
result. The file here holds US unemployment and industrial quantities by quarter; put yours in its
place.
"""

import tempfile
from pathlib import Path

import pandas as pd
from statsmodels.datasets import macrodata

from sktime_tlstm import TransformerLSTMForecaster, plotting

settings = {"random_state": 0}

# %%
# This writes the file that stands for yours.

folder = Path(tempfile.mkdtemp())
raw = macrodata.load_pandas().data
raw["date"] = pd.period_range("1959Q1", periods=len(raw), freq="Q").to_timestamp()
columns = ["date", "unemp", "realgdp", "tbilrate"]
raw[columns].to_csv(folder / "mine.csv", index=False)
print((folder / "mine.csv").read_text()[:120])

# %%
# Read it with the dates as the index, and tell the index its frequency: "QS" for quarters that
# begin with their first day, "MS" for months, "D" for days, "h" for hours. Rows that are absent
# become rows of NaN, which are welcome.

data = pd.read_csv(folder / "mine.csv", parse_dates=["date"], index_col="date").asfreq("QS")
y = data["unemp"]

# %%
# Two covariates, which are not known in the future: the forecaster reads their past alone. A column
# that you do know in advance (a plan, a calendar, a weather forecast) is left out of
# ``past_covariates``, and ``predict`` then takes ``X`` with its future rows.

X = data[["realgdp", "tbilrate"]].pct_change().fillna(0.0)
forecaster = TransformerLSTMForecaster(past_covariates=["realgdp", "tbilrate"], **settings)
forecaster.fit(y[:-8], X=X[:-8], fh=range(1, 9))

# %%
# Forecast two years, and draw them over what happened then: the crisis of 2008, which nothing in
# the past told of.

plotting.plot_forecast(forecaster, y, num_history=40)

# %%
# On 195 rows four fifths of the forecast are a simple one that carries on level and trend. So no
# variable of the network changes the error by much.

print(next(line for line in forecaster.summary().splitlines() if "blend" in line))
plotting.plot_importance(forecaster, num_variables=6)

# %%
# Points and bounds go to a file.

table = forecaster.predict_interval(coverage=[0.5, 0.9])
table.columns = [f"{side} {share:.0%}" for _, share, side in table.columns]
table.insert(0, "forecast", forecaster.predict())
table.round(2).to_csv(folder / "forecast.csv")
table.round(2)
