"""Run the CUDA sources on the host: same launches, NumPy arrays, one block after another."""

from __future__ import annotations

import ctypes
import hashlib
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np

from linalgkit._kernels.cupy_forms import launch as cuda

HEADER = Path(__file__).with_name("cuda_host.h")
COMPILE = ("g++", "-std=c++17", "-O0", "-w", "-fPIC")
_DYNAMIC = re.compile(r"extern __shared__ double (\w+)\[\];")


class HostDevice:
    """Stands in for ``launch``: compiles template instances with the host's C++ compiler."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Compiled beforehand, which halves the time of every instance.
        self.header = folder / HEADER.name
        self.header.write_text(f'#include "{HEADER}"\n')
        subprocess.run(
            [*COMPILE, "-x", "c++-header", self.header, "-o", f"{self.header}.gch"], check=True
        )
        self.libraries: dict[tuple[str, str], ctypes.CDLL] = {}

    def launch(
        self, name: str, expression: str, blocks: int, arguments: tuple[Any, ...],
        shared_bytes: int = 0,
    ) -> None:  # fmt: skip
        pointers = []
        for argument in arguments:
            value = np.asarray(argument)
            if isinstance(argument, np.ndarray):
                value = np.asarray(value.ctypes.data, dtype=np.uintp)
            pointers.append(value)
        table = (ctypes.c_void_p * len(pointers))(*[value.ctypes.data for value in pointers])
        library = self._library(name, expression)
        library.run(blocks, cuda.THREADS, ctypes.c_size_t(shared_bytes), table)

    def _library(self, name: str, expression: str) -> ctypes.CDLL:
        key = (name, expression)
        if key not in self.libraries:
            stem = hashlib.sha1("".join(key).encode(), usedforsecurity=False).hexdigest()
            code = _DYNAMIC.sub(r"double* \1 = host_shared_memory.data();", cuda.source(name))
            source, binary = self.folder / f"{stem}.cpp", self.folder / f"{stem}.so"
            source.write_text(
                f'#include "{self.header}"\n{code}\n'
                'extern "C" void run(int blocks, int threads, std::size_t shared, void** arguments)'
                f"{{ host_launch({expression}, blocks, threads, shared, arguments); }}\n"
            )
            subprocess.run([*COMPILE, "-shared", source, "-o", binary], check=True)
            self.libraries[key] = ctypes.CDLL(str(binary))
        return self.libraries[key]
