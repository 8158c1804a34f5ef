"""A panel that is read in pieces is fitted as the same panel in memory."""

import errno
import itertools
import pickle
import re
import sys

import numpy as np
import pandas as pd
import pytest
from sktime.forecasting.base import ForecastingHorizon

from sktime_tlstm import PanelDataset
from sktime_tlstm.data import panels
from tests.setups import tiny

# which one series of the panel is there for
pytestmark = pytest.mark.filterwarnings("ignore:Got y without any observed value of 'sales'")

FH = [1, 2, 3]
AHEAD = 3


def series_of(seed, rows, begin):
    rng = np.random.default_rng(seed)
    times = pd.date_range("2023-01-01", periods=begin + rows, freq="D")[begin:]
    sales = 20 * (seed + 1) + 3 * np.sin(np.arange(rows)) + rng.normal(size=rows)
    sales[rng.random(rows) < 0.1] = np.nan
    return pd.DataFrame(
        {
            "sales": sales,
            "price": rng.normal(5.0, 1.0, rows),
            "promo": (rng.random(rows) < 0.2).astype(float),
            "holiday": np.where(rng.random(rows) < 0.9, f"kind {seed % 3}", "none"),
            "region": f"r{seed % 4}",
            "size": float(seed),
            "weight": rng.uniform(0.5, 2.0, rows),
        },
        index=times,
    )


LENGTHS = [30, 41, 25, 60, 33, 28, 37]
PANEL = pd.concat(
    {f"s{k}": series_of(k, rows, 3 * k) for k, rows in enumerate(LENGTHS)}, names=["shop", "day"]
)
PANEL.loc["s5", "sales"] = np.nan  # a series without any value
COVARIATES = ["price", "promo", "holiday", "region", "size", "weight"]
SETTINGS = {
    "static_covariates": ["region", "size"],
    "past_covariates": ["promo"],
    "weight_column": "weight",
    "series_embedding": True,
}


def pieces_of(frame, numbers):
    """Return frames of so many series each."""
    keys = frame.index.droplevel(-1).unique()
    bounds = np.cumsum([0, *numbers])
    return [
        frame[frame.index.droplevel(-1).isin(keys[begin:end])]
        for begin, end in itertools.pairwise(bounds)
    ]


def future_of(frame):
    """Return the steps behind every series, and those of others up to the latest."""
    last = frame.index.get_level_values(-1).max()
    parts = {}
    for key, part in frame.groupby(level=list(range(frame.index.nlevels - 1))):
        begin = part.index[-1][-1]
        times = pd.date_range(begin, last + pd.Timedelta(days=AHEAD), freq="D")[1:]
        values = part.iloc[np.arange(len(times)) % len(part)].set_axis(times)
        parts[key] = values.assign(region=part["region"].iloc[0], size=part["size"].iloc[0])
    return pd.concat(parts, names=frame.index.names)[COVARIATES]


def assert_same(piecewise, whole, X):
    assert piecewise.cutoff == whole.cutoff
    bounds = [one.predict_interval(FH, X=X, coverage=0.8) for one in (piecewise, whole)]
    pd.testing.assert_frame_equal(*bounds, check_exact=True)
    pd.testing.assert_frame_equal(piecewise.predict(FH, X=X), whole.predict(FH, X=X))
    epochs = [one.history_.filter(like="loss") for one in (piecewise, whole)]
    pd.testing.assert_frame_equal(*epochs, check_exact=True)


