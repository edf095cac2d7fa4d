// Forward substitution for a ladder of rates: a block a rate, threads over the rows below.

// C (b x m) holds the right-hand sides and is overwritten by the solutions of
// (I - rates[j] tril(G, -1)) c = C[:, j]. Column i of G is read from GT[i * b ...], coalesced.
template <typename G_, typename S>
__global__ void ladder_solve(const G_* __restrict__ GT, const double* __restrict__ rates,
                             S* __restrict__ C, int b, int m) {
  extern __shared__ double storage[];
  S* c = reinterpret_cast<S*>(storage);
  const int rate = blockIdx.x;
  for (int k = threadIdx.x; k < b; k += THREADS) c[k] = C[k * m + rate];
  for (int i = 0; i < b; ++i) {
    __syncthreads();  // c[i] is final
    const S step = scaled(rates[rate], c[i]);
    for (int k = threadIdx.x; k < b; k += THREADS)
      if (k > i) add_product(c[k], GT[i * b + k], step);
  }
  __syncthreads();
  for (int k = threadIdx.x; k < b; k += THREADS) C[k * m + rate] = c[k];
}
