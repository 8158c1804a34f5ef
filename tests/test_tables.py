"""Files become y and X in one way, or are refused; forecasts are written as the data are."""

import re

import numpy as np
import pandas as pd
import pytest

from sktime_tlstm.tables import Data, observed, on_grid, read, time_of, write

DAYS = pd.date_range("2024-03-01", periods=14, name="time")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def data(**settings):
    return Data(**{"time": "time", "target": ["y"], **settings})


def read_times(times, **settings):
    """Return the index of a file with such times."""
    lines = [f"{time},{row}" for row, time in enumerate(times)]
    with open("data.csv", "w") as file:
        file.write("\n".join(["time,y", *lines]))
    return read(data(**settings), ["data.csv"], ["y"]).index


@pytest.mark.parametrize(
    ("times", "date_format", "expected"),
    [
        (["2024-03-04", "2024-03-05"], None, DAYS[3:5]),
        (["2024-03-05", "2024-03-04"], None, DAYS[3:5]),  # in order
        (["2024-03-04 00:00", "2024-03-04T06:30:00.5"], None, None),
        (["04/03/2024", "05/03/2024"], "%d/%m/%Y", DAYS[3:5]),
        (["03/04/2024", "03/05/2024"], "%m/%d/%Y", DAYS[3:5]),
        (["20240304", "20240305"], "%Y%m%d", DAYS[3:5]),
        (["2024-03-04T01:00+01:00", "2024-03-05T02:00+02:00"], None, DAYS[3:5].tz_localize("UTC")),
        (["2024-03-04T00:00Z", "2024-03-05T00:00Z"], None, DAYS[3:5].tz_localize("UTC")),
        (["04.03.2024 +0000", "05.03.2024 +0000"], "%d.%m.%Y %z", DAYS[3:5].tz_localize("UTC")),
        (["-1", "0", "1"], None, pd.Index([-1, 0, 1])),
        (["1990", "1991"], None, pd.Index([1990, 1991])),
        (["20240304", "20240399"], None, pd.Index([20240304, 20240399])),
    ],
)
def test_times_are_read_in_one_way(times, date_format, expected):
    if expected is None:
        expected = pd.DatetimeIndex([*times[:1], "2024-03-04 06:30:00.500"], name="time")
    found = read_times(times, date_format=date_format)
    assert found.name == "time"
    assert found.equals(expected) and (found.dtype.kind == expected.dtype.kind)


@pytest.mark.parametrize(
    ("times", "date_format", "message"),
    [
        (["04/03/2024", "31/03/2024"], None, "Got the time '04/03/2024' in row 0 .*date_format"),
        (["2024-03-04", "3/5/2024"], None, "Got the time '3/5/2024' in row 1"),
        (["2024-03-04", "2024-02-30"], None, "Got the time '2024-02-30' in row 1"),
        (["2024-03-04", ""], None, "Got the time '' in row 1"),
        (["2024-03-04", "7"], None, "Got the time '7' in row 1"),
        (["1", "2.5"], None, "Got the time '1' in row 0"),
        (["20240304", "20240305"], None, "Got the times 20240304, ..., 20240305, .*'%Y%m%d'"),
        (["2024-03-04", "3/5/2024"], "%Y-%m-%d", "Got the time '3/5/2024' in row 1 .*%Y-%m-%d"),
        (
            ["2024-03-04T00:00+01:00", "2024-03-04T00:00"],
            None,
            "Got the times '2024-03-04T00:00.01:00' and '2024-03-04T00:00', one of them alone",
        ),
        (["2024-03-04", "2024-03-04"], None, "Got two rows of 2024-03-04 00:00:00 in data.csv"),
    ],
)
def test_times_that_could_be_others_are_refused(times, date_format, message):
    with pytest.raises(ValueError, match=message):
        read_times(times, date_format=date_format)


