"""States of long computations: plain dictionaries, and files without pickle.

A class joins with two methods and gets four public ones, and pickling::

    class Mean(Stateful):
        def _get_state(self):
            return {"n": self.n, "total": to_numpy(self.total)}

        @classmethod
        def _from_state(cls, state, *, xp, device):
            mean = cls()
            mean.n = state["n"]
            mean.total = asarray(state["total"], xp=xp, device=device)
            return mean

A state holds NumPy arrays, None, bool, int of any size, float (bit for bit, infinities and
NaN too), complex, str, and lists and dictionaries of these. A file is a zip archive of ``.npy``
members, readable by ``numpy.load``; the dictionary itself is the member ``__state__``, JSON,
which also holds the checksums of the others: members of two files do not pass for one.
"""

from __future__ import annotations

import importlib
import io
import json
import math
import os
import re
import secrets
import sys
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import IO, Any, ClassVar, Self, TypeAlias

import numpy as np

from linalgkit._core.array import Array, Device, Namespace, device, namespace_of, numpy_namespace

State: TypeAlias = dict[str, Any]
File: TypeAlias = "str | os.PathLike[str] | IO[bytes]"

# The number of the file layout (1 had no checksums); each class has its own for its fields.
_CONTAINER = 2
_TREE = "__state__"
_KINDS = "biufcU"
_PLAIN_NAME = re.compile(r"[\w./-]{1,200}")


class _Reference:
    """A module or a JAX device, by name: neither can be pickled."""

    def __init__(self, module: str, platform: str | None = None, index: int = 0) -> None:
        self.module, self.platform, self.index = module, platform, index

    def resolve(self) -> Any:
        """Return the thing itself."""
        module = importlib.import_module(self.module)
        if self.platform is None:
            return module
        return next(d for d in module.devices(self.platform) if d.id == self.index)


def _picklable(value: Any) -> Any:
    """Return a reference in place of what pickle refuses."""
    if isinstance(value, ModuleType):
        return _Reference(value.__name__)
    if type(value).__module__.startswith("jaxlib") and hasattr(value, "device_kind"):
        module = sys.modules["jax"]
        return _Reference(module.__name__, value.platform, value.id)
    return value


