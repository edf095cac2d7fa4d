"""Right singular vectors as the rotations that led to them, multiplied out when asked for.

Each step of an incremental decomposition makes ``diag(V_1, V_2, I) Z`` the new ``V``: ``V_1`` of
what was there, ``V_2`` of a merged part, the identity for new columns. Multiplying out costs
``O(n l^2)`` once at the end; at every step it would cost that much every time::

    node = Rotation((node, 25), Z)      # 25 new columns
    V = rows_of(node, xp)               # (n, l)

"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from linalgkit._core.array import Array, Device, Namespace, asarray, device, to_numpy

Part: TypeAlias = "Rotation | int"


@dataclass(frozen=True, eq=False)
class Rotation:
    """Rows ``diag(parts) Z``.

    Attributes
    ----------
    parts : tuple of Rotation or int
        An int stands for an identity of that order.
    Z : array (sum of their columns, l)
        Orthonormal columns.
    """

    parts: tuple[Part, ...]
    Z: Array

    @property
    def n_rows(self) -> int:
        """Rows of the product."""
        total, waiting = 0, list(self.parts)
        while waiting:
            part = waiting.pop()
            if isinstance(part, int):
                total += part
            else:
                waiting.extend(part.parts)
        return total


def width(part: Part) -> int:
    """Return the number of columns of a part."""
    return part if isinstance(part, int) else int(part.Z.shape[1])


def rows_of(node: Rotation, xp: Namespace) -> Array:
    """Return the product of all rotations, (n, l), in the dtype of the last one."""
    pieces: list[Array] = []
    waiting: list[tuple[Part, Array]] = [
        (node, xp.eye(width(node), dtype=node.Z.dtype, device=device(node.Z)))
    ]
    while waiting:
        part, W = waiting.pop()
        if isinstance(part, int):
            pieces.append(W)
            continue
        product = part.Z @ W
        start, below = 0, []
        for inner in part.parts:
            stop = start + width(inner)
            below.append((inner, product[start:stop, :]))
            start = stop
        waiting.extend(reversed(below))
    return xp.concat(pieces, axis=0)


def multiplied(V: Array) -> Rotation:
    """Return the node that stands for rows that are known."""
    return Rotation((int(V.shape[0]),), V)


def flattened(node: Rotation | None) -> list[Any]:
    """Return the nodes in an order in which each one comes after its parts."""
    if node is None:
        return []
    found: list[Any] = []
    numbers: dict[int, int] = {}
    waiting: list[tuple[Rotation, bool]] = [(node, False)]
    while waiting:
        current, is_ready = waiting.pop()
        if not is_ready:
            waiting.append((current, True))
            waiting.extend((p, False) for p in current.parts if isinstance(p, Rotation))
            continue
        parts = [p if isinstance(p, int) else -1 - numbers[id(p)] for p in current.parts]
        numbers[id(current)] = len(found)
        found.append([parts, current.Z])
    return found


def rebuilt(found: list[Any]) -> Rotation | None:
    """Return the node that :func:`flattened` wrote down."""
    nodes: list[Rotation] = []
    for parts, Z in found:
        inner = tuple(p if p >= 0 else nodes[-1 - p] for p in parts)
        nodes.append(Rotation(inner, Z))
    return nodes[-1] if nodes else None


def to_state(node: Rotation | None) -> list[Any]:
    """Return the same with host arrays."""
    return [[parts, to_numpy(Z)] for parts, Z in flattened(node)]


def from_state(found: list[Any], xp: Namespace, dev: Device) -> Rotation | None:
    """Return the node that :func:`to_state` wrote down."""
    return rebuilt([[parts, asarray(Z, xp=xp, device=dev)] for parts, Z in found])
