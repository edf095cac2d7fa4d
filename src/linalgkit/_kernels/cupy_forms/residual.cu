// Residual of CSR rows and its product with the matrix: a warp a row gathers for R and scatters
// to D, every sum with its rounding errors (Knuth's sum of two numbers). Operations named *_rn are
// never fused with others.

__device__ inline double two_sum(double a, double b, double& error) {
  const double total = __dadd_rn(a, b);
  const double added = __dsub_rn(total, a);
  error = __dadd_rn(__dsub_rn(a, __dsub_rn(total, added)), __dsub_rn(b, added));
  return total;
}

__device__ inline double settled(double total, double rest) {
  return rest - rest == 0.0 ? total + rest : total;  // of overflow infinity
}
__device__ inline Complex<double> settled(Complex<double> total, Complex<double> rest) {
  return {settled(total.re, rest.re), settled(total.im, rest.im)};
}

__device__ inline void add_with_error(double& total, double& rest, double term) {
  double error;
  total = two_sum(total, term, error);
  rest += error;
}
__device__ inline void add_with_error(Complex<double>& total, Complex<double>& rest,
                                      Complex<double> term) {
  add_with_error(total.re, rest.re, term.re);
  add_with_error(total.im, rest.im, term.im);
}

// pair[0] is a sum and pair[1] the sum of its errors. The sum before an atomic addition tells how
// that was rounded, in whatever order the additions arrive.
__device__ inline void atomic_add_with_error(double* pair, double term) {
  const double before = atomicAdd(pair, term);
  double error;
  two_sum(before, term, error);
  if (error != 0.0) atomicAdd(pair + 1, error);
}
__device__ inline void atomic_add_with_error(double* pair, Complex<double> term) {
  atomic_add_with_error(pair, term.re);
  atomic_add_with_error(pair + 2, term.im);
}

__device__ inline double minus(double x, double y) { return x - y; }
__device__ inline Complex<double> minus(Complex<double> x, Complex<double> y) {
  return {x.re - y.re, x.im - y.im};
}

// Columns first, ..., first + Q - 1 of Z (d x width), B and R (n x width) and D (d x width), whose
// numbers are pairs, or two pairs for real and imaginary part.
template <typename T, typename S, typename I, int Q>
__global__ void csr_residual_product(const T* __restrict__ data, const I* __restrict__ indices,
                                     const I* __restrict__ indptr, long long n,
                                     const S* __restrict__ Z, const S* __restrict__ B, int width,
                                     int first, S* __restrict__ R, double* __restrict__ D) {
  const long long row = static_cast<long long>(blockIdx.x) * WARPS + threadIdx.x / WARP;
  if (row >= n) return;  // the whole warp
  const int lane = threadIdx.x % WARP;
  const long long low = indptr[row], high = indptr[row + 1];
  S sums[Q] = {}, rests[Q] = {};
  for (long long t = low + lane; t < high; t += WARP) {
    const S x = wide(data[t]);
    const S* z = Z + static_cast<long long>(indices[t]) * width + first;
#pragma unroll
    for (int k = 0; k < Q; ++k) {
      S term = {};
      add_product(term, x, z[k]);
      add_with_error(sums[k], rests[k], term);
    }
  }
#pragma unroll
  for (int k = 0; k < Q; ++k) {
    const long long place = row * width + first + k;
    sums[k] = minus(B[place], warp_sum(settled(sums[k], rests[k])));
    if (lane == 0) R[place] = sums[k];
  }
  constexpr int reals = 2 * sizeof(S) / sizeof(double);
  for (long long t = low + lane; t < high; t += WARP) {
    const S x = conjugate(wide(data[t]));
    double* target = D + (static_cast<long long>(indices[t]) * width + first) * reals;
#pragma unroll
    for (int k = 0; k < Q; ++k) {
      S term = {};
      add_product(term, x, sums[k]);
      atomic_add_with_error(target + k * reals, term);
    }
  }
}