class PortablePickle:
    """Pickling and copying for objects that hold a namespace or a device in an attribute.

    Modules and JAX devices cannot be pickled; they travel by name.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {name: _picklable(value) for name, value in self.__dict__.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            self.__dict__[name] = value.resolve() if isinstance(value, _Reference) else value


class Stateful(PortablePickle):
    """What an object needs to be saved, resumed bit for bit, copied and pickled.

    A subclass writes `_get_state` and `_from_state`, and raises `_state_format` when the fields
    change (then `_upgrade_state` translates old ones).
    """

    _state_format: ClassVar[int] = 1

    # ------------------------------------------------------------- for the subclass to write

    def _get_state(self) -> State:
        """Return the fields as host data (without "type" and "format")."""
        raise NotImplementedError(f"{type(self).__name__} must define _get_state")

    @classmethod
    def _from_state(cls, state: State, *, xp: Namespace, device: Device) -> Self:
        """Return a new object from the fields, its arrays in `xp` on `device`."""
        raise NotImplementedError(f"{cls.__name__} must define _from_state")

    @classmethod
    def _upgrade_state(cls, state: State, format: int) -> State:
        """Translate the fields of an older format to the current one."""
        raise ValueError(
            f"format {format} of {cls._state_type()} is no longer read. "
            "Load it with the linalgkit that wrote it."
        )

    @classmethod
    def _state_type(cls) -> str:
        """Return the name under which the class is known in files: its public one."""
        public = [part for part in cls.__module__.split(".") if not part.startswith("_")]
        return ".".join([*public, cls.__qualname__])

    # ------------------------------------------------------------------------------ public

    def to_state(self) -> State:
        """Return everything needed to go on later, as a dictionary of host data.

        Returns
        -------
        dict
            Keys "type" and "format", and the object's own: NumPy arrays (copies), None, bool,
            int, float, complex, str, lists and nested dictionaries. Device arrays are copied to
            the host once.
        """
        head = {"type": self._state_type(), "format": self._state_format}
        fields = _plain(self._get_state(), ())
        if head.keys() & fields.keys():
            raise TypeError(f"_get_state of {type(self).__name__} must not use type or format")
        return {**head, **fields}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], *, like: Array | None = None) -> Self:
        """Return an object that goes on where :meth:`to_state` was called.

        Parameters
        ----------
        state : dict
            What :meth:`to_state` returned; it is not changed and shares no memory afterwards.
        like : array, optional
            An array whose library and device the object's arrays shall have; NumPy by default.

        Returns
        -------
        object
            A new object of this class. On the library it came from it continues bit for bit.

        Raises
        ------
        TypeError
            If `state` is no dictionary.
        ValueError
            If it belongs to another class or a newer format, lacks fields or holds wrong ones.
        """
        xp, target = _target(like)
        fields = _plain(_checked(cls, state), ())
        try:
            return cls._from_state(fields, xp=xp, device=target)
        except KeyError as error:
            raise ValueError(
                f"state must hold all fields of {cls._state_type()}, but {error} is missing."
            ) from error
        except ValueError:
            raise
        except Exception as error:  # whatever a wrong kind, size or sign sets off
            raise ValueError(
                f"state must be one that to_state() of {cls._state_type()} returned, but a field "
                f"is of another kind: {error}"
            ) from error

    def save(self, path: File) -> None:
        """Write the state to an ``.npz`` file, whole or not at all.

        Parameters
        ----------
        path : str, path-like or writable binary file
            A path is used as it is (nothing is appended) and replaced in one step, so that an
            interruption leaves the old file. The bytes depend on nothing but the state.
        """
        write_state(path, self.to_state())

    @classmethod
    def load(cls, path: File, *, like: Array | None = None) -> Self:
        """Read an object from a file that :meth:`save` wrote; nothing in it is executed.

        Parameters
        ----------
        path : str, path-like or readable binary file
            The file.
        like : array, optional
            An array whose library and device the object's arrays shall have; NumPy by default.

        Returns
        -------
        object
            A new object of this class.

        Raises
        ------
        ValueError
            If the file is damaged, foreign, of another class or of a newer format; the message
            names the file.
        OSError
            If it cannot be read at all.
        """
        _target(like)
        state = read_state(path)
        try:
            return cls.from_state(state, like=like)
        except Exception as error:
            raise ValueError(f"{_file_name(path)}: {error}") from error


def _target(like: Array | None) -> tuple[Namespace, Device]:
    """Return the namespace and device of `like`, NumPy's without it."""
    return (numpy_namespace(), device(np.empty(0))) if like is None else namespace_of(like)


def _checked(cls: type[Stateful], state: Mapping[str, Any]) -> State:
    """Return the fields without the head, translated from an older format if need be."""
    if not isinstance(state, Mapping):
        raise TypeError(f"state must be a dictionary, got {type(state).__name__}.")
    expected, found = cls._state_type(), state.get("type")
    if found != expected:
        raise ValueError(f"state must be that of {expected}, got one of {found!r}.")
    format = state.get("format")
    if type(format) is not int or format < 1:
        raise ValueError(f"format of the state must be a positive integer, got {format!r}.")
    if format > cls._state_format:
        raise ValueError(
            f"the state of {expected} has format {format}, this version reads up to "
            f"{cls._state_format}. Update linalgkit to read it."
        )
    fields = {key: value for key, value in state.items() if key not in ("type", "format")}
    return fields if format == cls._state_format else cls._upgrade_state(fields, format)


# -------------------------------------------------------------------------------- merging


