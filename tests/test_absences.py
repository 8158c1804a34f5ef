"""X without any value where it used to have some: said once, and only where it is news."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sktime.split import ExpandingWindowSplitter

from tests.setups import tiny

ROWS, FH = 80, [1, 2, 3, 4]
INDEX = pd.date_range("2022-03-05", periods=ROWS + 8, freq="D")
X = pd.DataFrame(
    {
        "heat": np.random.default_rng(3).normal(size=len(INDEX)),
        "wind": np.cos(np.arange(len(INDEX)) / 5),
        "shift": np.where(np.arange(len(INDEX)) % 4, "early", "late"),
    },
    INDEX,
)
Y = pd.Series(20 + 3 * X["heat"] + np.random.default_rng(4).normal(size=len(X)), name="load")
EMPTY = "Got X without any value in the columns "


def fitted(X=X, **parameters):
    return tiny(context_length=7, **parameters).fit(Y[:ROWS], X=X[:ROWS], fh=FH)


def told(call):
    """Return the warnings of a call about columns without a value."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        call()
    return [str(one.message) for one in found if str(one.message).startswith(EMPTY)]


@pytest.fixture(scope="module")
def forecaster():
    return fitted()


@pytest.mark.parametrize("method", ["predict", "predict_interval", "predict_var", "predict_proba"])
def test_a_column_without_a_value_ahead_is_told_once(forecaster, method):
    words = ["wind", "rows to forecast", "last known values stand in", "past_covariates"]
    (message,) = told(lambda: getattr(forecaster, method)(X=X[ROWS:].assign(wind=np.nan)))
    assert all(word in message for word in words)


def test_categories_are_told_of_too_and_the_columns_in_one_warning(forecaster):
    (message,) = told(lambda: forecaster.predict(X=X[ROWS:].assign(shift=None, heat=np.nan)))
    assert "['heat', 'shift']" in message
    assert "missing categories count as unknown" in message


@pytest.mark.filterwarnings("ignore:Got X with the column 'shift', no value of which:UserWarning")
def test_categories_that_are_unknown_are_values(forecaster):
    later = X[ROWS:].assign(shift="none at all")
    assert not told(lambda: forecaster.predict(X=later))
    own = fitted()
    assert not told(lambda: own.update(Y[ROWS:], X=later, update_params=False))


def test_values_behind_the_last_step_asked_for_do_not_count(forecaster):
    later = X[ROWS:].copy()
    later.iloc[:2, 0] = np.nan
    assert len(told(lambda: forecaster.predict(fh=[1, 2], X=later))) == 1
    assert not told(lambda: forecaster.predict(fh=[1, 2, 3], X=later))


def test_silent_in_sample_and_where_some_rows_have_values(forecaster):
    later = X[ROWS:].copy()
    later.iloc[1:, :] = np.nan
    assert not told(lambda: forecaster.predict(fh=FH, X=later))
    assert not told(lambda: forecaster.predict(fh=[-3, 0], X=later.assign(heat=np.nan)))


def test_silent_where_training_had_no_value_or_the_column_is_not_read_ahead():
    forecaster = fitted(past_covariates=["heat"])
    assert not told(lambda: forecaster.predict(X=X[ROWS:].assign(heat=np.nan)))
    with pytest.warns(UserWarning, match="nothing is learnt"):
        forecaster = fitted(X.assign(wind=np.nan))
    assert not told(lambda: forecaster.predict(X=X[ROWS:].assign(wind=np.nan)))


def test_silent_where_as_long_gaps_are_usual():
    """A column of a few events has no value for weeks: that is no join that failed."""
    rare = X.assign(heat=X["heat"].where(np.arange(len(X)) % 9 == 0))
    rare.iloc[ROWS:, 0] = np.nan
    assert not told(lambda: fitted(rare).predict(X=rare[ROWS:]))
    some = X.assign(heat=X["heat"].where(np.arange(len(X)) % 9 > 0))  # single days are absent
    some.iloc[ROWS:, 0] = np.nan
    forecaster = fitted(some)
    assert not told(lambda: forecaster.predict(fh=[1], X=some[ROWS:]))
    assert len(told(lambda: forecaster.predict(fh=FH, X=some[ROWS:]))) == 1


