"""Storing: a forecaster as an archive, and an archive as a forecaster."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sktime.datatypes._dtypekind import DtypeKind
from sktime.forecasting.base import ForecastingHorizon
from torch import Tensor

from sktime_tlstm import __version__, nn
from sktime_tlstm.archive import Archive
from sktime_tlstm.calibration import SHORT_CONTEXTS, Calibration
from sktime_tlstm.contract import construct, prepare
from sktime_tlstm.data.covariates import Covariates
from sktime_tlstm.data.encoder import FrameEncoder
from sktime_tlstm.data.flags import Flags
from sktime_tlstm.data.history import History, Room, SeriesStore, Traits
from sktime_tlstm.data.scaling import CovariateScaling
from sktime_tlstm.data.targets import Targets, UsualScale
from sktime_tlstm.data.timeline import Timeline
from sktime_tlstm.data.windows import WindowSpec
from sktime_tlstm.effects import AS_LARGE, FOLDS, Columns, Effects, Sizes
from sktime_tlstm.fitted import Fitted
from sktime_tlstm.fitting import build_member
from sktime_tlstm.linear import LinearSimulation
from sktime_tlstm.model import Model
from sktime_tlstm.net import ForecastNet, isolated_random_state
from sktime_tlstm.net_state import check_tensors, fill_net, net_parts
from sktime_tlstm.options import MAX_ROWS, Options, plain
from sktime_tlstm.records import Kind, Reader, UnrecordableError, Writer, kind_of_dataclass
from sktime_tlstm.regression import Inputs, Regression
from sktime_tlstm.simple import CHANGES, FIXED, SIZE, SimpleForecast
from sktime_tlstm.time_records import TIME_KINDS

__all__ = ["restore", "stored"]

#: Attributes that follow from others.
DERIVED = ("members_", "net_", "context_length_", "prediction_length_")
#: Parameters that the caller of a load may set, besides those that no file holds.
FREE = ("device",)
#: Where classes that are named in a file may come from.
CLASSES = {"sktime_tlstm.nn": nn, "torch.nn": torch.nn, "torch.optim": torch.optim}
STORE, TRAITS, CALIBRATION, EFFECTS = map(
    kind_of_dataclass, (SeriesStore, Traits, Calibration, Effects)
)


def _store(observed: Any, **parts: Any) -> SeriesStore:
    if isinstance(observed, Tensor):  # files of before hold flags as they are
        observed = Flags.of(observed)
    store: SeriesStore = STORE.whole(observed=observed, **parts)
    return store


def _traits(zero: Tensor, **parts: Any) -> Traits:
    gap = parts.pop("gap", torch.zeros_like(zero))  # which files of before do not have
    traits: Traits = TRAITS.whole(zero=zero, gap=gap, **parts)
    return traits


def _calibration(scores: np.ndarray, **parts: Any) -> Calibration:
    for name in ("trust", "width_trust"):
        if isinstance(parts.get(name), float):  # files of before hold one for all targets
            parts[name] = torch.full((scores.shape[-1],), parts[name]).double()
    calibration: Calibration = CALIBRATION.whole(scores=scores, **parts)
    return calibration


def _no_tails(number: int) -> Tensor:
    """Return tails of effects to which all others are usual."""
    far = torch.tensor([-1e200, 1e200], dtype=torch.float64)
    return far[:, None].expand(number, -1, len(AS_LARGE)).clone()


def _effects(weights: Tensor, **parts: Any) -> Effects:
    number = len(weights)
    before: dict[str, Any] = {  # what files of before do not have
        "multiplies": (False,) * number,
        "bounds": torch.zeros(number, 2).double(),
        "usual": torch.zeros(number, 1).double(),  # for all columns
        "tails": _no_tails(number),
        "moves": torch.zeros(number, 1).double(),
        "spare": torch.zeros(number, FOLDS, weights.shape[1]).double(),
    }
    effects: Effects = EFFECTS.whole(weights=weights, **{**before, **parts})
    return effects


def _history(store: SeriesStore, **parts: Any) -> History:
    mark = object()
    return History(store=store, room=Room(mark, len(store.calendar)), mark=mark, **parts)


def _encoder(**parts: Any) -> FrameEncoder:
    encoder = FrameEncoder("real", None, None, (), (), ())
    if parts.keys() != vars(encoder).keys():
        raise ValueError(f"the encoder has the parts {sorted(parts)}")
    vars(encoder).update(parts)
    return encoder


def _parts_of_horizon(fh: ForecastingHorizon) -> dict[str, Any]:
    return {"values": fh.to_pandas(), "is_relative": fh.is_relative, "freq": fh.freq}


def _random_state(state: tuple[Any, ...]) -> np.random.RandomState:
    draws = np.random.RandomState()
    draws.set_state(state)
    return draws


def _kind_of_head(cls: type, argument: str) -> Kind:
    return Kind(cls, lambda head: {argument: getattr(head, argument)}, cls)


def _parts_of_class(cls: type) -> dict[str, Any]:
    for room, module in CLASSES.items():
        if getattr(module, cls.__name__, None) is cls:
            return {"room": room, "name": cls.__name__}
    raise UnrecordableError(f"the class {cls.__qualname__} is of your own")


def _class_of(room: str, name: str) -> type:
    cls = getattr(CLASSES[room], name)
    if not isinstance(cls, type):
        raise TypeError(f"{room}.{name} is no class")
    return cls


#: Kinds of all that a forecaster holds, but for its nets.
KINDS: list[Kind] = [
    *TIME_KINDS,
    _kind_of_head(nn.PointHead, "loss"),
    _kind_of_head(nn.QuantileHead, "quantiles"),
    _kind_of_head(nn.DistributionHead, "distribution"),
    *map(
        kind_of_dataclass,
        (
            CovariateScaling,
            Covariates,
            Fitted,
            Flags,
            Inputs,
            LinearSimulation,
            Regression,
            SimpleForecast,
            Sizes,
            Targets,
            Timeline,
            UsualScale,
            WindowSpec,
        ),
    ),
    kind_of_dataclass(History, ("room", "mark"), _history),
    replace(STORE, whole=_store),
    replace(TRAITS, whole=_traits),
    replace(CALIBRATION, whole=_calibration),
    replace(EFFECTS, whole=_effects),
    Kind(FrameEncoder, vars, _encoder),
    Kind(ForecastingHorizon, _parts_of_horizon, ForecastingHorizon),
    Kind(DtypeKind, lambda kind: {"value": kind.value}, lambda value: DtypeKind(value)),
    Kind(type, _parts_of_class, _class_of, "class"),
    Kind(
        np.random.RandomState,
        lambda draws: {"state": draws.get_state(legacy=True)},
        _random_state,
    ),
]


@dataclass(frozen=True)
class Network:
    """What a network is built from, and what for: the parts of a forecaster that no tensor holds.

    Parameters
    ----------
    options : Options
    network : (callable, dict)
        The network's class and keyword arguments.
    """

    options: Options
    network: tuple[Callable[..., Any], dict[str, Any]]

    def model(self, members: list[dict[str, Any]], spec: WindowSpec, **parts: Any) -> Model:
        """Build a model and its nets of what a file says of them."""
        if len(members) != self.options.num_members:
            raise ValueError(f"it has {len(members)} members, num_members says otherwise")
        sizes = (spec.context_length, spec.horizon, spec.norm_length, *spec.lags)
        if not all(1 <= size <= MAX_ROWS for size in (*sizes, spec.simple_length)):
            raise ValueError(f"its windows have the sizes {sizes}")
        nets = [self._net(spec, member) for member in members]
        model: Model = kind_of_dataclass(Model).whole(members=nets, spec=spec, **parts)
        if model.calibration is not None:
            _check_calibration(model.calibration, spec)
        return model

    def _net(self, spec: WindowSpec, parts: dict[str, Any]) -> ForecastNet:
        options, (module, params) = self.options, self.network
        head = nn.make_head(options.loss, options.quantiles)
        # without memory first: what is edited might ask for more than there is
        built, arguments = prepare(module, plain(params), spec, head)
        with contextlib.suppress(NotImplementedError, RuntimeError):  # of networks that read values
            with torch.device("meta"), isolated_random_state(0):
                unreal = construct(built, **arguments)
            check_tensors(unreal.state_dict(), parts["weights"])
        settings = parts["settings"]
        decay = settings.get("weight_decay", options.weight_decay)  # files of before have none
        net = build_member(
            options,
            self.network,
            head,
            spec,
            int(settings["seed"]),
            batch_size=int(settings["batch_size"]),
            weight_decay=float(decay),
        )
        fill_net(net, **parts)
        return net


def _check_calibration(calibration: Calibration, spec: WindowSpec) -> None:
    """Raise a ValueError unless a calibration is one of such windows."""
    horizon, targets, simple = spec.horizon, spec.num_targets, calibration.simple
    short, share = calibration.short, calibration.share
    expected: dict[str, tuple[Any, tuple[int, ...]]] = {
        "scores": (calibration.scores, (len(calibration.shares), horizon, targets)),
        "trust": (calibration.trust, (targets,)),
        "trust of widths": (calibration.width_trust, (targets,)),
        "deviation": (simple.deviation, (targets, horizon)),
        **({} if short is None else {"shortness": (short, (len(SHORT_CONTEXTS),))}),
        **({} if share is None else {"observed share": (share, (targets,))}),
        **_expected_of_simple(simple, spec),
    }
    for name, (got, shape) in expected.items():
        if tuple(got.shape) != shape:
            raise ValueError(f"the calibration's {name} has {tuple(got.shape)}, expected {shape}")
        if name != "scores" and not bool(torch.isfinite(torch.as_tensor(got)).all()):
            raise ValueError(f"the calibration's {name} is not finite")


def _expected_of_simple(
    simple: SimpleForecast | LinearSimulation, spec: WindowSpec
) -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Return the tensors of what a network is weighed against, and their shapes, by name."""
    targets = spec.num_targets
    if isinstance(simple, LinearSimulation) != spec.simulation:
        raise ValueError(f"the calibration has a {type(simple).__name__}")
    if isinstance(simple, LinearSimulation):
        shape = targets, len(spec.known), simple.weights.shape[-1]
        return {"weights": (simple.weights, shape), "offset": (simple.offset, (targets,))}
    if simple.maps.keys() != simple.shares.keys() or max(simple.maps, default=1) > MAX_ROWS:
        raise ValueError(f"the calibration has maps of {list(simple.maps)} rows")
    if len(simple.kinds) != targets or not {*simple.kinds} <= {FIXED, SIZE, *CHANGES}:
        raise ValueError(f"the calibration's errors grow with {list(simple.kinds)}")
    if simple.effects is not None and len(simple.effects.multiplies) != targets:
        number = len(simple.effects.multiplies)
        raise ValueError(f"the calibration's effects are of {number} targets")
    learnt: dict[str, tuple[Any, tuple[int, ...]]] = {}
    for name, one in (("effects", simple.effects), ("sizes of errors", simple.sizes)):
        if one is not None:
            width = Columns.of(spec, calendar=one is simple.sizes).features
            learnt[name] = one.weights, (targets, width)
            learnt[f"bounds of {name}"] = one.bounds, (targets, 2)
    if simple.regression is not None:
        learnt |= _expected_of_regression(simple, simple.regression, spec)
    if simple.own is not None:
        learnt["sizes of series"] = simple.own, (len(simple.own), targets)
    if simple.effects is not None:
        columns, usual = Columns.of(spec), simple.effects.usual
        number = len(columns.numbers) + len(columns.codes) if usual.shape[-1] > 1 else 1
        learnt["usual effects"] = usual, (targets, number)
        moves = simple.effects.moves
        width = len(columns.numbers) if moves.shape[-1] != 1 else 1
        learnt["moves of effects"] = moves, (targets, width)
        learnt["spare effects"] = simple.effects.spare, (targets, FOLDS, columns.features)
        learnt["tails of effects"] = simple.effects.tails, (targets, 2, len(AS_LARGE))
    return {
        "change": (simple.change, (targets,)),
        **learnt,
        **{
            f"map of {length} rows": (one, (targets, 2, spec.horizon, length))
            for length, one in simple.maps.items()
        },
    }


