"""
A photograph from three pixels in ten, and what is certain about the rest
=========================================================================

A matrix of low rank is known in a few places. The rest follows, and comes with what is certain
about it: how large the noise is, where the missing values lie, which rows and columns the known
entries cannot determine. First a photograph, which is of low rank only roughly; then matrices
whose truth is known, so that everything can be checked.
"""

import time
import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_sample_image

from linalgkit.completion import complete_matrix

# %%
# Seventy per cent of the pixels are hidden
# -----------------------------------------
#
# Rows and columns of pixels have a brightness of their own (``bias``), and each component is shrunk
# as it stands against what does not fit (``shrink``). Neither rank nor noise is told.

photograph = load_sample_image("china.jpg")[::2, ::2].mean(axis=2) / 255
rng = np.random.default_rng(0)
seen = rng.random(photograph.shape) < 0.3
start = time.perf_counter()
result = complete_matrix(photograph, mask=seen, bias=True, shrink=True, rng=0)
seconds = time.perf_counter() - start
restored = np.clip(result.block(), 0, 1)
error = np.abs(restored - photograph)


def root_mean_square(x):
    """Return the root of the mean of the squares."""
    return float(np.sqrt(np.mean(x**2)))


print(f"{photograph.shape}, {result.status} in {seconds:.1f} s, rank {result.rank}")
print(f"error of the hidden pixels {root_mean_square(error[~seen]):.3f}")
print(f"                 as foreseen {result.noise_estimate:.3f} (what the model does not explain)")
print(f"   of the mean for all of them {photograph[~seen].std():.3f}")
left, s, right = np.linalg.svd(photograph)
best = (left[:, : result.rank] * s[: result.rank]) @ right[: result.rank]
print(f"of the best rank {result.rank}, from all pixels {root_mean_square(best - photograph):.3f}")

# %%
# Original, what was given, restored, error. Large surfaces and the frame of the buildings come
# back, leaves do not: no picture of low rank has them.

figure, panels = plt.subplots(2, 2, figsize=(9, 6.4), layout="constrained")
pictures = (
    ("original", photograph, "gray"),
    ("given", np.where(seen, photograph, np.nan), "gray"),
    ("restored", restored, "gray"),
    ("error", error, "Oranges"),
)
for ax, (title, picture, colours) in zip(panels.flat, pictures, strict=True):
    ax.set_facecolor("#c6dbef")
    image = ax.imshow(picture, cmap=colours, vmin=0, vmax=0.5 if title == "error" else 1)
    ax.set_title(title, loc="left", fontsize=10)
    ax.set(xticks=[], yticks=[])
figure.colorbar(image, ax=panels[1, 1], shrink=0.8)
plt.show()

# %%
# Exact data: down to rounding
# ----------------------------
#
# A matrix of rank 8 and condition number 100, five entries for each degree of freedom; some columns
# are popular and seen more often than others. The ridge that falls from sweep to sweep makes the
# difference between success and failure: without it the residual looks harmless, while the matrix
# is wrong. The Gauss-Newton steps of ``polish``, at the end of the blue curve, cost as much as
# several sweeps each, and end at rounding.

m, n, k = 600, 400, 8
basis, _ = np.linalg.qr(rng.standard_normal((m, k)))
other, _ = np.linalg.qr(rng.standard_normal((n, k)))
A = (basis * np.logspace(0, -2, k)) @ other.T
A /= A.std()
popularity = np.arange(1, n + 1) ** -0.5
order = np.argsort(-np.log(popularity) - rng.gumbel(size=(m, n)), axis=None)
given = np.zeros((m, n), dtype=bool)
given.flat[order[: 5 * k * (m + n - k)]] = True

