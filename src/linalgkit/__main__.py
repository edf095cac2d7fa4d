"""``python -m linalgkit``: every method on real input, with its certificate and its rival."""

from __future__ import annotations

import _thread
import argparse
import os
import shlex
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from linalgkit import __version__
from linalgkit._core.array import LIBRARIES, Array
from linalgkit._demos import DEMOS, Context, Demo
from linalgkit._demos._data import KEYS, UnusableDataError, read_canonical
from linalgkit._demos._html import Failed, Finished, Report
from linalgkit._demos._measure import circumstances
from linalgkit._demos._section import summary_table

_MOST_COMPONENTS = 32
_AGAIN = 0.05  # seconds after which an interrupt that was swallowed is raised again
_FAILED = 1  # a demo did not finish
_INTERRUPTED = 130  # what a shell reports for a process that Ctrl-C ended
_OF_DATA = "chebyshev"  # the method that --data is for
_NEEDED = {"sklearn": "scikit-learn", "PIL": "pillow", "matplotlib": "matplotlib", "tqdm": "tqdm"}


class _CannotRunError(Exception):
    """Something outside is missing; the message names the way out."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demos.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the command line by default.

    Returns
    -------
    int
        Exit code: 0, 1 where something is missing or a demo has failed, 130 after Ctrl-C.
    """
    parser = _parser()
    options = parser.parse_args(argv)
    options.given = list(sys.argv[1:] if argv is None else argv)
    if options.data is not None and _OF_DATA not in options.methods:
        parser.error(f"--data is for the method {_OF_DATA}, which --methods leaves out")
    if options.list:
        print("\n".join(f"{demo.name:12} {demo.summary}" for demo in DEMOS))
        return 0
    try:
        with _heard_interrupts(), _one_blas_thread():
            return _run(options)
    except (_CannotRunError, UnusableDataError) as error:
        print(f"linalgkit: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted: what was not finished has not been written.", file=sys.stderr)
        return _INTERRUPTED


def _one_blas_thread() -> AbstractContextManager[Any]:
    """Keep BLAS to one thread, where that can be said: on a busy machine more of them spin."""
    try:
        threads = import_module("threadpoolctl")
    except ImportError:
        return nullcontext()
    import_module("scipy.linalg")  # only libraries that are loaded already are limited
    limits: AbstractContextManager[Any] = threads.threadpool_limits(1, user_api="blas")
    return limits


@contextmanager
def _heard_interrupts() -> Iterator[None]:
    """Raise a Ctrl-C again that came while compiled code called back, which cannot pass it on."""
    usual = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            threading.Timer(_AGAIN, _thread.interrupt_main).start()
        else:
            usual(unraisable)

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = usual


def _run(options: argparse.Namespace) -> int:
    _require(_NEEDED)
    # Pictures go to files; a user's own choice of a backend stands.
    os.environ.setdefault("MPLBACKEND", "Agg")
    context = Context(
        output=_folder(options.output),
        n_components=options.components,
        quick=options.quick,
        seed=options.seed,
        like=_empty_array(options.library),
        scikit=_from_scikit_learn,
        progress=_progress,
        say=_say,
        data=None if options.data is None else read_canonical(options.data),
    )
    finished: list[Finished] = []
    failed: list[Failed] = []
    for demo in _chosen(options.methods):
        try:
            finished.append(_timed(demo, context))
        except Exception as error:  # the others go on, and the report tells of it
            traceback.print_exc()
            failed.append(Failed(demo.name, f"{type(error).__name__}: {error}"))
        report = _written(options, finished, failed)  # what an interrupt leaves is complete
    print("\n" + summary_table([part.section for part in finished]).text() + "\n")
    print(f"report: {report}")
    return _FAILED if failed else 0


def _timed(demo: Demo, context: Context) -> Finished:
    """Run a demo, and name the files that it wrote."""
    start = time.perf_counter()
    section = demo.run(context)
    seconds = time.perf_counter() - start
    for path in section.paths:
        _say(f"wrote {path}")
    _say(f"{demo.name}: {seconds:.1f} s\n")
    return Finished(section, seconds)


