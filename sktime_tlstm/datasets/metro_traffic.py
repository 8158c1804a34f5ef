"""Two years of hourly traffic on an interstate highway, with weather and holidays."""

from importlib.resources import as_file, files

import pandas as pd
from pandas.tseries.holiday import USFederalHolidayCalendar

_MEASUREMENTS = ["temp", "rain_1h", "snow_1h", "clouds_all"]
_WEATHER = pd.CategoricalDtype(
    [
        "Clear",
        "Clouds",
        "Drizzle",
        "Fog",
        "Haze",
        "Mist",
        "Rain",
        "Smoke",
        "Snow",
        "Thunderstorm",
    ]
)


def load_metro_traffic() -> tuple[pd.Series, pd.DataFrame]:
    """Load the hourly traffic volume of a Minnesota interstate with weather and holidays.

    Westbound vehicles an hour on Interstate 94 at station 301 of the Minnesota Department of
    Transportation, about midway between Minneapolis and Saint Paul, from 2016-10-01 00:00 to
    2018-09-30 23:00: 17,520 hours in local time. In 104 of them nothing was recorded, and ``y`` and
    every column of ``X`` but ``holiday`` are missing.

    Returns
    -------
    y : pandas.Series of shape (17520,)
        ``traffic_volume`` in vehicles an hour, float, with an hourly ``DatetimeIndex``.
    X : pandas.DataFrame of shape (17520, 6)
        Covariates with the same index:

        - ``temp``: air temperature in kelvin;
        - ``rain_1h``: rain in the hour in mm, above 0 in October 2016, August 2018 and September
          2018 only: in between, rain shows in ``weather_main`` alone;
        - ``snow_1h``: snow in the hour in mm, 0 throughout: snow shows in ``weather_main`` alone;
        - ``clouds_all``: cloud cover in percent;
        - ``weather_main``: kind of weather in a word, categorical with 10 categories;
        - ``holiday``: 1 in all 24 hours of a United States federal holiday (the day it is
          observed), else 0. It is known in the blank hours as well.

    Notes
    -----
    Source: Hogue, J. (2019), Metro Interstate Traffic Volume, UCI Machine Learning Repository, data
    set 492, https://doi.org/10.24432/C5X60B, licensed under CC BY 4.0. The file in this package is
    the extract without gaps in its index that AutoTS 1.0.4 (MIT License) ships, the CSV inside its
    ``datasets/data/traffic_hourly.zip`` byte for byte, compressed with gzip. ``holiday`` is added
    here, from the calendar that pandas has.

    The frames are made anew in each call and are the caller's to change.

    Examples
    --------
    >>> from sktime_tlstm.datasets import load_metro_traffic
    >>> y, X = load_metro_traffic()
    >>> y.name, y.shape, int(y.isna().sum())
    ('traffic_volume', (17520,), 104)
    >>> list(X.columns)
    ['temp', 'rain_1h', 'snow_1h', 'clouds_all', 'weather_main', 'holiday']
    >>> int(y["2018-06-27 17:00"]), int(y["2018-07-04 17:00"])  # a Wednesday and a holiday
    (6095, 3045)
    """
    with as_file(files(__package__) / "metro_traffic.csv.gz") as path:
        table = pd.read_csv(
            path, index_col="datetime", parse_dates=["datetime"], dtype={"weather_main": _WEATHER}
        )
    hours = pd.DatetimeIndex(table.index, freq="h").rename(None)
    table.index = hours
    days = hours.normalize()
    holidays = USFederalHolidayCalendar().holidays(days[0], days[-1])
    X = table[[*_MEASUREMENTS, "weather_main"]].assign(holiday=days.isin(holidays).astype("int64"))
    return table["traffic_volume"].copy(), X