@pytest.mark.parametrize("numbers", [[7], [1, 2, 3, 1], [1] * 7], ids=str)
@pytest.mark.parametrize("in_file", [False, True], ids=["memory", "file"])
def test_all_is_as_if_the_panel_was_one_frame(numbers, in_file, tmp_path):
    whole = tiny(**SETTINGS).fit(PANEL[["sales"]], X=PANEL[COVARIATES], fh=FH)
    store_dir = tmp_path if in_file else None
    panel = PanelDataset(pieces_of(PANEL, numbers), "sales", store_dir=store_dir)
    before = [piece.copy() for piece in panel.pieces]
    piecewise = tiny(**SETTINGS).fit(panel, fh=FH)
    assert_same(piecewise, whole, future_of(PANEL))
    for piece, copy in zip(panel.pieces, before, strict=True):
        pd.testing.assert_frame_equal(piece, copy)
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:Got a past without an output:UserWarning")
@pytest.mark.parametrize(
    "parameters",
    [
        {"validation_series": ["s3", "s0"], "calibration": "none"},
        {"scaler": None, "window_norm": None},
        {"loss": "poisson", "calibration": "none"},
        {"mode": "simulation", "prediction_length": 6, "past_covariates": None},
        {"num_members": 2, "max_epochs": 2, "validation_fraction": 0.2},
    ],
    ids=lambda parameters: "-".join(parameters),
)
def test_parameters_hold_for_all_pieces(parameters):
    frame = PANEL.fillna({"sales": 1.0}).round({"sales": 0}) if "loss" in parameters else PANEL
    y, X = frame[["sales"]], frame[["price", "promo"]]
    whole = tiny(**parameters).fit(y, X=X, fh=FH)
    panel = PanelDataset(lambda: iter(pieces_of(frame, [2, 4, 1])), "sales", ["price", "promo"])
    piecewise = tiny(**parameters).fit(panel, fh=FH)
    assert_same(piecewise, whole, future_of(PANEL)[["price", "promo"]])


def test_levels_of_a_hierarchy_and_several_targets_are_kept():
    frame = PANEL.fillna({"sales": 2.0}).assign(other=PANEL["price"] * 2)
    index = [(f"town {key[1]}", key, time) for key, time in frame.index]
    frame.index = pd.MultiIndex.from_tuples(index, names=["town", "shop", "day"])
    targets = ["sales", "other"]
    whole = tiny().fit(frame[targets], fh=FH)
    piecewise = tiny().fit(PanelDataset(pieces_of(frame, [3, 4]), targets, []), fh=FH)
    assert_same(piecewise, whole, None)
    assert piecewise.predict(FH).index.names == ["town", "shop", "day"]


def test_categories_of_pandas_and_numbers_of_several_types_are_told_apart():
    frame = PANEL.assign(kind=np.arange(len(PANEL)) % 5, flag=PANEL["promo"].astype(bool))
    frame["kind"] = frame["kind"].astype("category")
    covariates = ["kind", "flag", "price"]
    pieces = pieces_of(frame, [3, 4])
    pieces[1]["kind"] = pieces[1]["kind"].cat.reorder_categories([4, 3, 2, 1, 0])
    pieces[1]["flag"] = pieces[1]["flag"].astype(float)
    whole = tiny().fit(frame[["sales"]], X=frame[covariates], fh=FH)
    piecewise = tiny().fit(PanelDataset(pieces, "sales", covariates), fh=FH)
    encoder = piecewise._fitted.model.encoder
    assert list(encoder.categories) == ["kind"]
    assert sorted(encoder.categories["kind"]) == sorted(
        whole._fitted.model.encoder.categories["kind"]
    )
    X = future_of(PANEL)[["price"]].assign(kind=2, flag=True)
    assert_same(piecewise, whole, X)


@pytest.fixture
def small_samples(monkeypatch):
    """Learn from few rows and series."""
    monkeypatch.setattr(panels, "SAMPLE_ROWS", 80)
    monkeypatch.setattr(panels, "LEAST_SERIES", 1)


def test_a_sample_of_the_rows_knows_all_categories_and_extremes(small_samples):
    frame = PANEL.copy()
    frame.loc[("s4", frame.loc["s4"].index[7]), "price"] = 50.0
    frame.loc[("s1", frame.loc["s1"].index[3]), "holiday"] = "jubilee"
    panel = PanelDataset(pieces_of(frame, [1] * 7), "sales")
    source = panel.source()
    assert len(source.y) < len(frame) and len(source.X) < len(frame)
    assert source.X["price"].max() == 50.0
    assert set(source.X["holiday"]) == set(frame["holiday"])
    assert set(source.X["region"]) == set(frame["region"])
    assert len(source.y.loc["s3"]) == 60  # the longest
    for key in source.y.index.levels[0]:  # whole series
        pd.testing.assert_frame_equal(
            source.y.loc[key], frame.loc[key, ["sales"]], check_freq=False
        )
    assert source.last[0] == frame.index.get_level_values(-1).max()
    whole = tiny(**SETTINGS).fit(frame[["sales"]], X=frame[COVARIATES], fh=FH)
    piecewise = tiny(**SETTINGS).fit(panel, fh=FH)
    one, other = (forecaster._fitted.history for forecaster in (piecewise, whole))
    np.testing.assert_array_equal(one.store.values[:, 0], other.store.values[:, 0])
    np.testing.assert_array_equal(one.store.observed[:], other.store.observed[:])
    np.testing.assert_array_equal(one.store.traits.identity, other.store.traits.identity)
    np.testing.assert_array_equal(one.store.traits.static[:, -1], other.store.traits.static[:, -1])
    assert piecewise.cutoff == whole.cutoff
    assert np.isfinite(piecewise.predict(FH, X=future_of(PANEL))).all(axis=None)


