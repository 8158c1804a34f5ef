"""
A first forecast
================

Tomorrow's traffic on a highway, hour by hour, from what is known today: the counts so far,
tomorrow's weather and calendar. Three calls give the forecast, its picture, and what it rests on.
"""

from sktime_tlstm import TransformerLSTMForecaster, plotting
from sktime_tlstm.datasets import load_metro_traffic

settings = {"max_epochs": 5, "random_state": 0}

# %%
# The data are hourly vehicle counts and, for every hour, temperature, snow, clouds, the kind of
# weather and whether there is a holiday. Eight months are enough here.

y, X = load_metro_traffic()
y, X = y[-6000:], X.drop(columns="rain_1h")[-6000:]
X.tail(3)

# %%
# The last two weeks are set aside. The forecaster learns to forecast 24 hours at once.

start = len(y) - 14 * 24
forecaster = TransformerLSTMForecaster(**settings)
forecaster.fit(y[:start], X=X[:start], fh=range(1, 25))

tomorrow = X[start : start + 24]
forecaster.predict_interval(X=tomorrow, coverage=0.9).head()

# %%
# A fan chart: the bands are to hold 30, 60 and 90 % of what happens.

plotting.plot_forecast(forecaster, y, tomorrow)

# %%
# What the forecasts rest on, asked of the two weeks that the network has not seen. Each bar says by
# how much the error rises if a variable is taken from another window. The week before ("lag 168")
# counts most, then the day before and the calendar; the weather matters little.

importance = forecaster.variable_importance(y[start - 168 :], X[start - 168 :])
plotting.plot_importance(importance, num_variables=10)

# %%
# A page about what was fitted. The blend says how much of the forecast is the network's own.

print(forecaster.summary())
