"""
Functions as objects, and the potential of a crystal
====================================================

A function of several variables becomes a small tensor and a few polynomials, found to a tolerance.
After that it is an object: its values, slopes, integrals and products cost next to nothing, and it
says how far it may be from the function. Two kinds of input: a function that can be called, and
the charges of a crystal.
"""

import textwrap
import time
import warnings

import matplotlib.pyplot as plt
import numpy as np

from linalgkit.chebyshev import chebtucker, long_range_potential, short_range_potential
from linalgkit.datasets import smooth_functions
from linalgkit.plotting import FunctionDisplay, Slice

# %%
# A function, to a tolerance
# --------------------------
#
# A sum of thirty Gaussians in a cube, with random centres, widths and signs. Only the tolerance is
# given. Degrees and ranks are found; the full grid of those degrees was not needed.

problem = next(p for p in smooth_functions() if p.name == "30 Gaussians")
start = time.perf_counter()
T = chebtucker(problem.function, problem.domain, tol=1e-8, vectorized="grid", rng=0)
seconds = time.perf_counter() - start
full = np.prod([m + 1 for m in T.degrees])
print(f"{T.status} in {seconds:.2f} s: degrees {T.degrees}, ranks {T.ranks}")
print(f"{T.n_evals} evaluations, the full grid has {full}; {T.nbytes} bytes")
print(f"error, as the object says: {T.error_estimate / T.scale:.1e} of the largest value")

# %%
# Three slices through the middle:

FunctionDisplay.from_function(T)
plt.show()

# %%
# The error in one of them (white where it is below 1e-11), and the coefficients: the largest of
# each power, relative to the largest value of the function. They end where the tolerance allows.

s = np.linspace(-1, 1, 201)
plane = T.slice({2: 0.0}).grid(s, s)
error = np.abs(plane - problem.function(s[:, None], s, np.zeros((1, 1)))) / T.scale

figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.6), layout="constrained")
digits = np.log10(np.maximum(error, 1e-11))
image = left.imshow(
    digits.T, origin="lower", extent=(-1, 1, -1, 1), cmap="Oranges", vmin=-11, vmax=-8
)
figure.colorbar(image, ax=left, shrink=0.85, ticks=[-11, -10, -9, -8])
left.set(title="log10 of the error at z = 0", xlabel="x", ylabel="y")
for k, name in enumerate("xyz"):
    unfolded = np.moveaxis(T.core, k, 0).reshape(T.ranks[k], -1)
    largest = np.max(np.abs(T.factors[k] @ unfolded), axis=1) / T.scale
    right.semilogy(largest, label=name, linewidth=1.2)
right.axhline(1e-8, color="k", linewidth=0.8, linestyle=":")
right.text(0, 1.4e-8, "tolerance", fontsize=9)
right.set(title="largest coefficient of each power", xlabel="power")
right.spines[["top", "right"]].set_visible(False)
right.legend(frameon=False)
plt.show()

# %%
# From here on the function itself is not asked any more.

value, place = T.maximum()
print(f"integral {T.integrate():.10f}, norm {T.norm():.10f}")
print(f"maximum {value:.8f} at {np.round(place, 6)}")
print(f"slope there {np.max(np.abs(T.gradient(place))):.1e}")
print(f"the square has ranks {(T * T).ranks}, not {tuple(r * r for r in T.ranks)}")

# %%
# Does it say the truth?
# ----------------------
#
# Forty functions of one to five variables, among them complex ones, steep ones and some of size
# 1e200 and 1e-200, each at three tolerances. The true error is the largest at 10 000 points that
# the object has not seen. It lies below the dotted line of its tolerance or close to it, and the
# estimate is near the truth: above it (right of the diagonal) or just below, as the largest of a
# sample is.

rng = np.random.default_rng(0)
figure, ax = plt.subplots(figsize=(5.6, 4.8), layout="constrained")
for tol, colour in zip((1e-4, 1e-7, 1e-10), ("C1", "C2", "C0"), strict=True):
    found = []
    for problem in smooth_functions():
        T = chebtucker(problem.function, problem.domain, tol=tol, vectorized="grid", rng=0)
        low, high = np.transpose(problem.domain)
        x = low + (high - low) * rng.random((10_000, low.size))
        true = np.max(np.abs(T(x) - problem.function(*x.T)))
        found.append((T.error_estimate / T.scale, true / T.scale))
    estimates, errors = np.transpose(found)
    ax.loglog(estimates, errors, "o", color=colour, markersize=4, alpha=0.7, label=f"{tol:.0e}")
    ax.axhline(tol, color=colour, linestyle=":", linewidth=0.9)
    print(f"asked {tol:.0e}: largest error {errors.max():.1e}")
ends = np.array([1e-16, 1e-3])
ax.loglog(ends, ends, color="k", linewidth=0.8)
ax.set(xlabel="error as estimated, relative", ylabel="true error, relative", xlim=ends, ylim=ends)
ax.spines[["top", "right"]].set_visible(False)
ax.legend(title="tolerance", frameon=False, loc="upper left")
plt.show()

# %%
# What it cannot see
# ------------------
#
# A needle that no random point meets is not there for a method that samples: the object is content,
# and wrong in one place. If you know where such a thing may be, say so with ``pivots``. A kink, in
# contrast, is noticed; the best object found comes with a warning and its true size of error.