def check_mergeable(a: object, b: object, fields: Iterable[str], *, way_out: str = "") -> None:
    """Refuse to merge two objects that differ in kind or in one of `fields`.

    Parameters
    ----------
    a, b : object
        The object that is merged into, and the other.
    fields : iterable of str
        Names of attributes that must agree; dots reach into attributes (``"engine.key"``).
    way_out : str, optional
        A sentence that ends the message.

    Raises
    ------
    TypeError
        If the classes differ.
    ValueError
        If a field differs; the message names it and both values.
    """
    if type(a) is not type(b):
        raise TypeError(
            f"only objects of one class can be merged, got {type(a).__name__} and "
            f"{type(b).__name__}."
        )
    for field in fields:
        mine, theirs = _reach(a, field), _reach(b, field)
        if not _same(mine, theirs):
            text = f"{field} must agree for a merge, got {mine!r} and {theirs!r}."
            raise ValueError(f"{text} {way_out}" if way_out else text)


def _reach(obj: Any, field: str) -> Any:
    for name in field.split("."):
        obj = getattr(obj, name)
    return obj


def _same(a: Any, b: Any) -> bool:
    """Compare two settings; NaN equals NaN, arrays are compared entry by entry."""
    if isinstance(a, float) and isinstance(b, float):
        return a == b or (math.isnan(a) and math.isnan(b))
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    return bool(a == b)


# --------------------------------------------------------------------- what a state may hold


def _plain(value: Any, path: tuple[str, ...]) -> Any:
    """Return `value` with its arrays copied and NumPy scalars made Python's, or raise."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, complex, str)):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in _KINDS:
        return np.array(value, order="K", copy=True, subok=False)
    if isinstance(value, Mapping):
        return {_plain_key(key, path): _plain(v, (*path, str(key))) for key, v in value.items()}
    if isinstance(value, list):
        return [_plain(v, (*path, str(i))) for i, v in enumerate(value)]
    kind = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
    raise TypeError(
        f"a state may hold numeric NumPy arrays, numbers, strings, None, lists and dictionaries, "
        f"got {kind} at {'/'.join(path) or 'the top'}."
    )


def _plain_key(key: object, path: tuple[str, ...]) -> str:
    if not isinstance(key, str) or key.startswith("$"):
        where = "/".join(path) or "the top"
        raise TypeError(f"keys of a state must be strings not starting with $, got {key!r} {where}")
    return key


# --------------------------------------------------------------------------------- files


def write_state(file: File, state: Mapping[str, Any]) -> None:
    """Write a dictionary as :meth:`Stateful.to_state` returns it to an ``.npz`` file."""
    plain = _plain(state, ())
    if not isinstance(file, (str, os.PathLike)):
        _encode(plain, file)
        return
    path = os.path.realpath(os.fspath(file))
    temporary = f"{path}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    try:
        with open(temporary, "xb") as stream:
            _encode(plain, stream)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_state(file: File) -> State:
    """Read a dictionary that :func:`write_state` wrote; anything else is a ValueError."""
    if not isinstance(file, (str, os.PathLike)):
        return _read(io.BytesIO(file.read()), _file_name(file))
    with open(file, "rb") as stream:
        return _read(stream, _file_name(file))


def _read(stream: IO[bytes], name: str) -> State:
    try:
        return _decode(stream)
    except Exception as error:  # whatever a damaged archive, header or JSON text sets off
        raise ValueError(
            f"{name} must be an undamaged file written by save(), but reading it failed: {error!r}"
        ) from error


def _file_name(file: File) -> str:
    if isinstance(file, (str, os.PathLike)):
        return os.fspath(file)
    return str(getattr(file, "name", "the file object"))


def _encode(state: State, stream: IO[bytes]) -> None:
    """Write the archive."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    tree: State = {"container": _CONTAINER, "state": _to_json(state, (), arrays)}
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        tree["checksums"] = {
            name: _write_member(archive, name, array) for name, array in arrays.items()
        }
        text = json.dumps(tree, separators=(",", ":")).encode()
        _write_member(archive, _TREE, np.frombuffer(text, dtype=np.uint8))


