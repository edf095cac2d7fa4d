"""Run all eight modules on a device and write what was measured as one Markdown table.

    python asv_benchmarks/device.py --output docs/dev/gpu.md      CuPy on its current device
    python asv_benchmarks/device.py --library torch               torch, on a device if it has one
    python asv_benchmarks/device.py --library numpy --quick       small sizes on a CPU: a trial

Every call is warmed, synchronised before the clock starts and before it stops, and timed as the
median of several runs. Beside it stand the product or pass over the same data on the same device
that it cannot undercut, and the same call on NumPy on the CPU of the same machine.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import os
import platform
import statistics
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if not __package__:  # run as a script
    sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("JAX_ENABLE_X64", "1")

if TYPE_CHECKING:
    from asv_benchmarks.device_cases import Case

LIBRARIES = ("cupy", "torch", "jax", "numpy", "array_api_strict")
PACKAGES = ("linalgkit", "numpy", "scipy", "numba", "array-api-compat")
_DISTRIBUTIONS = {
    "cupy": ("cupy-cuda12x", "cupy-cuda13x", "cupy"),
    "array_api_strict": ("array-api-strict",),
}
_RUNS, _HOST_RUNS, _ENOUGH = 7, 3, 10.0


class NoDevice(RuntimeError):
    """The library has no device here."""


# ------------------------------------------------------------------------------ where it runs


@dataclass(frozen=True)
class Place:
    """A library on one of its devices.

    Attributes
    ----------
    library : str
    device : str
        Its name, or "CPU".
    put : callable
        Copies a NumPy array there.
    """

    library: str
    device: str
    put: Callable[[Any], Any]

    @property
    def is_device(self) -> bool:
        """Tell whether it is anything but a CPU."""
        return self.device != "CPU"


def place_of(library: str) -> Place:
    """Find the device of a library, the CPU where it knows no other."""
    module = importlib.import_module("jax.numpy" if library == "jax" else library)
    if library == "cupy":
        if not module.cuda.is_available():
            raise NoDevice("cupy sees no device. On a CPU: --library numpy or --library torch.")
        found = module.cuda.runtime.getDeviceProperties(module.cuda.Device().id)["name"]
        return Place(library, found.decode(), module.asarray)
    if library == "torch" and module.cuda.is_available():
        name = module.cuda.get_device_name()
        return Place(library, name, lambda x: module.asarray(x, device="cuda"))
    if library == "jax":
        device = importlib.import_module("jax").devices()[0]
        return Place(
            library, "CPU" if device.platform == "cpu" else device.device_kind, module.asarray
        )
    if library == "array_api_strict":
        device = module.Device("device1")
        return Place(library, "CPU", lambda x: module.asarray(x, device=device))
    return Place(library, "CPU", module.asarray)


# ---------------------------------------------------------------------------------- the clock


def wait_for(arrays: Any) -> None:
    """Wait until arrays are there; the host's own numbers are."""
    from linalgkit._core import array

    for part in arrays:
        if hasattr(part, "__array_namespace__") or array.library_of(part) in LIBRARIES:
            array.synchronise(part)


def seconds(call: Callable[[], Any], arrays: Any, wait: Callable[[Any], Any], runs: int) -> float:
    """Return the median time of a call, from a device that has nothing to do to its answer.

    Slow calls run less often: no other begins after `_ENOUGH` seconds.
    """
    times: list[float] = []
    while len(times) < runs and sum(times) < _ENOUGH:
        wait_for(arrays)
        start = time.perf_counter()
        wait_for(wait(call()))
        times.append(time.perf_counter() - start)
    return statistics.median(times)


# --------------------------------------------------------------------- where the host waits

_DOORS = {
    "cupy": (
        "__bool__",
        "__int__",
        "__float__",
        "__complex__",
        "__index__",
        "get",
        "item",
        "tolist",
    ),
    "torch": (
        "__bool__",
        "__int__",
        "__float__",
        "__complex__",
        "__index__",
        "cpu",
        "item",
        "tolist",
    ),
    "array_api_strict": (
        "__bool__",
        "__int__",
        "__float__",
        "__complex__",
        "__index__",
        "to_device",
    ),
}


