"""Calibrating: how a model learns, from its errors, whom to trust and how wide intervals are."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sktime_tlstm.calibration import CAUTION, SHORT_CONTEXTS, Bands, Calibration, trusted
from sktime_tlstm.data.history import SeriesStore
from sktime_tlstm.data.rows import spread
from sktime_tlstm.data.sampling import WindowDataset, training_cutoffs
from sktime_tlstm.data.windows import WindowSpec, observed_share
from sktime_tlstm.effects import learn_effects
from sktime_tlstm.linear import learn_linear
from sktime_tlstm.model import Forecast, Model
from sktime_tlstm.notices import notify
from sktime_tlstm.options import Options
from sktime_tlstm.simple import SimpleForecast, learn_simple

__all__ = [
    "as_wide_as",
    "calibrated",
    "recalibrated",
    "usual_widths",
    "with_linear",
    "with_regressions",
]

#: Windows that simple forecasts are weighed by, at most.
SIMPLE_WINDOWS = 512
#: Contexts with more gaps than all but such a share of those of training are not known; an observed
#: share so small is as good as any.
RARE_SHARE, LEAST_SHARE = 0.05, 0.1
#: Windows whose errors calibrate intervals; one of every series where there are more of these.
CALIBRATION_WINDOWS = 100
#: Horizons of learnt rows that speak half for themselves, when errors on them fall.
LEARNT_PRIOR = 30
#: Share of a simulation's held-out errors that are smaller than a network's width is to be.
USUAL_SIZE = 0.8
#: Shares by which a second training on all rows lowers errors, of networks that read the past alone
#: and of those that read covariates (0 to 18 % were measured); and how much likelier no trust in
#: these networks is than full trust beforehand, as logarithms.
GAINS, CAUTIONS = (0.05, 0.1), (CAUTION, 2.0)
#: Held-out horizons that speak half for themselves of how large errors are, in widths.
SIZE_PRIOR = 3.0
#: Times as large or small that they may be, at most: one width of nothing is no measure.
MOST_SIZE = 8.0
#: Share of errors by whose size short series are known to be wider.
FAR_SIZE = 0.85
#: Held-out rows of a simulation that tell as much of a network as a horizon of a forecast.
TELLING_ROWS = 16


def calibrated(
    options: Options,
    model: Model,
    dataset: WindowDataset,
    held_out: WindowDataset | None,
    again: bool,
) -> Model:
    """Add a calibration: simple forecasts, and errors on windows held out of training.

    Whether training goes on ``again`` on all windows says how far these errors will fall.
    """
    gain, caution = _gain_and_caution(model.spec, again)
    if model.spec.simulation:
        return _simulation_calibrated(options, model, dataset, held_out, gain)
    spec, store = model.spec, dataset.store.to("cpu")
    lengths = store.length.numpy()
    low, _, _ = training_cutoffs(lengths, spec, 0.0)
    trained = np.zeros(len(lengths), dtype=bool)  # some series may be held out as a whole
    trained[dataset.used] = True
    # the last horizons are observed in part
    every = WindowDataset(store, spec, low, np.where(trained, lengths, low))
    places = every.place(spread(len(every), SIMPLE_WINDOWS))
    mean = model.head.point_statistic == "mean"
    # by the first errors are told, of regressions that have not learnt them
    simple, whole_simple = learn_simple(
        store, spec, *places, spec.seasons, spec.arcsinh, mean, len(every), model.looks_ahead
    )
    capacity = max(CALIBRATION_WINDOWS, len(every.used))
    blank = np.zeros((0, spec.horizon, spec.num_targets), np.float32)
    # without scores yet: it makes forecasts bring the simple one along
    widest = model.observed_range(store).clamp(min=1.0)  # at least one scale
    series, cutoff, shares = _spaced(dataset, capacity, spec.horizon)
    alone = options.calibration == "none"
    share = None if alone else _usual_share(spec, store, series, cutoff)
    none, whole = (torch.full((spec.num_targets,), one).double() for one in (0.0, 1.0))
    calibration = Calibration(simple, none, none, blank, shares[:0], capacity, widest, share=share)
    model = replace(model, calibration=calibration)
    forecast = model.ahead(store, series, cutoff)
    earlier = model.simple_bands(forecast).scores(model.targets(store, series, cutoff))
    calibration = calibration.extended(model.told(earlier, store, series, cutoff), shares)
    if held_out is not None:
        series, cutoff, shares = _spaced(held_out, capacity, spec.horizon)
        forecast = model.ahead(store, series, cutoff)
        target = model.targets(store, series, cutoff)
        network, simply = model.network_bands(forecast), model.simple_bands(forecast)
        # weighed as windows are normalised, so that the loudest do not decide
        bands = model.normalised(forecast, target)
        number = float(shares.sum())
        trust, width = trusted(*bands, number, mean, gain, caution, forecast.familiarity)
        if alone:  # the point is the network's; its scores are wanted
            trust = whole
        blend = network.blended(simply, trust, width, forecast.familiarity)
        widening = _as_large(blend.scores(target), simply.scores(target), number)
        scores = model.told(blend.widened(widening).scores(target), store, series, cutoff)
        calibration = replace(
            calibration, trust=trust, width_trust=width, widening=widening
        ).extended(scores, shares)
        model = replace(model, calibration=calibration)
        short = _shortness(model, store, series, cutoff)
        calibration = replace(calibration, short=short)
    elif alone:
        calibration = replace(calibration, trust=whole)
    elif simple.effects is None and (model.encoder.columns or model.encoder.static_covariates):
        _warn_of_unread(int(store.length.max()), spec.horizon)
    return replace(model, calibration=replace(calibration, simple=whole_simple))


def _warn_of_unread(rows: int, horizon: int) -> None:
    notify(
        f"Got X and a longest series of {rows} rows, too few to hold some of them out at a horizon "
        f"of {horizon}: nothing tells whether the network can be trusted, so forecasts are made "
        "from past values alone and X is not read. Pass more rows or a shorter fh, or "
        "calibration='none' for the network's own forecasts.",
    )


def _usual_share(
    spec: WindowSpec, store: SeriesStore, series: np.ndarray, cutoff: np.ndarray
) -> Tensor:
    """Return the observed share (num_targets,) that nearly all contexts have at least."""
    share = observed_share(store, spec, *map(torch.from_numpy, (series, cutoff)))
    return share.quantile(RARE_SHARE, dim=0).clamp(min=LEAST_SHARE)


def _gain_and_caution(spec: WindowSpec, again: bool) -> tuple[float, float]:
    """Return by how much training goes on to lower a network's errors, and how to mistrust it."""
    reads = spec.num_numeric or spec.cardinalities or spec.num_static_features
    which = 1 if reads and not spec.simulation else 0
    return GAINS[which] if again else 0.0, CAUTIONS[which]


