"""X that ends before the horizon: said wherever the network would read more of it."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sktime.split import ExpandingWindowSplitter

from sktime_tlstm import SkorchForecaster, TransformerLSTMForecaster
from sktime_tlstm.nn import Seq2SeqLSTM

ROWS, HORIZON = 60, 6
INDEX = pd.date_range("2023-02-11", periods=ROWS + 2 * HORIZON, freq="D")
X = pd.DataFrame({"heat": np.random.default_rng(0).normal(size=len(INDEX))}, index=INDEX)
Y = pd.Series(3 + X["heat"].to_numpy()[:ROWS], index=INDEX[:ROWS], name="load")
TINY = {"max_epochs": 1, "max_windows_per_epoch": 16, "context_length": 7, "random_state": 0}


def fitted(**parameters):
    settings = {"d_model": 4, "num_heads": 2, **TINY, **parameters}
    return TransformerLSTMForecaster(**settings).fit(Y, X=X[:ROWS], fh=range(1, HORIZON + 1))


@pytest.mark.parametrize(
    ("fh", "rows", "lacking"),
    [
        ([1, 2], slice(ROWS, ROWS + 2), "4 of the 6 steps up to the end of the horizon, the first"),
        ([2, 5], [ROWS + 1, ROWS + 4], "4 of the 6 steps"),
        ([1, 8], slice(ROWS, ROWS + 8), "4 of the 12 steps"),
    ],
    ids=["short", "with holes", "beyond the horizon"],
)
@pytest.mark.parametrize("method", ["predict", "predict_interval", "predict_samples"])
def test_x_for_fewer_steps_than_the_network_reads_is_warned_about(fh, rows, lacking, method):
    forecaster = fitted(num_samples=3, calibration="none")  # what the network reads
    with pytest.warns(UserWarning, match=f"Got X without {lacking}"):
        short = getattr(forecaster, method)(fh=fh, X=X.iloc[rows])
    whole = getattr(forecaster, method)(fh=fh, X=X[ROWS:])
    assert not np.allclose(short, whole)  # why it warns


def test_x_for_the_whole_horizon_is_right_whatever_is_asked():
    forecaster = fitted()
    together = forecaster.predict(X=X[ROWS : ROWS + HORIZON])
    alone = forecaster.predict(fh=[2], X=X[ROWS : ROWS + HORIZON])
    assert alone.iloc[0] == pytest.approx(together.iloc[1])


def test_networks_that_do_not_look_ahead_need_no_more_than_the_steps_asked_for():
    causal = fitted(causal_attention=True)
    recurrent = SkorchForecaster(Seq2SeqLSTM, {"hidden_size": 4, "embedding_dim": 4}, **TINY)
    recurrent.fit(Y, X=X[:ROWS], fh=range(1, HORIZON + 1))
    for forecaster in (causal, recurrent):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            short = forecaster.predict(fh=[1, 2], X=X[ROWS : ROWS + 2])
        np.testing.assert_allclose(short, forecaster.predict(fh=[1, 2], X=X[ROWS:]), rtol=1e-6)


def test_a_missing_row_that_is_asked_for_is_an_error_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="Got X without the row 2023-04-13"):
            fitted().predict(fh=[1, 2], X=X[ROWS : ROWS + 1])


def test_the_last_windows_of_a_backtest_warn_as_predict_does():
    forecaster = fitted()
    later = pd.Series(3.0, index=INDEX[ROWS : ROWS + 4], name="load")
    cv = ExpandingWindowSplitter(fh=[1], initial_window=2, step_length=1)
    with pytest.warns(UserWarning, match="Got X without 4 of the 6 steps"):
        forecaster.backtest(later, X[ROWS : ROWS + 5], cv)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        forecaster.backtest(later, X[ROWS:], cv)