@contextmanager
def counted(library: str, example: Any) -> Iterator[Counter[str]]:
    """Count the values that leave arrays for the host, by the door they take.

    On a device each waits for it. Indexing with a mask, whose
    shape a device has to be asked for, is one; a solver's own checks are not seen.
    """
    kind, seen, depth = type(example), Counter[str](), [0]

    def noted(name: str, before: Any) -> Any:
        def door(self: Any, *args: Any, **options: Any) -> Any:
            asks = name != "__getitem__" or _has_mask(args[0])
            seen[name] += asks and not depth[0]
            depth[0] += 1
            try:
                return before(self, *args, **options)
            finally:
                depth[0] -= 1

        return door

    doors = (*_DOORS[library], "__getitem__")
    kept = {name: getattr(kind, name) for name in doors if hasattr(kind, name)}
    own = {name for name in kept if name in vars(kind)}
    try:
        for name, before in kept.items():
            setattr(kind, name, noted(name, before))
        yield seen
    finally:
        for name, before in kept.items():
            if name in own:
                setattr(kind, name, before)
            else:
                delattr(kind, name)


def _has_mask(key: Any) -> bool:
    """Tell whether an index holds an array of booleans."""
    keys = key if isinstance(key, tuple) else (key,)
    return any(str(getattr(k, "dtype", "")).rpartition(".")[2] == "bool" for k in keys)


def synchronisations(place: Place, arrays: Any, call: Callable[[], Any]) -> int | None:
    """Count them in one call, where the library lets itself be watched."""
    if place.library not in _DOORS:
        return None
    with counted(place.library, arrays[0]) as seen:
        call()
    return sum(seen.values())


# ----------------------------------------------------------------------------------- measuring


@dataclass(frozen=True)
class Row:
    """What was measured for one case, or why it was not."""

    call: str
    size: str
    seconds: float = float("nan")
    limit: float = float("nan")
    bound: str = ""
    host: float = float("nan")
    difference: float = float("nan")
    promised: float = 0.0
    syncs: int | None = None
    failure: str = ""

    @property
    def kept(self) -> bool:
        """Tell whether the answer is that of the CPU, within what is promised."""
        return not self.failure and self.difference <= self.promised

    def __str__(self) -> str:
        """Write the row in Markdown."""
        if self.failure:
            return f"| {self.call} | {self.size} | failed: {self.failure} | | | | | | no | |"
        return (
            f"| {self.call} | {self.size} | {self.seconds:.3g} s | {self.bound} "
            f"| {self.seconds / self.limit:.3g} | {self.seconds / self.host:.3g} "
            f"| {self.difference:.1e} | {self.promised:.1e} | {'yes' if self.kept else 'no'} "
            f"| {'' if self.syncs is None else self.syncs} |"
        )


HEADER = (
    "| call | size | time | limit | times the limit | times NumPy | difference | promised | kept "
    "| synchronisations |\n|---|---|---|---|---|---|---|---|---|---|"
)


def difference(found: Any, expected: Any, *, indices: bool) -> float:
    """Return the largest difference over the largest number; of indices, the share that differs."""
    from linalgkit._core.array import to_numpy

    largest = 0.0
    for a, b in zip(found, expected, strict=True):
        x, y = np.asarray(to_numpy(a)), np.asarray(to_numpy(b))
        if x.shape != y.shape:
            return float("inf")
        if indices:
            largest = max(largest, float(np.mean(x != y)))
        elif y.size:
            scale = float(np.max(np.abs(y)))
            largest = max(largest, float(np.max(np.abs(x - y))) / (scale or 1.0))
    return largest


