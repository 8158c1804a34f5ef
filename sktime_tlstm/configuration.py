"""Configurations: a YAML file of what to train on, how, and where the result goes."""

from __future__ import annotations

import dataclasses
import datetime
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sktime_tlstm.flagship import TransformerLSTMForecaster
from sktime_tlstm.options import CONSTRAINTS, Constraint, check_parameters
from sktime_tlstm.parameter_texts import entries, texts
from sktime_tlstm.tables import CSV_SETTINGS, Data

__all__ = ["Backtest", "Configuration", "described", "load"]


@dataclass(frozen=True)
class Backtest:
    """Which forecasts are scored, and how: the section ``backtest``."""

    cut: Any = None
    step: int | None = None
    scoring: Sequence[str] = ("MeanAbsoluteError", "EmpiricalCoverage")
    coverage: float = 0.9
    update_every: int | None = None


@dataclass(frozen=True)
class Configuration:
    """A whole file, checked; its texts are below."""

    data: Data
    fh: list[int] | None = None
    forecaster: Mapping[str, Any] = field(default_factory=dict)
    save: str | None = None
    backtest: Backtest = field(default_factory=Backtest)


_DATA_TEXTS = """
time : str
    Column of the times: dates that begin with the year, such as 2024-12-31 or 2024-12-31 10:00,
    others by ``date_format``; or integers that count steps. Dates with an offset from UTC become
    UTC.
target : str or list of str
    Columns to forecast. Rows without any at the end of a series are its future.
files : str or list of str
    CSV or Parquet files (by their names) to train on, whose rows are put together in any order;
    * stands for any part of a name.
series : str or list of str
    Columns whose values name the series; none for a single series.
covariates : list of str or None
    Columns that the forecasts read; None for all other columns of numbers, and those that
    forecaster.past_covariates, static_covariates and hidden_past name. Columns of text are
    categories.
freq : str or None
    Frequency of pandas, such as h, D, 15min, MS: absent steps become rows without values. None:
    the dates tell it, and absent steps are refused.
date_format : str or None
    How dates are written, such as "%d.%m.%Y %H:%M", where the year is not first.
csv : dict
    How CSV files are written, as arguments of pandas.read_csv, such as {sep: ;, decimal: ","}.
"""

_OTHER_TEXTS = """
fh : int, list of int or None
    Steps to forecast: n for 1, ..., n. None: trained as by ``forecaster.prediction_length``;
    `predict` forecasts the rows of --future, or as many steps as one pass has.
save : str or None
    Path of the file that holds the forecaster, ending in .zip; it runs no code when it is loaded.
"""

_BACKTEST_TEXTS = """
cut : date or int
    Time of the first row that is forecast and not trained on.
step : int or None
    Rows between two cutoffs; None for the largest step of fh.
scoring : list of str
    Metrics, by the names of classes in sktime.performance_metrics.forecasting, made without
    arguments.
coverage : float or list of float
    Of the intervals that some metrics score.
update_every : int or None
    Cutoffs after which the network is trained on the new rows; None for never.
"""

#: The kind and the words of every setting but those of the forecaster, by its full name.
SETTINGS: Mapping[str, tuple[str, str]] = {
    **{f"data.{name}": text for name, text in texts(_DATA_TEXTS).items()},
    **texts(_OTHER_TEXTS),
    **{f"backtest.{name}": text for name, text in texts(_BACKTEST_TEXTS).items()},
}


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _are_texts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(map(_is_text, value))