def test_values_that_begin_late_make_no_gap_usual():
    late = X.copy()
    late.iloc[:10, 1] = np.nan  # such as a column of lags
    assert len(told(lambda: fitted(late).predict(X=X[ROWS:].assign(wind=np.nan)))) == 1


def test_an_update_and_a_given_past_tell_of_their_own_rows():
    forecaster = fitted()
    rows = slice(ROWS, ROWS + 3)
    none = X.assign(wind=np.nan)
    (message,) = told(lambda: forecaster.predict(FH, X=none, y=Y[:ROWS]))
    assert "in the given past, " in message and "mean of training" in message
    (message,) = told(lambda: forecaster.update(Y[rows], X=none[rows], update_params=False))
    assert "in the new rows of y, " in message and "last known values" in message
    forecaster = fitted()
    row = slice(ROWS, ROWS + 1)
    assert not told(lambda: forecaster.update(Y[row], X=none[row], update_params=False))


def test_a_backtest_tells_of_the_rows_of_y(forecaster):
    cv = ExpandingWindowSplitter(fh=FH, initial_window=2, step_length=1)
    none = X[ROWS:].assign(shift=None)
    (message,) = told(lambda: forecaster.backtest(Y[ROWS:], none, cv))
    assert "['shift'] in the rows of y, " in message
    assert not told(lambda: forecaster.backtest(Y[ROWS:], X[ROWS:], cv))


class AtTheEnd:
    """A splitter with cutoffs so late that all steps lie behind y, and rows of others."""

    def get_fh(self):
        from sktime.forecasting.base import ForecastingHorizon

        return ForecastingHorizon(FH, is_relative=True)

    def split(self, y):
        yield np.arange(len(y)), np.arange(len(y) - 1, len(y))


@pytest.mark.filterwarnings("ignore:Got 1 of 1 windows")
def test_a_backtest_tells_of_rows_behind_y(forecaster):
    later = X[ROWS:].copy()
    later.iloc[4:, 1] = np.nan
    (message,) = told(lambda: forecaster.backtest(Y[ROWS : ROWS + 4], later, AtTheEnd()))
    assert "['wind'] in the rows behind y, " in message


def test_a_simulation_tells_once_of_numbers_and_of_categories():
    forecaster = fitted(mode="simulation")
    with pytest.warns(UserWarning, match="missing values") as found:
        forecaster.predict(X=X[ROWS:].assign(wind=np.nan))
    assert len(found) == 1
    assert len(told(lambda: forecaster.predict(X=X[ROWS:].assign(shift=None)))) == 1


def panel(frame, number=3):
    return pd.concat({f"shop {k}": frame for k in range(number)}, names=["shop", "day"])


def test_in_a_panel_the_series_are_counted_that_had_values_before():
    known, later = panel(X[:ROWS]), panel(X[ROWS:])
    known.loc["shop 0", "heat"] = np.nan
    forecaster = tiny(context_length=7).fit(panel(Y[:ROWS].to_frame()), X=known, fh=FH)
    later.loc["shop 0", "heat"] = np.nan
    assert not told(lambda: forecaster.predict(X=later))
    later.loc["shop 2", "heat"] = np.nan
    (message,) = told(lambda: forecaster.predict(X=later))
    assert "of 1 of 3 series, such as ['shop 2']" in message
    (message,) = told(lambda: forecaster.predict(X=later.assign(wind=np.nan)))
    assert "['heat', 'wind']" in message and "of 3 of 3 series" in message


def test_a_new_series_without_values_is_told_of_where_all_others_have_some():
    forecaster = tiny(context_length=7)
    forecaster.fit(panel(Y[:ROWS].to_frame()), X=panel(X[:ROWS]), fh=FH)
    y, own = (panel(data, 4).loc[["shop 3"]] for data in (Y[:ROWS].to_frame(), X[:ROWS]))
    none = own.assign(heat=np.nan)
    (message,) = told(lambda: forecaster.update(y, X=none, update_params=False))
    assert "['heat'] in the new rows of y of 1 of 1 series" in message
