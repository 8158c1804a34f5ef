"""Fitting: the rules that adapt a model to its data, and the training of its members."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sktime_tlstm import beyond
from sktime_tlstm.calibrating import (
    as_wide_as,
    calibrated,
    recalibrated,
    usual_widths,
    with_linear,
    with_regressions,
)
from sktime_tlstm.checkpoints import Checkpoints, described, digest
from sktime_tlstm.contract import looks_ahead, probe
from sktime_tlstm.data.augmentation import Augmentation
from sktime_tlstm.data.encoder import FrameEncoder
from sktime_tlstm.data.history import History, SeriesStore
from sktime_tlstm.data.sampling import WindowDataset, training_cutoffs
from sktime_tlstm.data.seasonality import find_seasons
from sktime_tlstm.data.source import Source
from sktime_tlstm.data.targets import has_outliers
from sktime_tlstm.data.timeline import Timeline
from sktime_tlstm.data.windows import WindowSpec, cut_windows
from sktime_tlstm.epochs import (
    MIN_BATCH,
    check_that_some_are_left,
    divided_windows,
    is_named,
    most_windows,
    rows_to_learn_from,
    training_windows,
    usual_batch_size,
    usual_weight_decay,
    validated,
)
from sktime_tlstm.model import Model
from sktime_tlstm.net import ForecastNet, build_net, isolated_random_state, renew_callbacks, train
from sktime_tlstm.nn import Head, make_head
from sktime_tlstm.notices import notify
from sktime_tlstm.oddities import warn_of_oddities
from sktime_tlstm.options import Options, plain, resolve_device
from sktime_tlstm.processes import is_launched
from sktime_tlstm.threads import side_by_side

__all__ = ["build_member", "finetune_model", "fit_model", "update_model"]

#: Context without a season, the largest context chosen by rule, and seasons in a context: those of
#: long seasons, and those of short ones, up to so many rows.
PLAIN_CONTEXT, MAX_CONTEXT, CONTEXT_SEASONS = 64, 384, 2
SHORT_CONTEXT_SEASONS, SHORT_CONTEXT = 4, 48
#: Horizon without fh: that without a season, and the largest.
PLAIN_HORIZON, MAX_HORIZON = 12, 96
#: Steps that a simulation is trained on at once, at most.
SIMULATED_STEPS = 256
#: Largest seasonal lag that is used by rule.
MAX_LAG = 1024
#: Seasons over which the target is normalised within a window.
NORM_SEASONS = 7
#: Parts of the epochs: of the training without what is held out, and of that on all rows after it.
FIRST_EPOCHS, WHOLE_EPOCHS = 0.6, 0.6
#: Rows that simple forecasts are made from, at least and in seasons.
SIMPLE_ROWS, SIMPLE_SEASONS = 64, 7
#: The default of ``patience``, which is no wish.
USUAL_PATIENCE = 3
#: Options that change no training, or that say where it is kept.
UNTRAINED = ("checkpoint_dir", "num_samples", "verbose")
#: Learning rate of fine-tuning and updates, as a share of lr.
FINETUNE_LR = 0.15


def fit_model(
    options: Options,
    network: tuple[Callable[..., Any], dict[str, Any]],
    source: Source,
    largest_step: Callable[[Timeline], int | None],
    seed: int,
    stage: str = "fit",
) -> tuple[Model, History]:
    """Train a model from nothing.

    Parameters
    ----------
    options : Options
        The forecaster's parameters.
    network : (callable, dict)
        The network's class and keyword arguments.
    source : Source
        The data.
    largest_step : callable
        Returns the largest step of fh on a timeline; None if there is no fh.
    seed : int
    stage : str, default="fit"
        What the record and the progress call this training.
    """
    head = make_head(options.loss, options.quantiles)
    y, X, left = rows_to_learn_from(options, source)
    longest = int(source.lengths[left].max())
    features, seasons, horizon = _time_rules(options, source, y, longest, largest_step)
    keys = None if source.keys is None else source.keys[left]
    encoder = _make_encoder(options, head, features, y).fit(y, X, keys, source.is_sampled)
    if options.mode == "simulation":
        beyond.check_drives(encoder, source)
    history = encoder.encode_source(source, horizon, weigh=True)
    beyond.warn_of_empty_series(history, encoder.targets)
    warn_of_oddities(encoder, history)
    spec = _make_spec(options, encoder, history, horizon, longest, seasons)
    errors = _needs_errors(options, head)
    if not errors or spec.simulation:
        spec = replace(spec, simple_length=1)
    seeds = _member_seeds(seed, options.num_members)
    batch_size = usual_batch_size(options, history, spec)
    decay = usual_weight_decay(options, history, spec)
    parts = options, network, head, spec
    members = [
        build_member(*parts, one, batch_size=batch_size, weight_decay=decay) for one in seeds
    ]
    batch = _probe_batch(history.store.to(members[0].device), spec)
    for net in members:
        _probe(net, network[0], batch, spec)
    placed = history.to(_data_device(members[0]))
    dataset, held_out = divided_windows(options, errors, placed, spec, batch_size)
    _warn_of_idle_settings(options, longest, held_out)
    validation = validated(held_out)
    named = options.validation_fraction is not None or options.validation_series is not None
    again = errors and not named and held_out is not None and options.max_epochs > 0
    first = max(1, round(FIRST_EPOCHS * options.max_epochs)) if again else options.max_epochs
    checkpoints = _checkpoints(options, stage, members, dataset, history, seed) if first else None
    _train(options, members, dataset, validation, first, seeds, stage, checkpoints=checkpoints)
    ahead = looks_ahead(members[0].outputs, batch, spec)
    model = Model(members, encoder, spec, None, options.num_samples, seed, ahead)
    if errors:
        model = calibrated(options, model, dataset, held_out, again)
        if again and not any(net.was_interrupted_ for net in members):
            whole, _ = divided_windows(options, False, placed, spec, batch_size)
            epochs = max(1, round(WHOLE_EPOCHS * options.max_epochs))
            seeds, stage = [member + 1 for member in seeds], f"{stage} on all rows"
            widths = usual_widths(model, held_out, dataset)
            _train(options, members, whole, None, epochs, seeds, stage, checkpoints=checkpoints)
            model = as_wide_as(widths, with_linear(model, whole), held_out, dataset)
    _finish(checkpoints, members)
    return model, history


def finetune_model(
    options: Options, model: Model, source: Source, seed: int
) -> tuple[Model, History]:
    """Fit a copy of a pretrained model to other series; the scaling of covariates is kept."""
    encoder = model.encoder
    if options.finetune_epochs:
        check_that_some_are_left(options, source)
    if len(source.y.columns) == len(encoder.targets):
        encoder = encoder.renamed(list(source.y.columns))
    reads = encoder.columns or encoder.static_covariates or encoder.weight_column is not None
    if source.X is not None and not reads:
        raise ValueError(
            f"Got X with the columns {list(source.X.columns)}, but the forecaster was pretrained "
            "without X. Pass X to pretrain as well, or X=None."
        )
    history = encoder.encode_source(source, model.spec.horizon, weigh=True)
    beyond.check_other_data(model, encoder, source, history)
    members = copy.deepcopy(model.members)
    model = replace(
        model, members=members, encoder=encoder, num_samples=options.num_samples, seed=seed
    )
    low, _, high = training_cutoffs(history.lengths, model.spec, 0.0)
    placed = history.to(_data_device(members[0]))
    whole = WindowDataset(placed.store, model.spec, low, high)
    model = recalibrated(model, whole)
    if options.finetune_epochs:
        widths = usual_widths(model, whole)
        batch_size = usual_batch_size(options, history, model.spec)
        high = np.where(is_named(options, history), low, high)
        dataset = training_windows(options, placed, model.spec, low, high, batch_size)
        for net in members:
            net.set_params(batch_size=batch_size)
            renew_callbacks(net, options.callbacks, options.gradient_clip, options.verbose)
        _train_on(options, members, dataset, options.finetune_epochs, "fine-tuning", history, seed)
        model = as_wide_as(widths, model, whole)
    return model, history


def update_model(options: Options, model: Model, history: History, new_rows: np.ndarray) -> Model:
    """Train a copy of a model on windows with new rows and on as many old ones.

    Parameters
    ----------
    new_rows : numpy.ndarray of int64, shape (num_series,)
        Number of new rows at the end of each series.
    """
    low, _, high = training_cutoffs(history.lengths, model.spec, 0.0)
    high = np.where(is_named(options, history), low, high)
    recent = np.minimum(new_rows, high - low)
    if not options.update_epochs or not recent.any():
        return model
    number = int(min(most_windows(options, history.lengths), max(2 * recent.sum(), MIN_BATCH)))
    dataset = WindowDataset(
        history.store.to(_data_device(model.members[0])),
        model.spec,
        low,
        high,
        recent=recent,
        by_series=options.window_sampling == "by_series",
        windows_per_epoch=number,
        step_weights=options.step_weights,
    )
    members = copy.deepcopy(model.members)
    _train_on(options, members, dataset, options.update_epochs, "update", history, model.seed)
    return with_regressions(replace(model, members=members), dataset)


def _data_device(net: ForecastNet) -> str:
    """Return where windows are cut: the network's device, or the CPU if workers cut them."""
    return "cpu" if net.get_params().get("iterator_train__num_workers") else net.device


