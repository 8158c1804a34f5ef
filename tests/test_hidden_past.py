"""Columns whose past is hidden: no forecast hangs on it, and what contradicts it is refused."""

import numpy as np
import pandas as pd
import pytest
from sktime.exceptions import NotFittedError

from tests.setups import tiny

RNG = np.random.default_rng(6)
ROWS, CONTEXT = 120, 8
X = pd.DataFrame(
    {
        "u": np.repeat(RNG.uniform(-2, 2, ROWS // 4), 4),
        "v": RNG.normal(size=ROWS),
        "kind": np.where(RNG.random(ROWS) < 0.5, "on", "off"),
    }
)
Y = pd.DataFrame({"a": X["u"].ewm(alpha=0.2).mean(), "b": X["v"].ewm(alpha=0.4).mean()})
FH = range(1, 21)


def simulator(**parameters):
    usual = {"mode": "simulation", "context_length": CONTEXT, "prediction_length": 10}
    return tiny(**{**usual, "max_epochs": 2, **parameters})


def simulated(forecaster, **outputs):
    past = Y[60 : 60 + CONTEXT].assign(**outputs)
    return forecaster.predict(FH, X[60:], y=past)


@pytest.mark.filterwarnings("ignore:Got a past without an output:UserWarning")
def test_hidden_outputs_train_a_simulation_and_are_not_read_by_it():
    hidden, usual = (simulator(hidden_past=names).fit(Y, X=X) for names in (("a", "b"), None))
    for outputs in ({"a": 2.0, "b": -1.0}, {"a": np.nan, "b": np.nan}):
        found = simulated(hidden, **outputs)
        pd.testing.assert_frame_equal(found, simulated(hidden), check_exact=True)
        assert not simulated(usual, **outputs).equals(simulated(usual))
    other = simulator(hidden_past=["a", "b"]).fit(Y.assign(a=-Y["a"]), X=X)
    assert not simulated(other)["a"].equals(simulated(hidden)["a"])


def test_some_outputs_may_be_hidden_and_others_read():
    forecaster = simulator(hidden_past=["b"]).fit(Y, X=X)
    pd.testing.assert_frame_equal(simulated(forecaster, b=7.0), simulated(forecaster))
    assert not simulated(forecaster, a=2.0)["b"].equals(simulated(forecaster)["b"])


def test_intervals_samples_updates_and_backtests_do_not_read_it_either():
    forecaster = simulator(hidden_past=["a", "b"]).fit(Y[:90], X=X[:90])
    past, blind = Y[60:70], Y[60:70] * np.nan
    for ask in (
        lambda y: forecaster.predict_interval(FH, X[60:], coverage=0.8, y=y),
        lambda y: forecaster.predict_samples(FH, X[60:], num_samples=3, y=y),
        lambda y: forecaster.predict_var(FH, X[60:], y=y),
    ):
        pd.testing.assert_frame_equal(ask(past), ask(blind), check_exact=True)
    before = forecaster.predict(FH, X[90:])
    moved = forecaster.clone().fit(Y[:90], X=X[:90])
    moved.update(Y[90:95] + 3, X=X[90:95], update_params=False)
    there = forecaster.predict(range(6, 21), X[90:])
    assert before.iloc[5:].equals(there)
    assert np.isfinite(moved.predict(FH, X[95:]).to_numpy()).all()


def test_the_past_of_covariates_may_be_hidden_from_forecasts():
    y, settings = Y["a"], {"context_length": CONTEXT, "target_lags": (3,), "calibration": "none"}
    changed = X[:80].assign(u=X["u"].sample(frac=1.0, random_state=0).to_numpy()[:80])
    changed["kind"] = np.where(changed["kind"] == "on", "off", "on")
    future = X[80:].assign(u=0.3, kind="on")
    forecaster = tiny(hidden_past=["u", "kind"], **settings).fit(y[:80], X=X[:80], fh=FH)
    usual = tiny(**settings).fit(y[:80], X=X[:80], fh=FH)

    def ask(one, past, ahead):
        return one.predict(FH, pd.concat([past, ahead]), y=y[:80])

    pd.testing.assert_series_equal(
        ask(forecaster, changed, X[80:]), ask(forecaster, X[:80], X[80:])
    )
    assert not ask(usual, changed, X[80:]).equals(ask(usual, X[:80], X[80:]))
    for column in ("u", "kind"):  # but what comes is read
        ahead = X[80:].assign(**{column: future[column]})
        assert not ask(forecaster, X[:80], ahead).equals(ask(forecaster, X[:80], X[80:]))
    v = X[:80].assign(v=0.0)  # and so is the past of others
    assert not ask(forecaster, v, X[80:]).equals(ask(forecaster, X[:80], X[80:]))


def test_what_cannot_be_hidden_is_refused_before_training():
    cases = [
        (
            tiny(hidden_past=["a"]),
            r"columns \['a'\] of y and mode='forecast', whose norm.*Pass mode",
        ),
        (
            simulator(hidden_past=["a", "z"]),
            r"with \['z'\], expected some of \['a', 'b', 'u', 'v', 'k",
        ),
        (
            simulator(hidden_past=["v"], static_covariates=["v"]),
            r"\['v'\], expected some of.*'kind'\]",
        ),
        (
            simulator(hidden_past=["v"], past_covariates=["v"]),
            r"\['v'\] in hidden_past and in past_",
        ),
        (simulator(hidden_past=["v"], weight_column="v"), r"with \['v'\], expected some of"),
    ]
    for forecaster, words in cases:
        with pytest.raises(ValueError, match=words):
            forecaster.fit(Y, X=X.assign(v=1.0))
        with pytest.raises(NotFittedError):
            forecaster.predict(FH, X)


def test_what_was_pretrained_stays_hidden_from_series_of_other_names():
    panel, covariates = (pd.concat({"one": part}) for part in (Y, X))
    forecaster = simulator(hidden_past=["b", "u"]).pretrain(panel, X=covariates)
    renamed = Y.rename(columns={"a": "p", "b": "q"})
    fitted = forecaster.fit(renamed[:100], X=X[:100])
    past = renamed[60:68]
    found = fitted.predict(FH, X[60:], y=past)
    pd.testing.assert_frame_equal(fitted.predict(FH, X[60:], y=past.assign(q=9.0)), found)
    assert not fitted.predict(FH, X[60:], y=past.assign(p=2.0)).equals(found)
