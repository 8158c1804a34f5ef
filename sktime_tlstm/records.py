"""Records: objects as JSON and named tensors, and back, by kinds that are known beforehand."""

from __future__ import annotations

import dataclasses
import datetime
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Kind", "Reader", "UnrecordableError", "Writer", "kind_of_dataclass"]

#: Kinds of numpy's types whose arrays are tensors: truth values, integers, floats.
NUMERIC = "biuf"


class UnrecordableError(TypeError):
    """Said of an object of a kind that no record knows."""


@dataclass(frozen=True)
class Kind:
    """How the objects of one type become a record, and come back.

    Parameters
    ----------
    type : type
        Of the objects; not of those of a subclass.
    parts : callable
        Takes an object, and returns what it is made of by name: things that have records.
    whole : callable
        Takes these parts as keyword arguments, and returns the object. It may raise any error at
        parts that fit no object.
    name : str or None, default=None
        Name in the record; None for that of the type.
    """

    type: type
    parts: Callable[[Any], dict[str, Any]]
    whole: Callable[..., Any]
    name: str | None = None

    @property
    def label(self) -> str:
        """Name in the record."""
        return self.name or self.type.__name__


def kind_of_dataclass(
    cls: type, omitted: tuple[str, ...] = (), make: Callable[..., Any] | None = None
) -> Kind:
    """Return the kind of a dataclass, whose parts are its fields, checked by their annotations.

    Parameters
    ----------
    cls : type
    omitted : tuple of str, default=()
        Fields that are no parts.
    make : callable or None, default=None
        Takes the checked parts, and returns the object; None for the class.
    """
    held = [field for field in dataclasses.fields(cls) if field.name not in omitted]
    names = [field.name for field in held]
    # what has a default may be absent: of files written before there was such a part
    needed = {field.name for field in held if field.default is dataclasses.MISSING}

    def whole(**parts: Any) -> Any:
        if not needed <= parts.keys() <= set(names):
            raise ValueError(f"{cls.__name__} has the parts {sorted(parts)}, expected {names}")
        hints = typing.get_type_hints(cls)
        for name, value in parts.items():
            if not _fits(value, hints[name]):
                raise TypeError(f"{cls.__name__}.{name} is {value!r}, expected {hints[name]}")
        return (make or cls)(**parts)

    return Kind(cls, lambda value: {name: getattr(value, name) for name in names}, whole)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type, also within containers."""
    if hint is Any or hint is object:
        return True
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_fits(value, one) for one in arguments)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if arguments[-1] is Ellipsis:
            return all(_fits(item, arguments[0]) for item in value)
        return len(value) == len(arguments) and all(map(_fits, value, arguments))
    if origin is list:
        return isinstance(value, list) and all(_fits(item, arguments[0]) for item in value)
    if origin is dict:
        keyed = isinstance(value, dict) and all(_fits(key, arguments[0]) for key in value)
        return keyed and all(_fits(item, arguments[1]) for item in value.values())
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, origin or hint)


class Writer:
    """Turns objects into records, and gathers their tensors.

    Parameters
    ----------
    kinds : iterable of Kind

    Attributes
    ----------
    tensors : dict of str to Tensor
        Tensors and arrays of all records so far, named by where they lie.
    """

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self._kinds = {kind.type: kind for kind in kinds}
        self.tensors: dict[str, Tensor] = {}

    def record(self, value: Any, path: str) -> Any:
        """Return the record of an object: what JSON holds, and names of tensors.

        Parameters
        ----------
        value : object
        path : str
            Where it lies, for the names of tensors and for errors.

        Raises
        ------
        UnrecordableError
            If some part of it is of no known kind.
        """
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) is float:
            return value if math.isfinite(value) else {"is": "float", "text": repr(value)}
        if type(value) in (list, tuple, set, frozenset):
            items = [self.record(item, f"{path}.{place}") for place, item in enumerate(value)]
            return items if type(value) is list else {"is": type(value).__name__, "items": items}
        if isinstance(value, dict):
            pairs = [
                [self.record(key, f"{path}.key"), self.record(item, f"{path}.{key}")]
                for key, item in value.items()
            ]
            return {"is": "dict", "items": pairs}
        if isinstance(value, Tensor):
            return {"is": "tensor", "name": self._keep(value.detach().cpu(), path)}
        if isinstance(value, np.ndarray):
            return self._array(value, path)
        if isinstance(value, (datetime.date, datetime.time)) and type(value) not in self._kinds:
            return {"is": type(value).__name__, "text": value.isoformat()}
        return self._object(value, path)

    def _object(self, value: Any, path: str) -> Any:
        if type(value) not in self._kinds:
            if isinstance(value, np.generic):
                return self._number(value)
            raise UnrecordableError(f"{path} is {_short(value)} of {type(value).__qualname__}")
        kind = self._kinds[type(value)]
        parts = {
            name: self.record(part, f"{path}.{name}") for name, part in kind.parts(value).items()
        }
        return {"is": kind.label, "parts": parts}

    @staticmethod
    def _number(value: np.generic) -> Any:
        if value.dtype.kind == "U":
            return str(value)
        if value.dtype.kind in "mM":  # a time, which numpy counts
            return {"is": "number", "type": value.dtype.str, "text": str(value.astype(np.int64))}
        return {"is": "number", "type": value.dtype.str, "text": repr(value.item())}

    def _array(self, value: np.ndarray, path: str) -> Any:
        if value.dtype.kind in "OU":
            items = [self.record(item, f"{path}.{place}") for place, item in enumerate(value.flat)]
            shape = list(value.shape)
            return {"is": "objects", "kind": value.dtype.kind, "shape": shape, "items": items}
        if value.dtype.kind not in NUMERIC + "mM":
            raise UnrecordableError(f"{path} is an array of {value.dtype}")
        plain = value.view(np.int64) if value.dtype.kind in "mM" else value
        tensor = torch.from_numpy(plain.astype(plain.dtype.newbyteorder("="), order="C", copy=True))
        return {"is": "array", "type": value.dtype.str, "name": self._keep(tensor, path)}

    def _keep(self, tensor: Tensor, path: str) -> str:
        if path in self.tensors:
            raise UnrecordableError(f"{path} is there twice")
        self.tensors[path] = tensor.clone(memory_format=torch.contiguous_format)
        return path


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


class Reader:
    """Turns records back into objects.

    Parameters
    ----------
    kinds : iterable of Kind
    tensors : mapping of str to Tensor
    """

    def __init__(self, kinds: Iterable[Kind], tensors: Mapping[str, Tensor]) -> None:
        self._kinds = {kind.label: kind for kind in kinds}
        self._tensors = dict(tensors)
        self._read: dict[str, Callable[[Any], Any]] = {
            "float": lambda record: float(record["text"]),
            "tuple": lambda record: tuple(map(self.value, record["items"])),
            "set": lambda record: set(map(self.value, record["items"])),
            "frozenset": lambda record: frozenset(map(self.value, record["items"])),
            "dict": lambda record: {
                self.value(key): self.value(item) for key, item in record["items"]
            },
            "tensor": lambda record: self._tensors.pop(record["name"]),
            "array": self._array,
            "objects": self._objects,
            "number": self._number,
            "date": lambda record: datetime.date.fromisoformat(record["text"]),
            "datetime": lambda record: datetime.datetime.fromisoformat(record["text"]),
            "time": lambda record: datetime.time.fromisoformat(record["text"]),
        }

    def knowing(self, kind: Kind) -> Reader:
        """Return a reader of the tensors that are left, which knows one more kind."""
        return Reader([*self._kinds.values(), kind], self._tensors)

    @property
    def unread(self) -> list[str]:
        """Names of the tensors that no record has named."""
        return sorted(self._tensors)

    def value(self, record: Any) -> Any:
        """Return the object of a record.

        Raises
        ------
        Exception
            Of any kind, if the record is none that a `Writer` makes.
        """
        if record is None or isinstance(record, (bool, int, float, str)):
            return record
        if isinstance(record, list):
            return [self.value(item) for item in record]
        name = record["is"]
        if name in self._read:
            return self._read[name](record)
        parts = {part: self.value(inner) for part, inner in record["parts"].items()}
        return self._kinds[name].whole(**parts)

    def _array(self, record: Any) -> np.ndarray:
        array, wanted = self._tensors.pop(record["name"]).numpy(), np.dtype(record["type"])
        if wanted.kind in "mM":
            return array.view(wanted.newbyteorder("="))
        if array.dtype != wanted.newbyteorder("="):
            raise TypeError(f"{record['name']} holds {array.dtype}, expected {wanted}")
        return array.astype(wanted, copy=False)

    def _objects(self, record: Any) -> np.ndarray:
        items = [self.value(item) for item in record["items"]]
        array = np.empty(len(items), dtype=object)
        array[:] = items
        array = array.reshape(record["shape"])
        return array.astype(str) if record["kind"] == "U" else array  # as wide as its texts

    @staticmethod
    def _number(record: Any) -> np.generic:
        wanted = np.dtype(record["type"])
        if wanted.kind in "mM":
            return np.int64(record["text"]).view(wanted)
        if wanted.kind == "b":
            return wanted.type(record["text"] == "True")
        if wanted.kind not in NUMERIC:
            raise TypeError(f"Got a number as {wanted}")
        return wanted.type(record["text"])
