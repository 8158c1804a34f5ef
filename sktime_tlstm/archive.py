"""Archives: files of JSON and tensors that run no code, whole or refused."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import uuid
import zipfile
from pathlib import Path
from typing import Any

from torch import Tensor

__all__ = [
    "CHECKPOINT",
    "FORECASTER",
    "Archive",
    "is_archive",
    "pack",
    "read_file",
    "unpack",
    "write_file",
]

#: What the manifest calls the format, and the number of the one that is written here.
FORMAT, FORMAT_VERSION = "sktime-tlstm", 1
#: What archives hold.
FORECASTER, CHECKPOINT = "forecaster", "checkpoint"
#: The members of an archive.
MANIFEST, STATE, TENSORS, METADATA = (
    "manifest.json",
    "state.json",
    "tensors.safetensors",
    "_metadata",
)
#: Characters of the SHA-256 that ends a file, as the comment of the zip.
DIGEST = 64

#: Manifest, state and tensors.
Archive = tuple[dict[str, Any], dict[str, Any], dict[str, Tensor]]

_DAMAGED = "Save the forecaster again, or get the file again from where it came."


def pack(archive: Archive, holds: str, metadata: bytes = b"") -> bytes:
    """Return the bytes of an archive: a zip whose comment is the SHA-256 of all that is before.

    Parameters
    ----------
    archive : (dict, dict, dict)
        Manifest and state, of what JSON knows; tensors.
    holds : {"forecaster", "checkpoint"}
    metadata : bytes, default=b""
        What `sktime.base.load` reads before it calls us; never read here.
    """
    from safetensors.torch import save

    manifest, state, tensors = archive
    format_ = {"format": FORMAT, "format_version": FORMAT_VERSION, "holds": holds}
    members = {
        METADATA: metadata,
        MANIFEST: _json({**format_, **manifest}),
        STATE: _json(state),
        TENSORS: save(tensors),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for name, content in members.items():
            file.writestr(zipfile.ZipInfo(name), content)  # without the time: the same each time
        file.comment = b"0" * DIGEST
    content = buffer.getvalue()[:-DIGEST]
    return content + hashlib.sha256(content).hexdigest().encode()


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, allow_nan=False, indent=1).encode()


def is_archive(content: bytes) -> bool:
    """Whether bytes begin as an archive does; a pickle never does."""
    return content[:2] == b"PK"


def unpack(content: bytes, name: str, holds: str) -> Archive:
    """Return what an archive holds.

    Nothing is allocated beyond a few times the size of ``content``: its members are not compressed.

    Parameters
    ----------
    content : bytes
    name : str
        What errors call it.
    holds : {"forecaster", "checkpoint"}
        What is expected.

    Raises
    ------
    ValueError
        If it is no archive, damaged, edited, or of a later format.
    """
    if not is_archive(content):
        raise ValueError(
            f"Got {name}, which is no zip file (it begins with {content[:8]!r}); expected a "
            "forecaster saved with serialization_format='safetensors'. Check the path."
        )
    whole = hashlib.sha256(content[:-DIGEST]).hexdigest().encode() == content[-DIGEST:]
    try:
        members = _members(content)
        manifest, found = _manifest(members), None
    except Exception as error:  # a broken zip raises anything
        members, manifest, found = {}, {}, error
    if found is None and manifest.get("format") != FORMAT:
        if "_obj" in members:
            raise ValueError(
                f"Got {name}, whose content is pickled and could run any code; expected one saved "
                "with serialization_format='safetensors'. If you trust it, pass "
                "load_from_path(path, serialization_format='pickle')."
            )
        raise ValueError(
            f"Got {name}, a zip file of something else; expected a forecaster saved with "
            "serialization_format='safetensors'. Check the path."
        )
    if not whole:
        raise ValueError(
            f"Got {name}, which is cut off, damaged or edited: its checksum is not that of its "
            f"content. {_DAMAGED}"
        )
    if found is not None:
        raise ValueError(f"Got {name}, which no save has written ({found}). {_DAMAGED}") from found
    if manifest.get("format_version") != FORMAT_VERSION:
        versions = manifest.get("versions")
        raise ValueError(
            f"Got {name} in version {manifest.get('format_version')!r} of the format, expected "
            f"{FORMAT_VERSION}: it was saved by {versions}. Update sktime-tlstm."
        )
    if manifest.get("holds") != holds:
        raise ValueError(f"Got {name} of a {manifest.get('holds')}, expected a {holds}.")
    return manifest, *_contents(members, name)


def _contents(members: dict[str, bytes], name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    from safetensors.torch import load

    try:
        if sorted(members) != sorted((MANIFEST, STATE, TENSORS, METADATA)):
            raise ValueError(f"it holds {sorted(members)}")
        return json.loads(members[STATE]), load(members[TENSORS])
    except Exception as error:  # so does a broken header, or JSON
        raise ValueError(f"Got {name}, which no save has written ({error}). {_DAMAGED}") from error


def _members(content: bytes) -> dict[str, bytes]:
    """Return the contents of a zip by name; empty ones where they are more than the zip holds."""
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        infos = file.infolist()
        if len({info.filename for info in infos}) < len(infos):
            raise ValueError("it holds a name twice")
        if sum(info.file_size for info in infos) > len(content):
            # compressed, or overlapping: read names alone
            return dict.fromkeys((info.filename for info in infos), b"")
        return {info.filename: file.read(info) for info in infos}


def _manifest(members: dict[str, bytes]) -> dict[str, Any]:
    if not members.get(MANIFEST):
        return {}
    manifest = json.loads(members[MANIFEST])
    return manifest if isinstance(manifest, dict) else {}


def read_file(path: Path) -> bytes:
    """Return what is in a file, named with or without ".zip".

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    for one in (path, path.with_name(path.name + ".zip")):
        if one.is_file():
            return one.read_bytes()
    kind = "a folder" if path.is_dir() else "no file"
    raise FileNotFoundError(f"Got the path {str(path)!r}, where {kind} is; expected a saved file.")


def write_file(path: Path, content: bytes) -> None:
    """Write a file at once: whoever reads the path finds the old content or the new, whole.

    Raises
    ------
    OSError
        If it cannot be written; the old file is left as it was.
    """
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with draft.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