def _write_member(archive: zipfile.ZipFile, name: str, array: np.ndarray[Any, Any]) -> int:
    """Append one array and return its checksum."""
    info = zipfile.ZipInfo(f"{name}.npy")  # without a date: equal states give equal files
    with archive.open(info, "w", force_zip64=True) as member:
        np.lib.format.write_array(member, array, allow_pickle=False)
    return info.CRC


def _decode(stream: IO[bytes]) -> State:
    """Return the state held in an archive; raises whatever goes wrong."""
    with zipfile.ZipFile(stream) as archive:
        members = archive.infolist()
        if sum(m.file_size for m in members) > stream.seek(0, os.SEEK_END):
            raise ValueError("its members claim to be longer than the file")
        arrays = {m.filename.removesuffix(".npy"): _read_member(archive, m) for m in members}
    checksums = {m.filename.removesuffix(".npy"): m.CRC for m in members}
    if len(arrays) != len(members) or _TREE not in arrays:
        raise ValueError(f"it has no member {_TREE}, or two members of one name")
    del checksums[_TREE]
    tree = json.loads(arrays.pop(_TREE).tobytes())
    if not isinstance(tree, dict) or type(tree.get("container")) is not int:
        raise ValueError("it has no container number")
    if tree["container"] > _CONTAINER:
        raise ValueError(
            f"its layout has number {tree['container']}, this version reads up to {_CONTAINER}. "
            "Update linalgkit to read it."
        )
    if tree["container"] > 1 and tree["checksums"] != checksums:
        raise ValueError("its members were not written together")
    state = _from_json(tree["state"], arrays)
    if not isinstance(state, dict) or arrays:
        raise ValueError(f"members without a place: {sorted(arrays)}")
    return state


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray[Any, Any]:
    """Return one array; the member's checksum is verified before its header is believed."""
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member.filename} is compressed")  # so sizes are bounded by the file
    data = archive.read(member)
    stream = io.BytesIO(data)
    promised = _promised_bytes(stream)
    if promised != len(data) - stream.tell():
        verb = "shorter" if promised > len(data) - stream.tell() else "longer"
        raise ValueError(f"{member.filename} is {verb} than its header says")
    return np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)


def _promised_bytes(stream: IO[bytes]) -> int:
    """Read the header of a ``.npy`` file and return the bytes of the array that it speaks of."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"no state is written in version {version} of the .npy format")
    header = "read_array_header_1_0" if version == (1, 0) else "read_array_header_2_0"
    shape, _, dtype = getattr(np.lib.format, header)(stream)
    if dtype.kind not in _KINDS:
        raise ValueError(f"a state holds no array of {dtype} (allow_pickle=False)")
    if dtype.itemsize == 0 or min(shape, default=0) < 0:
        raise ValueError(f"no array has shape {shape} and dtype {dtype}")
    return int(math.prod(shape) * dtype.itemsize)


def _to_json(value: Any, path: tuple[str, ...], arrays: dict[str, np.ndarray[Any, Any]]) -> Any:
    """Replace what JSON lacks by one-key dictionaries, and collect the arrays."""
    if isinstance(value, np.ndarray):
        name = "/".join(path)
        if name in arrays or name == _TREE or not _PLAIN_NAME.fullmatch(name):
            name = f"@{len(arrays)}"
        arrays[name] = value
        return {"$array": name}
    if isinstance(value, dict):
        return {key: _to_json(v, (*path, key), arrays) for key, v in value.items()}
    if isinstance(value, list):
        return [_to_json(v, (*path, str(i)), arrays) for i, v in enumerate(value)]
    if isinstance(value, complex):
        return {"$complex": [value.real, value.imag]}
    return value


def _from_json(value: Any, arrays: dict[str, np.ndarray[Any, Any]]) -> Any:
    """Undo :func:`_to_json`; every array is taken once."""
    if isinstance(value, list):
        return [_from_json(v, arrays) for v in value]
    if not isinstance(value, dict):
        return value
    if "$array" in value:
        return arrays.pop(value["$array"])
    if "$complex" in value:
        real, imag = value["$complex"]
        return complex(real, imag)
    return {key: _from_json(v, arrays) for key, v in value.items()}