def test_times_of_parquet_are_those_of_csv():
    frame = pd.DataFrame({"y": np.arange(14.0), "time": DAYS})
    frame.to_parquet("dates.parquet")
    frame.assign(time=DAYS.astype(str)).to_parquet("texts.parquet")
    frame.assign(time=DAYS.date).to_parquet("days.parquet")
    frame.set_index("time").to_parquet("index.parquet")
    for name in ("dates", "texts", "days", "index"):
        found = read(data(), [f"{name}.parquet"], ["y"])
        assert found.index.equals(DAYS) and list(found) == ["y"], name
    frame.assign(time=np.arange(14)).to_parquet("integers.parquet")
    assert read(data(), ["integers.parquet"], ["y"]).index.equals(pd.RangeIndex(14))
    frame.assign(time=DAYS.where(DAYS[3] != DAYS)).to_parquet("absent.parquet")
    with pytest.raises(ValueError, match="Got the time NaT in row 3 of the data, expected a date"):
        read(data(), ["absent.parquet"], ["y"])
    frame.assign(time=DAYS.astype(str).where(DAYS[3] != DAYS)).to_parquet("absent.parquet")
    with pytest.raises(ValueError, match="in row 3 of the data, expected dates"):
        read(data(), ["absent.parquet"], ["y"])


def test_names_of_series_stay_as_they_are_written():
    settings = data(series=["region", "shop"])
    frame = pd.DataFrame({"region": ["NA", "NA", "EU"], "shop": ["007", "7", "7"], "y": 1.0})
    frame["time"] = "2024-03-04"
    frame.to_csv("data.csv", index=False)
    found = read(settings, ["data.csv"], ["y"])
    assert found.index.names == ["region", "shop", "time"]
    assert found.index.droplevel(-1).tolist() == [("EU", "7"), ("NA", "007"), ("NA", "7")]
    frame.assign(shop=[7, 8, 9]).to_parquet("data.parquet")
    found = read(settings, ["data.parquet"], ["y"])
    assert found.index.get_level_values("shop").tolist() == ["9", "7", "8"]
    frame.assign(shop=["007", "", "7"]).to_csv("data.csv", index=False)
    with pytest.raises(ValueError, match="Got no shop in row 1 of the data, expected the name"):
        read(settings, ["data.csv"], ["y"])


def test_files_are_put_together_if_they_are_alike():
    frame = pd.DataFrame({"y": np.arange(14.0), "x": 1.0, "open": True}, DAYS)
    frame[8:].to_csv("b.csv")
    frame[:8].to_csv("a.csv.gz")
    found = read(data(), ["*.csv", "a.csv.gz"], ["y"])
    pd.testing.assert_frame_equal(
        found, frame.astype(float), check_freq=False, check_index_type=False
    )
    frame.drop(columns="x").to_csv("c.csv")
    with pytest.raises(
        ValueError, match=r"Got c\.csv and b\.csv, .* alone has the columns \['x'\]"
    ):
        read(data(), ["*.csv"], ["y"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "Got data.csv, expected a CSV file; pandas says: No columns"),
        ("time,y\n", "Got data.csv without rows"),
        ("time,y\n1,2,3,4\n1,2\n1,2,3,4,5,6\n", "Got data.csv, expected a CSV file"),
        ("a,b\n1,2\n", r"Got data.csv with the columns \['a', 'b'\], expected \['time', 'y'\] too"),
    ],
)
def test_files_that_are_no_tables_are_refused(content, message):
    with open("data.csv", "w") as file:
        file.write(content)
    with pytest.raises(ValueError, match=message):
        read(data(), ["data.csv"], ["y"])
    with open("data.parquet", "w") as file:
        file.write(content)
    with pytest.raises(ValueError, match=r"Got data.parquet, expected a Parquet file; pandas says"):
        read(data(), ["data.parquet"], ["y"])


