// Sequential acceptance of the proposals of one block: a single block of threads.

__device__ inline double real_part(double x) { return x; }
__device__ inline double real_part(Complex<double> x) { return x.re; }

// H (b x b) is the Gram matrix of the rows, factor (need x b) workspace for the Cholesky rows of the
// accepted ones, left (b) for the squared norms that are left. picked[0] returns how many were
// accepted, picked[1 ...] their numbers.
template <typename H_, typename S>
__global__ void accept_proposals(const H_* __restrict__ H, const double* __restrict__ bars,
                                 double* left, S* factor, long long* picked, int b, int need,
                                 double floor) {
  for (int j = threadIdx.x; j < b; j += THREADS) left[j] = real_part(wide(H[j * b + j]));
  int count = 0;
  for (int i = 0; i < b && count < need; ++i) {
    __syncthreads();  // left[i] is final
    const double mine = left[i];
    const double least = floor * real_part(wide(H[i * b + i]));
    if (!(mine > bars[i] && mine > least)) continue;  // the same branch in every thread
    const double scale = 1.0 / sqrt(mine);
    for (int j = i + 1 + threadIdx.x; j < b; j += THREADS) {
      S sum = wide(H[i * b + j]);
      for (int k = 0; k < count; ++k)
        add_product(sum, scaled(-1.0, conjugate(factor[k * b + i])), factor[k * b + j]);
      sum = scaled(scale, sum);
      factor[count * b + j] = sum;
      left[j] -= squared_modulus(sum);
    }
    if (threadIdx.x == 0) picked[1 + count] = i;
    ++count;
  }
  if (threadIdx.x == 0) picked[0] = count;
}
