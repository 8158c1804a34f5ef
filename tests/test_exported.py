"""Graphs: from raw rows in units of y to the forecasts of the forecaster, without it."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from sktime_tlstm import SkorchForecaster, nn
from sktime_tlstm.nn.exporting import traces_all
from tests.setups import TRAINING, tiny

pytestmark = pytest.mark.skipif(not traces_all(), reason="older torch exports no LSTM")

LEVELS = [0.1, 0.5, 0.8]
ROWS, STEPS = 90, 6


def panel():
    """Return targets and covariates of two series, with holes and an unknown kind."""
    draws, times = np.random.default_rng(0), pd.date_range("2024-02-27", periods=ROWS, freq="h")
    frames = {}
    for name in ("a", "b"):
        X = pd.DataFrame({"warmth": draws.normal(size=ROWS)}, times)
        X["kind"] = pd.Categorical(draws.choice(["u", "v"], ROWS))
        X["flag"] = draws.integers(0, 2, ROWS)
        X["size"] = 2.0 if name == "a" else 3.0
        X["one"] = 10 + X["warmth"] + draws.normal(size=ROWS)
        X["two"] = 5 * X["one"] + 100
        frames[name] = X
    frame = pd.concat(frames, names=["series", "time"])
    frame.iloc[[50, 51, 120], frame.columns.get_loc("one")] = np.nan
    frame.iloc[[60, 61, 130], frame.columns.get_loc("warmth")] = np.nan
    return frame[["one", "two"]], frame[["warmth", "kind", "flag", "size"]]


Y, X = panel()


def rows(frame, begin, end):
    return frame.groupby(level=0, group_keys=False).apply(lambda part: part.iloc[begin:end])


def calendar_of(times, names):
    """Return the calendar features (time, feature) of naive times, by NumPy alone."""
    times = pd.DatetimeIndex(times)
    day = (times.hour * 3600 + times.minute * 60 + times.second).to_numpy() / 86400
    turns = {
        "time_of_day": day,
        "day_of_week": (times.dayofweek.to_numpy() + day) / 7,
        "day_of_year": times.dayofyear.to_numpy() / 365.25,
    }
    columns = []
    for name in names:
        if name == "weekend":
            columns.append((times.dayofweek.to_numpy() >= 5).astype(float))
        else:
            columns += [np.sin(2 * np.pi * turns[name]), np.cos(2 * np.pi * turns[name])]
    return np.stack(columns, -1)


def inputs_of(words, y, X, cutoff):
    """Make a graph's inputs of raw frames, from its description alone."""
    begin, end = cutoff - words["reach"], cutoff + words["horizon"]

    def window(part, stop):
        values = part[max(begin, 0) : stop].astype(float)
        return np.pad(values, ((max(-begin, 0), 0), (0, 0)), constant_values=np.nan)

    inputs = {"series": [], "y": [], "covariates": [], "calendar": []}
    for number, name in enumerate(words["series"]):
        own = y if name == "None" else y.loc[name]
        inputs["series"].append(number)
        inputs["y"].append(window(own[words["targets"]].to_numpy(), cutoff))
        if words["numeric"] or words["categorical"]:
            columns = (X if name == "None" else X.loc[name])[words["numeric"]].copy()
            for column, kinds in words["categorical"].items():
                codes = {kind: place for place, kind in enumerate(kinds, start=1)}
                values = (X if name == "None" else X.loc[name])[column]
                columns[column] = [codes.get(str(value), 0) for value in values]
            inputs["covariates"].append(window(columns.to_numpy(), end))
        if words["calendar"]:
            times = own.index[cutoff - words["context"] : end]
            inputs["calendar"].append(calendar_of(times, words["calendar"]))
    kinds = {"series": np.int64, "calendar": np.float32}
    return {
        name: np.stack(parts).astype(kinds.get(name, np.float64))
        for name, parts in inputs.items()
        if len(parts)
    }


def fitted(forecaster, cutoff=80):
    return forecaster.fit(rows(Y, 0, cutoff), X=rows(X, 0, cutoff), fh=range(1, STEPS + 1))


