// Sums over CSR rows, a warp a row: norms, and the normal product, which gathers for P and scatters
// to D.
//
// D is summed by atomic additions in double: its last bits depend on the order in which the
// warps arrive. P and the norms do not.
template <typename T, typename S, typename I, int Q>
__global__ void csr_normal_product(const T* __restrict__ data, const I* __restrict__ indices,
                                   const I* __restrict__ indptr, long long n,
                                   const S* __restrict__ Z, T* __restrict__ P, S* __restrict__ D,
                                   double* __restrict__ norms) {
  const long long row = static_cast<long long>(blockIdx.x) * WARPS + threadIdx.x / WARP;
  if (row >= n) return;
  const int lane = threadIdx.x % WARP;
  const long long low = indptr[row], high = indptr[row + 1];
  S p[Q] = {};
  double norm = 0.0;
  for (long long t = low + lane; t < high; t += WARP) {
    const S x = wide(data[t]);
    const S* z = Z + static_cast<long long>(indices[t]) * Q;
    norm += squared_modulus(x);
#pragma unroll
    for (int k = 0; k < Q; ++k) add_product(p[k], x, z[k]);
  }
  norm = warp_sum(norm);
#pragma unroll
  for (int k = 0; k < Q; ++k) p[k] = warp_sum(p[k]);
  if (lane == 0) {
    norms[row] = norm;
#pragma unroll
    for (int k = 0; k < Q; ++k) narrow(p[k], P[row * Q + k]);
  }
  for (long long t = low + lane; t < high; t += WARP) {
    const S x = conjugate(wide(data[t]));
    S* target = D + static_cast<long long>(indices[t]) * Q;
#pragma unroll
    for (int k = 0; k < Q; ++k) {
      S share = {};
      add_product(share, x, p[k]);
      atomic_add(target + k, share);
    }
  }
}

// Squared norms of CSR rows, a warp a row.
template <typename T, typename S, typename I>
__global__ void csr_row_norms_squared(const T* __restrict__ data, const I* __restrict__ indptr,
                                      long long n, double* __restrict__ norms) {
  const long long row = static_cast<long long>(blockIdx.x) * WARPS + threadIdx.x / WARP;
  if (row >= n) return;
  const int lane = threadIdx.x % WARP;
  double norm = 0.0;
  for (long long t = indptr[row] + lane; t < indptr[row + 1]; t += WARP) {
    const S x = wide(data[t]);
    norm += squared_modulus(x);
  }
  norm = warp_sum(norm);
  if (lane == 0) norms[row] = norm;
}
