"""Covariates: what is learnt of the columns of X, and how rows of X get into a history."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from sktime_tlstm.data.columns import (
    MAX_RATIO,
    category_codes,
    find_categories,
    is_categorical,
    numeric_values,
    refuse_far,
    refuse_marks,
    row_weights,
    sampled_values,
    static_values,
    trained_numbers,
    warn_of_numbers,
)
from sktime_tlstm.data.history import History
from sktime_tlstm.data.rows import Rows, blocks, numbered_from_zero, ranges, split_index
from sktime_tlstm.data.scaling import CovariateScaling
from sktime_tlstm.notices import notify

__all__ = ["Codes", "Covariates"]

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
#: The distinct values of a column, and the code of each.
Codes = tuple[pd.Index, Integers]

#: Values that a warning shows.
MAX_SHOWN = 3


@dataclass(frozen=True)
class Covariates:
    """What training data say of the columns of X; frozen afterwards.

    In a history the channels of the targets come first, then the numeric covariates in the order
    of ``numeric``, then the codes of the categorical ones in the order of ``categories``.

    Parameters
    ----------
    past : tuple
        Names of the columns that are not known in the future.
    static : tuple
        Names of the columns that are constant within each series.
    numeric : dict of name to CovariateScaling
    categories : dict of name to pandas.Index of str
        Values of each categorical column, as text; the code of one is its place, from 1.
    static_scaling, static_categories : dict
        The same of the static columns.
    weight : str or None, default=None
        Name of the column of weights, which is no covariate.
    absolute : bool, default=False
        Whether the size of values means the same everywhere: what is beyond training is warned of.
    """

    past: tuple[Hashable, ...]
    static: tuple[Hashable, ...]
    numeric: dict[Hashable, CovariateScaling]
    categories: dict[Hashable, pd.Index]
    static_scaling: dict[Hashable, CovariateScaling]
    static_categories: dict[Hashable, pd.Index]
    weight: Hashable | None = None
    absolute: bool = False

    @classmethod
    def fit(
        cls,
        past: tuple[Hashable, ...],
        static: tuple[Hashable, ...],
        scaler: str | None,
        X: pd.DataFrame,
        index: pd.Index,
        clip: bool = True,
        weight: Hashable | None = None,
        sampled: bool = False,
    ) -> Covariates:
        """Learn from training data, as `FrameEncoder.fit` says; ``index`` is that of y."""
        _check_names(list(X.columns), past_covariates=past, static_covariates=static)
        _check_weight_name(weight, list(X.columns), [*past, *static])
        learnt = cls(past, static, {}, {}, {}, {}, weight, absolute=not clip)
        for name in static:
            categorical = is_categorical(X[name])
            values = static_values(X[name], _owners(X.index)[1])  # (num_series,)
            if categorical:
                learnt.static_categories[name] = find_categories(values)
                warn_of_numbers(values, learnt.static_categories[name], len(values))
            else:
                learnt.static_scaling[name] = _scaling(values, scaler, clip, static=True)
        if len(X) > len(index) and not sampled:  # rows beyond y are no training data
            X = X[X.index.isin(index)]
        empty = [name for name in X.columns if not sampled and len(X) and X[name].isna().all()]
        if empty and clip:  # of simulations more is said
            notify(
                f"Got X without any value in the columns {empty[:3]} at the rows of y: nothing is "
                f"learnt of {len(empty)} of {X.shape[1]} columns, and what they hold later is not "
                "read. Check how X was joined to the index of y, or leave them out."
            )
        for name in X.columns:
            if name in static or name == weight:
                continue
            if is_categorical(X[name]):
                learnt.categories[name] = find_categories(X[name])
                keys = split_index(X.index)[0]
                num_series = 1 if keys is None else keys.nunique()
                warn_of_numbers(X[name], learnt.categories[name], num_series)
            else:
                scaling = _scaling(X[name], scaler, clip)
                if not scaling.clip and not sampled:  # of rows drawn none follows another
                    scaling = scaling.with_motion(numeric_values(X[name]), _owners(X.index)[1])
                learnt.numeric[name] = scaling
        return learnt

    @property
    def columns(self) -> list[Hashable]:
        """Columns of X that vary in time, in the order of their channels."""
        return [*self.numeric, *self.categories]

    @property
    def known(self) -> list[Hashable]:
        """Columns of X that a forecast needs."""
        return [name for name in self.columns if name not in self.past]

    @property
    def num_static(self) -> int:
        """Number of channels that a series has once."""
        return len(self.static_scaling) + len(self.static_categories)

    def check(self, X: pd.DataFrame | None, needed: list[Hashable]) -> None:
        """Raise a ValueError that names what X lacks of the ``needed`` columns."""
        if not needed:
            return
        if X is None:
            raise ValueError(
                f"Got X=None, expected the covariates {needed} that the forecaster was fitted "
                "with. Pass X with these columns, or fit without X."
            )
        missing = [name for name in needed if name not in X.columns]
        if missing:
            raise ValueError(
                f"Got X without the columns {missing}; its columns are {list(X.columns)}. Pass all "
                f"covariates the forecaster was fitted with: {needed}."
            )

    def write(self, history: History, X: pd.DataFrame, X_rows: Rows, y_rows: Rows) -> None:
        """Write the rows of X that the history has, refusing if one of y's rows is absent."""
        start, lengths = history.store.start.numpy(), history.lengths
        present = np.zeros(len(history.store.values), dtype=bool)
        tables = self.codes(X, self.columns)
        for part in blocks(len(X_rows)):
            series, within = history.locate(X_rows, part)
            inside = (series >= 0) & (within >= 0) & (within < lengths[series])
            # Rows of the store, one for every row of the part that is inside.
            position = start[series[inside]] + within[inside]
            repeated = present[position]
            repeated |= pd.Index(position).duplicated()
            if repeated.any():
                raise _repeated(
                    X.iloc[part].index[np.flatnonzero(inside)[int(np.argmax(repeated))]]
                )
            present[position] = True
            self._write_columns(history, position, X.iloc[part], inside, self.columns, tables)
        absent = 0
        for part in blocks(len(y_rows)):
            series, within = history.locate(y_rows, part)
            lacks = ~present[start[series] + within]  # (row of the part,)
            if lacks.any() and not absent:
                row = int(np.argmax(lacks))
                when = history.timeline.times(history.first[series[row : row + 1]] + within[row])[0]
                first = f"{when}{history.name(series[row])}"
            absent += int(lacks.sum())
        if absent:
            raise ValueError(
                f"Got X without the row {first}, which y has ({absent} rows are absent). Pass X "
                "with every row of y; missing values may be NaN."
            )

    def check_weights(self, X: pd.DataFrame | None) -> None:
        """Raise a ValueError if X lacks the column of weights."""
        if self.weight is None or (X is not None and self.weight in X.columns):
            return
        got = "X=None" if X is None else f"X with the columns {list(X.columns)}"
        raise ValueError(
            f"Got {got}, expected the column {self.weight!r} too, which weight_column names: the "
            "weight of every row of y that is learnt from. Pass it; ones weigh all rows alike."
        )

    def write_weights(self, history: History, X: pd.DataFrame, X_rows: Rows) -> None:
        """Write the weights of the rows of X that the history has.

        Raises
        ------
        TypeError
            If they are no numbers.
        ValueError
            If one is missing, infinite or negative: the first such row is named.
        """
        start, lengths = history.store.start.numpy(), history.lengths
        for part in blocks(len(X_rows)):
            series, within = history.locate(X_rows, part)
            inside = (series >= 0) & (within >= 0) & (within < lengths[series])
            weights = row_weights(X[self.weight].iloc[part][inside])
            position = start[series[inside]] + within[inside]  # rows of the store
            history.store.values.numpy()[position, -1] = np.where(weights > 0, weights, -1.0)

    def write_static(self, history: History, X: pd.DataFrame, which: Integers) -> None:
        """Write the static covariates of the series ``which``, refusing if one is absent."""
        if not self.static:
            return
        keys, owner = _owners(X.index)
        place = history.places(keys)  # (num_series of X,)
        absent = np.setdiff1d(which, place)
        if len(absent):
            raise ValueError(
                f"Got X without a row{history.name(absent[0])}, expected one that tells its static "
                f"covariates {list(self.static)}. Pass X with every row of y."
            )
        wanted = np.isin(place, which)
        static = history.store.traits.static  # (num_series, num_static)
        for channel, (name, scaling) in enumerate(self.static_scaling.items()):
            numbers = trained_numbers(static_values(X[name], owner))
            scaled = np.where(np.isnan(numbers), scaling.mean, scaling(numbers))[wanted]
            static[place[wanted], channel] = torch.from_numpy(scaled).float()
        first = len(self.static_scaling)
        for channel, (name, known) in enumerate(self.static_categories.items(), start=first):
            values = static_values(X[name], owner)[wanted]
            codes = _codes(values, category_codes(values, known))
            _warn_of_unknown(values, codes, known)
            static[place[wanted], channel] = torch.from_numpy(codes).float()

    def write_future(
        self,
        tail: History,
        kept: Integers,
        wanted: Flags,
        X: pd.DataFrame,
        rows: Rows,
        tables: dict[Hashable, Codes],
    ) -> None:
        """Write the rows of X after each cutoff, refusing if a wanted one is absent.

        Parameters
        ----------
        tail : History
            Changed in place; its rows from ``kept`` on are the future.
        kept : numpy.ndarray of int64, shape (num_series,)
        wanted : numpy.ndarray of bool, shape (num_series, num_future)
        X : pandas.DataFrame
        rows : Rows
            The index of X.
        tables : dict of column to `Codes`
            Of its known categorical columns.
        """
        inside, series, step = tail.locate_future(rows, kept, wanted.shape[1])
        present = np.zeros(wanted.shape, dtype=bool)
        place = pd.Index(series * wanted.shape[1] + step)
        if place.has_duplicates:
            raise _repeated(X.index[inside][place.duplicated()][0])
        present[series, step] = True
        if (wanted & ~present).any():
            owner, first = np.argwhere(wanted & ~present)[0]
            when = tail.first[owner] + kept[owner] + first
            raise ValueError(
                f"Got X without the row {tail.timeline.times(np.array([when]))[0]}"
                f"{tail.name(owner)}, which is to be forecast. Pass X with every step of fh."
                f"{numbered_from_zero(X.index, tail.timeline, tail.first[owner] + kept[owner])}"
            )
        # Rows of the store, one for every row of X that is inside.
        position = tail.store.start.numpy()[series] + kept[series] + step
        columns = [name for name in self.known if name in X.columns]
        self._write_columns(tail, position, X, inside, columns, tables)
        self.warn_of_extrapolation(X, inside, columns, series, tables)

    def warn_of_extrapolation(
        self,
        X: pd.DataFrame,
        inside: Flags,
        columns: Sequence[Hashable],
        series: Integers,
        tables: dict[Hashable, Codes],
        place: str = "",
    ) -> None:
        """Warn where values go beyond those of training, or, if not clipped, jump farther.

        ``series`` (row,) are those of the rows inside, and ``place`` says where these are.
        """
        for name in columns:
            if name in tables and self.absolute:
                _warn_of_new(X[name], inside, tables[name], self.categories[name], place)
            scaling = self.numeric.get(name)
            if scaling is None or scaling.extremes is None:
                continue
            values, (least, most) = numeric_values(X[name])[inside], scaling.extremes
            low, high = (
                np.fmin.reduce(values, initial=np.inf),
                np.fmax.reduce(values, initial=-np.inf),
            )
            if scaling.clip and (scaling.low == scaling.high or least == most):
                if least == most and (low < least or high > most):
                    notify(
                        f"Got X with the column {name!r} from {low:g} to {high:g}{place} where "
                        f"training had nothing but {least:g}: what it does is not known, so "
                        "neither forecasts nor intervals follow it. Train on rows where it moves."
                    )
                continue  # nothing was learnt of it
            if max(least - low, high - most) > scaling.beyond * (most - least):
                what = (
                    f"the network reads no more than {scaling.low:g} .. {scaling.high:g}, and the "
                    f"simple forecasts go on in straight lines, to {scaling.low - scaling.room:g} "
                    f".. {scaling.high + scaling.room:g}. Pass a column that stays in its range (a "
                    "share, a difference),"
                    if scaling.clip
                    else "the network extrapolates. Pass it in the unit of training,"
                )
                notify(
                    f"Got X with the column {name!r} from {low:g} to {high:g}{place} where "
                    f"training had {least:g} to {most:g}: {what} or train on rows that reach as "
                    "far.",
                )
            elif not scaling.clip and (told := scaling.unusual_motion(values, series)):
                notify(
                    f"Got X with the column {name!r}, {'; and '.join(told)}{place}: the network "
                    "extrapolates, and intervals are too narrow as a rule. Train on records that "
                    "are excited alike.",
                )

    def warn_of_changed_traits(self, history: History, X: pd.DataFrame) -> None:
        """Warn of static covariates that are others than those that a history knows."""
        keys, bounds = split_index(X.index)
        place = history.places(keys)
        first, place = bounds[:-1][: len(X)][place >= 0], place[place >= 0]
        names = [*self.static_scaling, *self.static_categories]
        static = history.store.traits.static.numpy()
        for channel, name in enumerate(names):
            if name not in X.columns or not len(first):
                continue
            column, was = X[name].iloc[first], static[place, channel]
            if name in self.static_scaling:
                scaling = self.static_scaling[name]
                now = scaling(trained_numbers(column)).astype(np.float32)
            else:
                kinds = self.static_categories[name]
                now = _codes(column, category_codes(column, kinds)).astype(np.float32)
            changed = column.notna().to_numpy() & ~np.isclose(now, was, rtol=1e-4, atol=1e-6)
            if not changed.any():
                continue
            row = int(np.argmax(changed))
            if name in self.static_scaling:
                size = float(np.sinh(was[row]) if scaling.arcsinh else was[row])
                known = f"about {scaling.location + scaling.scale * size:.3g}"  # once clipped
            else:
                known = repr(kinds[int(was[row]) - 1]) if was[row] else "unknown"
            notify(
                f"Got X with the static covariate {name!r} as {column.tolist()[row]!r}"
                f"{history.name(place[row])}, which was {known} in fit, or the update that brought "
                f"the series; that is kept ({changed.sum()} series differ). Fit "
                "again, or pass a past with it: predict(fh, X, y=past).",
            )

    def tables(self, X: pd.DataFrame, columns: Sequence[Hashable]) -> dict[Hashable, Codes]:
        """Return the codes of all values of those of the columns that are categorical."""
        names = [name for name in columns if name in self.categories]
        return {name: category_codes(X[name], self.categories[name]) for name in names}

    def codes(self, X: pd.DataFrame, columns: Sequence[Hashable]) -> dict[Hashable, Codes]:
        """Return the same, with a warning of columns that hold values but none that is known."""
        tables = self.tables(X, columns)
        for name, (_, codes) in tables.items():
            _warn_of_unknown(X[name], codes, self.categories[name])
        return tables

    def _write_columns(
        self,
        history: History,
        position: Integers,
        X: pd.DataFrame,
        inside: Flags,
        columns: Sequence[Hashable],
        tables: dict[Hashable, Codes],
    ) -> None:
        """Write the rows ``inside`` of some columns to rows of the store, but missing values."""
        values, observed = history.store.values.numpy(), history.store.observed
        numeric, categorical = list(self.numeric), list(self.categories)
        num_targets, num_observed = history.loc.shape[1], observed.shape[1]
        for name in columns:
            if name in self.categories:
                channel = num_observed + categorical.index(name)
                codes = _codes(X[name], tables[name])[inside]
                seen = X[name].notna().to_numpy()[inside]
                values[position[seen], channel] = codes[seen]
                continue
            channel = num_targets + numeric.index(name)
            column, scaling = X[name], self.numeric[name]
            numbers = trained_numbers(column)[inside]
            far = np.abs(numbers - scaling.location) > MAX_RATIO * max(1.0, abs(scaling.scale))
            if far.any():
                refuse_far(column[inside], numbers, far)
            seen = ~np.isnan(numbers)
            values[position[seen], channel] = scaling(numbers[seen])
            observed.mark(position[seen], channel)

    def fill(self, history: History) -> None:
        """Carry covariates forward in all series."""
        start = history.store.start.numpy()
        bounds = np.concatenate([[0], np.cumsum(history.lengths)])
        for part in blocks(int(bounds[-1])):
            # The row before the block was filled with the block before.
            row = np.arange(max(part.start - 1, 0), part.stop)
            owner = np.searchsorted(bounds, row, side="right") - 1
            self.fill_rows(history, start[owner] + row - bounds[owner], row < part.start)

    def fill_new(self, history: History, before: History) -> None:
        """Carry covariates forward in the rows that were not in the history ``before``."""
        if history.store.values is not before.store.values:
            self.fill(history)
            return
        start, old, new = history.store.start.numpy(), before.lengths, history.lengths
        changed = np.flatnonzero(new > old)
        begin = np.maximum(old[changed] - 1, 0)  # the last old row counts as a value
        rows = ranges(start[changed] + begin, new[changed] - begin)  # of the store
        owner = np.repeat(changed, new[changed] - begin)  # series of each of them
        self.fill_rows(history, rows, rows < start[owner] + old[owner])

    def fill_rows(self, history: History, rows: Integers, carried: Flags) -> None:
        """Carry covariates forward over missing values, and fill in their mean before the first.

        Parameters
        ----------
        history : History
            Changed in place.
        rows : numpy.ndarray of int64
            Rows of the store, ascending.
        carried : numpy.ndarray of bool
            Which rows count as values, whether or not they were observed.
        """
        values, observed = history.store.values.numpy(), history.store.observed
        start = history.store.start.numpy()
        for channel, scaling in enumerate(self.numeric.values(), start=history.loc.shape[1]):
            valid = observed[rows, channel].numpy() | carried  # (row,)
            if not valid.all():
                begin = start[np.searchsorted(start, rows, side="right") - 1]
                # The latest valid row up to each row, -1 before the first; one of another series
                # lies before the row's own begin.
                source = np.maximum.accumulate(np.where(valid, rows, -1))
                values[rows, channel] = np.where(
                    source < begin, scaling.mean, values[source, channel]
                )