def _as_large(scores: Tensor, usual: Tensor, horizons: float) -> Tensor:
    """Return factors of widths (num_targets,) that make scores as large as the usual ones.

    So far as the horizons tell it, of which both are.
    """
    mean, other = (part.abs().flatten(0, 1).nanmean(dim=0) for part in (scores, usual))
    ratio = (mean / other).clamp(1 / MOST_SIZE, MOST_SIZE)
    factor = ratio ** (horizons / (horizons + SIZE_PRIOR))
    return torch.where(factor.isfinite() & (factor > 0), factor, 1.0)


def _shortness(
    model: Model, store: SeriesStore, series: np.ndarray, cutoff: np.ndarray
) -> Tensor | None:
    """Return how much wider widths are to be where a series is short, as `Calibration` has it.

    Forecasts of the windows are made from a few rows of each alone. None if errors tell nothing.
    """
    some = spread(len(series), CALIBRATION_WINDOWS)
    series, cutoff = series[some], cutoff[some]
    horizon, target = model.spec.horizon, model.targets(store, series, cutoff)

    def usual(forecast: Forecast) -> float:
        sizes = model.bands(forecast).scores(target).abs()
        return float(torch.nanquantile(sizes, FAR_SIZE))

    whole = usual(model.ahead(store, series, cutoff))
    if not whole > 0:
        return None
    factors, enough = [], min(model.spec.context_length, SHORT_CONTEXTS[-1], int(cutoff.min()) + 1)
    for rows in SHORT_CONTEXTS:
        if rows >= enough:
            factors.append(1.0)
            continue
        short = store.shortened(series, cutoff, rows, horizon)
        forecast = model.ahead(short, np.arange(len(series)), np.full_like(cutoff, rows))
        factors.append(max(usual(forecast) / whole, 1.0))
    longer = np.maximum.accumulate(factors[::-1])[::-1]  # no more rows, no wider
    return torch.from_numpy(longer.copy())


