// Walsh-Hadamard transforms of columns, up to five levels a sweep over the memory.

// Rows `order[r]` (r without an order) of Z are row r of X times signs[r].
template <typename T>
__global__ void place_rows(const T* __restrict__ X, long long stride, long long n, long long d,
                           const long long* __restrict__ order, const T* __restrict__ signs,
                           T* __restrict__ Z) {
  const long long k = static_cast<long long>(blockIdx.x) * THREADS + threadIdx.x;
  if (k >= n * d) return;
  const long long r = k / d, c = k % d;
  Z[(order ? order[r] : r) * d + c] = signs[r] * X[r * stride + c];
}

// Log2(R) levels in place: every thread transforms R numbers, `apart` from one another.
template <typename T, int R>
__global__ void butterflies(T* __restrict__ Y, long long apart, long long threads) {
  const long long k = static_cast<long long>(blockIdx.x) * THREADS + threadIdx.x;
  if (k >= threads) return;
  T* y = Y + k / apart * apart * R + k % apart;
  T x[R];
#pragma unroll
  for (int r = 0; r < R; ++r) x[r] = y[r * apart];
#pragma unroll
  for (int h = 1; h < R; h *= 2)
#pragma unroll
    for (int r = 0; r < R; ++r)
      if (!(r & h)) {
        const T a = x[r], b = x[r + h];
        x[r] = a + b;
        x[r + h] = a - b;
      }
#pragma unroll
  for (int r = 0; r < R; ++r) y[r * apart] = x[r];
}
