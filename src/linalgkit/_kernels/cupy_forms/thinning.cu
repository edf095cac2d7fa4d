// Rows of a product at a list of places, and their squared norms: two of them a warp.

#define ROWS 2  // rows of a warp that share the loads of W

// products (count x k) = A[items] W; a lane owns the columns lane, lane + 32, ... of W (p x k).
template <typename T, typename S>
__global__ void rows_of_product(const T* __restrict__ A, int p, const S* __restrict__ W, int k,
                                const long long* __restrict__ items, long long count,
                                S* __restrict__ products, double* __restrict__ norms) {
  const long long warp = static_cast<long long>(blockIdx.x) * WARPS + threadIdx.x / WARP;
  const long long first = warp * ROWS;
  const int lane = threadIdx.x % WARP;
  if (first >= count) return;  // the whole warp
  const T* rows[ROWS];
#pragma unroll
  for (int i = 0; i < ROWS; ++i)
    rows[i] = A + items[first + i < count ? first + i : count - 1] * p;
  double squares[ROWS] = {};
  for (int j = lane; j < k; j += WARP) {
    S sums[ROWS] = {};
    for (int r = 0; r < p; ++r) {
      const S w = W[static_cast<long long>(r) * k + j];
#pragma unroll
      for (int i = 0; i < ROWS; ++i) add_product(sums[i], wide(rows[i][r]), w);
    }
#pragma unroll
    for (int i = 0; i < ROWS; ++i) {
      squares[i] += squared_modulus(sums[i]);
      if (first + i < count) products[(first + i) * k + j] = sums[i];
    }
  }
#pragma unroll
  for (int i = 0; i < ROWS; ++i) {
    const double norm = warp_sum(squares[i]);
    if (lane == 0 && first + i < count) norms[first + i] = norm;
  }
}