def _owners(index: pd.Index) -> tuple[pd.Index | None, Integers]:
    """Return the key of each series and the number of the series of each row.

    The rows of a series need not lie together: a long table may be in the order of time.
    """
    keys, bounds = split_index(index)
    if keys is None:
        return None, np.zeros(len(index), dtype=np.int64)
    distinct = keys.unique()
    return distinct, np.repeat(distinct.get_indexer(keys), np.diff(bounds))


def _scaling(
    column: pd.Series, scaler: str | None, clip: bool, static: bool = False
) -> CovariateScaling:
    """Learn the scaling of a column, from a sample where it is long, and from its extremes."""
    low, high = np.inf, -np.inf
    for part in blocks(len(column)):
        values = numeric_values(column.iloc[part])
        refuse_marks(column.iloc[part], values)
        low, high = np.fmin.reduce(values, initial=low), np.fmax.reduce(values, initial=high)
    values = sampled_values(column)
    scaling = CovariateScaling.fit(values, scaler, (float(low), float(high)), clip, static)
    if scaling.low == scaling.high and low < high:
        notify(
            f"Got the column {column.name!r} of X, which is {scaling.low:g} but in a few rows, too "
            f"few to learn from amounts of {low:g} .. {high:g}: it will count as constant. Code it "
            "as 0 and 1 if they are events, or leave it out.",
        )
    return scaling


