"""
Top eigenvectors of a stream
============================

Rows arrive one block at a time and are forgotten at once. The leading eigenvectors of their
covariance are asked for again and again while the stream runs, and every answer says how far
it is from the truth. Here the truth is known, so the estimate can be checked.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np

from linalgkit import AccuracyWarning
from linalgkit.streaming import StreamingEigh

# %%
# A stream with known eigenvectors
# --------------------------------
#
# Every row is a picture of 24 by 24 pixels: three smooth patterns with random strengths, and
# noise of variance one in each pixel. The patterns are orthonormal, so they are the top
# eigenvectors of the population, with eigenvalues 21, 13 and 9; the other 573 are 1.

side = 24
u = (np.arange(side) + 0.5) / side
waves = [np.ones(side), *(np.sqrt(2) * np.cos(np.pi * j * u) for j in (1, 2))]
patterns = np.stack(
    [np.outer(waves[i], waves[j]).ravel() / side for i, j in [(1, 0), (1, 1), (2, 1)]], axis=1
)
strengths = np.sqrt([20.0, 12.0, 8.0])


def draw(rng, n_rows):
    """Return `n_rows` independent pictures, one a row."""
    signal = rng.standard_normal((n_rows, 3)) * strengths
    return signal @ patterns.T + rng.standard_normal((n_rows, side**2))


def sin2_angle(V):
    """Return sin^2 of the largest angle between the span of `V` and the three patterns."""
    cosines = np.linalg.svd(patterns.T @ V, compute_uv=False)
    return 1 - cosines[-1] ** 2


# %%
# One pass
# --------
#
# With 576 columns ``method="auto"`` would keep the whole 576 by 576 matrix, which is exact. The
# example asks for the method that serves when this matrix is too large: its memory is a few
# dozen rows. ``result`` may be called at any time and leaves the stream as it is.

rng = np.random.default_rng(7)
model = StreamingEigh(n_components=3, method="portfolio", rng=0)
S = np.zeros((side**2, side**2))  # exact principal component analysis, to compare with
rows, error, estimate, exact = [], [], [], []

for n_blocks in range(1, 97):
    block = draw(rng, 250)
    model.partial_fit(block)
    S += block.T @ block
    if n_blocks in (6, 8, 12, 16, 24, 32, 48, 64, 96):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AccuracyWarning)  # the first answers are early ones
            result = model.result()
        rows.append(result.n_rows)
        error.append(sin2_angle(result.eigenvectors))
        estimate.append(result.error_estimate)
        exact.append(sin2_angle(np.linalg.eigh(S)[1][:, -3:]))

print(f"after {result.n_rows} rows: {result.status}, method {result.method}")
print(f"eigenvalues / n   {np.round(result.eigenvalues / result.n_rows, 2)}")
print(f"gap               {result.gap:.2f}   (population: 9.00)")
print(f"error estimate    {result.error_estimate:.1e}   (true error: {error[-1]:.1e})")
print(f"order z-score     {result.order_zscore:.1f}")

# %%
# Above: the error falls like :math:`1/n`, as that of exact principal component analysis does,
# and the stream's own estimate goes along with it. Below: the eigenvectors at the end of the
# stream, seen as pictures. Their signs are fixed by a rule, so they do not flicker.

figure = plt.figure(figsize=(6.4, 5.6), layout="constrained")
above, below = figure.subfigures(2, 1, height_ratios=[1.5, 1])
axes = above.subplots()
axes.loglog(rows, error, "o-", label="streamed, true error")
axes.loglog(rows, estimate, "s--", label="streamed, its own estimate")
axes.loglog(rows, exact, "k:", label="exact PCA of the same rows")
axes.set(xlabel="rows seen", ylabel=r"$\sin^2$ of the angle to the truth")
axes.set_xticks([2000, 5000, 10_000, 20_000], ["2000", "5000", "10 000", "20 000"])
axes.minorticks_off()
axes.legend(frameon=False)
for j, panel in enumerate(below.subplots(1, 3)):
    panel.imshow(result.eigenvectors[:, j].reshape(side, side), cmap="RdBu_r")
    panel.set_title(f"eigenvector {j + 1}")
    panel.set_axis_off()

# %%
# The order of the rows
# ---------------------
#
# The method trusts that rows come in random order. When they do not, the result says so: the
# same kind of rows, sorted by their energy, give an order z-score far outside what chance
# allows, and an :class:`~linalgkit.AccuracyWarning`.

X = draw(rng, 12_000)
X = X[np.argsort(np.linalg.norm(X, axis=1))]
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always", AccuracyWarning)
    result = StreamingEigh(n_components=3, method="portfolio", rng=0).fit(X).result()

print(f"order z-score {result.order_zscore:.0f}")
for message in sorted({str(warning.message) for warning in caught}):
    print("warning:", message)

# %%
# Such a stream is a case for ``order="arbitrary"``. Where :math:`d^2` numbers fit into memory,
# this is exact whatever the order.

result = StreamingEigh(n_components=3, order="arbitrary").fit(X).result()
print(f"method {result.method}, error {sin2_angle(result.eigenvectors):.1e}")

plt.show()
