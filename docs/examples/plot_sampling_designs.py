"""
Few runs of a model, and a polynomial that is safe on them
==========================================================

A computer code takes hours a run, and a polynomial of its inputs shall take its place. Where to
run it? Uniform points leave some polynomials nearly undetermined, and nothing says so. Points
drawn by a determinantal process repel each other; with the right weights a few of them settle
every coefficient, and the design says how well before the code is run once.
"""

import matplotlib.pyplot as plt
import numpy as np

from linalgkit.datasets import OTL_CIRCUIT_RANGES, otl_circuit
from linalgkit.plotting import DesignDisplay
from linalgkit.sampling import (
    Legendre,
    TensorBasis,
    multi_index,
    sample_design,
    weighted_lstsq,
)

# %%
# Points and weights
# ------------------
#
# The 55 polynomials of degree 9 in two variables, 110 points, and the smallest eigenvalue of the
# Gram matrix of an orthonormal basis at the points. With infinitely many points it is 1; where it
# is 0, some polynomial vanishes at all points. Left: points of repeated determinantal processes.
# Middle: independent points of the same optimal density. Right: uniform points, as Monte Carlo
# takes them.

basis = TensorBasis(Legendre(), multi_index(2, 9))
n = 2 * basis.dim
uniform = np.random.default_rng(1).uniform(-1, 1, (n, 2))
rows = basis.evaluate(uniform)
lmin = np.linalg.eigvalsh(rows.T @ rows / n)[0]

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11.5, 3.6), layout="constrained")
for ax, method in ((left, "rdpp"), (middle, "iid")):
    design = sample_design(basis, n, method=method, rng=1)
    DesignDisplay.from_design(design, ax=ax)
title = f"uniform points, lmin = {lmin:.2g}"
DesignDisplay(uniform).plot(ax=right, title=title)
for ax in (left, middle, right):
    ax.set_aspect("equal")
plt.show()

# %%
# A circuit with six parameters
# -----------------------------
#
# The voltage of a push-pull circuit, by the 84 polynomials of degree 3, from 3 runs each. The
# condition has the design drawn again until its smallest eigenvalue is at least 1 - 0.9: in
# expectation the error is then bounded by a multiple of the smallest one possible. The error that
# the fit estimates from its own residuals stands beside the true one.

basis = TensorBasis(Legendre(), multi_index(6, 3))
design = sample_design(basis, condition=("lmin", 0.9), rng=0)
fit = weighted_lstsq(design, otl_circuit(design.points), space=basis)

fresh = np.random.default_rng(2).uniform(-1, 1, (20_000, 6))
truth = otl_circuit(fresh)
error = np.sqrt(np.mean((fit.predict(fresh) - truth) ** 2))
print(f"{len(design)} runs, lmin = {design.lmin:.3f} after {design.n_tries} try")
print(f"error {error:.4f} V, estimated {fit.error_estimate:.4f} V, of {truth.std():.3f} V")
print(fit.error_bound.description)

# %%
# The coefficients say which parameter matters, by its share of the variance:

for name, first, total in zip(
    OTL_CIRCUIT_RANGES, fit.sobol_indices().first, fit.sobol_indices().total, strict=True
):
    print(f"{name:5} {first:6.1%} alone, {total:6.1%} with others")

# %%
# More degrees where they matter
# ------------------------------
#
# Two parameters make up nine tenths, so they may have degree 8; the others get less. Polynomials of
# high degree are where uniform points fail: from 20 seeds with 2 runs a polynomial, the error over
# that of the best approximation, and the smallest eigenvalue.

share = fit.sobol_indices().total
weights = np.minimum(8.0, (share.max() / share) ** 0.25)
basis = TensorBasis(Legendre(), multi_index(6, 8, weights=weights))
n = 2 * basis.dim
many = np.random.default_rng(3).uniform(-1, 1, (50_000, 6))
exact = np.linalg.lstsq(basis.evaluate(many), otl_circuit(many), rcond=None)[0]
values = basis.evaluate(fresh)


def error_of(coef):
    """Return the root mean square error of a polynomial."""
    return np.sqrt(np.mean((values @ coef - truth) ** 2))


found = {"rdpp": [], "volume": [], "iid": [], "uniform": []}
for seed in range(20):
    for method in ("rdpp", "volume", "iid"):
        design = sample_design(basis, n, method=method, rng=seed)
        fit = weighted_lstsq(design, otl_circuit(design.points), space=basis)
        found[method].append((design.lmin, error_of(fit.coef) / error_of(exact)))
    points = np.random.default_rng(seed).uniform(-1, 1, (n, 6))
    rows = basis.evaluate(points)
    coef = np.linalg.lstsq(rows, otl_circuit(points), rcond=None)[0]
    lmin = np.linalg.eigvalsh(rows.T @ rows / n)[0]
    found["uniform"].append((lmin, error_of(coef) / error_of(exact)))

figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
for name, marker in zip(found, "osv^", strict=True):
    lmins, ratios = np.asarray(found[name]).T
    print(f"{name:8} lmin at least {lmins.min():.4f}, error {np.median(ratios):.2f} (median)")
    ax.loglog(lmins, ratios, marker, markersize=5, alpha=0.7, label=name)
ax.set(xlabel="lmin of the design", ylabel="error over the smallest possible")
ax.set_title(f"{basis.dim} polynomials, {n} runs of the circuit", loc="left", fontsize=10)
ax.set_yticks([1, 1.5, 2, 3], ["1", "1.5", "2", "3"])
ax.set_yticks([], minor=True)
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False)
plt.show()