def _is_step(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _are_steps(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(map(_is_step, value)) and len(set(value)) == len(value)
    return _is_step(value) and value >= 1


def _are_shares(value: Any) -> bool:
    shares = value if isinstance(value, list) else [value]
    return bool(shares) and all(isinstance(one, float) and 0 < one < 1 for one in shares)


def _column_or_columns(value: Any) -> bool:
    return _is_text(value) or (_are_texts(value) and len(set(value)) == len(value))


#: What each setting may be.
CHECKS: Mapping[str, Constraint] = {
    "data.time": Constraint("the name of a column", _is_text),
    "data.target": Constraint(
        "the name of a column, or a list of names, each once",
        lambda value: _column_or_columns(value) and bool(value),
    ),
    "data.files": Constraint(
        "the path of a file, or a list of paths",
        lambda value: _is_text(value) or (_are_texts(value) and bool(value)),
    ),
    "data.series": Constraint("a list of names of columns, each once", _column_or_columns),
    "data.covariates": Constraint(
        "a list of names of columns, each once, or null",
        lambda value: value is None or _column_or_columns(value),
    ),
    "data.freq": Constraint(
        "a frequency of pandas, such as 'h', 'D', '15min' or 'MS', or null",
        lambda value: value is None or _is_text(value),
    ),
    "data.date_format": Constraint(
        "a format such as '%d.%m.%Y %H:%M', or null",
        lambda value: value is None or (_is_text(value) and "%" in value),
    ),
    "data.csv": Constraint(
        f"a mapping with names out of {list(CSV_SETTINGS)}",
        lambda value: isinstance(value, dict) and set(value) <= set(CSV_SETTINGS),
    ),
    "fh": Constraint(
        "an integer n of at least 1 for 1, ..., n, a list of integers, each once, or null",
        lambda value: value is None or _are_steps(value),
    ),
    "save": Constraint(
        "the path of a file that ends in '.zip', or null",
        lambda value: value is None or (_is_text(value) and value.endswith(".zip")),
    ),
    "backtest.cut": Constraint(
        "a time as in the data, or null",
        lambda value: value is None or _is_step(value) or isinstance(value, (str, datetime.date)),
    ),
    "backtest.step": Constraint(
        "an integer of at least 1, or null",
        lambda value: value is None or (_is_step(value) and value >= 1),
    ),
    "backtest.scoring": Constraint(
        "a list of names of metrics", lambda value: _are_texts(value) and bool(value)
    ),
    "backtest.coverage": Constraint(
        "a number between 0 and 1, such as 0.9, or a list of them", _are_shares
    ),
    "backtest.update_every": CONSTRAINTS["update_every"],
}

#: Settings that are lists, and may be written as their only item.
_LISTS = ("data.target", "data.files", "data.series", "data.covariates")


def load(path: str, changes: Iterable[str] = ()) -> Configuration:
    """Read and check a configuration.

    Parameters
    ----------
    path : str
        Of a YAML file (JSON is YAML too).
    changes : iterable of str
        Settings in the place of those of the file: ``name=value``, such as
        ``forecaster.max_epochs=5``, the value as YAML.

    Raises
    ------
    FileNotFoundError, ModuleNotFoundError
        If there is no such file, or nothing to read YAML with.
    TypeError, ValueError
        If the file is no YAML, or a setting or a parameter of the forecaster is unknown, absent or
        out of range.
    """
    given = _parsed_file(path)
    for change in changes:
        _change(given, change)
    sections = {one.name: one for one in dataclasses.fields(Configuration)}
    _check_names(given, sections, path)
    for name in ("data", "forecaster", "backtest"):
        given[name] = {} if given.get(name) is None else given[name]
        if not isinstance(given[name], dict):
            raise ValueError(
                f"Got {name}={given[name]!r} in {path}, expected settings, such as "
                f"{'{max_epochs: 5}' if name == 'forecaster' else '{time: ...}'}. Indent them."
            )
    given["data"] = _section(Data, "data", given["data"], path)
    given["backtest"] = _section(Backtest, "backtest", given["backtest"], path)
    _check_values({name: given[name] for name in ("fh", "save") if name in given})
    if isinstance(given.get("fh"), int):
        given["fh"] = list(range(1, given["fh"] + 1))
    _check_names(given["forecaster"], entries(TransformerLSTMForecaster), path, "forecaster.")
    check_parameters(TransformerLSTMForecaster(**given["forecaster"]).get_params(deep=False))
    return Configuration(**given)


def _parsed_file(path: str) -> dict[str, Any]:
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"Got {path!r}, expected the path of a configuration; there is none, seen from the "
            f"folder {str(Path.cwd())!r}. Check the path."
        )
    given = _parsed(Path(path).read_text(encoding="utf-8"), path)
    if not isinstance(given, dict):
        raise ValueError(
            f"Got {path} with {str(given)[:40]!r}, expected the settings data, fh, forecaster and "
            "save, each followed by a colon. `sktime-tlstm params` lists them."
        )
    return given


def _parsed(text: str, name: str) -> Any:
    """Return what YAML says; of version 1.2, where 1e-3 is a number, and `no` a word."""
    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "Got no ruamel.yaml, expected it to be installed, for it reads configurations. Run: "
            "pip install 'sktime-tlstm[cli]'"
        ) from error
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        said = str(error).split("To suppress this check")[0]  # which is advice to programmers
        raise ValueError(
            f"Got {name}, expected YAML, in which texts with %, @ or : are put in quotes. "
            f"Correct it: {said.strip()}"
        ) from error