def _repeated(row: Hashable) -> ValueError:
    return ValueError(
        f"Got X with the row {row} twice, expected every row once. Drop one of them: "
        "`X[~X.index.duplicated(keep='last')]`."
    )


def _codes(column: pd.Series, table: Codes) -> Integers:
    """Return the code of every row of a column, 0 where it is missing or unknown."""
    values, codes = table
    place = values.get_indexer(pd.Index(column.astype(object)))  # (row,), -1 where missing
    return np.append(codes, 0)[place]


def _warn_of_unknown(column: pd.Series, codes: Integers, known: pd.Index) -> None:
    """Warn if a column holds values and none of their codes is one of training."""
    if codes.any() or column.isna().all():
        return
    got = column.dropna().drop_duplicates().tolist()[:MAX_SHOWN]
    notify(
        f"Got X with the column {column.name!r}, no value of which is known from training: it has "
        f"values such as {got}, training had values such as {known.tolist()[:MAX_SHOWN]}. All "
        "count as unknown. Write them as in training, or fit again.",
    )


def _warn_of_new(
    column: pd.Series, inside: Flags, table: Codes, known: pd.Index, place: str
) -> None:
    """Warn of values in the rows inside that training had none of, where it had others."""
    if not table[1].any():  # all are, which is warned of where they are read
        return
    rows = column[inside]
    new = rows[(_codes(rows, table) == 0) & rows.notna().to_numpy()]
    if len(new):
        got = new.drop_duplicates().tolist()
        notify(
            f"Got X with the column {column.name!r}, which has values{place} that training did "
            f"not have, such as {got[:MAX_SHOWN]} ({len(got)} in {len(new)} rows), beside "
            f"{known.tolist()[:MAX_SHOWN]}: they count as unknown, and the network extrapolates. "
            "Write them as in training, or train on records that have them.",
        )