def measure(case: Case, place: Place, options: argparse.Namespace) -> Row:
    """Run a case there and on the CPU; what it raises becomes its row."""
    runs, host_runs = (1, 1) if options.quick else (_RUNS, _HOST_RUNS)
    size = " x ".join(f"{n:,}" for n in (case.quick if options.quick else case.size))
    host = case.make(quick=options.quick, dtype=options.dtype)
    try:
        arrays = [place.put(x.copy()) for x in host]
        found = case.answer(case.work(*arrays))
        expected = case.answer(case.work(*host))
        _ = case.limit(*arrays)
        return Row(
            case.call,
            size,
            seconds(lambda: case.work(*arrays), arrays, case.answer, runs),
            seconds(lambda: case.limit(*arrays), arrays, lambda x: (x,), runs),
            case.bound,
            seconds(lambda: case.work(*host), host, case.answer, host_runs),
            difference(found, expected, indices=case.indices),
            case.promised(options.dtype),
            synchronisations(place, arrays, lambda: case.work(*arrays)),
        )
    except Exception as error:
        text = " ".join(str(error).split())[:120].replace("|", "/")
        return Row(case.call, size, failure=f"{type(error).__name__}: {text}")


# ------------------------------------------------------------------------------------ the page


def versions(library: str) -> Iterator[str]:
    """Yield each package with its version, that of the library last."""
    yield f"Python {platform.python_version()}"
    for package in (*PACKAGES, *_DISTRIBUTIONS.get(library, (library,))):
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            continue


def driver(library: str) -> Iterator[str]:
    """Yield what is known of the device's own software."""
    if library == "cupy":
        runtime = importlib.import_module("cupy").cuda.runtime
        yield f"CUDA runtime {runtime.runtimeGetVersion()}, driver {runtime.driverGetVersion()}"
    if library == "torch" and (cuda := importlib.import_module("torch").version.cuda):
        yield f"CUDA {cuda}"


def heading(place: Place, options: argparse.Namespace) -> str:
    """Write what was run where."""
    from asv_benchmarks.compare import processor

    today = datetime.datetime.now(datetime.UTC).date()
    cpu = f"{processor()}, {os.cpu_count()} cores"
    ran = (
        f"Run on **{place.device}** with {place.library}; the CPU beside it is {cpu}."
        if place.is_device
        else f"**Run on a CPU with {place.library}: no figure below is that of a device.** "
        f"The CPU is {cpu}."
    )
    trial = (
        "\n\n**Small sizes: a trial whether it runs, not a measurement.**" if options.quick else ""
    )
    software = ", ".join([*versions(place.library), *driver(place.library)])
    return f"""# All modules on a device

Measured on {today}, in {options.dtype}. {ran}{trial}

{software}.

`times the limit` is the time over that of the product or pass named before it, on the same data
and the same device; `times NumPy` over that of the same call on NumPy on the CPU, all its threads.
`difference` is the largest difference from NumPy's answer over its largest number (of indices, the
share that differs). `promised` is 100 roundoffs times the condition of the problem, or the share
at which an iteration ends if that is more (of indices, none). Synchronisations are the values that
left arrays for the host in one call, counted where the library lets itself be watched; those of a
solver are not seen, and on a CPU there may be fewer than on a device.

{HEADER}"""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", choices=LIBRARIES, default="cupy")
    parser.add_argument("--dtype", choices=("float64", "float32"), default="float64")
    parser.add_argument("--quick", action="store_true", help="small sizes: a trial")
    parser.add_argument("--only", default="", metavar="TEXT", help="calls whose name has TEXT")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the page there too")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Print the page line by line; exit with 1 if a call failed or differs, 2 without a device."""
    from asv_benchmarks.device_cases import CASES
    from linalgkit import AccuracyWarning

    options = parse(arguments)
    try:
        place = place_of(options.library)
    except (ImportError, NoDevice) as error:
        print(f"{options.library} cannot be used: {error}", file=sys.stderr)
        return 2
    lines, is_kept = [heading(place, options)], True
    print(lines[0], flush=True)
    for case in CASES:
        if options.only in case.call:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AccuracyWarning)
                row = measure(case, place, options)
            is_kept &= row.kept
            lines.append(str(row))
            print(row, flush=True)
    if options.output:
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return int(not is_kept)


if __name__ == "__main__":
    sys.exit(main())