def test_absent_steps_become_rows_without_values():
    frame = pd.DataFrame({"y": np.arange(14.0)}, DAYS)
    settings = data(freq="D")
    found = on_grid(settings, frame.drop(DAYS[[3, 9]]))
    assert found.index.equals(DAYS) and found.index.freqstr == "D"
    assert found["y"].isna().to_numpy().nonzero()[0].tolist() == [3, 9]
    assert on_grid(data(), frame.drop(DAYS[3])).index.equals(DAYS.drop(DAYS[3]))
    panel = pd.concat({"a": frame.drop(DAYS[3]), "b": frame[5:]}, names=["series"])
    found = on_grid(settings, panel)
    assert found.index.names == ["series", "time"]
    assert found.loc["a"].index.equals(DAYS) and found.loc["b"].index.equals(DAYS[5:])
    months = pd.DataFrame({"y": 1.0}, pd.DatetimeIndex(["2024-01-31", "2024-03-31"]))
    assert len(on_grid(data(freq="ME"), months)) == 3
    with pytest.raises(ValueError, match=r"which is no step of data.freq='MS'"):
        on_grid(data(freq="MS"), months)
    with pytest.raises(ValueError, match=r"of a, which is no step of data.freq='2D'"):
        on_grid(data(freq="2D"), panel)
    with pytest.raises(ValueError, match=r"Got data.freq='D' with times that are integers"):
        on_grid(settings, frame.reset_index(drop=True))
    years = pd.DataFrame({"y": 1.0}, pd.DatetimeIndex(["2024-01-01", "2204-01-01"]))
    with pytest.raises(ValueError, match=r"Got 2 of 65,744 steps of data.freq='D' from 2024"):
        on_grid(settings, years)


def test_rows_without_a_target_at_the_end_of_a_series_are_x_alone():
    frame = pd.DataFrame({"y": np.arange(14.0), "z": 1.0, "x": 2.0}, DAYS)
    frame.loc[DAYS[3], ["y", "z"]] = np.nan
    frame.loc[DAYS[10:], "y"] = np.nan
    frame.loc[DAYS[12:], "z"] = np.nan
    settings = data(target=["y", "z"])
    y, X = observed(settings, frame, ["x"])
    assert y.index.equals(DAYS[:12]) and X.index.equals(DAYS) and list(X) == ["x"]
    panel = pd.concat({"a": frame, "b": frame[:5], "c": frame[12:]}, names=["series"])
    y, X = observed(settings, panel, [])
    assert y.loc["a"].index.equals(DAYS[:12]) and y.loc["b"].index.equals(DAYS[:5])
    assert set(y.index.get_level_values(0)) == {"a", "b"} and X is None
    with pytest.raises(ValueError, match=r"Got no value in the columns \['y', 'z'\]"):
        observed(settings, frame[12:], ["x"])


@pytest.mark.parametrize(
    ("value", "index", "settings", "expected"),
    [
        ("2024-03-04", DAYS, {}, DAYS[3]),
        (DAYS[3].date(), DAYS, {"date_format": "%d.%m.%Y"}, DAYS[3]),
        ("04.03.2024", DAYS, {"date_format": "%d.%m.%Y"}, DAYS[3]),
        ("2024-03-04", DAYS.tz_localize("UTC"), {}, DAYS[3].tz_localize("UTC")),
        ("2024-03-04T01:00+01:00", DAYS.tz_localize("UTC"), {}, DAYS[3].tz_localize("UTC")),
        (7, pd.RangeIndex(14), {}, 7),
    ],
)
def test_a_time_of_the_configuration_is_read_as_those_of_files(value, index, settings, expected):
    assert time_of(data(**settings), value, index) == expected


@pytest.mark.parametrize(("value", "index"), [(DAYS[3].date(), pd.RangeIndex(14)), (7, DAYS)])
def test_a_time_of_another_kind_is_refused(value, index):
    with pytest.raises(ValueError, match="expected one of their kind"):
        time_of(data(), value, index)


def test_forecasts_are_written_as_the_data_are():
    frame = pd.DataFrame({"y": [1.5, 2.5]}, DAYS[3:5])
    settings = data(date_format="%d.%m.%Y", csv={"sep": ";", "decimal": ",", "encoding": "utf-16"})
    assert write(settings, frame, None) == "time;y\n04.03.2024;1,5\n05.03.2024;2,5\n"
    write(settings, frame, "f.csv")
    found = read(settings, ["f.csv"], ["y"])
    pd.testing.assert_frame_equal(found, frame, check_freq=False, check_index_type=False)
    write(settings, frame, "f.parquet")
    found = read(settings, ["f.parquet"], ["y"])
    pd.testing.assert_frame_equal(found, frame, check_freq=False, check_index_type=False)
    assert re.fullmatch(r"time,y\n2024-03-04,1.5\n2024-03-05,2.5\n", write(data(), frame, None))
