"""Storable: saving a forecaster, loading it, and exporting it as a graph."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

from sktime.base import BaseEstimator

from sktime_tlstm.archive import FORECASTER, is_archive, pack, read_file, unpack, write_file
from sktime_tlstm.exported import checked_levels, onnx_bytes, program_bytes
from sktime_tlstm.fitted import Fitted
from sktime_tlstm.storing import restore, stored
from sktime_tlstm.surroundings import usual_torch

__all__ = ["Storable"]

#: The format without code, and sktime's own.
SAFE, PICKLES = "safetensors", ("pickle", "cloudpickle")
#: Quantiles that a graph forecasts unless others are asked for.
LEVELS = tuple(round(0.05 * step, 2) for step in range(1, 20))
#: Which rows a file holds.
ROWS = ("all", "needed")


class _Pickled:
    """What `sktime.base.load` finds as the class of a pickled forecaster, and asks for it."""

    @staticmethod
    def load_from_path(path: Path | io.BytesIO) -> Any:
        """Unpickle the forecaster of a file, which can run any code."""
        with zipfile.ZipFile(path) as file:
            return pickle.loads(file.read("_obj"))


class Storable:
    """How a forecaster is saved, loaded and exported."""

    _fitted: Fitted

    def save(
        self, path: Any = None, serialization_format: str = "pickle", rows: str = "all"
    ) -> Any:
        """Save the forecaster, fitted or not.

        With "safetensors" the file is a zip of JSON and tensors, and loading it runs no code. It
        holds parameters, weights, scaling, calibration, the state of the optimizers and the rows
        seen, so that what is loaded forecasts, updates and fine-tunes bit for bit as what was
        saved. What is code (a network, loss or callback of your own) is named in it, and passed
        again to `load_from_path`.

        A file is written at once: under its name is the old one, or the new one, whole.

        Parameters
        ----------
        path : str, Path or None, default=None
            The file, with or without ".zip"; None to save to memory.
        serialization_format : {"pickle", "cloudpickle", "safetensors"}, default="pickle"
            Pickles hold code too, and can run any when they are loaded.
        rows : {"all", "needed"}, default="all"
            Rows of the series to keep; of "safetensors" alone. "needed" are the last of each
            series, those that forecasts and updates read: what is loaded forecasts the same from
            its cutoff on, but trains on these rows alone, and knows no earlier ones in-sample. So
            does ``summary`` count these, ``explain`` begin from the mean of their windows, and
            ``variable_importance`` look at these unless it gets others. A series that still learns
            its scale (of fewer than 4 values, or new in an update) keeps its values.

        Returns
        -------
        zipfile.ZipFile or (type, bytes)
            The file, open to be read; or what `sktime.base.load` takes from memory.

        Raises
        ------
        ValueError
            If ``serialization_format`` or ``rows`` is unknown.
        TypeError
            If the path is none, or an attribute of your own is of a type that no JSON holds.
        OSError
            If the file cannot be written.
        """
        formats = (*PICKLES, SAFE)
        if serialization_format not in formats:
            raise ValueError(
                f"Got serialization_format={serialization_format!r}, expected one of {formats}."
            )
        if rows not in ROWS or (rows != "all" and serialization_format != SAFE):
            raise ValueError(
                f"Got rows={rows!r} with serialization_format={serialization_format!r}, expected "
                f"one of {ROWS}, and of pickles 'all'. Pass serialization_format='safetensors'."
            )
        if path is not None and not isinstance(path, (str, Path)):
            raise TypeError(f"Got path={path!r}, expected a str, a Path or None.")
        if serialization_format == SAFE:
            with usual_torch():
                content = pack(stored(self, rows), FORECASTER, pickle.dumps(_base()))
            if path is None:
                return type(self), content
        else:
            kind, pickled = BaseEstimator.save(self, None, serialization_format)
            if path is None:
                return kind, pickled
            content = _zipped({"_metadata": pickle.dumps(_Pickled), "_obj": pickled})
        path = Path(path)
        path = path if path.suffix == ".zip" else path.with_name(path.name + ".zip")
        write_file(path, content)
        return zipfile.ZipFile(path)

    def to_torch_export(self, path: Any, quantiles: Any = LEVELS) -> dict[str, Any]:
        """Write the forecaster as a graph of torch, which runs without this package.

        The graph takes whole windows in units of y and gives forecasts in units of y: scaling,
        normalisation, networks, simple forecasts and calibration are all in it, as they are now.
        It knows the series that the forecaster has seen, and a batch of any size.

        Parameters
        ----------
        path : str or Path
            The file, usually ending in ".pt2", for `torch.export.load`. The description is its
            extra file "sktime_tlstm.json".
        quantiles : sequence of float, default=(0.05, 0.1, ..., 0.95)
            Levels to forecast, ascending.

        Returns
        -------
        dict
            What inputs and outputs mean. Inputs: ``series`` (batch,), places in "series"; ``y``
            (batch, reach, targets), rows up to the cutoff, NaN where missing or before the first
            row (the last "context" rows exist); ``covariates`` (batch, reach + horizon, numeric and
            then categorical columns), these as places in "categorical", from 1, and 0 for others;
            ``calendar`` (batch, context + horizon, features). What the forecaster does not read is
            no input. Outputs: "point" (batch, horizon, targets) and "quantiles"
            (batch, horizon, targets, levels).

        Raises
        ------
        ValueError
            If the loss is a distribution other than by quantiles, or levels are not ascending.
        NotFittedError
            Before ``fit``.
        """
        return self._export(program_bytes, path, quantiles)

    def to_onnx(self, path: Any, quantiles: Any = LEVELS) -> dict[str, Any]:
        """Write the forecaster as ONNX, for onnxruntime and its like.

        Parameters
        ----------
        path : str or Path
            The file, usually ending in ".onnx". The description is "sktime_tlstm" in its metadata.
        quantiles : sequence of float, default=(0.05, 0.1, ..., 0.95)
            Levels to forecast, ascending.

        Returns
        -------
        dict
            What inputs and outputs mean, as of `to_torch_export`.

        Raises
        ------
        ModuleNotFoundError
            Without the extra "onnx".
        ValueError, NotFittedError
            As `to_torch_export`.
        """
        return self._export(onnx_bytes, path, quantiles)

    def _export(self, written: Any, path: Any, quantiles: Any) -> dict[str, Any]:
        self.check_is_fitted()  # type: ignore[attr-defined]
        levels = checked_levels(quantiles)
        with usual_torch():
            content, words = written(self._fitted, levels)
        write_file(Path(path), content)
        return words

    @classmethod
    def load_from_path(
        cls, serial: Any, serialization_format: str = SAFE, **parameters: Any
    ) -> Any:
        """Load a forecaster from a file.

        `sktime.base.load` does so as well, and finds the format by itself; but it unpickles a part
        of any file first, which can run any code.

        Parameters
        ----------
        serial : str or Path
            The file, with or without ".zip".
        serialization_format : {"safetensors", "pickle", "cloudpickle"}, default="safetensors"
            How it was saved. Pickles can run any code: load what you trust alone.
        **parameters
            Of "safetensors": the parameters that no file holds, such as ``module``, ``loss`` or
            ``callbacks`` of your own; and the ``device``, to change it.

        Returns
        -------
        SkorchForecaster
            Of this class or a subclass.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is no file of the format, damaged, edited, or of a later version; or what no file
            holds was not passed.
        TypeError
            If it holds a forecaster of another class.
        """
        path = Path(serial)
        content = read_file(path)
        if serialization_format in PICKLES:
            return _Pickled.load_from_path(io.BytesIO(content))
        if serialization_format != SAFE:
            raise ValueError(
                f"Got serialization_format={serialization_format!r}, expected one of "
                f"{(SAFE, *PICKLES)}."
            )
        return cls._from_archive(content, f"the file {str(path)!r}", parameters)

    @classmethod
    def load_from_serial(cls, serial: Any, **parameters: Any) -> Any:
        """Load a forecaster from what ``save`` returned.

        Parameters
        ----------
        serial : bytes, or (type, bytes)
            Of any format. Pickles can run any code: load what you trust alone.
        **parameters
            As in `load_from_path`.

        Raises
        ------
        ValueError, TypeError
            As `load_from_path`.
        """
        if isinstance(serial, tuple) and len(serial) == 2:
            serial = serial[1]
        if not isinstance(serial, (bytes, bytearray, memoryview)):
            raise TypeError(
                f"Got serial of type {type(serial).__name__}, expected bytes, or the pair that "
                "save(None) returned. Pass these; a file is read by load_from_path."
            )
        serial = bytes(serial)
        if is_archive(serial):
            return cls._from_archive(serial, "bytes", parameters)
        return pickle.loads(serial)

    @classmethod
    def _from_archive(cls, content: bytes, name: str, parameters: dict[str, Any]) -> Any:
        with usual_torch():
            return restore(cls, unpack(content, name, FORECASTER), parameters, name)


def _base() -> type:
    """Return the class that finds all others, for `sktime.base.load`."""
    return next(one for one in Storable.__subclasses__() if issubclass(one, BaseEstimator))


def _zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()
