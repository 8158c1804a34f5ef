"""Channels: what every number that a network reads stands for, in the caller's names."""

from __future__ import annotations

from collections.abc import Hashable, Iterable

import pandas as pd

from sktime_tlstm.data.encoder import FrameEncoder
from sktime_tlstm.data.timeline import TIME_FEATURES
from sktime_tlstm.data.windows import WindowSpec
from sktime_tlstm.nn import InputEmbedding
from sktime_tlstm.nn.embedding import embedding_width

__all__ = ["channels", "embedded_channels"]

#: Part of the input, name of the variable, what of it a channel holds, and its lag, 0 for none.
Channel = tuple[str, Hashable, str, int]


def channels(spec: WindowSpec, encoder: FrameEncoder) -> pd.DataFrame:
    """Return a row for every channel of a window's inputs, in their order.

    Parameters
    ----------
    spec : WindowSpec
    encoder : FrameEncoder

    Returns
    -------
    pandas.DataFrame
        Columns ``part`` ("past", "future" or "static"), ``variable`` (the name of a column, a
        calendar feature, ...), ``kind`` ("value", "observed" or "code") and ``lag`` (0 for none).
    """
    order, names = encoder.order, encoder.targets
    targets = [names[order.index(channel)] for channel in range(len(names))]
    calendar = [name for name in encoder.time_features for _ in range(_width(name))]
    kinds = list(encoder.categories)
    told = ["series"] if spec.num_identities else []
    past: list[tuple[Hashable, str, int]] = [
        *_each([*targets, *encoder.numeric], "value"),
        *_each([*targets, *encoder.numeric], "observed"),
        *_each(calendar, "value"),
        *_each([*kinds, *told], "code"),
    ]
    known = [encoder.numeric[channel] for channel in spec.known]
    future: list[tuple[Hashable, str, int]] = [
        *_each(known, "value"),
        *_each(known, "observed"),
        *_each([*calendar, "step"], "value"),
        *_each([f"level of {name}" for name in targets], "value"),
        *_each([f"spread of {name}" for name in targets], "value"),
    ]
    for lag in spec.lags:
        future += _each([*targets, *encoder.numeric], "value", lag)
        future += _each(targets, "observed", lag)
    future += _each([*(kinds[code] for code in spec.known_categories), *told], "code")
    static = [
        *_each(encoder.static_scaling, "value"),
        *_each(encoder.static_categories, "code"),
    ]
    parts = {"past": past, "future": future, "static": static}
    rows = [(part, *channel) for part, own in parts.items() for channel in own]
    return _table(rows)


def embedded_channels(table: pd.DataFrame, embedding: InputEmbedding | None) -> pd.DataFrame:
    """Return the channels behind an embedding: codes become vectors at the end of each part."""
    if embedding is None:
        return table
    places = {
        "past": embedding.past_channels,
        "future": embedding.future_channels,
        "static": embedding.static_channels,
    }
    rows: list[Channel] = []
    for part, codes in places.items():
        own = list(table[table["part"] == part].itertuples(index=False, name=None))
        rows += [row for row in own if row[2] != "code"]
        for channel, cardinality in zip(codes, embedding.cardinalities, strict=True):
            if channel is not None:
                rows += [(part, own[channel][1], "vector", 0)] * embedding_width(cardinality)
    return _table(rows)


def _each(names: Iterable[Hashable], kind: str, lag: int = 0) -> list[tuple[Hashable, str, int]]:
    return [(name, kind, lag) for name in names]


def _width(feature: str) -> int:
    """Return the number of channels of a calendar feature: two if it goes round."""
    return len(TIME_FEATURES[feature](pd.DatetimeIndex(["2000-01-01"])))


def _table(rows: list[Channel]) -> pd.DataFrame:
    part, variable, kind, lag = (list(column) for column in zip(*rows, strict=True))
    names = pd.Series(variable, dtype=object)  # of any types
    return pd.DataFrame({"part": part, "variable": names, "kind": kind, "lag": lag})