@pytest.mark.parametrize("first", [0, 3], ids=["first", "another"])
def test_a_series_longer_than_the_sample_is_no_obstacle(first, small_samples):
    lengths = np.full(6, 12)
    lengths[first] = 300
    frame = pd.concat({f"s{k}": series_of(k, rows, 0) for k, rows in enumerate(lengths)})
    panel = PanelDataset(pieces_of(frame, [1] * 6), "sales", ["price"])
    source = panel.source()
    assert len(source.y.loc[f"s{first}"]) == 300
    assert 25 < len(source.X) <= 85
    whole = tiny().fit(frame[["sales"]], fh=FH)
    alike = tiny().fit(PanelDataset(pieces_of(frame, [6]), "sales", []), fh=FH)
    np.testing.assert_array_equal(
        alike._fitted.history.store.values, whole._fitted.history.store.values
    )


def test_a_sample_has_of_every_kind_of_series(monkeypatch):
    monkeypatch.setattr(panels, "SAMPLE_ROWS", 500)
    parts = {}
    for number in range(64):  # in the order of stores, and of items within each
        part = series_of(number, 30, 0)
        parts[number // 4, "abcd"[number % 4]] = part.assign(price=part["price"] * (number % 4 + 1))
    frame = pd.concat(parts, names=["store", "item", "day"])
    source = PanelDataset(pieces_of(frame, [8] * 8), "sales", ["price"]).source()
    for sample in (source.X, source.y):
        counts = sample.index.get_level_values("item").value_counts(normalize=True)
        assert len(counts) == 4 and counts.min() > 0.1
    assert source.X["price"].median() == pytest.approx(frame["price"].median(), rel=0.15)


def test_rows_that_show_a_category_are_no_series_when_a_season_is_sought(monkeypatch):
    monkeypatch.setattr(panels, "SAMPLE_ROWS", 1500)
    rng = np.random.default_rng(0)
    cycle = 10 * np.sin(2 * np.pi * np.arange(300) / 7)
    parts = {
        k: pd.DataFrame({"sales": cycle + rng.normal(size=300), "site": f"site {k}"}, range(300))
        for k in range(40)
    }
    frame = pd.concat(parts, names=["site number", "step"])
    for covariates in ([], ["site"]):
        panel = PanelDataset(pieces_of(frame, [4] * 10), "sales", covariates)
        assert tiny().fit(panel, fh=FH)._fitted.model.spec.seasons == (7,)


def test_series_that_are_held_out_are_in_no_sample(small_samples):
    panel = PanelDataset(pieces_of(PANEL, [4, 3]), "sales", ["price", "region"])
    named = ["s3", "s1", "s0"]
    source = panel.source(named)
    for sample in (source.y, source.X):
        assert not set(named) & set(sample.index.get_level_values(0))
    assert set(source.keys) == set(PANEL.index.levels[0])
    settings = {"validation_series": named, "calibration": "none"}
    y, X = PANEL[["sales"]], PANEL[["price", "region"]]
    encoders = [
        forecaster._fitted.model.encoder
        for forecaster in (
            tiny(**settings).fit(panel, fh=FH),
            tiny(**settings).fit(y, X=X, fh=FH),
        )
    ]
    assert list(encoders[0].categories["region"]) == list(encoders[1].categories["region"])
    assert str(encoders[0].timeline) == str(encoders[1].timeline)
    assert encoders[0].identities.equals(encoders[1].identities)
    with pytest.raises(ValueError, match="names all series of y"):
        tiny(validation_series=list(PANEL.index.levels[0])).fit(panel, fh=FH)


def test_a_sample_tells_nothing_of_jumps(small_samples):
    panel = PanelDataset(pieces_of(PANEL, [4, 3]), "sales", ["price"])
    forecaster = tiny(scaler=None, window_norm=None).fit(panel, fh=FH)
    (scaling,) = forecaster._fitted.model.encoder.scalings
    assert scaling.jump is None
    assert (scaling.low, scaling.high) == (PANEL["price"].min(), PANEL["price"].max())
    forecaster.predict(FH, X=future_of(PANEL)[["price"]])


def test_a_horizon_in_dates_counts_from_the_end_of_all_pieces():
    last = PANEL.index.get_level_values(-1).max()
    fh = ForecastingHorizon(pd.date_range(last, periods=5, freq="D")[1:], is_relative=False)
    whole = tiny().fit(PANEL[["sales"]], fh=fh)
    panel = PanelDataset(pieces_of(PANEL, [5, 2]), "sales", [])
    pd.testing.assert_frame_equal(tiny().fit(panel, fh=fh).predict(), whole.predict())


def test_a_model_is_pretrained_on_one_panel_and_then_another():
    first, second = pieces_of(PANEL, [4, 3])
    y = PANEL.loc["s6", ["sales"]]
    whole = tiny().pretrain(first[["sales"]], fh=FH).pretrain(second[["sales"]]).fit(y, fh=FH)
    piecewise = tiny().pretrain(PanelDataset(pieces_of(first, [1, 3]), "sales", []), fh=FH)
    piecewise.pretrain(PanelDataset([second], "sales", [])).fit(y, fh=FH)
    pd.testing.assert_frame_equal(piecewise.predict(), whole.predict())


def test_a_fitted_forecaster_is_pretrained_as_on_a_frame():
    y = PANEL[["sales"]]
    whole = tiny().fit(y.loc[["s0"]], fh=FH).pretrain(y, fh=FH).fit(y.loc["s6"], fh=FH)
    piecewise = tiny().fit(y.loc[["s0"]], fh=FH)
    piecewise.pretrain(PanelDataset(pieces_of(y, [7]), "sales"), fh=FH).fit(y.loc["s6"], fh=FH)
    pd.testing.assert_frame_equal(piecewise.predict(), whole.predict())


def test_what_is_fitted_goes_on_as_usual(tmp_path):
    panel = PanelDataset(pieces_of(PANEL, [4, 3]), "sales", [], store_dir=tmp_path)
    whole = tiny().fit(PANEL[["sales"]], fh=FH)
    piecewise = tiny(checkpoint_dir=tmp_path / "checkpoints").fit(panel, fh=FH)
    new = PANEL.loc[["s6"], ["sales"]].iloc[-4:]
    new.index = new.index.set_levels(new.index.levels[-1] + pd.Timedelta(days=4), level=-1)
    copy = pickle.loads(pickle.dumps(piecewise))
    piecewise.save(tmp_path / "model", serialization_format="safetensors")
    loaded = tiny().load_from_path(tmp_path / "model.zip")
    assert loaded.checkpoint_dir == str(tmp_path / "checkpoints")
    for forecaster in (piecewise, copy, loaded, whole):
        forecaster.update(new, update_params=False)
    for forecaster in (piecewise, copy, loaded):
        pd.testing.assert_frame_equal(forecaster.predict(FH), whole.predict(FH))


def test_updates_go_on_in_the_file(tmp_path):
    panel = PanelDataset(pieces_of(PANEL, [4, 3]), "sales", [], store_dir=tmp_path)
    forecaster = tiny().fit(panel, fh=FH)
    before = forecaster._fitted.history.store.values.data_ptr()
    new = PANEL.loc[["s6"], ["sales"]].iloc[-2:]
    new.index = new.index.set_levels(new.index.levels[-1] + pd.Timedelta(days=2), level=-1)
    forecaster.update(new, update_params=False)
    assert forecaster._fitted.history.store.values.data_ptr() == before
    whole = tiny().fit(PANEL[["sales"]], fh=FH).update(new, update_params=False)
    pd.testing.assert_frame_equal(forecaster.predict(FH), whole.predict(FH))


# Parquet.


def written(frame, folder, cuts, **kwargs):
    """Write rows to numbered files, cut anywhere."""
    bounds = [0, *cuts, len(frame)]
    for number, (begin, end) in enumerate(itertools.pairwise(bounds)):
        path = folder / f"part-{number:03d}.parquet"
        frame.iloc[begin:end].reset_index().to_parquet(path, index=False, **kwargs)
    return folder


@pytest.mark.parametrize("least", [1, 50, 10_000])
def test_parquet_files_are_read_whole_series_at_a_time(least, tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    monkeypatch.setattr(panels, "PIECE_ROWS", least)
    written(PANEL, tmp_path, [20, 75, 150], row_group_size=17)
    panel = PanelDataset.from_parquet(tmp_path, "shop", "day", "sales", COVARIATES)
    frames = list(panel.pieces())
    pd.testing.assert_frame_equal(
        pd.concat(frames)[PANEL.columns], PANEL, check_freq=False, check_dtype=False
    )
    assert len(frames) == {1: 7, 50: 4, 10_000: 1}[least]
    whole = tiny(**SETTINGS).fit(PANEL[["sales"]], X=PANEL[COVARIATES], fh=FH)
    assert_same(tiny(**SETTINGS).fit(panel, fh=FH), whole, future_of(PANEL))


def test_files_by_value_dates_and_lists_of_files_are_read(tmp_path):
    pytest.importorskip("pyarrow")
    frame = PANEL[["sales"]].reset_index()
    frame["day"] = frame["day"].dt.date
    frame.to_parquet(tmp_path / "by", partition_cols=["shop"], index=False)
    panel = PanelDataset.from_parquet(tmp_path / "by", "shop", "day", "sales")
    whole = tiny().fit(PANEL[["sales"]], fh=FH)
    forecast = tiny().fit(panel, fh=FH).predict()
    np.testing.assert_array_equal(forecast, whole.predict())
    assert isinstance(forecast.index.levels[-1], pd.DatetimeIndex)
    integers = PANEL[["sales"]].reset_index()
    integers["day"] = (integers["day"] - integers["day"].min()).dt.days
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for path, rows in zip(paths, (integers[:100], integers[100:]), strict=True):
        rows.to_parquet(path, index=False)
    panel = PanelDataset.from_parquet(paths, ["shop"], "day", ["sales"])
    whole = tiny().fit(integers.set_index(["shop", "day"]), fh=FH)
    np.testing.assert_array_equal(tiny().fit(panel, fh=FH).predict(), whole.predict())


def test_files_that_pandas_wrote_with_an_index_are_read(tmp_path):
    pytest.importorskip("pyarrow")
    PANEL[:100].to_parquet(tmp_path / "a.parquet")
    PANEL[100:].to_parquet(tmp_path / "b.parquet")
    panel = PanelDataset.from_parquet(tmp_path, "shop", "day", "sales", COVARIATES)
    whole = tiny(**SETTINGS).fit(PANEL[["sales"]], X=PANEL[COVARIATES], fh=FH)
    assert_same(tiny(**SETTINGS).fit(panel, fh=FH), whole, future_of(PANEL))


def test_types_that_go_together_are_read_without_a_loss(tmp_path):
    pytest.importorskip("pyarrow")
    first, second = (PANEL.loc[keys].reset_index() for keys in (["s0", "s1"], ["s2", "s3"]))
    first["price"], first["promo"] = 3, None
    second["price"] = 3.75
    first.to_parquet(tmp_path / "a.parquet")
    second.astype({"weight": "float32"}).to_parquet(tmp_path / "b.parquet")
    panel = PanelDataset.from_parquet(tmp_path, "shop", "day", "sales", ["price", "promo"])
    read = pd.concat(list(panel.pieces()))
    assert read["price"].tolist() == [3.0] * len(first) + [3.75] * len(second)
    assert read["promo"].isna().sum() == len(first)


def test_files_of_other_columns_or_zones_are_refused(tmp_path):
    pytest.importorskip("pyarrow")
    whole = PANEL.reset_index()
    whole[:100].to_parquet(tmp_path / "a.parquet")
    others = {
        "one alone has the columns ['sales']": whole[100:].drop(columns="sales"),
        "['Sales', 'sales']": whole[100:].rename(columns={"sales": "Sales"}),
        "timestamp[us, tz=UTC]": whole[100:].assign(day=whole["day"].dt.tz_localize("UTC")),
        "expected types that go together": whole[100:].assign(sales="much"),
    }
    for message, rows in others.items():
        rows.to_parquet(tmp_path / "b.parquet")
        with pytest.raises((ValueError, TypeError), match=re.escape(message)) as raised:
            PanelDataset.from_parquet(tmp_path, "shop", "day", "sales", ["price"])
        assert "b.parquet" in str(raised.value)
    (tmp_path / "empty").mkdir()
    for nothing in (tmp_path / "empty", []):
        with pytest.raises(FileNotFoundError, match="there is no Parquet file"):
            PanelDataset.from_parquet(nothing, "shop", "day", "sales")


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"time": "hour"}, ValueError, r"columns \['hour'\] to read, expected some of those of"),
        (
            {"time": "region"},
            TypeError,
            r"column 'region' of type .*string as time, expected dates",
        ),
        ({"time": "shop"}, ValueError, r"expected columns that are named once"),
        ({"series": ["shop", "sales"]}, ValueError, r"Drop \['sales'\] from one of them"),
        ({"target": "sale"}, ValueError, r"target with \['sale'\], expected columns of the pieces"),
        ({"covariates": ["prize"]}, ValueError, r"columns \['prize'\] to read"),
        ({"source": "nowhere"}, FileNotFoundError, "nowhere"),
    ],
    ids=str,
)
def test_wrong_columns_and_files_are_named(change, error, message, tmp_path):
    pytest.importorskip("pyarrow")
    written(PANEL, tmp_path, [100])
    arguments = {"source": tmp_path, "series": "shop", "time": "day", "target": "sales"} | change
    with pytest.raises(error, match=message):
        tiny().fit(PanelDataset.from_parquet(**arguments), fh=FH)


