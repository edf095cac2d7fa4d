"""The main job: ``python -m linalgkit``."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

import linalgkit.__main__ as job
from linalgkit._demos import _tiles

PICTURES = ("eigen-patches.png", "spectrum.png", "neighbour-filter.png", "singular-values.png")


@pytest.fixture
def small_photographs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two small pictures with structure instead of the sample photographs."""
    y, x = np.mgrid[0:40, 0:52]
    waves = [np.cos(x / 5 + k) + np.sin(y / (3 + k)) for k in range(3)]
    picture = np.stack(waves, axis=2) * 60 + 128
    noise = np.random.default_rng(0).normal(0, 3, (2, *picture.shape))
    images = [np.clip(picture + n, 0, 255).astype(np.uint8) for n in noise]
    real = job._from_scikit_learn

    def find(name: str) -> Any:
        if name == "datasets.load_sample_images":
            return lambda: SimpleNamespace(images=images)
        return real(name)

    monkeypatch.setattr(job, "_from_scikit_learn", find)


@pytest.mark.usefixtures("small_photographs")
@pytest.mark.parametrize("library", ["numpy", "array_api_strict"])
def test_the_job_prints_answers_and_saves_pictures(
    library: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "folder"
    code = job.main(["--output", str(folder), "--library", library, "--components", "2"])
    out = capsys.readouterr().out
    assert code == 0
    for word in ("portfolio", "gram", "IncrementalPCA", "Gram + eigh", "z-score", "seconds", "MiB"):
        assert word in out
    for word in ("numpy.linalg.lstsq", "one pass, gaussian", "exact law", "backward error"):
        assert word in out
    assert out.count("16 of 16 exact singular values lie in their intervals") == 2
    for word in ("groups of rank 1", "one SVD, rank", "an SVD each", "in the certified interval"):
        assert word in out
    for name in PICTURES:
        pixels = imread(folder / name)
        assert pixels.shape[0] > 200
        assert pixels.std() > 0.01
    assert "portfolio" in (folder / "streaming.md").read_text("utf-8")
    assert "block_srht" in (folder / "regression.md").read_text("utf-8")
    assert "one SVD, rank" in (folder / "svd.md").read_text("utf-8")


@pytest.mark.usefixtures("small_photographs")
def test_the_seed_settles_the_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tables = []
    for seed in ("3", "3"):
        job.main(["--output", str(tmp_path), "--seed", seed, "--components", "2"])
        tables.append(capsys.readouterr().out.split("\n\n")[1])
    assert tables[0] == tables[1]


def test_blocks_are_cut_channel_by_channel() -> None:
    image = np.arange(17 * 26 * 2).reshape(17, 26, 2)
    tiles = _tiles._tiles([image, image[:8, :8, :]])
    assert tiles.shape == (2 * 3 * 2 + 2, 8, 8)
    assert np.array_equal(tiles[3 * 2 + 3 + 1], image[8:16, 8:16, 1])
    assert np.array_equal(tiles[-1], image[:8, :8, 1])


def test_the_rivals_of_the_groups_take_the_least_rank_and_count_what_they_store() -> None:
    rng = np.random.default_rng(0)
    shape = np.asarray([1, 0.3, 0.1, 0.04, 0.02, 0.01, 0.003, 0.001])
    tiles = np.linalg.qr(rng.standard_normal((5, 8, 8)))[0] * shape
    tiles[4] = np.linalg.qr(rng.standard_normal((8, 8)))[0]  # no rank but the full one will do
    apart, joint = _tiles._apart(tiles), _tiles._joint(tiles)
    tails = np.sqrt([np.sum(shape[r:] ** 2) / np.sum(shape**2) for r in range(8)])
    least = int(np.argmax(tails <= 0.05))
    assert least == 3
    assert apart.stored == 4 * least * (8 + 8) + 64
    assert abs(apart.true - tails[least]) < 1e-12
    side = tiles.transpose(1, 0, 2).reshape(8, -1)
    s = np.linalg.svd(side, compute_uv=False)
    rank = joint.stored // (8 + 8 * 5)
    errors = [np.sqrt(np.sum(s[r:] ** 2) / np.sum(s**2)) for r in (rank - 1, rank)]
    assert errors[1] <= 0.05 < errors[0]
    assert abs(joint.true - errors[1]) < 1e-12


def test_list_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert job.main(["--list"]) == 0
    assert "streaming" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        job.main(["--version"])
    assert stop.value.code == 0
    assert linalgkit_version() in capsys.readouterr().out


def linalgkit_version() -> str:
    return job.__version__


@pytest.mark.parametrize(
    "arguments",
    [["--components", "0"], ["--components", "99"], ["--seed", "-1"], ["--methods", "magic"]],
    ids=str,
)
def test_bad_options_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        job.main(arguments)
    assert stop.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_missing_packages_are_named_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(job, "find_spec", lambda name: None if name == "tqdm" else name)
    assert job.main([]) == 1
    assert 'tqdm, not installed here. Install with: pip install "linalgkit[demo]"' in (
        capsys.readouterr().err
    )


def test_an_output_that_is_a_file_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    assert job.main(["--output", str(tmp_path / "file")]) == 1
    assert "--output must be a folder" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(dir: Path) -> None:
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr(job, "TemporaryFile", refuse)
    assert job.main(["--output", str(tmp_path)]) == 1
    assert "--output must be a folder that can be written" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_an_interrupt_that_a_callback_swallowed_is_raised_again() -> None:
    @ctypes.CFUNCTYPE(None)
    def callback() -> None:
        raise KeyboardInterrupt

    def work() -> None:
        callback()
        time.sleep(5.0)

    with pytest.raises(KeyboardInterrupt), job._heard_interrupts():
        work()


def test_ctrl_c_ends_cleanly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "linalgkit", "--output", str(tmp_path)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("Top 4 eigenvectors")
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Interrupted" in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