def _check_weight_name(
    weight: Hashable | None, columns: list[Hashable], covariates: list[Hashable]
) -> None:
    """Check the column that ``weight_column`` names, if any."""
    if weight is None:
        return
    if weight not in columns:
        raise ValueError(
            f"Got weight_column={weight!r}, but X has no such column; its columns are {columns}. "
            "Name a column of X."
        )
    if weight in covariates:
        raise ValueError(
            f"Got the column {weight!r} as weight_column and in past_covariates or "
            "static_covariates, expected it in one: weights are no covariate. Drop it from the "
            "others."
        )


def _check_names(columns: list[Hashable], **parameters: tuple[Hashable, ...]) -> None:
    """Check the columns of X, and the parameters that name some of them."""
    if len(set(columns)) < len(columns):
        raise ValueError(f"Got X with repeated columns: {columns}. Rename or drop some.")
    for parameter, names in parameters.items():
        unknown = [name for name in names if name not in columns]
        if unknown:
            raise ValueError(
                f"Got {parameter}={list(names)}, but X has no column {unknown}; "
                f"its columns are {columns}. Name columns of X."
            )
    for parameter, names in parameters.items():
        if len(set(names)) < len(names):
            raise ValueError(
                f"Got {parameter}={list(names)}, expected each column once. Drop the repeated ones."
            )
    past, static = parameters["past_covariates"], parameters["static_covariates"]
    both = [name for name in static if name in past]
    if both:
        raise ValueError(
            f"Got the columns {both} in past_covariates and in static_covariates, expected "
            "each in one. What never changes is known in the future too: drop them from "
            "past_covariates."
        )
