"""
In scikit-learn's pipelines and SciPy's solvers
===============================================

Three steps of everyday work, each with one piece of the library and the tools that one has anyway:
gaps are filled before a regression, the few measurements that are worth their price are chosen,
and ill-conditioned equations are made easy for LSQR.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.sparse.linalg import aslinearoperator, lsqr
from sklearn.datasets import load_diabetes
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from linalgkit.completion import LowRankImputer
from linalgkit.datasets import borehole
from linalgkit.regression import sketch_preconditioner
from linalgkit.sampling import DPPLeastSquares


def panel(**labels):
    """Return the axes of one picture."""
    _, ax = plt.subplots(figsize=(6, 3.4), layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    ax.set(**labels)
    return ax


# %%
# A table with gaps
# -----------------
#
# Ten measurements of 442 patients, some of them missing, and a ridge regression on what an imputer
# makes of them: the means of the columns, or a completion of low rank, which uses that the blood
# values belong together. Each point is the mean over three patterns of gaps.

table, progression = load_diabetes(return_X_y=True)
shares = np.asarray([0.1, 0.2, 0.35, 0.5])
ax = panel(xlabel="share missing", ylabel="$R^2$, cross-validated")
imputers = {"means": SimpleImputer(), "low rank": LowRankImputer(rng=0)}
for name, imputer in imputers.items():
    model = make_pipeline(StandardScaler(), imputer, RidgeCV())
    course = []
    for share in shares:
        scores = [
            cross_val_score(
                model,
                np.where(np.random.default_rng(seed).random(table.shape) < share, np.nan, table),
                progression,
                cv=3,
            ).mean()
            for seed in range(3)
        ]
        course.append(np.mean(scores))
    ax.plot(shares, course, "o-", label=name)
    print(f"{name:9}", np.round(course, 3))
ax.legend(frameon=False)
plt.show()

# %%
# Few measurements
# ----------------
#
# A polynomial of degree two in the eight variables of a borehole has 45 coefficients. A thousand
# settings could be measured, and few of them will be: at random, or as volume sampling chooses them
# from the settings alone. A design that has been chosen once may be bad by chance, so that each
# bar spans the middle half of 20 tries.

rng = np.random.default_rng(0)
settings = rng.uniform(-1, 1, (1000, 8))
flow = borehole(settings)
square = PolynomialFeatures(2).fit_transform(settings)
counts = np.asarray([50, 60, 75, 90])
errors: dict[str, list[np.ndarray]] = {"at random": [], "volume sampling": []}
for count in counts:
    tries: dict[str, list[float]] = {name: [] for name in errors}
    for seed in range(20):
        picked = np.random.default_rng(seed).choice(1000, count, replace=False)
        blind = LinearRegression(fit_intercept=False).fit(square[picked], flow[picked])
        chosen = DPPLeastSquares(n=count, method="volume", rng=seed).fit(square, flow)
        tries["at random"].append(1 - blind.score(square, flow))
        tries["volume sampling"].append(1 - chosen.score(square, flow))
    for name, values in tries.items():
        errors[name].append(np.quantile(values, [0.25, 0.5, 0.75]))
ax = panel(xlabel="values measured", ylabel="$1 - R^2$", yscale="log")
for shift, (name, rows) in zip((-0.7, 0.7), errors.items(), strict=True):
    low, middle, high = np.asarray(rows).T
    ax.errorbar(counts + shift, middle, [middle - low, high - middle], fmt="o", label=name)
    print(f"{name:16}", [f"{value:.1e}" for value in middle])
ax.legend(frameon=False)
plt.show()

# %%
# Ill-conditioned equations
# -------------------------
#
# Twenty unknowns in two thousand equations, of condition number :math:`10^6`. LSQR alone, and on
# ``A @ P`` with a preconditioner from a sketch.

A = rng.standard_normal((2000, 20)) * np.logspace(0, -6, 20)
b = A @ np.ones(20)
P = sketch_preconditioner(A, rng=0)
ax = panel(xlabel="steps", ylabel="residual, relative")
steps = np.asarray([1, 2, 4, 8, 16, 32, 64, 128])
exact = {"atol": 0, "btol": 0, "conlim": 0}
for name, operator, back in (
    ("LSQR", aslinearoperator(A), lambda y: y),
    ("with a preconditioner", aslinearoperator(A) @ P, lambda y: P @ y),
):
    rest = []
    for count in steps:
        y = lsqr(operator, b, iter_lim=count, **exact)[0]
        rest.append(np.linalg.norm(A @ back(y) - b) / np.linalg.norm(b))
    ax.loglog(steps, rest, "o-", label=name)
    print(f"{name:22}", [f"{value:.0e}" for value in rest])
ax.legend(frameon=False, loc="lower left")
plt.show()