def _expected_of_regression(
    simple: SimpleForecast, regression: Regression, spec: WindowSpec
) -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Return the tensors of regressions, and their shapes, by name."""
    inputs, targets, channels = regression.inputs, spec.num_targets, regression.channels
    lags = (inputs.recent, inputs.earlier or 0, *inputs.numbers, *inputs.effects)
    if min(lags) < 0 or inputs.length > spec.simple_length:
        raise ValueError(f"the calibration's regressions read rows {lags} before")
    if regression.edges is not None:
        raise ValueError("the calibration's regressions are of parts of time")
    if inputs.effects and simple.effects is None:
        raise ValueError("the calibration's regressions read effects, and there are none")
    if not all(0 <= channel < spec.num_calendar for channel in channels):
        raise ValueError(f"the calibration's regressions read the calendar's {list(channels)}")
    phases = max(1, len(regression.weights))
    return {
        "regressions": (regression.weights, (phases, targets, inputs.count(spec), spec.horizon)),
        "regressions' offset": (regression.offset, (phases, targets, spec.horizon)),
        "regressions' keys": (regression.keys, (phases, len(channels))),
        "regressions' share": (regression.share, (targets,)),
        "regressions' bounds": (regression.bounds, (targets, 2)),
        "regressions' penalties": (np.asarray(regression.penalties), (targets,)),
    }


def _parts_of_model(model: Model) -> dict[str, Any]:
    parts = kind_of_dataclass(Model).parts(model)
    return {**parts, "members": [net_parts(net) for net in model.members]}


# Forecasters.


def stored(forecaster: Any, rows: str) -> Archive:
    """Return manifest, state and tensors of a forecaster.

    Raises
    ------
    TypeError
        If an attribute is of a kind that no file holds.
    """
    kinds = [*KINDS, Kind(Model, _parts_of_model, Model)]
    writer = Writer(kinds)
    parameters, own = {}, {}
    for name, value in forecaster.get_params(deep=False).items():
        trial = Writer(kinds)
        try:
            value = str(value) if isinstance(value, Path) else value  # which mean the same
            parameters[name] = trial.record(value, f"parameters.{name}")
            writer.tensors.update(trial.tensors)
        except UnrecordableError:
            own[name] = _words(value)
    attributes = _attributes_of(forecaster)
    fitted = attributes.pop("_fitted", None)
    if "pretrained_parameters_" in attributes:
        kept = attributes["pretrained_parameters_"]
        attributes["pretrained_parameters_"] = {
            name: value for name, value in kept.items() if name not in own
        }
    try:
        state = {
            "parameters": parameters,
            "attributes": {name: writer.record(value, name) for name, value in attributes.items()},
            "fitted": writer.record(fitted and fitted.compact(rows == "needed"), "fitted"),
        }
    except UnrecordableError as error:
        raise TypeError(
            f"Got a forecaster of which {error}, which serialization_format='safetensors' cannot "
            "hold. Save it with serialization_format='pickle'."
        ) from error
    manifest = {
        "class": type(forecaster).__name__,
        "own": own,
        "rows": rows,
        "versions": _versions(),
    }
    return manifest, state, writer.tensors


def _attributes_of(forecaster: Any) -> dict[str, Any]:
    """Return what a forecaster holds besides its parameters, and what does not follow from that."""
    left_out = {*forecaster.get_param_names(), *DERIVED}
    return {name: value for name, value in vars(forecaster).items() if name not in left_out}


def _words(value: Any) -> str:
    """Name what no file holds: an object by its class."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_words, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_words(item)}' for name, item in value.items())}}}"
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    if type(value).__module__ == "builtins":
        return repr(value)
    return f"an object of {type(value).__module__}.{type(value).__qualname__}"


