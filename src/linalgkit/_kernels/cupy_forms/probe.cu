// Squared row norms, and the squared norms of a few products, in one read of the rows.
//
// Everything is real here, as in the fused normal product: complex rows are interleaved reals. Sums
// are in double and in an order that depends on the sizes only: no atomics.

#define ROWS 4  // rows of a warp that share the loads of W

// Warp w treats the rows w ROWS, ..., w ROWS + ROWS - 1, then those n_warps ROWS further on. It writes
// norms and partial[w * M + k], the sum over its rows of (X W^T)[row, k]^2; W is M x d.
template <typename T, int M>
__global__ void probed_norms(const T* __restrict__ X, long long stride, long long n, int d,
                             const double* __restrict__ W, double* __restrict__ norms,
                             double* __restrict__ partial, long long n_warps) {
  const long long warp = static_cast<long long>(blockIdx.x) * WARPS + threadIdx.x / WARP;
  const int lane = threadIdx.x % WARP;
  if (warp >= n_warps) return;  // the whole warp
  double energies[M] = {};
  for (long long row = warp * ROWS; row < n; row += n_warps * ROWS) {
    const int rows = n - row < ROWS ? static_cast<int>(n - row) : ROWS;
    double sums[ROWS][M + 1] = {};
    for (int j = lane; j < d; j += WARP) {
      double w[M];
#pragma unroll
      for (int k = 0; k < M; ++k) w[k] = W[k * d + j];
#pragma unroll
      for (int r = 0; r < ROWS; ++r) {
        const double x = r < rows ? static_cast<double>(X[(row + r) * stride + j]) : 0.0;
#pragma unroll
        for (int k = 0; k < M; ++k) sums[r][k] += x * w[k];
        sums[r][M] += x * x;
      }
    }
#pragma unroll
    for (int r = 0; r < ROWS; ++r)
#pragma unroll
      for (int k = 0; k <= M; ++k) {
        const double total = warp_sum(sums[r][k]);
        if (k < M)
          energies[k] += total * total;
        else if (lane == 0 && r < rows)
          norms[row + r] = total;
      }
  }
#pragma unroll
  for (int k = 0; k < M; ++k)
    if (lane == 0) partial[warp * M + k] = energies[k];
}