def _simulation_calibrated(
    options: Options,
    model: Model,
    dataset: WindowDataset,
    held_out: WindowDataset | None,
    gain: float,
) -> Model:
    """Add a calibration: a linear simulation, and errors of simulations that were held out.

    Widths are multiplied such that a normal distribution of that width has the size of the errors.
    """
    spec, targets = model.spec, model.encoder.targets
    blank = np.zeros((0, spec.horizon, spec.num_targets), np.float32)
    number = max(CALIBRATION_WINDOWS, 0 if held_out is None else len(held_out.used))
    linear, shares = learn_linear(dataset), np.zeros(0, np.float32)
    trust = width = torch.ones(spec.num_targets, dtype=torch.float64)
    calibration = Calibration(linear, trust, width, blank, shares, number)
    model = replace(model, calibration=calibration)
    if held_out is None:
        if options.validation_fraction == 0:
            return model
        notify(
            "Got records of too few rows to hold some of them out: nothing tells how far "
            "simulations will be off, and intervals are as wide as the network has learnt, far too "
            "narrow as a rule. Pass longer records, or validation_series."
        )
        return model
    series, cutoff, shares = _spaced(held_out, number, spec.horizon)
    if held_out.rows is not None:  # windows overlap blocks: as many horizons as there are rows
        seen = held_out.store.observed[:, : spec.num_targets].any(dim=1)
        rows = float((held_out.rows & seen).sum()) / spec.horizon
        shares = (shares * rows / shares.sum()).astype(np.float32)
    forecast = model.ahead(held_out.store.to("cpu"), series, cutoff)
    target = _held_out_targets(model, held_out, series, cutoff)
    both = model.network_bands(forecast), model.simple_bands(forecast)
    if not bool(target.isnan().all()):
        mean = model.head.point_statistic == "mean"
        horizons = float(shares.sum()) * spec.horizon / TELLING_ROWS
        trust, width = trusted(*both, target, horizons, mean, gain)
    if options.calibration == "none":  # the point is the network's
        trust = torch.ones_like(trust)
    scores = both[0].blended(both[1], trust, width).scores(target).float().numpy()
    widening = np.array([_usual_size(scores[..., k], name) for k, name in enumerate(targets)])
    calibration = replace(
        calibration,
        trust=trust,
        width_trust=width,
        capacity=max(number, float(shares.sum())),  # none of a long record is forgotten
        widening=torch.from_numpy(widening),
    )
    scores = (scores / widening).astype(np.float32)
    return replace(model, calibration=calibration.extended(scores, shares))


def _usual_size(scores: np.ndarray, name: Hashable) -> float:
    """Return the size that most scores of a target do not exceed; 1 where there is none."""
    known = np.abs(scores[~np.isnan(scores)].astype(np.float64))
    if not len(known):
        notify(
            f"Got no value of {name!r} in the rows that are held out: nothing tells how far its "
            "simulations will be off, and its intervals are as wide as the network has learnt, far "
            "too narrow as a rule. Name records that have some by validation_series."
        )
        return 1.0
    return float(np.quantile(known, USUAL_SIZE)) or 1.0


class Widths(NamedTuple):
    """How wide intervals of a simulation are, and how far it is off; each (num_targets,)."""

    #: Mean width on held-out windows.
    usual: Tensor
    #: Mean absolute error on them.
    error: Tensor
    #: Mean absolute error on windows that were learnt; NaN where nothing tells it.
    learnt: Tensor


def usual_widths(
    model: Model, held_out: WindowDataset | None, learnt: WindowDataset | None = None
) -> Widths | None:
    """Return how wide a simulation's intervals are on windows, and how far it is off.

    None where no errors tell it: of other models, and without windows.
    """
    calibration = model.calibration
    if calibration is None or not calibration.of_errors or not held_out:
        return None
    bands, target = _some_bands(model, held_out)
    width = torch.where(target.isnan(), torch.nan, bands.below + bands.above)
    usual, error = width.nanmean(dim=(0, 1)), _mean_error(bands, target)
    unknown = torch.full_like(error, torch.nan)
    elsewhere = unknown if learnt is None else _mean_error(*_some_bands(model, learnt))
    return Widths(usual, error, elsewhere)


def with_linear(model: Model, learnt: WindowDataset) -> Model:
    """Return a model of simulations whose linear part has learnt what its network has."""
    calibration = model.calibration
    if calibration is None or not model.spec.simulation:
        return model
    return replace(model, calibration=replace(calibration, simple=learn_linear(learnt)))


def with_regressions(model: Model, learnt: WindowDataset) -> Model:
    """Return a model whose regressions, if it has some, have learnt all rows of series."""
    calibration = model.calibration
    if calibration is None or not isinstance(calibration.simple, SimpleForecast):
        return model
    simple = calibration.simple.relearnt(learnt.store.to("cpu"), model.spec, learnt.used)
    return replace(model, calibration=replace(calibration, simple=simple))