def _member_seeds(seed: int, number: int) -> list[int]:
    """Return a seed for every member, so that members see different windows."""
    return np.random.SeedSequence(seed).generate_state(number).tolist()


def _needs_errors(options: Options, head: Head) -> bool:
    """Whether intervals need errors on held-out windows."""
    knows_spread = head.has_quantiles or head.distribution is not None
    return options.calibration != "none" or not knows_spread


def _make_encoder(
    options: Options, head: Head, default_features: tuple[str, ...], y: pd.DataFrame
) -> FrameEncoder:
    scaler = covariate_scaler = options.scaler
    simulation = options.mode == "simulation"
    if scaler == "auto" and simulation:
        covariate_scaler = "standard"
        scaler = "standard" if head.support == "real" else "mean"
    elif scaler == "auto":
        covariate_scaler = "robust"
        scaler = "robust" if head.support == "real" else "mean"
        if scaler == "robust" and head.point_statistic == "median" and has_outliers(y):
            scaler = "robust_arcsinh"
    if head.support != "real" and scaler not in ("mean", None):
        raise ValueError(
            f"Got scaler={scaler!r} with loss={options.loss!r}, whose targets must not be shifted; "
            "expected 'auto', 'mean' or None. Pass scaler='auto'."
        )
    features = options.time_features
    if isinstance(features, str):
        features = default_features
    return FrameEncoder(
        head.support,
        scaler,
        covariate_scaler,
        tuple(options.past_covariates or ()),
        tuple(options.static_covariates or ()),
        tuple(features),
        # where nothing is normalised either, what is passed scaled is left as it is
        absolute=simulation or (scaler is None and options.window_norm is None),
        weight_column=options.weight_column,
    )