def needle(x):
    """Return a smooth function with a peak of width 0.01."""
    return np.cos(x.sum(axis=1)) + np.exp(-5000 * ((x - 0.3) ** 2).sum(axis=1))


blind = chebtucker(needle, [(-1, 1)] * 3, tol=1e-8, rng=0)
told = chebtucker(needle, [(-1, 1)] * 3, tol=1e-8, rng=0, pivots=[[0.3, 0.3, 0.3]])
line = np.full((801, 3), 0.3)
line[:, 0] = np.linspace(0, 0.6, 801)
figure, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
ax.plot(line[:, 0], told(line), color="C0", label=f"told of the needle, degree {told.degrees[0]}")
ax.plot(line[:, 0], blind(line), color="C1", label=f"not told, degree {blind.degrees[0]}")
ax.plot(line[::20, 0], needle(line[::20]), "k.", markersize=4, label="the function")
ax.set(xlabel="x, at y = z = 0.3")
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False)
plt.show()

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    kink = chebtucker(lambda x: np.abs(x[:, 0] - x[:, 1] / 3), [(-1, 1)] * 2, rng=0)
print(textwrap.fill(str(caught[0].message), 76))

# %%
# A crystal
# ---------
#
# Sodium chloride: 8 x 8 x 8 ions, 2.82 Angstrom apart, signs in turn. The Coulomb potential has a
# pole at each ion, which no polynomial can follow. It is split into a part of long range, which
# becomes an object, and a part of short range, which is summed over near ions. In units of e and
# Angstrom:

index = np.indices((8, 8, 8)).reshape(3, -1).T
ions, charges = 2.82 * (index - 3.5), 1.0 - 2.0 * (index.sum(axis=1) % 2)
box = [(-14.0, 14.0)] * 3
start = time.perf_counter()
T = long_range_potential(ions, charges, box, alpha=0.8, tol=1e-7)
print(f"{T.status} in {time.perf_counter() - start:.2f} s: degrees {T.degrees}, ranks {T.ranks}")

x = np.random.default_rng(0).uniform(-14, 14, (2000, 3))
away = x[:, None, :] - ions
distance = np.linalg.norm(away, axis=2)
potential = T(x) + short_range_potential(ions, charges, x, alpha=0.8)
error = np.abs(potential - (charges / distance).sum(axis=1)).max()
print(f"largest error of the sum of both parts at 2000 points: {error:.1e}")

# %%
# The energy of the crystal: half the sum of charges times potentials at the ions. The short-range
# sum leaves an ion's own term out, the long-range part has its limit, 2 alpha q / sqrt(pi).

at_ions = T(ions) + short_range_potential(ions, charges, ions, alpha=0.8)
energy = charges @ (at_ions - 2 * 0.8 / np.sqrt(np.pi) * charges) / 2
apart = np.linalg.norm(ions[:, None, :] - ions, axis=2)
np.fill_diagonal(apart, np.inf)
print(f"energy {energy:.6f}, pair by pair {charges @ (1 / apart) @ charges / 2:.6f} e^2 / Angstrom")

# %%
# A layer of ions: the object, and the whole potential, which goes to infinity at the ions (colours
# end at 1). At the right one corner, with the force of the long-range part on a positive charge.

s = -14 + 28 * (np.arange(280) + 0.5) / 280
points = np.stack([*np.meshgrid(s, s, indexing="ij"), np.full((280, 280), 1.41)], axis=-1)
whole = T(points) + short_range_potential(ions, charges, points, alpha=0.8)
corner = T.slice({2: 1.41}).restrict([(2, 14), (2, 14)])
t = 2.12 + 0.705 * np.arange(17)
arrows = np.stack([*np.meshgrid(t, t, indexing="ij"), np.full((17, 17), 1.41)], axis=-1)
force = -T.gradient(arrows)

figure, panels = plt.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
names = ("x, Angstrom", "y, Angstrom", "z")
unit = "e / Angstrom"
plane = Slice(whole, [(-14, 14)] * 2, names[:2])
FunctionDisplay.from_function(T, at={2: 1.41}, names=names, ax=panels[0])
FunctionDisplay([plane], limits=(-1, 1)).plot(ax=panels[1])
FunctionDisplay.from_function(corner, names=names[:2], unit=unit, ax=panels[2])
panels[2].quiver(*np.moveaxis(arrows[..., :2], -1, 0), *np.moveaxis(force[..., :2], -1, 0))
for ax, title in zip(panels, ("long range", "both parts", "force, long range"), strict=True):
    ax.set_title(title, loc="left", fontsize=10)
plt.show()

# %%
# Many ions
# ---------
#
# Ranks depend on ``alpha`` times the size of the box, hardly on the number of ions: here 512 to two
# million, given as one cell and a number of copies, seen in a box of 20 Angstrom at a corner.

cell = 2.82 * np.indices((2, 2, 2)).reshape(3, -1).T
signs = 1.0 - 2.0 * (np.indices((2, 2, 2)).sum(axis=0).ravel() % 2)
for n in (4, 16, 64):
    start = time.perf_counter()
    T = long_range_potential(cell, signs, [(-4, 16)] * 3, alpha=0.8, lattice=[(n, 5.64)] * 3)
    seconds = time.perf_counter() - start
    print(f"{8 * n**3:8d} ions: ranks {T.ranks}, {T.nbytes} bytes, {seconds:.2f} s, {T.status}")