def expected(forecaster, cutoff=80):
    future = rows(X, cutoff, cutoff + STEPS)
    point, quantiles = (
        forecaster.predict(X=future),
        forecaster.predict_quantiles(X=future, alpha=LEVELS),
    )
    shape = point.index.get_level_values(0).nunique(), STEPS, point.shape[1]
    return point.to_numpy().reshape(shape), quantiles.to_numpy().reshape(*shape, len(LEVELS))


def through_torch(forecaster, tmp_path):
    words = forecaster.to_torch_export(tmp_path / "graph.pt2", LEVELS)
    extra = {"sktime_tlstm.json": ""}
    program = torch.export.load(tmp_path / "graph.pt2", extra_files=extra)
    assert json.loads(extra["sktime_tlstm.json"]) == words
    module = program.module()

    def run(inputs):
        with torch.no_grad():
            outputs = module(**{name: torch.from_numpy(part) for name, part in inputs.items()})
        return [output.numpy() for output in outputs]

    return words, run


def through_onnx(forecaster, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    forecaster.to_onnx(str(tmp_path / "graph.onnx"), LEVELS)
    session = onnxruntime.InferenceSession(tmp_path / "graph.onnx")
    words = json.loads(session.get_modelmeta().custom_metadata_map["sktime_tlstm"])
    return words, lambda inputs: session.run(["point", "quantiles"], inputs)


def close(got, wanted):
    scale = np.abs(wanted[0]).max()
    return all(
        np.allclose(one, other, rtol=0, atol=1e-4 * scale)
        for one, other in zip(got, wanted, strict=True)
    )


def network(cls, **parameters):
    return SkorchForecaster(cls, {"d_model": 4, **parameters}, context_length=12, **TRAINING)


FORECASTERS = {
    "weights": lambda: tiny(context_length=12, weight_column="size", step_weights=[1] * STEPS),
    "flagship": lambda: tiny(context_length=12),
    "members on bent targets": lambda: tiny(
        context_length=12,
        num_members=2,
        scaler="robust_arcsinh",
        past_covariates=["warmth", "kind"],
    ),
    "network alone": lambda: tiny(
        context_length=12, calibration="none", static_covariates=["size"], series_embedding=True
    ),
    "hidden columns": lambda: tiny(
        context_length=12,
        prediction_length=STEPS,
        mode="simulation",
        hidden_past=["one", "kind", "warmth"],
    ),
    "simulation": lambda: tiny(context_length=12, prediction_length=STEPS, mode="simulation"),
    "full form of a point loss": lambda: tiny(
        context_length=12,
        encoder_attention=True,
        num_transformer_blocks=2,
        feedforward="moe",
        loss="huber",
    ),
    "LSTM": lambda: network(nn.AttentionLSTM),
    "temporal attention": lambda: network(nn.TemporalAttentionLSTM),
    "fusion": lambda: network(nn.TemporalFusionTransformer, num_heads=2),
    "transformer": lambda: network(nn.Transformer, num_heads=2),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", FORECASTERS)
@pytest.mark.filterwarnings("ignore:Got X with the column:UserWarning")
def test_a_graph_of_torch_forecasts_as_the_forecaster_does(case, tmp_path):
    forecaster = fitted(FORECASTERS[case]())
    words, run = through_torch(forecaster, tmp_path)
    inputs = inputs_of(words, Y, X, 80)
    wanted = expected(forecaster)
    assert close(run(inputs), wanted)
    order = np.array([1, 0, 1, 1])
    again = run({name: part[order] for name, part in inputs.items()})
    assert close(again, [part[order] for part in wanted])
    assert close(run({name: part[:1] for name, part in inputs.items()}), [p[:1] for p in wanted])


@pytest.mark.slow
@pytest.mark.parametrize("case", ["flagship", "members on bent targets"])
def test_onnx_forecasts_as_the_forecaster_does(case, tmp_path):
    forecaster = fitted(FORECASTERS[case]())
    words, run = through_onnx(forecaster, tmp_path)
    inputs = inputs_of(words, Y, X, 80)
    assert close(run(inputs), expected(forecaster))
    forecaster.update(rows(Y, 80, 84), rows(X, 80, 84), update_params=False)
    point, _ = run(inputs_of(words, Y, X, 84))  # of later rows, by the graph as it was
    future = rows(X, 84, 90)
    assert np.allclose(point.reshape(-1, 2), forecaster.predict(X=future), rtol=1e-4)


def test_a_single_series_without_x_has_fewer_inputs(tmp_path):
    y = pd.Series(np.arange(60) % 7 + 0.5, name="y")
    forecaster = tiny(context_length=8).fit(y[:50], fh=[1, 2, 3])
    words, run = through_torch(forecaster, tmp_path)
    assert words["series"] == ["None"] and words["calendar"] == words["numeric"] == []
    inputs = inputs_of(words, y.to_frame(), None, 50)
    assert sorted(inputs) == ["series", "y"]
    point, quantiles = run(inputs)
    assert np.allclose(point[0, :, 0], forecaster.predict(), rtol=1e-5)
    assert quantiles.shape == (1, 3, 1, len(LEVELS))


@pytest.mark.parametrize("through", [through_torch, through_onnx])
def test_a_graph_stays_where_values_are_as_well(through, tmp_path):
    y = pd.Series(np.where(np.arange(80) % 8 < 4, 0.0, 6.0 + np.arange(80) % 5), name="y")
    forecaster = tiny(context_length=16).fit(y, fh=range(1, 9))
    words, run = through(forecaster, tmp_path)
    point, quantiles = run(inputs_of(words, y.to_frame(), None, 80))
    wanted = forecaster.predict_quantiles(alpha=LEVELS).to_numpy()
    assert (wanted == 0).any()
    np.testing.assert_allclose(quantiles[0, :, 0], wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(point[0, :, 0], forecaster.predict(), rtol=1e-4, atol=1e-5)


def test_the_description_says_what_the_inputs_are(tmp_path):
    words, _ = through_torch(fitted(tiny(context_length=12, past_covariates=["warmth"])), tmp_path)
    assert words["series"] == ["a", "b"] and words["targets"] == ["one", "two"]
    assert words["numeric"] == ["warmth", "flag", "size"]
    assert words["known_in_future"] == ["flag", "size", "kind"]
    assert sorted(words["categorical"]["kind"]) == ["u", "v"]
    assert words["context"] == 12 and words["horizon"] == STEPS and words["levels"] == LEVELS
    assert words["calendar"][0] == "time_of_day"


def test_exporting_leaves_the_forecaster_as_it_is(tmp_path):
    forecaster = fitted(tiny(context_length=12))
    before = expected(forecaster)
    forecaster.to_torch_export(tmp_path / "graph.pt2")
    assert all(np.array_equal(*pair) for pair in zip(before, expected(forecaster), strict=True))
    assert forecaster.net_.module_.training is False


@pytest.mark.parametrize("levels", [[], [0.5, 0.1], [0.0, 0.5], [0.5, 0.5], [1.0]])
def test_levels_that_are_none_are_refused(levels, tmp_path):
    forecaster = tiny(context_length=8).fit(pd.Series(np.arange(30.0)), fh=[1])
    with pytest.raises(ValueError, match="expected ascending levels strictly between 0 and 1"):
        forecaster.to_torch_export(tmp_path / "graph.pt2", levels)
    assert not list(tmp_path.iterdir())


def test_what_no_graph_can_compute_is_refused(tmp_path):
    y = pd.Series(np.arange(30.0))
    with pytest.raises(ValueError, match="loss='student_t', whose quantiles scipy computes"):
        tiny(loss="student_t").fit(y, fh=[1]).to_torch_export(tmp_path / "graph.pt2")
    with pytest.raises(Exception, match="has not been fitted"):
        tiny().to_onnx(tmp_path / "graph.onnx")


def test_without_onnx_the_error_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    forecaster = tiny(context_length=8).fit(pd.Series(np.arange(30.0)), fh=[1])
    with pytest.raises(ModuleNotFoundError, match=r"Got no onnx.*sktime-tlstm\[onnx\]"):
        forecaster.to_onnx(tmp_path / "graph.onnx")


def test_an_older_torch_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("sktime_tlstm.exported.traces_all", lambda: False)
    forecaster = tiny(**TRAINING).fit(Y, X=X, fh=[1, 2])
    with pytest.raises(RuntimeError, match=r"expected 2\.13 or later for an export"):
        forecaster.to_torch_export(tmp_path / "graph.pt2")
