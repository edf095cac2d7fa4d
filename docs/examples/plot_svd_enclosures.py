"""
Singular values of a stream, enclosed
=====================================

Columns of a matrix arrive in blocks and are forgotten. A truncated decomposition keeps a few
triplets, and an exact account of everything that it has thrown away. From that account follow
the error of the answer, to rounding, and an interval for every singular value of the whole
matrix, which nobody has ever held. Here the matrix is small enough to check both.
"""

import matplotlib.pyplot as plt
import numpy as np

from linalgkit.plotting import SpectrumDisplay
from linalgkit.svd import IncrementalSVD

# %%
# Snapshots of a travelling wave
# ------------------------------
#
# Each column is the state of a ring of 800 points at one time: two pulses that travel with
# different speeds, and a little noise. There are 3000 of them.

m, n = 800, 3000
rng = np.random.default_rng(3)
x = np.arange(m) / m
times = np.arange(n) / 500


def pulse(centre, width):
    """Return a bump around each centre, on the ring."""
    distance = (x[:, None] - centre[None, :] + 0.5) % 1.0 - 0.5
    return np.exp(-0.5 * (distance / width) ** 2)


A = pulse(times, 0.012) + 0.5 * pulse(0.37 * times, 0.01) + 0.02 * rng.standard_normal((m, n))

# %%
# One pass
# --------
#
# Thirty triplets are asked for. Those kept behind them cost time and memory, and buy accuracy and
# a narrower certificate: here none, ten (the default) and thirty. The error is not an estimate:
# what is thrown away at one step is orthogonal to all that is thrown away at others, so the
# squares add up.

rank = 30
exact = np.linalg.svd(A, compute_uv=False)
print(f"smallest error of rank {rank}: {np.sqrt(np.sum(exact[rank:] ** 2)):.4f}")
waves = {}
for n_oversamples in (0, 10, 30):
    svd = IncrementalSVD(rank, n_oversamples=n_oversamples, compute_v=True)
    for start in range(0, n, 60):
        svd.append_columns(A[:, start : start + 60])
    result = waves[n_oversamples] = svd.result()
    lower, upper = result.optimal_error_bounds()
    true = np.linalg.norm(A - (result.U * result.s) @ result.Vh)
    print(
        f"{rank} + {n_oversamples:2} kept: error by the account {result.error_fro:.10f} "
        f"({result.error_kind}), of the matrix {true:.10f}; smallest one certified to lie in "
        f"[{lower:.2f}, {upper:.2f}]"
    )

# %%
# Two halves that two workers have streamed are merged from their states alone. The account of
# the whole is the sum of the accounts of the parts, and stays exact.

parts = A[:, : n // 2], A[:, n // 2 :]
halves = [IncrementalSVD(rank, compute_v=True).append_columns(part) for part in parts]
merged = halves[0].merge(halves[1]).result()
true = np.linalg.norm(A - (merged.U * merged.s) @ merged.Vh)
print(f"error of the merged halves {merged.error_fro:.10f}, of the matrix {true:.10f}")

# %%
# A direction that truncation loses
# ---------------------------------
#
# Ten strong columns, then a thousand that all point the same new way, each a little weaker than
# every one of the ten. Taken in one by one with ten triplets, each of the thousand is the weakest
# of eleven, and is dropped. In the whole matrix their direction is the first by far. No bound
# known in advance excludes this; the interval tells what has happened.

columns = np.concatenate([np.eye(20)[:, :10], np.tile(0.9 * np.eye(20)[:, 10:11], 1000)], axis=1)
truth = np.linalg.svd(columns, compute_uv=False)[:10]
answers = {}
for truncation in ("svd", "frequent-directions"):
    svd = IncrementalSVD(10, n_oversamples=0, buffer_size=1, truncation=truncation)
    for column in columns.T:
        svd.append_columns(column)
    answers[truncation] = svd.result()
    lower, upper = answers[truncation].sigma_bounds()
    print(f"{truncation:20} first singular value between {lower[0]:.2f} and {upper[0]:.2f}")
print(f"{'exact':20} {truth[0]:.2f}")

# %%
# Frequent Directions subtracts from all squares what it takes from the weakest, and cannot lose
# a direction. The other cure is the default: columns wait in a buffer until there are enough of
# them to be seen together.

buffered = IncrementalSVD(10, n_oversamples=0)
for column in columns.T:
    buffered.append_columns(column)
print(f"{'buffered':20} {buffered.result().s[0]:.2f}")

# %%
# The band is certain to hold the exact singular values, the crosses. Left and middle: the wave,
# with nothing kept behind the thirty, and with thirty more. Right: a band from 1 to 28 is the
# honest answer about the direction that was lost.

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11.5, 3.7), layout="constrained")
for ax, over in ((left, 0), (middle, 30)):
    title = f"two pulses, {rank + over} kept"
    SpectrumDisplay.from_result(waves[over], reference=exact[:rank], ax=ax, title=title)
middle.sharey(left)
title = "one by one: a direction is lost"
SpectrumDisplay.from_result(answers["svd"], reference=truth, ax=right, title=title)
plt.show()