def _versions() -> dict[str, str]:
    found = {"sktime-tlstm": __version__}
    for name in ("sktime", "skorch", "torch", "pandas", "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # on the path, but not installed
            found[name] = "unknown"
    return {**found, "python": platform.python_version()}


def restore(cls: type, archive: Archive, given: Mapping[str, Any], name: str) -> Any:
    """Return the forecaster of an archive.

    Parameters
    ----------
    cls : type
        Class of the forecaster, or a base of it.
    archive : (dict, dict, dict)
        Manifest, state and tensors.
    given : mapping of str to object
        Parameters that no file holds, and the device.
    name : str
        What errors call the archive.

    Raises
    ------
    TypeError
        If it is the archive of another class.
    ValueError
        If a parameter is not given that no file holds, one is that the file does hold, or the
        archive is not what `stored` makes.
    """
    manifest, state, tensors = archive
    wanted = {one.__name__: one for one in _family(cls)}
    if manifest.get("class") not in wanted:
        raise TypeError(
            f"Got {name} of a {manifest.get('class')}, expected one of {sorted(wanted)}. Call "
            "load_from_path of its class."
        )
    own = manifest.get("own")
    if not isinstance(own, dict):
        raise ValueError(f"Got {name}, whose manifest no save has written: own is {own!r}.")
    missing = [one for one in own if one not in given]
    if missing:
        words = "; ".join(f"{one}, which was {own[one]}" for one in missing)
        asked = ", ".join(f"{one}=..." for one in missing)
        raise ValueError(
            f"Got {name} without what no file holds: {words}. Pass it again: "
            f"load_from_path(path, {asked})."
        )
    odd = [one for one in given if one not in own and one not in FREE]
    if odd:
        raise ValueError(
            f"Got {', '.join(odd)} beside {name}, which holds it; expected only "
            f"{[*own, *FREE]}. Leave it out; set_params changes parameters, and starts over."
        )
    try:
        forecaster = _restored(wanted[manifest["class"]], state, tensors, given)
    except Exception as error:  # what is edited raises anything
        raise ValueError(
            f"Got {name}, from which no forecaster can be built: {error}. Save the forecaster "
            "again with this version, or pass the network that it was saved with."
        ) from error
    return forecaster


def _family(cls: type) -> Iterator[type]:
    yield cls
    one: type
    for one in cls.__subclasses__():
        yield from _family(one)


def _restored(
    cls: Any, state: dict[str, Any], tensors: dict[str, Tensor], given: Mapping[str, Any]
) -> Any:
    reader = Reader(KINDS, tensors)
    parameters = {name: reader.value(one) for name, one in state["parameters"].items()}
    parameters.update(given)
    if sorted(parameters) != sorted(cls.get_param_names()):
        odd = sorted({*parameters} ^ {*cls.get_param_names()})
        raise ValueError(f"its parameters differ from those of {cls.__name__} in {odd}")
    forecaster = cls(**parameters)
    others = Options.checked(forecaster._parameters())
    model = Kind(Model, _parts_of_model, Network(others, forecaster._network()).model)
    reader = reader.knowing(model)
    for name, one in state["attributes"].items():
        if name.startswith("__") or (hasattr(cls, name) and callable(getattr(cls, name))):
            raise ValueError(f"it has the attribute {name!r}")
        setattr(forecaster, name, reader.value(one))
    if hasattr(forecaster, "pretrained_parameters_"):
        built = forecaster.pretrained_parameters_
        built.update({name: value for name, value in given.items() if name in parameters})
    fitted = reader.value(state["fitted"])
    if fitted is not None:
        if not isinstance(fitted, Fitted):
            raise TypeError(f"what was fitted is {type(fitted).__name__}")
        fitted.check()
        forecaster._keep(fitted)
    if reader.unread:
        raise ValueError(f"nothing names its tensors {reader.unread[:5]}")
    return forecaster
