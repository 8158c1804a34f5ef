"""Forecast the traffic on a highway, every day anew for four months.

    python examples/quickstart.py

fits one network to 20 months of hourly counts, then stands at 122 midnights in a row: it sees what
has happened so far, knows tomorrow's weather and holidays, and forecasts the next 24 hours. It
prints the errors and draws a week into quickstart.png. Expected, in about a minute of one core:

    mean absolute error in vehicles an hour
        repeat yesterday           510.0
        repeat last week           261.8
        TransformerLSTM       about 190
    the 90 % intervals hold about 94 % of what happened
"""

import argparse
import time

import matplotlib

matplotlib.use("Agg")  # draw into a file, no window

import pandas as pd
import torch

from sktime_tlstm import TransformerLSTMForecaster
from sktime_tlstm.datasets import load_metro_traffic
from sktime_tlstm.plotting import plot_forecast

DAY = 24  # hours
FAN = [0.9, 0.6, 0.3]  # what share of the truth each band of the fan is to hold


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--days", type=int, default=122, help="days to forecast")
    parser.add_argument("--epochs", type=int, default=10, help="epochs to train")
    parser.add_argument("--picture", default="quickstart.png", help="file to draw into")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)  # a small network: more threads would mostly wait for each other

    # y: vehicles an hour; X: temperature, snow, clouds, kind of weather, holiday. 104 hours blank.
    y, X = load_metro_traffic()
    X = X.drop(columns="rain_1h")  # the gauge hardly reports before the hours to forecast
    first = len(y) - options.days * DAY  # the first hour to forecast

    began = time.perf_counter()
    forecaster = TransformerLSTMForecaster(max_epochs=options.epochs, random_state=0, verbose=1)
    forecaster.fit(y[:first], X=X[:first], fh=range(1, DAY + 1))
    fitted = time.perf_counter()

    forecasts, intervals = [], []
    for midnight in range(first, len(y), DAY):
        day = slice(midnight, midnight + DAY)
        forecasts.append(forecaster.predict(X=X[day]))
        intervals.append(forecaster.predict_interval(X=X[day], coverage=FAN))
        forecaster.update(y[day], X=X[day], update_params=False)  # the day has passed
    forecast, interval = pd.concat(forecasts), pd.concat(intervals)
    done = time.perf_counter()

    truth = y[first:]
    errors = {
        "repeat yesterday": truth - y.shift(DAY),
        "repeat last week": truth - y.shift(7 * DAY),
        "TransformerLSTM": truth - forecast,
    }
    print("mean absolute error in vehicles an hour")
    for name, error in errors.items():
        print(f"    {name:20}{error.abs().mean():12.1f}")
    outer = interval[y.name][0.9]
    held = truth.between(outer["lower"], outer["upper"])[truth.notna()].mean()
    print(f"the 90 % intervals hold {held:.1%} of what happened")
    print(f"{fitted - began:.0f} s to fit, {done - fitted:.0f} s for {options.days} forecasts")

    week = forecast["2018-08-31":"2018-09-06"]  # with Labor Day, a Monday
    week = week if len(week) else forecast[-7 * DAY :]
    axes = plot_forecast(week, y, intervals=interval.loc[week.index], num_history=2 * DAY)
    axes.set_ylim(bottom=0)
    axes.set_title("Traffic on Interstate 94: a forecast a day, made at midnight", loc="left")
    axes.figure.savefig(options.picture, dpi=110)
    print(f"drew {options.picture}")


if __name__ == "__main__":
    main()
