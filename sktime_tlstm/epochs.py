"""Epochs: which windows a training draws, in which batches, and which are held out of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Subset

from sktime_tlstm.data.history import History
from sktime_tlstm.data.rows import named_series, ranges, spread, without_series
from sktime_tlstm.data.sampling import WindowDataset, training_cutoffs
from sktime_tlstm.data.source import Source
from sktime_tlstm.data.windows import WindowSpec
from sktime_tlstm.options import Options

__all__ = [
    "MIN_BATCH",
    "check_that_some_are_left",
    "divided_windows",
    "is_named",
    "most_windows",
    "rows_to_learn_from",
    "training_windows",
    "usual_batch_size",
    "usual_weight_decay",
    "validated",
]

#: An epoch has at least this many steps, a batch at least this many windows, on tiny data.
MIN_STEPS_PER_EPOCH, MIN_BATCH = 20, 8
#: Of a simulation up to so many steps, where there are the windows: many small steps teach it more
#: than few large ones, in the same time.
SIMULATION_STEPS_PER_EPOCH = 200
#: Weight decay; of a simulation at most that, and this over the number of rows. Its network follows
#: one rule, which many rows tell better than small weights do.
WEIGHT_DECAY, SIMULATION_WEIGHT_DECAY = 0.3, 100.0
#: Times that an epoch sees a row as a target, at most, where that allows so many steps.
MAX_PASSES_PER_EPOCH = 5
#: Windows of an epoch, at most; of more rows than these in proportion more, up to so many times.
WINDOWS_PER_EPOCH, MANY_ROWS, MOST_TIMES = 2560, 50_000, 8.0
#: Share of the cutoffs held out where intervals come from held-out errors; of few cutoffs more, to
#: so many horizons, but at most this share.
HELD_OUT_FRACTION, HELD_OUT_HORIZONS, MOST_HELD_OUT = 0.1, 3, 1 / 3
#: Blocks that these rows of a record are divided into, for simulations.
HELD_OUT_BLOCKS = 3
#: Validation windows evaluated after an epoch, at most.
MAX_VALIDATION_WINDOWS = 512


def is_named(options: Options, history: History) -> np.ndarray:
    """Return which series (num_series,) of a history are held out by name, of bool."""
    return named_series(history.keys, options.validation_series)


def rows_to_learn_from(
    options: Options, source: Source
) -> tuple[pd.DataFrame, pd.DataFrame | None, np.ndarray]:
    """Return the rows to learn from of all series but those that are held out by name.

    Returns
    -------
    y, X : pandas.DataFrame
    left : numpy.ndarray of bool, shape (num_series,)
        Which series are not held out.

    Raises
    ------
    ValueError
        If a name is no key of a panel, or none of its series is left.
    """
    names, y, X = options.validation_series, source.y, source.X
    if names is None:
        return y, X, np.ones(len(source.lengths), dtype=bool)
    if source.keys is None:
        raise ValueError(
            f"Got validation_series={names!r} with a single series, expected a panel whose other "
            "series are trained on. Pass validation_fraction=0.1 to hold out a series' last rows."
        )
    known = set(source.keys)
    for name in names:
        if name not in known:
            raise ValueError(
                f"Got validation_series with {name!r}, which is no key of y, expected keys such as "
                f"{source.keys[0]!r}. Pass the whole key of each series, all levels of a hierarchy."
            )
    check_that_some_are_left(options, source)
    left = ~named_series(source.keys, names)
    return without_series(y, names), None if X is None else without_series(X, names), left


def check_that_some_are_left(options: Options, source: Source) -> None:
    """Raise a ValueError if all series of a panel are held out by name."""
    if named_series(source.keys, options.validation_series).all():
        raise ValueError(
            f"Got validation_series={options.validation_series!r}, which names all series of y, "
            "expected some others to train on. Leave some out."
        )


def usual_batch_size(options: Options, history: History, spec: WindowSpec) -> int:
    """Return how many windows a batch has, fewer than asked for on tiny data."""
    low, _, high = training_cutoffs(history.lengths, spec, 0.0)
    learnt = (high > low) & ~is_named(options, history)
    windows = int((high - low)[learnt].sum())
    if spec.simulation:
        windows = min(windows, most_windows(options, history.lengths[learnt]))
    return min(options.batch_size, max(MIN_BATCH, windows // _least_steps(spec, windows)))


def usual_weight_decay(options: Options, history: History, spec: WindowSpec) -> float:
    """Return how strongly weights are drawn to zero, in simulations the less, the more is known."""
    if options.weight_decay is not None:
        return options.weight_decay
    if not spec.simulation:
        return WEIGHT_DECAY
    observed = history.store.observed[:, : spec.num_targets].any(dim=1)
    start, rows = history.store.start.tolist(), int(observed.sum())
    for series in np.flatnonzero(is_named(options, history)):  # which are not trained on
        rows -= int(observed[start[series] : start[series] + history.lengths[series]].sum())
    return min(WEIGHT_DECAY, SIMULATION_WEIGHT_DECAY / max(rows, 1))


def _least_steps(spec: WindowSpec, windows: int) -> int:
    """Return how many steps an epoch has at least."""
    if not spec.simulation:
        return MIN_STEPS_PER_EPOCH
    return min(max(MIN_STEPS_PER_EPOCH, windows // MIN_BATCH), SIMULATION_STEPS_PER_EPOCH)


def training_windows(
    options: Options,
    history: History,
    spec: WindowSpec,
    low: np.ndarray,
    high: np.ndarray,
    batch_size: int,
    rows: torch.Tensor | None = None,
) -> WindowDataset:
    """Return the windows at cutoffs (num_series,) from low to high, and how many an epoch draws."""
    lengths = history.lengths[high > low]
    passes = int(MAX_PASSES_PER_EPOCH * lengths.sum() / spec.horizon)
    cutoffs = int((high - low).sum())
    windows = max(min(cutoffs, passes), _least_steps(spec, cutoffs) * batch_size)
    dataset = WindowDataset(
        history.store,
        spec,
        low,
        high,
        season=spec.seasons[0] if spec.seasons else None,
        by_series=options.window_sampling == "by_series",
        windows_per_epoch=min(windows, most_windows(options, lengths)),
        step_weights=options.step_weights,
        rows=rows,
    )
    dataset.check_weights()
    return dataset


def most_windows(options: Options, lengths: np.ndarray) -> int:
    """Return how many windows an epoch has at most."""
    if options.max_windows_per_epoch is not None:
        return options.max_windows_per_epoch
    times = min(max(1.0, lengths.sum() / MANY_ROWS), MOST_TIMES)
    return int(times * WINDOWS_PER_EPOCH)


def divided_windows(
    options: Options, errors: bool, history: History, spec: WindowSpec, batch_size: int
) -> tuple[WindowDataset, WindowDataset | None]:
    """Return the windows of training, and those that are held out, if any."""
    fraction = options.validation_fraction
    if options.validation_series is not None:
        return _divided_by_series(options, history, spec, batch_size)
    if fraction is None and errors and spec.simulation:
        return _divided_by_blocks(options, history, spec, batch_size)
    if fraction is None:
        fraction = _held_out_fraction(history, spec) if errors else 0.0
    low, split, high = training_cutoffs(history.lengths, spec, fraction)
    dataset = training_windows(options, history, spec, low, split, batch_size)
    first = np.where(split < high, split + spec.horizon - 1, high)
    held_out = WindowDataset(history.store, spec, first, high, step_weights=options.step_weights)
    return dataset, held_out if len(held_out) else None


def _divided_by_blocks(
    options: Options, history: History, spec: WindowSpec, batch_size: int
) -> tuple[WindowDataset, WindowDataset | None]:
    """Return the windows of training, and those that are held out of blocks all over a record.

    The last rows alone of a short record may be unlike the others. Rows of the blocks are targets
    of held-out windows alone; a window that lies partly in one counts by its part.
    """
    lengths = history.lengths
    low, _, high = training_cutoffs(lengths, spec, 0.0)
    rows = lengths - low  # that are targets
    wanted = np.minimum(HELD_OUT_HORIZONS * spec.horizon, MOST_HELD_OUT * rows)
    size = np.maximum(HELD_OUT_FRACTION * rows, wanted).astype(np.int64) // HELD_OUT_BLOCKS
    # (num_series, block), one after the other
    end = low[:, None] + rows[:, None] * np.arange(1, HELD_OUT_BLOCKS + 1) // HELD_OUT_BLOCKS
    begin = end - size[:, None]
    held = np.zeros(len(history.store.values), dtype=bool)
    start = history.store.start.cpu().numpy()
    held[ranges((start[:, None] + begin).ravel(), np.repeat(size, HELD_OUT_BLOCKS))] = True
    is_held = torch.from_numpy(held).to(history.store.values.device)
    dataset = training_windows(options, history, spec, low, high, batch_size, ~is_held)
    # windows with half of what they may have in a block, and in no two lists
    half = (np.minimum(size, spec.horizon) + 1)[:, None] // 2
    last = np.minimum(end - half + 1, high[:, None])
    first = np.maximum(begin - spec.horizon + half, low[:, None])
    first[:, 1:] = np.maximum(first[:, 1:], last[:, :-1])
    last = np.where(size[:, None] > 0, last, first)
    held_out = WindowDataset(
        history.store,
        spec,
        first.ravel(),
        last.ravel(),
        step_weights=options.step_weights,
        rows=is_held,
        series=np.repeat(np.arange(len(lengths)), HELD_OUT_BLOCKS),
    )
    return dataset, held_out if len(held_out) else None


def _divided_by_series(
    options: Options, history: History, spec: WindowSpec, batch_size: int
) -> tuple[WindowDataset, WindowDataset]:
    """Return the windows of the series that are trained on, and those of the series named."""
    low, _, high = training_cutoffs(history.lengths, spec, 0.0)
    named = is_named(options, history)
    dataset = training_windows(options, history, spec, low, np.where(named, low, high), batch_size)
    high = np.where(named, high, low)
    return dataset, WindowDataset(history.store, spec, low, high, step_weights=options.step_weights)


def _held_out_fraction(history: History, spec: WindowSpec) -> float:
    low, _, high = training_cutoffs(history.lengths, spec, 0.0)
    cutoffs = int((high - low).sum())
    wanted = min(HELD_OUT_HORIZONS * spec.horizon, MOST_HELD_OUT * cutoffs)
    return max(HELD_OUT_FRACTION, wanted / cutoffs)


def validated(held_out: WindowDataset | None) -> Subset[Any] | None:
    """Return those held-out windows whose loss is evaluated after every epoch."""
    if held_out is None:
        return None
    return Subset(held_out, spread(len(held_out), MAX_VALIDATION_WINDOWS).tolist())
