// Weighted sums of rows over consecutive segments of a list.

// Y[i] = sum of weights[k] X[rows[k]] over ends[i - 1] <= k < ends[i]: a block of threads takes
// one row of Y and 32 columns; its warps share the segment, in an order that never changes.
template <typename T>
__global__ void segment_sums(const T* __restrict__ X, long long stride, long long d,
                             const long long* __restrict__ rows, const T* __restrict__ weights,
                             const long long* __restrict__ ends, T* __restrict__ Y, int tiles) {
  __shared__ double partial[WARPS][WARP];
  const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  const long long i = blockIdx.x / tiles;
  const long long c = static_cast<long long>(blockIdx.x % tiles) * WARP + lane;
  const long long low = i ? ends[i - 1] : 0, high = ends[i];
  double sum = 0.0;
  if (c < d)
    for (long long k = low + warp; k < high; k += WARPS)
      sum += static_cast<double>(weights[k]) * static_cast<double>(X[rows[k] * stride + c]);
  partial[warp][lane] = sum;
  __syncthreads();
  if (warp > 0 || c >= d) return;
  double total = 0.0;
  for (int w = 0; w < WARPS; ++w) total += partial[w][lane];
  Y[i * d + c] = static_cast<T>(total);
}
