"""Inspectable: the public methods of a forecaster that show what it has learnt."""

from __future__ import annotations

from typing import Any

import pandas as pd

from sktime_tlstm import attribution, inspection, training_record
from sktime_tlstm.calls import answering, from_any_past
from sktime_tlstm.fitted import Fitted
from sktime_tlstm.inspection import TensorWindows
from sktime_tlstm.options import check_parameters

__all__ = ["Inspectable"]


class Inspectable:
    """What can be asked of a fitted forecaster besides forecasts, in the caller's names."""

    _fitted: Fitted

    @property
    def history_(self) -> pd.DataFrame:
        """The training, a row for every epoch of every member.

        Columns: ``member``; ``stage`` ("fit", "fit on all rows", "pretraining", "update", ...);
        ``epoch``, from 1; ``train_loss`` and, with validation, ``valid_loss``, as scaled for the
        network; ``train_mae`` and ``valid_mae``, mean absolute errors of the network's point
        forecasts in units of y; ``lr`` at the end; ``seconds``; ``windows_per_second``.
        """
        if not hasattr(self, "_fitted"):
            raise AttributeError("Got no training yet: call fit first.")
        return training_record.history(self._fitted.model.members)

    def summary(self) -> str:
        """Return a page about the fitted forecaster, for printing.

        It names what is read and forecast, how far the network is trusted beside simple forecasts,
        and every layer with the shape of its output and the number of its parameters.
        """
        self.check_is_fitted()  # type: ignore[attr-defined]
        return training_record.summary(type(self).__name__, self._fitted)

    @from_any_past
    @answering
    def windows(self, fh: Any = None, X: Any = None) -> TensorWindows:
        """Return the tensors that ``predict`` makes its forecasts from, with their names.

        Steps after the cutoff share one window a series; an in-sample step has its own, whose
        first step it is, so that ``fh=range(-99, 1)`` gives the last 100 windows with what
        happened.

        Parameters
        ----------
        fh : as in ``predict``
        X : as in ``predict``

        Returns
        -------
        TensorWindows
            ``inputs`` of the network, ``target``, ``channels`` and ``index``; ``to_units`` undoes
            the normalisation of targets.

        Raises
        ------
        TypeError, ValueError
            As ``predict`` does.
        """
        asked, _ = self._asked(fh, X)
        return inspection.tensor_windows(self._fitted, asked)

    @from_any_past
    @answering
    def attention_weights(self, fh: Any = None, X: Any = None) -> pd.DataFrame:
        """Return where each step of a forecast looks, in the last block of the network.

        Parameters
        ----------
        fh : as in ``predict``
            Steps from 1 to the horizon of the training.
        X : as in ``predict``

        Returns
        -------
        pandas.DataFrame
            Indexed by the levels of y's index but time, ``step`` (from 1) and ``relative_time``
            (0 is the last row before the forecast, 1 its first step); a column a head, or a pair
            of member and head. Each step's weights sum to one.

        Raises
        ------
        ValueError
            If the network has no attention weights, in a simulation, if a step is out of range,
            and as ``predict`` does.
        """
        asked, _ = self._asked(fh, X)
        return inspection.attention_weights(self._fitted, asked)

    @answering
    def variable_importance(
        self,
        y: Any = None,
        X: Any = None,
        method: str = "auto",
        num_windows: int = 256,
        num_repeats: int = 5,
    ) -> pd.DataFrame:
        """Return how much the forecasts owe to each variable.

        Value and missing flag of a column count as one variable. A variable that the network reads
        in several places (before the cutoff, at the steps to forecast, a season earlier) has a row
        for each.

        Parameters
        ----------
        y, X : as in ``fit``, default=None
            Rows whose windows are looked at, of any series. None: those seen so far, which the
            network was trained on; rows it has not seen tell more.
        method : {"auto", "selection", "permutation"}, default="auto"
            "permutation": by how much the mean absolute error of the point forecasts rises, as a
            share of it, if the variable is taken from other windows (Breiman 2001). "selection":
            the network's own selection weights, which sum to one over past, over future and lags,
            and over static variables. "auto" is "selection" where the network has such weights.
        num_windows : int, default=256
            How many windows are looked at, at most; they are evenly spaced.
        num_repeats : int, default=5
            How often each variable is permuted.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``input`` ("past", "future", "lag 24", "static") and ``variable``, the most
            important first. Columns: ``importance`` and ``std``, its spread over repeats, or over
            windows for selection weights. The name of the columns says what is measured.

        Raises
        ------
        ValueError
            If a parameter is out of range, the network selects no variables though asked to, no
            series is longer than the horizon, and as ``fit`` does.
        """
        self.check_is_fitted()  # type: ignore[attr-defined]
        check_parameters({"num_windows": num_windows, "num_repeats": num_repeats})
        if method not in ("auto", "selection", "permutation"):
            raise ValueError(
                f"Got method={method!r}, expected 'auto', 'selection' or 'permutation'. Pass one."
            )
        if y is None and X is not None:
            raise ValueError("Got X without y, expected both or neither. Pass the y of these rows.")
        fitted = self._fitted
        if y is not None:
            fitted = self._with_past(y, X)._fitted  # type: ignore[attr-defined]
        return inspection.variable_importance(fitted, method, num_windows, num_repeats)

    @from_any_past
    @answering
    def explain(self, fh: Any = None, X: Any = None) -> pd.DataFrame:
        """Return what each variable contributes to each forecast, in units of y.

        Integrated gradients (Sundararajan et al. 2017) from the mean of the past's windows to the
        window at hand, by a quadrature whose error, in most forecasts below 1 % of their distance
        from the baseline, is spread over the contributions: a row sums to its forecast. The part
        of the simple forecasts that are blended in is a column of its own, but for the effects of
        known covariates, which count as theirs.

        Parameters
        ----------
        fh : as in ``predict``
            Steps from 1 to the horizon of the training.
        X : as in ``predict``

        Returns
        -------
        pandas.DataFrame
            Indexed as forecasts are. Columns: pairs of ``input`` and ``variable`` as of
            ``variable_importance``, the baseline first; with several targets, the target in front,
            in as many levels as y's columns have.

        Raises
        ------
        ValueError
            If a step is out of range, and as ``predict`` does.
        """
        asked, index = self._asked(fh, X)
        values, names = attribution.explain(self._fitted, asked)
        # (row, target, contribution) -> (row, column)
        columns = attribution.by_target(self._fitted.model.encoder.targets, names)
        return pd.DataFrame(values.reshape(len(index), -1), index, columns)

    def _asked(self, fh: Any, X: Any) -> tuple[Any, pd.Index]:
        """Check fh and X as ``predict`` does, and return the rows that are asked for."""
        forecaster: Any = self
        forecaster.check_is_fitted()
        before = forecaster._fh
        try:
            fh = forecaster._check_fh(fh)
        finally:
            forecaster._fh = before  # looking changes nothing
        return self._fitted.asked(fh, forecaster._check_X(X))
