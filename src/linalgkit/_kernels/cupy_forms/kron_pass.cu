// Sums over rotated data of Kronecker sparse Bayesian learning, and their weighting.
//
// Everything is real here: complex numbers and snapshots are `width` consecutive reals. Sums are in
// double and in an order that depends on the sizes only: no atomics.

// One warp a row: totals[row] = sums over the row of log D, z^2 / D, (z / D)^2 and 1 / D;
// by_outer[row] = sum of inner / D. D = outer[row] * inner + noise.
template <typename T>
__global__ void kron_rows(const T* __restrict__ Z, const double* __restrict__ outer,
                          const double* __restrict__ inner, double noise, long long n, int m,
                          int width, double* __restrict__ totals, double* __restrict__ by_outer) {
  const long long row = static_cast<long long>(blockIdx.x) * WARPS + threadIdx.x / WARP;
  const int lane = threadIdx.x % WARP;
  if (row >= n) return;  // the whole warp
  double sums[5] = {};
  for (int j = lane; j < m; j += WARP) {
    const double D = outer[row] * inner[j] + noise, r = 1.0 / D;
    const T* z = Z + (row * m + j) * width;
    for (int c = 0; c < width; ++c) {
      const double x = static_cast<double>(z[c]), t = x * r;
      sums[1] += x * t;
      sums[2] += t * t;
    }
    sums[0] += log(D);
    sums[3] += r;
    sums[4] += inner[j] * r;
  }
#pragma unroll
  for (int k = 0; k < 5; ++k) {
    const double sum = warp_sum(sums[k]);
    if (lane == 0) (k < 4 ? totals[row * 4 + k] : by_outer[row]) = sum;
  }
}

// One block a column: by_inner[column] = sum over the rows of outer / D.
__global__ void kron_columns(const double* __restrict__ outer, const double* __restrict__ inner,
                             double noise, long long n, double* __restrict__ by_inner) {
  __shared__ double warp_sums[WARPS];
  double sum = 0.0;
  for (long long o = threadIdx.x; o < n; o += THREADS)
    sum += outer[o] / (outer[o] * inner[blockIdx.x] + noise);
  sum = warp_sum(sum);
  if (threadIdx.x % WARP == 0) warp_sums[threadIdx.x / WARP] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  double total = 0.0;
  for (int w = 0; w < WARPS; ++w) total += warp_sums[w];
  by_inner[blockIdx.x] = total;
}

// W = Z * left * right / D, a thread a real number.
template <typename T>
__global__ void kron_weighted(const T* __restrict__ Z, const double* __restrict__ outer,
                              const double* __restrict__ inner, double noise,
                              const double* __restrict__ left, const double* __restrict__ right,
                              long long n, int m, int width, T* __restrict__ W) {
  const long long k = static_cast<long long>(blockIdx.x) * THREADS + threadIdx.x;
  if (k >= n * m * width) return;
  const long long place = k / width, o = place / m;
  const int j = static_cast<int>(place % m);
  const double weight = left[o] * right[j] / (outer[o] * inner[j] + noise);
  narrow(static_cast<double>(Z[k]) * weight, W[k]);
}
