// Modified LDL^H factorisation that draws a sample: a single block of threads, right-looking.

__device__ inline double real_part(double x) { return x; }
__device__ inline double real_part(Complex<double> x) { return x.re; }
__device__ inline void set_one(double& x) { x = 1.0; }
__device__ inline void set_one(Complex<double>& x) { x = {1.0, 0.0}; }

// A (b x b) is overwritten by the unit triangular factor, its upper triangle by zeros. Work is done
// in shared memory if the matrix fits there (`is_shared`), else where it lies; a column, conjugated,
// is in shared memory always. A warp takes a row: its numbers lie one after another.
template <typename S>
__global__ void hermitian_sampling(S* A, const double* __restrict__ uniforms, double tolerance,
                                   int b, int is_shared, double* __restrict__ pivots,
                                   bool* __restrict__ kept) {
  extern __shared__ double storage[];
  S* column = reinterpret_cast<S*>(storage);
  S* M = is_shared ? column + b : A;
  if (is_shared)
    for (int t = threadIdx.x; t < b * b; t += THREADS) M[t] = A[t];
  const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
  for (int j = 0; j < b; ++j) {
    __syncthreads();  // column j is final
    double probability = real_part(M[j * b + j]);
    if (probability <= tolerance)
      probability = 0.0;
    else if (probability >= 1.0 - tolerance)
      probability = 1.0;
    const bool is_kept = uniforms[j] < probability;
    const double pivot = is_kept ? probability : probability - 1.0;
    for (int i = j + 1 + threadIdx.x; i < b; i += THREADS) {
      column[i] = conjugate(M[i * b + j]);
      M[i * b + j] = scaled(1.0 / pivot, M[i * b + j]);
      M[j * b + i] = S{};
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      set_one(M[j * b + j]);
      pivots[j] = pivot;
      kept[j] = is_kept;
    }
    for (int i = j + 1 + warp; i < b; i += WARPS) {
      const S factor = scaled(-1.0, M[i * b + j]);
      for (int k = j + 1 + lane; k <= i; k += WARP) add_product(M[i * b + k], factor, column[k]);
    }
  }
  __syncthreads();
  if (is_shared)
    for (int t = threadIdx.x; t < b * b; t += THREADS) A[t] = M[t];
}
