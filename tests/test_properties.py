"""Property tests: whatever frames come, what comes out has the shape that sktime promises."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sktime_tlstm import TransformerLSTMForecaster
from tests.setups import NETWORK, TRAINING

TINY = {**NETWORK, **TRAINING, "max_windows_per_epoch": 8, "num_samples": 4}
#: Rows of the future that every case has covariates for.
FUTURE = 12
#: Rows that the update brings.
NEW = 3
ALPHA = [0.95, 0.02, 0.5]

STARTS = {
    "hours": lambda n: pd.date_range("2024-03-30", periods=n, freq="h"),
    "zoned": lambda n: pd.date_range("2024-03-30", periods=n, freq="h", tz="Europe/Berlin"),
    "days": lambda n: pd.date_range("2024-02-20", periods=n, freq="D"),
    "business days": lambda n: pd.date_range("2024-02-20", periods=n, freq="B"),
    "month ends": lambda n: pd.date_range("2024-02-29", periods=n, freq="ME"),
    "quarters": lambda n: pd.period_range("2001Q3", periods=n, freq="Q"),
    "integers": lambda n: pd.RangeIndex(5, 5 + n),
    "every third": lambda n: pd.date_range("2024-02-20", periods=n, freq="3D"),
}


@st.composite
def cases(draw):
    """Draw frames of 1 to 4 series with 1 or 2 targets, holes, covariates; fh; parameters."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    step = draw(st.sampled_from(sorted(STARTS)))
    # A panel's index has no freq: one time alone counts as a day, four business days as days.
    shortest = {"days": 1, "integers": 1, "quarters": 1, "business days": 8}.get(step, 3)
    longest = draw(st.integers(shortest, 60))
    num_series = draw(st.integers(1, 4))
    lengths = [longest, *(draw(st.integers(1, longest)) for _ in range(num_series - 1))]
    ragged_end = draw(st.booleans())
    times = STARTS[step](longest + NEW + FUTURE).rename("time")
    dtype = draw(st.sampled_from(["float64", "float32", "int64", "Float64", "Int32"]))
    scale = draw(st.sampled_from([1e-6, 1.0, 1e6])) if dtype == "float64" else 100.0
    holes = draw(st.sampled_from([0.0, 0.2, 1.0])) if dtype != "int64" else 0.0
    targets = ["v", "u"][: draw(st.integers(1, 2))]
    kinds = draw(st.sampled_from([(), ("number",), ("category",), ("number", "category")]))
    frames, covariates, news = {}, {}, {}
    for key, length in zip("bacd", lengths, strict=False):
        begin = 0 if ragged_end else longest - length
        own = times[begin : begin + length + NEW]
        values = scale * rng.normal(size=(len(own), len(targets))).cumsum(axis=0)
        y = pd.DataFrame(values, own, targets)
        if dtype != "float64":
            y = y.round().astype(dtype) if "nt" in dtype else y.astype(dtype)
        if holes:
            y = y.mask(rng.random(y.shape) < holes)
        frames[key], news[key] = y.iloc[:length], y.iloc[length:]
        x = pd.DataFrame(index=times)
        if "number" in kinds:
            x["n"] = np.where(rng.random(len(x)) < 0.1, np.nan, rng.normal(size=len(x)))
        if "category" in kinds:
            x["c"] = rng.choice(["red", "blue", "green"], len(x))
        covariates[key] = x
    if holes == 1.0:  # of every target something must be observed somewhere
        frames["b"].iloc[0] = scale
    if num_series == 1 and draw(st.booleans()):
        y, y_new, x = (part["b"] for part in (frames, news, covariates))
        if len(targets) == 1 and draw(st.booleans()):
            y, y_new = y["v"], y_new["v"]
    else:
        y, y_new, x = (
            pd.concat(dict(sorted(part.items())), names=["key"])
            for part in (frames, news, covariates)
        )
    first = 1 - min(lengths)  # the first in-sample step that every series has
    fh = draw(
        st.lists(st.integers(max(first, -5), FUTURE - 1), min_size=1, max_size=5, unique=True)
    )
    parameters = {
        "prediction_length": draw(st.sampled_from([None, 1, 4])),
        "context_length": draw(st.sampled_from([None, 1, 6])),
        "loss": draw(st.sampled_from(["quantile", "mse"])),
        "scaler": draw(st.sampled_from(["auto", "standard", None])) if scale == 1 else "auto",
        "window_norm": draw(st.sampled_from(["meanstd", "mean", None])),
    }
    return {
        "y": y,
        "y_new": y_new,
        "X": x if kinds else None,
        "fh": sorted(fh),
        "fh_in_fit": draw(st.booleans()),
        "update_params": draw(st.booleans()),
        "parameters": parameters,
        "times": times,
    }


def expected_index(y, fh, times):
    """Return the index of forecasts: per series, fh after its own last observation."""
    if not isinstance(y.index, pd.MultiIndex):
        last = times.get_loc(y.index[-1])
        return times[[last + step for step in fh]]
    rows = [
        (key, times[times.get_loc(own.index[-1][-1]) + step])
        for key, own in y.groupby(level=0, sort=False)
        for step in fh
    ]
    return pd.MultiIndex.from_tuples(rows, names=y.index.names)


def check_forecasts(forecaster, y, case):
    fh, X = case["fh"], case["X"]
    index = expected_index(y, fh, case["times"])
    y_pred = forecaster.predict(fh, X=X)
    assert type(y_pred) is type(y)
    assert y_pred.index.equals(index)
    assert y_pred.index.names == index.names
    if isinstance(y, pd.Series):
        assert y_pred.name == y.name
    else:
        assert list(y_pred.columns) == list(y.columns)
    assert np.isfinite(y_pred.to_numpy(dtype=float)).all()

    quantiles = forecaster.predict_quantiles(fh, X=X, alpha=ALPHA)
    names = [y.name] if isinstance(y, pd.Series) else list(y.columns)
    assert list(quantiles.columns) == [(name, alpha) for name in names for alpha in ALPHA]
    assert quantiles.index.equals(index)
    values = quantiles.to_numpy().reshape(len(index), len(names), len(ALPHA))
    assert np.isfinite(values).all()
    ascending = values[..., np.argsort(ALPHA)]
    assert (np.diff(ascending, axis=-1) >= 0).all(), "quantiles cross"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sktime_tlstm.ForecastWarning")  # series are short and wild
@settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(case=cases())
def test_forecasts_have_the_promised_shape_whatever_comes_in(case):
    y, X, fh = case["y"], case["X"], case["fh"]
    forecaster = TransformerLSTMForecaster(**TINY, **case["parameters"])
    forecaster.fit(y, X=X, fh=fh if case["fh_in_fit"] else None)
    check_forecasts(forecaster, y, case)

    forecaster.update(case["y_new"], X=X, update_params=case["update_params"])
    check_forecasts(forecaster, case["y_new"], case)

    residuals = forecaster.predict_residuals(y, X=X)
    assert type(residuals) is type(y) and residuals.index.equals(y.index)
    missing = y.isna().to_numpy()
    assert np.array_equal(np.isnan(residuals.to_numpy(dtype=float)), missing)
