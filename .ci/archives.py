"""Check that a source distribution and a wheel hold what they must, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser

MUST = {
    "CHANGELOG.md",
    "CITATION.cff",
    "LICENSE",
    "Makefile",
    "PKG-INFO",
    "README.md",
    "pyproject.toml",
    "src/linalgkit/__init__.py",
    "src/linalgkit/py.typed",
    "tests/conftest.py",
}
FOLDERS = ("asv_benchmarks", "docs", "src", "tests")
STRAY = (".pyc", ".nbc", ".nbi", ".so", ".npz", ".log")


def tracked() -> set[str]:
    """Return the files that git knows, if this is a checkout."""
    command = ["git", "ls-files", "--", *FOLDERS]
    try:
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return set()
    deleted = subprocess.run([*command[:2], "--deleted"], capture_output=True, text=True).stdout
    return set(listed.splitlines()) - set(deleted.splitlines())


def main(source: str, wheel: str) -> None:
    """Compare the names in both archives with each other and with what is asked for."""
    with tarfile.open(source) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames()}
    with zipfile.ZipFile(wheel) as zipped:
        installed = set(zipped.namelist())
        metadata = zipped.read(next(n for n in installed if n.endswith("/METADATA"))).decode()
    modules = {name.removeprefix("src/") for name in packed if name.startswith("src/")}
    package = {name for name in installed if not name.partition("/")[0].endswith(".dist-info")}
    problems = {
        "the source distribution lacks": (MUST | tracked()) - packed,
        "the wheel lacks": modules - package,
        "the wheel has more than the source": package - modules,
        "made files lie in an archive": {n for n in packed | installed if n.endswith(STRAY)},
        "the wheel lacks its licence": set()
        if any(name.endswith("licenses/LICENSE") for name in installed)
        else {"LICENSE"},
        "the readme is not in the metadata": set()
        if str(Parser().parsestr(metadata).get_payload()).startswith("# linalgkit")
        else {"README.md"},
    }
    found = [f"{what}: {', '.join(sorted(names))}" for what, names in problems.items() if names]
    if found:
        sys.exit("\n".join(found))
    print(f"  ok   {len(packed)} files in the source distribution, {len(package)} in the wheel")


if __name__ == "__main__":
    main(*sys.argv[1:])