def as_wide_as(
    widths: Widths | None,
    model: Model,
    held_out: WindowDataset | None,
    learnt: WindowDataset | None = None,
) -> Model:
    r"""Return a model that has learnt windows since, as wide on them as `usual_widths` said before.

    Networks are sure of what they have learnt, and their widths shrink; those of errors do not, but
    for what the network does better by now on windows that it had learnt before, too. Of a
    held-out error :math:`e` with the part :math:`t` that learnt windows show as well, now
    :math:`t'`, :math:`\sqrt{e^2 - t^2 + t'^2}` is left of very many rows; of few, which are learnt
    by heart, nearly all of :math:`e`.
    """
    now, calibration = usual_widths(model, held_out, learnt), model.calibration
    if widths is None or now is None or calibration is None or calibration.widening is None:
        return model
    factor = widths.usual / now.usual
    if learnt is not None:
        before = torch.minimum(widths.learnt, widths.error)
        better = (before**2 - now.learnt**2).clamp(min=0.0) / widths.error**2
        better = torch.nan_to_num(better, nan=0.0, posinf=0.0).clamp(max=1.0)
        horizons = _learnt_rows(learnt, model.spec.num_targets) / model.spec.horizon
        factor = factor * torch.sqrt(1 - better * horizons / (horizons + LEARNT_PRIOR))
    widening = calibration.widening * torch.where(factor.isfinite() & (factor > 0), factor, 1.0)
    return replace(model, calibration=replace(calibration, widening=widening))


def _mean_error(bands: Bands, target: Tensor) -> Tensor:
    return (target - bands.center).abs().nanmean(dim=(0, 1))


def _learnt_rows(learnt: WindowDataset, num_targets: int) -> Tensor:
    """Return how many observed rows of each target (num_targets,) a dataset has as targets."""
    seen = learnt.store.observed[:, :num_targets]
    return (seen if learnt.rows is None else seen[learnt.rows]).sum(dim=0).cpu()


def _some_bands(model: Model, windows: WindowDataset) -> tuple[Bands, Tensor]:
    """Return bands of evenly spaced windows and their targets, as `_held_out_bands` does."""
    number = int(max(CALIBRATION_WINDOWS, len(windows.used)))
    series, cutoff, _ = _spaced(windows, number, model.spec.horizon)
    return _held_out_bands(model, windows, series, cutoff)


def _held_out_bands(
    model: Model, held_out: WindowDataset, series: np.ndarray, cutoff: np.ndarray
) -> tuple[Bands, Tensor]:
    """Return bands of held-out windows and their targets, NaN where these are not held out."""
    store = held_out.store.to("cpu")
    bands = model.bands(model.ahead(store, series, cutoff))
    return bands, _held_out_targets(model, held_out, series, cutoff)


def _held_out_targets(
    model: Model, held_out: WindowDataset, series: np.ndarray, cutoff: np.ndarray
) -> Tensor:
    """Return targets (window, horizon, num_targets), NaN where these are not held out."""
    target = model.targets(held_out.store.to("cpu"), series, cutoff)
    if held_out.rows is not None:
        known = held_out.are_targets(series, cutoff).cpu()
        target = torch.where(known[..., None], target, torch.nan)
    return target


def recalibrated(model: Model, dataset: WindowDataset) -> Model:
    """Let a pretrained model learn from its errors on other series, before it is trained on them.

    Simple forecasts learn what covariates add to these series. Errors smaller than those known are
    passed over: pretraining may have seen the rows.
    """
    calibration = model.calibration
    if calibration is None or not len(dataset):
        return model
    if isinstance(calibration.simple, SimpleForecast):
        old, store = calibration.simple.effects, dataset.store.to("cpu")
        effects = learn_effects(store, model.spec, dataset.used, old)
        # sizes of series are those of others, though some may have the same name; nor do
        # regressions read these effects, or know how far they are off here
        simple = replace(calibration.simple, effects=effects, own=None, regression=None)
        calibration = replace(calibration, simple=simple)
    number = int(max(CALIBRATION_WINDOWS, len(dataset.used)))
    series, cutoff, shares = _spaced(dataset, number, model.spec.horizon)
    if calibration.share is not None:
        share = _usual_share(model.spec, dataset.store.to("cpu"), series, cutoff)
        calibration = replace(calibration, share=calibration.share.minimum(share))
    model = replace(model, calibration=calibration)
    scores = model.scores(dataset.store, series, cutoff)
    if not _usual(scores) > _usual(calibration.scores):
        return model
    calibration = replace(calibration, capacity=max(calibration.capacity, number))
    return replace(model, calibration=calibration.extended(scores, shares))


def _usual(scores: np.ndarray) -> float:
    """Return the median size of scores, NaN where unobserved; 0 without any."""
    known = np.abs(scores[~np.isnan(scores)])
    return float(np.median(known)) if len(known) else 0.0


def _spaced(
    dataset: WindowDataset, number: int, horizon: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return evenly spaced windows, oldest first: series, cutoffs, and new parts of horizons."""
    series, cutoff = dataset.place(spread(len(dataset), number))
    apart = np.diff(cutoff, prepend=cutoff[:1])
    first = np.diff(series, prepend=-1) != 0
    shares = np.where(first, 1.0, np.minimum(apart / horizon, 1.0)).astype(np.float32)
    order = np.argsort(cutoff, kind="stable")
    return series[order], cutoff[order], shares[order]
