"""
Least squares from one pass, with intervals
===========================================

A problem with a hundred thousand equations is read once, block by block, and never held. What is
kept is a sketch of a few hundred rows. The answer is off, and it says by how much: every
coefficient of the least-squares solution has an interval, and the intervals keep their promise.
"""

import matplotlib.pyplot as plt
import numpy as np

from linalgkit.plotting import CoefficientsDisplay
from linalgkit.regression import SketchedRegressor, lstsq, sketched_lstsq

# %%
# Equations that arrive in blocks
# -------------------------------
#
# Thirty unknowns. A few rows are a hundred times as large as the others, and the noise has heavy
# tails: nothing below assumes that it has not.

n, d = 100_000, 30
rng = np.random.default_rng(1)
A = rng.standard_normal((n, d))
A[rng.choice(n, 20, replace=False), :] *= 100
truth = np.sin(np.arange(d) / 3)
b = A @ truth + rng.standard_t(3, size=n)

# %%
# One pass
# --------
#
# The same seed gives the same sketch whoever reads the rows, in blocks of any size: each call
# says where its rows begin, and several workers may share the work.

model = SketchedRegressor(m=600, sketch="gaussian", fit_intercept=False, rng=0)
for start in range(0, n, 4096):
    model.partial_fit(A[start : start + 4096], b[start : start + 4096], start=start)
result = model.result()
lower, upper = result.ci(0.95, simultaneous=True)

# %%
# The exact solution needs all rows. It comes with a certificate of its own: the relative change of
# `A` that would make it exact.

exact = lstsq(A, b)
inside = np.sum((lower <= exact.x) & (exact.x <= upper))
print(f"backward error of the full solution {exact.backward_error:.1e} ({exact.driver})")
print(f"{inside} of {d} exact coefficients lie in their intervals")

# %%
# Do the intervals keep their promise?
# ------------------------------------
#
# For a Gaussian sketch the level is exact: Student's law with ``m - d`` degrees of freedom, for
# every matrix and right side. So 95 in 100 intervals must hold the exact coefficient, here with
# sketches of as few as 40 rows. Other kinds are quicker and come close.

levels = np.linspace(0.5, 0.99, 12)
rows, side = A[:4096], b[:4096]
best = lstsq(rows, side).x
coverage, n_sketches = {}, 300
for kind in ("gaussian", "srht", "sparse_sign"):
    hits = np.zeros(levels.size)
    for seed in range(n_sketches):
        found = sketched_lstsq(rows, side, m=40, sketch=kind, rng=seed)
        for i, level in enumerate(levels):
            low, high = found.ci(level)
            hits[i] += np.mean((low <= best) & (best <= high)) / n_sketches
    coverage[kind] = hits

# %%
# Left: the coefficients with intervals that hold all at once. Right: how often intervals of each
# level hold the exact coefficient. The dashed line is the promise.

figure, (left, right) = plt.subplots(
    1, 2, figsize=(9.5, 3.8), layout="constrained", width_ratios=(1.5, 1)
)
CoefficientsDisplay(
    result.x, lower, upper, reference=exact.x, label="interval, 95 % for all at once"
).plot(ax=left, title="one pass, 600 rows kept of 100 000")
right.plot(levels, levels, "--", color="0.6", linewidth=1)
for kind, color in zip(coverage, ("#2f6db3", "#c8631c", "#3f8f5b"), strict=True):
    right.plot(levels, coverage[kind], "o-", markersize=3, color=color, label=kind)
right.set(xlabel="level of the interval", ylabel="share that holds the exact coefficient")
right.legend(frameon=False)
right.spines[["top", "right"]].set_visible(False)
plt.show()
