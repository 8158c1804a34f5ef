"""
Explain one forecast
====================

Why so many cars at eight tomorrow? The contributions of all variables to one forecast, where the
network looked, and why neither attention nor selection weights are proof.
"""

from sktime_tlstm import TransformerLSTMForecaster, plotting
from sktime_tlstm.datasets import load_metro_traffic

settings = {"max_epochs": 5, "random_state": 0}

# %%
# A forecaster of traffic, and the day that is to be explained.

y, X = load_metro_traffic()
y, X = y[-6000:], X.drop(columns="rain_1h")[-6000:]
start = y.index.get_loc("2018-09-17 00:00")  # a Monday
forecaster = TransformerLSTMForecaster(**settings)
forecaster.fit(y[:start], X=X[:start], fh=range(1, 25))
day = X[start : start + 24]

# %%
# Contributions begin at what the network would forecast of an average window, and sum to the
# forecast of eight o'clock. "Simple forecasts" is the part of the blend that carries on the last
# days and weeks without any network.

contributions = forecaster.explain(X=day)
plotting.plot_contributions(contributions, "2018-09-17 08:00")

# %%
# Each row sums to its forecast.

difference = (contributions.sum(axis=1) - forecaster.predict(X=day)).abs().max()
print(f"largest difference of a sum from its forecast: {difference:.4f} vehicles")

# %%
# Where the steps of the forecast look in the block of attention. Right of the red line lies the
# forecast day itself: the network compares its hours with each other more than with the past, which
# the LSTM has summed up before.

weights = forecaster.attention_weights(X=day)
plotting.plot_attention(weights)

# %%
# Attention tells where a network looks, not what the answer depends on. Permutation does: the hours
# of the past that stand out in the map hardly matter. What counts are the same hours of the week
# and of the day before, which the network reads at each step, without any attention.

importance = forecaster.variable_importance(y[start - 168 :], X[start - 168 :], num_repeats=2)
importance.head(8)