ways = {
    "as it comes": {},
    "without polish": {"polish": False},
    "without polish and falling ridge": {
        "polish": False,
        "continuation": False,
        "max_sweeps": 100,
        "tol": 0.0,
    },
}
figure, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
for title, options in ways.items():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # 100 sweeps are not enough for the last one, which says so
        found = complete_matrix(A, k, mask=given, rng=0, **options)
    course = np.array(found.loss_history) / np.linalg.norm(A[given])
    ax.semilogy(np.arange(1, course.size + 1), course, label=title, linewidth=1.2)
    wrong = np.linalg.norm(found.block() - A) / np.linalg.norm(A)
    print(f"{title:33} {found.status:10} {found.sweeps:3} sweeps, error {wrong:.1e}")
ax.set(xlabel="sweep or Gauss-Newton step", ylabel="residual of the given entries, relative")
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False, loc="center right")
plt.show()

# %%
# Noisy data: predictions with intervals
# --------------------------------------
#
# A matrix of rank 5, 15 % of its entries known with noise. Left, 40 of the entries that
# nobody has seen, in order: the true values (black) in their intervals of 90 %. Right, the share of
# all the hidden entries that lie in their intervals, against the level that was asked for.

m, n = 500, 400
A = rng.standard_normal((m, 5)) @ rng.standard_normal((5, n))
given = rng.random((m, n)) < 0.15
noisy = A + rng.standard_normal((m, n))
result = complete_matrix(noisy, mask=given, shrink=True, rng=0)
print(f"rank {result.rank}, noise {result.noise_estimate:.3f} (true: 5 and 1)")

figure, (ax, share) = plt.subplots(
    1, 2, figsize=(9.4, 3.6), width_ratios=(1.7, 1), layout="constrained"
)
hidden = np.nonzero(~given)
some = rng.choice(hidden[0].size, 40, replace=False)
some = some[np.argsort(A[hidden][some])]
i, j = hidden[0][some], hidden[1][some]
low, high = result.interval(i, j, level=0.9)
ax.errorbar(
    np.arange(40),
    result.predict(i, j),
    (high - low) / 2,
    fmt="none",
    ecolor="C0",
    capsize=2,
    label="interval",
)
ax.plot(np.arange(40), A[i, j], "k.", markersize=5, label="true value")
ax.set(xlabel="hidden entry, in order of its value", ylabel="value")
ax.legend(frameon=False)

levels = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99])
chosen = rng.choice(hidden[0].size, 20_000, replace=False)
places = hidden[0][chosen], hidden[1][chosen]
covered = []
for level in levels:
    low, high = result.interval(*places, level=level)
    covered.append(np.mean((low <= A[places]) & (A[places] <= high)))
    print(f"asked {level:.2f}, covered {covered[-1]:.3f}")
share.plot([0.5, 1], [0.5, 1], color="k", linewidth=0.8)
share.plot(levels, covered, "o-", color="C0", markersize=4)
share.set(xlabel="level", ylabel="share covered", aspect="equal")
for panel in (ax, share):
    panel.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Wrong entries, and rows that nobody can know
# --------------------------------------------
#
# The same matrix without noise, some of its known entries far off. Shrinkage for
# normal noise spreads the damage; the robust losses find the matrix.

for bad in (0.02, 0.1, 0.2):
    spoilt = A + 30 * rng.standard_normal((m, n)) * (rng.random((m, n)) < bad)
    errors = []
    for options in ({"shrink": True}, {"loss": "huber"}, {"loss": "l1"}):
        found = complete_matrix(spoilt, 5, mask=given, rng=0, **options)
        errors.append(np.linalg.norm(found.block() - A) / np.linalg.norm(A))
    print(
        f"{bad:4.0%} wrong: shrunk {errors[0]:.0e}, huber {errors[1]:.0e}, l1 {errors[2]:.0e}",
    )

# %%
# A row with three entries cannot determine five unknowns. It is listed, its values are those of
# least norm, and its intervals are infinite. All other rows are as good as before.

given[10, :] = False
given[10, :3] = True
result = complete_matrix(A, 5, mask=given, rng=0)
others = np.delete(result.block() - A, 10, axis=0)
low, high = result.interval(10, 200)
print(f"rows {result.unidentifiable_rows}, interval from {low} to {high}")
print(f"largest error in all others {np.abs(others).max():.0e}")