def test_rows_without_a_series_or_a_time_are_refused(tmp_path):
    pytest.importorskip("pyarrow")
    frame = PANEL[["sales"]].reset_index()
    for name in ("shop", "day"):
        frame.assign(**{name: frame[name].where(frame.index != 7)}).to_parquet(
            tmp_path / "x.parquet"
        )
        panel = PanelDataset.from_parquet(tmp_path / "x.parquet", "shop", "day", "sales", [])
        with pytest.raises(ValueError, match=f"Got a row without '{name}': .*expected the series"):
            tiny().fit(panel, fh=FH)


def test_without_pyarrow_its_installation_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "sktime_tlstm.data.parquet", None)
    with pytest.raises(ModuleNotFoundError, match="pip install pyarrow"):
        PanelDataset.from_parquet(tmp_path, "shop", "day", "sales")


# What is refused.

PIECES = pieces_of(PANEL, [3, 4])
SPREAD = [PANEL[::2], PANEL[1::2]]
GAP = [PIECES[0], PIECES[1].drop(PIECES[1].index[65])]
BACKWARDS = [PIECES[0], PIECES[1][::-1]]
SHORTER = iter([PIECES, PIECES[:1]])
OTHER = iter([PIECES, [PIECES[0], PIECES[1].rename(index={"s4": "t4"}, level=0)]])
LONGER = iter([PIECES[:1], PIECES])
DAY = pd.Timedelta(days=1)
LATER = PIECES[1].set_axis(PIECES[1].index.set_levels(PIECES[1].index.levels[-1] + DAY, level=-1))
SHIFTED = iter([PIECES, [PIECES[0], LATER]])
SCALED = iter([PIECES, [PIECES[0], PIECES[1].assign(sales=1e3 * PIECES[1]["sales"])]])
ZONED = PIECES[1].tz_localize("Europe/Berlin", level=-1)
WEEKS = pd.date_range("2020-01-31", periods=4, freq=pd.offsets.LastWeekOfMonth(weekday=4))
ODD = pd.concat({k: pd.DataFrame({"sales": range(4)}, WEEKS) for k in "ab"})
ODD.index = ODD.index.set_levels(WEEKS, level=-1)
INFINITE = [PIECES[0], PIECES[1].assign(price=np.inf)]


