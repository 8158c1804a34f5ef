import pandas as pd
import pytest
from sktime.datatypes import check_is_mtype

from sktime_tlstm.datasets import load_metro_traffic


@pytest.fixture(scope="module")
def metro_traffic():
    return load_metro_traffic()


def test_metro_traffic_is_hourly_for_two_years(metro_traffic):
    y, X = metro_traffic
    hours = pd.date_range("2016-10-01 00:00", "2018-09-30 23:00", freq="h")
    assert y.index.equals(hours)
    assert X.index.equals(hours)
    assert y.index.freq == X.index.freq == "h"


def test_metro_traffic_has_the_published_values(metro_traffic):
    y, X = metro_traffic
    assert y.name == "traffic_volume"
    assert y.sum() == 57_833_978
    sums = X[["temp", "rain_1h", "snow_1h", "clouds_all"]].sum()
    assert sums.to_list() == pytest.approx([4_900_951.005, 447.96, 0.0, 735_000.0])
    first = X.iloc[0]
    assert y.iloc[0] == 1195
    assert first.to_list() == [286.22, 0.0, 0.0, 20.0, "Clouds", 0]
    assert X["weather_main"].value_counts().to_dict() == {
        "Clear": 6195,
        "Clouds": 5599,
        "Rain": 1889,
        "Mist": 1468,
        "Snow": 1221,
        "Haze": 318,
        "Drizzle": 311,
        "Thunderstorm": 311,
        "Fog": 102,
        "Smoke": 2,
    }


def test_metro_traffic_keeps_the_104_blank_hours_blank(metro_traffic):
    y, X = metro_traffic
    blank = y.isna()
    assert blank.sum() == 104
    assert blank["2016-10-07 15:00"]
    for column in X.columns.drop("holiday"):
        assert X[column].isna().equals(blank), column


def test_metro_traffic_marks_whole_federal_holidays_even_in_blank_hours(metro_traffic):
    y, X = metro_traffic
    holiday = X["holiday"]
    assert set(holiday) == {0, 1}
    days = holiday[holiday == 1].index.normalize().value_counts()
    assert set(days) == {24}
    assert sorted(days.index.strftime("%Y-%m-%d")) == [
        *["2016-10-10", "2016-11-11", "2016-11-24", "2016-12-26"],
        *["2017-01-02", "2017-01-16", "2017-02-20", "2017-05-29", "2017-07-04"],
        *["2017-09-04", "2017-10-09", "2017-11-10", "2017-11-23", "2017-12-25"],
        *["2018-01-01", "2018-01-15", "2018-02-19", "2018-05-28", "2018-07-04", "2018-09-03"],
    ]
    assert (holiday[y.isna()] == 1).any()


def test_metro_traffic_is_what_sktime_accepts(metro_traffic):
    y, X = metro_traffic
    assert check_is_mtype(y, "pd.Series", "Series")
    valid, message, metadata = check_is_mtype(
        X, "pd.DataFrame", "Series", return_metadata=["feature_kind"]
    )
    assert valid, message
    kinds = dict(zip(X.columns, metadata["feature_kind"], strict=True))
    assert [name for name, kind in kinds.items() if kind.name == "CATEGORICAL"] == ["weather_main"]


def test_metro_traffic_is_the_callers_to_change():
    y, X = load_metro_traffic()
    original_y, original_X = y.copy(), X.copy()
    y.iloc[:] = -1.0
    X["temp"] = -1.0
    X["weather_main"] = "Fog"
    fresh_y, fresh_X = load_metro_traffic()
    pd.testing.assert_series_equal(fresh_y, original_y)
    pd.testing.assert_frame_equal(fresh_X, original_X)
