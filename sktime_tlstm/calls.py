"""Calls: what goes around every public method, so that it fails without a trace."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sized
from numbers import Number
from typing import Any

import numpy as np
import pandas as pd
from sktime.datatypes import convert_to

from sktime_tlstm.data.columns import without_objects
from sktime_tlstm.data.panels import PanelDataset
from sktime_tlstm.data.rows import check_covered, check_levels, portable
from sktime_tlstm.data.source import Source
from sktime_tlstm.fitted import INNER_MTYPES
from sktime_tlstm.notices import told_once
from sktime_tlstm.progress import shown
from sktime_tlstm.surroundings import usual_torch

__all__ = ["answering", "converted", "from_any_past", "reading", "restoring", "seeing"]

#: Parameters that are levels of quantiles or intervals.
SHARES = ("alpha", "coverage")


def answering(method: Callable[..., Any]) -> Callable[..., Any]:
    """Make a method that forecasts leave fh as it was if it fails; it changes nothing else."""
    return restoring(method, ("_fh",))


def restoring(
    method: Callable[..., Any], names: tuple[str, ...] | None = None
) -> Callable[..., Any]:
    """Make a method of BaseForecaster leave the forecaster as it was if it fails.

    sktime moves the cutoff and fh and replaces metadata before it calls the private methods; what
    is fitted is one frozen object. So putting back the references is enough: those of ``names``,
    or all. No other thread ever meets an empty forecaster.
    """
    signature = inspect.signature(method)

    @functools.wraps(method)
    def restoring(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = signature.bind(self, *args, **kwargs)
        before = dict(self.__dict__)
        if names is None:  # sktime writes into it; a copy of the forecaster may hold it too
            self._converter_store_y = dict(self._converter_store_y)
        told = hasattr(self, "_fitted") or hasattr(self, "pretrained_model_")
        data = {name: call.arguments.get(name) for name in ("y", "X")}
        check_levels(**data)
        for name in SHARES:
            if name in call.arguments:
                _check_shares(name, call.arguments[name])
        given = data.keys() & call.arguments.keys()
        call.arguments |= {name: portable(data[name], told) for name in given}
        try:
            with usual_torch(), shown(self.verbose in (1, 2)):
                return method(*call.args, **call.kwargs)
        except BaseException:
            if names is None:
                for name in self.__dict__.keys() - before.keys():
                    del self.__dict__[name]
            self.__dict__.update({name: before[name] for name in names or before})
            raise

    return restoring


def _check_shares(name: str, value: Any) -> None:
    """Refuse levels that sktime's own check, which knows their range, stumbles over."""
    if isinstance(value, float) or (value is None and name == "alpha"):
        return
    one = float if isinstance(value, list) else Number  # as sktime has it
    try:
        told = not isinstance(value, str) and isinstance(value, Sized)
        told = told and len(value) > 0 and all(isinstance(share, one) for share in value)
    except TypeError:  # an array without a dimension
        told = False
    if not told:
        numbers = all(isinstance(share, Number) for share in np.ravel(np.array(value, object)))
        raise (ValueError if numbers else TypeError)(
            f"Got {name}={value!r}, expected a float between 0 and 1, or a list of such. Pass "
            f"{name}=0.9 for 90 %."
        )


def from_any_past(method: Callable[..., Any]) -> Callable[..., Any]:
    """Make a method that forecasts take ``y``, a past in the place of that of fit and updates."""
    signature = inspect.signature(method)
    own = inspect.Parameter("y", inspect.Parameter.KEYWORD_ONLY, default=None)

    @functools.wraps(method)
    def forecasting(self: Any, *args: Any, y: Any = None, **kwargs: Any) -> Any:
        if y is None:
            return method(self, *args, **kwargs)
        with told_once():  # past and future are read one after the other, and may warn alike
            X = signature.bind(self, *args, **kwargs).arguments.get("X")
            return method(self._with_past(y, X, and_future=True), *args, **kwargs)

    forecasting.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), own]
    )
    if forecasting.__doc__:
        forecasting.__doc__ = forecasting.__doc__.rstrip() + PAST_TEXT
    return forecasting


def reading(method: Callable[..., Any]) -> Callable[..., Any]:
    """Make sktime's check of X and y read a `PanelDataset`, and see its first rows."""

    @functools.wraps(method)
    def reading(self: Any, X: Any = None, y: Any = None, **types: Any) -> tuple[Any, Any]:
        if not isinstance(y, PanelDataset):
            check_covered(y, X, "Pass X with every row of y; missing values may be NaN")
            if self._state == "fitted" and not types:  # pretrain states types, update does not
                self._fitted.model.encoder.check_target_name(y)
            return method(self, X=X, y=without_objects(y), **types)
        if self._state == "fitted" and not types:  # pretrain states types, update does not
            raise TypeError(
                "Got y of type PanelDataset, which fit and pretrain read, expected a frame. Pass "
                "the rows as a frame, of some of the series if these are too many."
            )
        if X is not None:
            raise TypeError(
                "Got X beside y of type PanelDataset, expected the covariates in its pieces. Name "
                "them by its covariates, and leave X out."
            )
        source = y.source(self._checked_options().validation_series)
        y_head, X_head = source.head or (source.y, source.X)
        method(self, X=X_head, y=y_head, **types)
        return None, source

    return reading


def seeing(method: Callable[..., Any]) -> Callable[..., Any]:
    """Make sktime, which looks for the last row of y, find it in a source."""

    @functools.wraps(method)
    def seeing(self: Any, y: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(y, Source):
            self._set_cutoff(y.last)
        else:
            method(self, y, *args, **kwargs)

    return seeing


#: What ``y`` means to every method that forecasts.
PAST_TEXT = """

        With ``y``, forecasts start from its end instead of from the rows of ``fit`` and
        ``update``: any series, also new ones, with the columns and the frequency of training. X
        then holds the rows of ``y`` and those to forecast. The series' scale is learnt from ``y``,
        and the forecaster stays as it is.
        """


def converted(data: Any, name: str) -> pd.DataFrame:
    """Return data of any of sktime's types as a frame."""
    try:
        if data is None:  # which sktime hands back as it is
            raise TypeError
        return convert_to(data, INNER_MTYPES)
    except (TypeError, AttributeError) as error:
        raise TypeError(
            f"Got {name} of type {type(data).__name__}, expected data that sktime knows, such as a "
            "pandas Series or DataFrame, for a panel with one level of the index for the series "
            "and one for the time. Convert it."
        ) from error