def _time_rules(
    options: Options,
    source: Source,
    y: pd.DataFrame,
    longest: int,
    largest_step: Callable[[Timeline], int | None],
) -> tuple[tuple[str, ...], tuple[int, ...], int]:
    """Return the usual calendar features, the seasons, and the horizon."""
    timeline = source.timeline()
    if options.mode == "simulation":  # the input tells all, and the trained horizon ends nothing
        return (), (), options.prediction_length or max(1, min(SIMULATED_STEPS, longest // 3))
    seasons = timeline.seasons() or find_seasons(y)
    asked = largest_step(timeline) or options.prediction_length
    horizon = asked or _horizon_rule(seasons, longest)
    return timeline.default_time_features(longest), seasons, horizon


def _horizon_rule(seasons: tuple[int, ...], longest: int) -> int:
    usual = seasons[0] if seasons else PLAIN_HORIZON
    return max(1, min(usual, MAX_HORIZON, longest // 3))


def _make_spec(
    options: Options,
    encoder: FrameEncoder,
    history: History,
    horizon: int,
    longest: int,
    seasons: tuple[int, ...],
) -> WindowSpec:
    context = options.context_length
    if context is None:
        usual = _usual_context(seasons[0]) if seasons else PLAIN_CONTEXT
        if options.mode == "forecast":
            usual = max(usual, 2 * horizon)
        context = min(usual, MAX_CONTEXT, max(1, longest - horizon))
    lags = options.target_lags
    if isinstance(lags, str):
        lags = tuple(lag for lag in seasons if lag <= min(longest // 3, MAX_LAG))
    norm = context
    if seasons:
        norm = max(context, min(NORM_SEASONS * seasons[0], MAX_CONTEXT, max(1, longest - horizon)))
    simple = max(SIMPLE_ROWS, SIMPLE_SEASONS * seasons[0]) if seasons else SIMPLE_ROWS
    simple = min(simple, MAX_CONTEXT, max(1, longest - horizon))
    in_future = [name not in encoder.past_covariates for name in encoder.columns]
    numeric = len(encoder.numeric)
    there = history.there()
    return WindowSpec(
        context_length=context,
        horizon=horizon,
        num_targets=len(encoder.targets),
        num_numeric=numeric,
        num_calendar=history.store.calendar.shape[1],
        known=tuple(np.flatnonzero(in_future[:numeric]).tolist()),
        cardinalities=tuple(len(values) for values in encoder.categories.values()),
        known_categories=tuple(np.flatnonzero(in_future[numeric:]).tolist()),
        lags=tuple(lags),
        window_norm=None if options.mode == "simulation" else options.window_norm,
        norm_length=norm,
        support=encoder.support,
        num_static=len(encoder.static_scaling),
        static_cardinalities=tuple(len(kinds) for kinds in encoder.static_categories.values()),
        num_identities=int(history.store.traits.identity.max()) if options.series_embedding else 0,
        simple_length=simple,
        seasons=seasons,
        simulation=options.mode == "simulation",
        arcsinh=encoder.scaler == "robust_arcsinh",
        weighted=encoder.weight_column is not None,
        hidden=_hidden_channels(options, encoder),
        always=tuple(np.flatnonzero(there == history.lengths.sum()).tolist()),
        never=tuple(np.flatnonzero(there == 0).tolist()),
        limits=() if encoder.absolute else tuple(one.limits for one in encoder.scalings),
        shortest=min(options.min_context_length or context, int(history.lengths.min())),
    )


def _hidden_channels(options: Options, encoder: FrameEncoder) -> tuple[int, ...]:
    """Return the channels of a store that ``hidden_past`` names."""
    hidden = options.hidden_past or ()
    columns = [*encoder.targets, *encoder.columns]  # in the order of the store
    unknown = [name for name in hidden if name not in columns]
    if unknown:
        raise ValueError(
            f"Got hidden_past={list(hidden)} with {unknown}, expected some of {columns}: columns "
            "of y, and of X that vary in time. Name some of these."
        )
    targets = [name for name in hidden if name in encoder.targets]
    if targets and options.mode != "simulation":
        raise ValueError(
            f"Got hidden_past={list(hidden)} with the columns {targets} of y and mode='forecast', "
            "whose normalisation, lags and simple forecasts read the past of y; expected columns "
            "of X alone. Pass mode='simulation', which reads it nowhere else."
        )
    return tuple(channel for channel, name in enumerate(columns) if name in hidden)


def _usual_context(season: int) -> int:
    return max(CONTEXT_SEASONS * season, min(SHORT_CONTEXT_SEASONS * season, SHORT_CONTEXT))


def _warn_of_idle_settings(options: Options, longest: int, held_out: WindowDataset | None) -> None:
    """Warn of parameters that do nothing on these data."""
    if options.context_length is not None and options.context_length > longest:
        notify(
            f"Got context_length={options.context_length} and a longest series of {longest} rows: "
            "no window has a whole context, and the network learns from what there is. Pass a "
            "smaller context_length, or None."
        )
    if (options.net_params or {}).get("data_parallel") and not is_launched():
        notify(
            "Got data_parallel in a process that no launcher has started: it trains alone. Run the "
            "script by torchrun --nproc-per-node 2, or leave data_parallel out."
        )
    if held_out is not None:
        return
    if options.validation_fraction:
        notify(
            f"Got validation_fraction={options.validation_fraction} and a longest series of "
            f"{longest} rows, too few to hold some of them out: nothing is validated. Pass more "
            "rows or a shorter fh."
        )
    elif options.patience not in (None, USUAL_PATIENCE):
        notify(
            f"Got patience={options.patience} without validation, which alone stops a training "
            "early: it does nothing. Pass validation_fraction=0.1 too."
        )


def build_member(
    options: Options,
    network: tuple[Callable[..., Any], dict[str, Any]],
    head: Head,
    spec: WindowSpec,
    seed: int,
    *,
    batch_size: int,
    weight_decay: float,
) -> ForecastNet:
    """Build one member of a model, untrained.

    Parameters
    ----------
    options : Options
    network : (callable, dict)
        The network's class and keyword arguments.
    head : Head
        Copied, so that members share nothing.
    spec : WindowSpec
    seed : int
    batch_size : int
    weight_decay : float
        Instead of those of the options.
    """
    module, params = network
    precision = options.precision
    if precision == "auto" and spec.simulation:  # whose errors may be finer than bfloat16 tells
        precision = "float32"
    return build_net(
        module,
        plain(params),
        copy.deepcopy(head),
        spec,
        optimizer=options.optimizer,
        weight_decay=weight_decay,
        gradient_clip=options.gradient_clip,
        lr_schedule=options.lr_schedule,
        patience=options.patience,
        callbacks=options.callbacks,
        net_params=options.net_params,
        verbose=options.verbose,
        lr=options.lr,
        batch_size=batch_size,
        max_epochs=options.max_epochs,
        device=resolve_device(options.device),
        precision=precision,
        compile=options.compile,
        seed=seed,
    )


def _probe_batch(store: SeriesStore, spec: WindowSpec) -> dict[str, Tensor]:
    """Return the inputs of a window with a short and of one with a full context."""
    cutoff = torch.tensor([1, int(store.length[0])])
    return cut_windows(store, spec, torch.zeros(2, dtype=torch.int64), cutoff).inputs


def _probe(
    net: ForecastNet, module: Callable[..., Any], batch: dict[str, Tensor], spec: WindowSpec
) -> None:
    """Run the network once before training, as `probe` says."""
    with isolated_random_state(net.seed, net.compile), net.autocast():
        # not `outputs`: in inference mode torch hides autocast from what watches random numbers
        probe(
            module, lambda inputs: net.evaluation_step((inputs, None)), batch, spec, net.criterion_
        )


def _checkpoints(
    options: Options,
    stage: str,
    members: list[ForecastNet],
    dataset: WindowDataset,
    history: History,
    seed: int,
) -> Checkpoints | None:
    """Return where the trainings of this call are kept, if anywhere."""
    if options.checkpoint_dir is None:
        return None
    chosen = {name: value for name, value in vars(options).items() if name not in UNTRAINED}
    network = members[0].get_params_for("module")
    config = {
        "the call": stage,
        "the seed": str(seed),
        "torch": torch.__version__,
        **described({**chosen, **{f"the network's {name}": one for name, one in network.items()}}),
        **digest(history, dataset, members),
    }
    return Checkpoints(Path(options.checkpoint_dir), config, seed)


def _finish(checkpoints: Checkpoints | None, members: list[ForecastNet]) -> None:
    """Remove what is kept of trainings, unless one was interrupted: it can go on."""
    if checkpoints is not None and not any(net.was_interrupted_ for net in members):
        checkpoints.finish()


def _train_on(
    options: Options,
    members: list[ForecastNet],
    dataset: WindowDataset,
    epochs: int,
    stage: str,
    history: History,
    seed: int,
) -> None:
    """Train members that were trained before, at a small, constant rate."""
    checkpoints = _checkpoints(options, stage, members, dataset, history, seed)
    seeds = _member_seeds(seed, len(members))
    _train(
        options, members, dataset, None, epochs, seeds, stage, afresh=False, checkpoints=checkpoints
    )
    _finish(checkpoints, members)


def _train(
    options: Options,
    members: list[ForecastNet],
    dataset: WindowDataset,
    validation: Dataset[Any] | None,
    epochs: int,
    seeds: list[int],
    stage: str,
    afresh: bool = True,
    checkpoints: Checkpoints | None = None,
) -> None:
    """Train all members; those that go on at a small, constant rate.

    Side by side, unless something of the user's sees them train, which expects one after the other.
    """
    augmentation = Augmentation(dataset.spec, options.input_noise, options.min_context_length)
    if not epochs:
        beyond.warn_of_no_training(members[0])
        return
    trainings = [
        functools.partial(
            train,
            net,
            dataset,
            validation,
            epochs=epochs,
            lr=options.lr if afresh else options.lr * FINETUNE_LR,
            lr_schedule=options.lr_schedule if afresh else None,
            seed=seed,
            stage=stage,
            label=f"{stage}, member {number}/{len(members)}" if len(members) > 1 else stage,
            checkpoint=None if checkpoints is None else checkpoints.next(),
            augmentation=augmentation,
        )
        for number, (net, seed) in enumerate(zip(members, seeds, strict=True), start=1)
    ]
    watched = options.callbacks or options.verbose > 1
    if watched or not all(net.runs_beside_others for net in members):
        for training in trainings:
            training()
        return
    side_by_side(trainings, lambda: _ask_to_stop(members, True))
    _ask_to_stop(members, False)  # those of a failed training stay asked: one may still run


def _ask_to_stop(members: list[ForecastNet], stop: bool) -> None:
    for net in members:
        net.stop_asked_ = stop