def _change(given: dict[str, Any], change: str) -> None:
    """Set one setting, such as ``forecaster.max_epochs=5``."""
    name, equals, value = change.partition("=")
    if not equals or not name:
        raise ValueError(
            f"Got --set {change!r}, expected a name and a value. Write it as "
            "forecaster.max_epochs=5."
        )
    *sections, last = name.strip().split(".")
    for section in sections:
        if given.get(section) is None:
            given[section] = {}
        given = given[section]
        if not isinstance(given, dict):
            raise ValueError(
                f"Got --set {change!r}, expected settings within {section!r}, which is {given!r}. "
                "Leave it out of the name."
            )
    try:
        given[last] = _parsed(value, change)
    except ValueError:  # such as %d.%m.%Y, which needs quotes, and has lost them in the shell
        given[last] = value


def _section(cls: Any, section: str, given: dict[str, Any], path: str) -> Any:
    """Return a section as its dataclass."""
    own = {one.name: one for one in dataclasses.fields(cls)}
    _check_names(given, own, path, f"{section}.")
    # null is left out, where it is no value of its own
    absent = [name for name, value in given.items() if value is None and _has_default(own[name])]
    given = {name: value for name, value in given.items() if name not in absent}
    for name, one in own.items():
        needed = one.default is one.default_factory is dataclasses.MISSING
        if needed and name not in given:
            raise ValueError(
                f"Got {path} without {section}.{name}, expected "
                f"{CHECKS[f'{section}.{name}'].words}. Add it."
            )
    _check_values({f"{section}.{name}": value for name, value in given.items()})
    lists = [name for name in given if f"{section}.{name}" in _LISTS]
    single = {name: [given[name]] for name in lists if isinstance(given[name], str)}
    whole = cls(**{**given, **single})
    if isinstance(whole, Data):
        _check_roles(whole)
    return whole


def _has_default(one: Any) -> bool:
    """Whether a field of a dataclass has a default other than None."""
    absent = dataclasses.MISSING
    return one.default_factory is not absent or one.default not in (absent, None)


def _check_roles(data: Data) -> None:
    """Refuse a column that is two things at once, such as a target that is known beforehand."""
    roles = {"data.time": [data.time], "data.target": data.target, "data.series": data.series}
    owner: dict[str, str] = {}
    for role, names in {**roles, "data.covariates": data.covariates or ()}.items():
        for name in names:
            if owner.setdefault(name, role) != role:
                raise ValueError(
                    f"Got the column {name!r} as {owner[name]} and {role}, expected it in one. "
                    "Leave it out of the other."
                )


def _check_names(given: dict[str, Any], known: Iterable[str], path: str, prefix: str = "") -> None:
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            raise ValueError(
                f"Got {prefix}{name} in {path}, which is no setting, expected one that "
                f"`sktime-tlstm params` lists."
                + (f" Did you mean {prefix}{near[0]}?" if near else " Leave it out.")
            )


def _check_values(given: Mapping[str, Any]) -> None:
    """Refuse all values at once that are not what they may be."""
    faults = [
        f"Got {name}={value!r}, expected {CHECKS[name].words}."
        for name, value in given.items()
        if not (CHECKS[name].has_type(value) and CHECKS[name].in_range(value))
    ]
    if faults:
        raise ValueError("\n".join(faults))


def described() -> dict[str, tuple[str, str, str]]:
    """Return what every setting is for, its kind with its default, and its words, by full name."""
    found = {}
    defaults = {
        f"{prefix}{one.name}": one.default
        for prefix, cls in (("data.", Data), ("", Configuration), ("backtest.", Backtest))
        for one in dataclasses.fields(cls)
    }
    for name, (kind, words) in SETTINGS.items():
        default = defaults[name]
        known = default is not dataclasses.MISSING and default != ()
        found[name] = "the file", f"{kind}, default={default!r}" if known else kind, words
    for name, text in entries(TransformerLSTMForecaster).items():
        found[f"forecaster.{name}"] = text
    return found