def _written(options: argparse.Namespace, finished: list[Finished], failed: list[Failed]) -> Path:
    """Write the report so far, whole or not at all, and return where it lies."""
    done = {*(part.section.name for part in finished), *(part.name for part in failed)}
    report = Report(
        finished,
        failed,
        [demo.name for demo in DEMOS if demo.name not in done],
        circumstances(),
        shlex.join(["python", "-m", "linalgkit", *options.given]),
        options.quick,
    )
    path, part = (options.output / name for name in ("report.html", "report.html.part"))
    part.write_text(report.html(), encoding="utf-8")
    part.replace(path)
    return Path(path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m linalgkit",
        description="Run every method on real input, beside its rival and the exact answer.",
    )
    names = [demo.name for demo in DEMOS]
    add = parser.add_argument
    add("--methods", nargs="+", choices=names, default=names, metavar="NAME", help="which to run")
    add(
        "--output",
        type=Path,
        default=Path("linalgkit-output"),
        metavar="DIR",
        help="for the report",
    )
    add("--library", choices=LIBRARIES, default="numpy", help="array library of our methods")
    add(
        "--components",
        type=_components,
        default=4,
        metavar="K",
        help="eigenvectors, and triplets by eights",
    )
    add("--quick", action="store_true", help="use about a tenth of the data")
    add("--seed", type=_seed, default=0, metavar="N", help="of every random choice")
    add(
        "--data",
        type=Path,
        metavar="FILE.npz",
        help=f"canonical tensor on a grid of cells of [-1, 1]^3 for {_OF_DATA}, with {KEYS}",
    )
    add("--list", action="store_true", help="print the methods and stop")
    add("--version", action="version", version=f"linalgkit {__version__}")
    return parser


def _components(text: str) -> int:
    return _between(text, 1, _MOST_COMPONENTS)


def _seed(text: str) -> int:
    return _between(text, 0, 2**63 - 1)


def _between(text: str, low: int, high: int) -> int:
    """Return an integer option, or an error that argparse prints."""
    if not text.isdecimal() or not low <= int(text) <= high:
        raise argparse.ArgumentTypeError(f"must be an integer from {low} to {high}, got {text!r}")
    return int(text)


def _chosen(names: Sequence[str]) -> list[Demo]:
    return [demo for demo in DEMOS if demo.name in names]


def _require(packages: dict[str, str]) -> None:
    """Raise with the names of all missing packages and the command that installs them."""
    missing = [package for module, package in packages.items() if find_spec(module) is None]
    if missing:
        raise _CannotRunError(
            f"the main job needs {', '.join(missing)}, not installed here. "
            'Install with: pip install "linalgkit[demo]"'
        )


def _folder(path: Path) -> Path:
    """Return the output folder, which exists from now on."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=path).close()
    except OSError as error:
        raise _CannotRunError(f"--output must be a folder that can be written: {error}") from None
    return path


def _empty_array(library: str) -> Array:
    """Return an array without entries of a library, on its default device.

    This is the only place where an array library is loaded by its name, and only the one that
    the user has asked for; everywhere else arrays bring their library along.
    """
    # Without this JAX would round to float32; it is read when JAX is loaded.
    os.environ.setdefault("JAX_ENABLE_X64", "1")
    try:
        module = import_module("jax.numpy" if library == "jax" else library)
        return module.ones((0,), dtype=module.float64)
    except ImportError:
        raise _CannotRunError(
            f"--library {library} needs {library}, not installed here. "
            "Install it, or leave the option out for NumPy."
        ) from None
    except RuntimeError as error:
        raise _CannotRunError(
            f"--library {library} cannot use its device here ({error}). "
            "Choose another library, or leave the option out for NumPy."
        ) from None


def _from_scikit_learn(name: str) -> Any:
    """Return ``"package.object"`` of scikit-learn."""
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(f"sklearn.{module}"), attribute)


def _progress(label: str, *, total: int) -> Any:
    """Start a progress bar on a terminal; elsewhere it shows nothing."""
    from tqdm import tqdm

    return tqdm(total=total, desc=label, unit=" rows", unit_scale=True, leave=False, disable=None)


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
