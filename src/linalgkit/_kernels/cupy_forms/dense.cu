// Normal product of a dense block of rows, and the residual of equations with the gradient: each
// row is read once from device memory.
//
// Everything is real here: complex rows are read as interleaved reals and a complex column is
// two real columns (see the module that launches these kernels). Sums are in double and in an
// order that depends on the sizes only: no atomics, the same bits on every run and device.

#define ROWS 4  // rows a block works on between two barriers; they stay in its L1 cache

template <typename T, bool RESIDUAL>
struct Written {
  using Type = T;
};
template <typename T>
struct Written<T, true> {
  using Type = double;
};

// One block treats rows_per_block rows and writes P = X W^T (n x M), its share of D = X^T P to
// partial[blockIdx.x] (M x d), and the squared row norms. RESIDUAL: P = B - X W^T, and norms
// are left alone; else B is not read.
// A thread owns the columns j = threadIdx.x + i * THREADS, so that D needs no barrier.
template <typename T, int M, bool RESIDUAL>
__global__ void normal_product(const T* __restrict__ X, long long stride, long long n, int d,
                               const double* __restrict__ W, const double* __restrict__ B,
                               typename Written<T, RESIDUAL>::Type* __restrict__ P,
                               double* __restrict__ norms, double* __restrict__ partial,
                               long long rows_per_block) {
  extern __shared__ double D[];  // M x d
  __shared__ double warp_sums[WARPS][ROWS * (M + 1)];
  const int thread = threadIdx.x;
  for (int j = thread; j < d; j += THREADS)
    for (int k = 0; k < M; ++k) D[k * d + j] = 0.0;

  const long long begin = blockIdx.x * rows_per_block;
  const long long end = begin + rows_per_block < n ? begin + rows_per_block : n;
  for (long long i = begin; i < end; i += ROWS) {
    const int rows = end - i < ROWS ? static_cast<int>(end - i) : ROWS;
    double sums[ROWS][M + 1] = {};
    for (int j = thread; j < d; j += THREADS) {
      double w[M];
#pragma unroll
      for (int k = 0; k < M; ++k) w[k] = W[k * d + j];
#pragma unroll
      for (int r = 0; r < ROWS; ++r) {
        const double x = r < rows ? static_cast<double>(X[(i + r) * stride + j]) : 0.0;
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
        if (thread % WARP == 0) warp_sums[thread / WARP][r * (M + 1) + k] = total;
      }
    __syncthreads();
#pragma unroll
    for (int r = 0; r < ROWS; ++r)
#pragma unroll
      for (int k = 0; k <= M; ++k) {
        double total = 0.0;
        for (int warp = 0; warp < WARPS; ++warp) total += warp_sums[warp][r * (M + 1) + k];
        if (RESIDUAL && k < M) total = (r < rows ? B[(i + r) * M + k] : 0.0) - total;
        sums[r][k] = total;
        if (r < rows && thread == r * (M + 1) + k) {
          if (k < M)
            P[(i + r) * M + k] = static_cast<typename Written<T, RESIDUAL>::Type>(total);
          else if (!RESIDUAL)
            norms[i + r] = total;
        }
      }
    __syncthreads();  // warp_sums is free again
    for (int j = thread; j < d; j += THREADS) {
      double shares[M] = {};  // of these rows, so that D has fewer additions
#pragma unroll
      for (int r = 0; r < ROWS; ++r) {
        if (r >= rows) continue;
        const double x = static_cast<double>(X[(i + r) * stride + j]);
#pragma unroll
        for (int k = 0; k < M; ++k) shares[k] += x * sums[r][k];
      }
#pragma unroll
      for (int k = 0; k < M; ++k) D[k * d + j] += shares[k];
    }
  }
  double* share = partial + static_cast<long long>(blockIdx.x) * M * d;
  for (int j = thread; j < d; j += THREADS)
    for (int k = 0; k < M; ++k) share[k * d + j] = D[k * d + j];
}

// total[i] = sum over the blocks of partial[block * size + i], in the order of the blocks.
__global__ void sum_partials(const double* __restrict__ partial, double* __restrict__ total,
                             int size, int blocks) {
  const int i = blockIdx.x * THREADS + threadIdx.x;
  if (i >= size) return;
  double sum = 0.0;
  for (int block = 0; block < blocks; ++block)
    sum += partial[static_cast<long long>(block) * size + i];
  total[i] = sum;
}

// Squared row norms, a warp a row.
template <typename T>
__global__ void row_norms_squared(const T* __restrict__ X, long long stride, long long n, int d,
                                  double* __restrict__ norms) {
  const long long row = static_cast<long long>(blockIdx.x) * WARPS + threadIdx.x / WARP;
  if (row >= n) return;
  double sum = 0.0;
  for (int j = threadIdx.x % WARP; j < d; j += WARP) {
    const double x = static_cast<double>(X[row * stride + j]);
    sum += x * x;
  }
  sum = warp_sum(sum);
  if (threadIdx.x % WARP == 0) norms[row] = sum;
}