@pytest.mark.parametrize(
    ("pieces", "error", "message"),
    [
        (SPREAD, ValueError, r"series 's0' in several places, .*Sort the rows by series and time"),
        (GAP, ValueError, r"gap in time: after \('s4', .*1 steps are absent"),
        (BACKWARDS, ValueError, "times that are not in order: after .*comes"),
        ([PIECES[0], PIECES[1].drop(columns="size")], ValueError, "expected those of the first"),
        ([PANEL.loc["s0"]], TypeError, "with an index of type DatetimeIndex, expected a pandas"),
        ([PANEL["sales"]], TypeError, "piece of type Series, expected a pandas.DataFrame"),
        ([], ValueError, "pieces without rows"),
        ([PANEL[:0]], ValueError, "pieces without rows"),
        (
            lambda: iter(next(SHORTER)),
            ValueError,
            "other series, times or values when the pieces were read",
        ),
        (
            lambda: iter(next(OTHER)),
            ValueError,
            "other series, times or values when the pieces were read",
        ),
        (
            lambda: iter(next(LONGER)),
            ValueError,
            "other series, times or values when the pieces were read",
        ),
        (lambda: iter(next(SHIFTED)), ValueError, "other series, times or values"),
        (lambda: iter(next(SCALED)), ValueError, "other series, times or values"),
        ([PIECES[0], ZONED], TypeError, "expected times of one kind, all in one time zone or none"),
        ([ODD], ValueError, "which do not tell this frequency by themselves"),
        ([PIECES[0].iloc[:, [0, 1, 1]]], ValueError, "expected each once. Drop or rename some"),
        (INFINITE, ValueError, "infinite value in column 'price'"),
        ([PANEL.assign(sales="12")], TypeError, "Got y with the text '12'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_pieces_that_make_no_panel_are_refused_without_a_trace(pieces, error, message):
    forecaster = tiny()
    with pytest.raises(error, match=message):
        forecaster.fit(PanelDataset(pieces, "sales"), fh=FH)
    assert not forecaster.is_fitted and not hasattr(forecaster, "members_")


def test_pieces_that_can_be_read_once_only_are_refused():
    for once in (iter(PIECES), (piece for piece in PIECES), 3):
        with pytest.raises(TypeError, match="expected frames that can be read more than once"):
            PanelDataset(once, "sales")


def test_wrong_names_and_folders_are_refused(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(OSError, match=r"store_dir=.*expected a folder to write to; .*: No"):
            PanelDataset(PIECES, "sales", store_dir=folder)
    for target, covariates in (("sales", ["sales"]), ([], None), ("sales", ["price", "price"])):
        with pytest.raises(ValueError, match="expected at least one target, and no column twice"):
            PanelDataset(PIECES, target, covariates)
    with pytest.raises(TypeError, match="target=None, expected the name of a column"):
        PanelDataset(PIECES, None)
    with pytest.raises(ValueError, match=r"Got covariates with \['prize'\], expected columns of"):
        tiny().fit(PanelDataset(PIECES, "sales", "prize"), fh=FH)
    monkeypatch.chdir(tmp_path)
    panel = PanelDataset(PIECES, "sales", [], store_dir=".")
    monkeypatch.chdir("/")
    assert tiny().fit(panel, fh=FH).is_fitted


def test_a_full_disk_is_told_before_it_matters(tmp_path, monkeypatch):
    def full(file, begin, size):
        raise OSError(errno.ENOSPC, "No space left on device")

    panel = PanelDataset(PIECES, "sales", [], store_dir=tmp_path)
    monkeypatch.setattr("os.posix_fallocate", full, raising=False)
    forecaster = tiny()
    with pytest.raises(OSError, match=r"no room for \d+ MiB \(No space left on device\)"):
        forecaster.fit(panel, fh=FH)
    assert not forecaster.is_fitted


def test_parameters_are_checked_before_anything_is_read():
    def pieces():
        raise AssertionError

    with pytest.raises(ValueError, match="Got lr=-1"):
        tiny(lr=-1).fit(PanelDataset(pieces, "sales"), fh=FH)


def test_a_dataset_is_for_training_alone():
    panel = PanelDataset(PIECES, "sales", [])
    forecaster = tiny().fit(panel, fh=FH)
    expected = forecaster.predict()
    for call in (
        lambda: forecaster.update(panel),
        lambda: forecaster.predict(y=panel),
        lambda: forecaster.backtest(panel, None, None),
    ):
        with pytest.raises(TypeError, match=r"of type PanelDataset, .*expected"):
            call()
    pd.testing.assert_frame_equal(forecaster.predict(), expected)
    with pytest.raises(TypeError, match="Got X beside y of type PanelDataset"):
        tiny().fit(panel, X=PANEL[["price"]], fh=FH)
    assert_same(forecaster.fit(panel, fh=FH), tiny().fit(PANEL[["sales"]], fh=FH), None)  # again
