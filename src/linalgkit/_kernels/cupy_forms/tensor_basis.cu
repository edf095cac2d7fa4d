// Products of columns of a table: a thread a product, points one after another.

__device__ inline float times(float x, float y) { return x * y; }
__device__ inline double times(double x, double y) { return x * y; }
template <typename T>
__device__ inline Complex<T> times(Complex<T> x, Complex<T> y) {
  return {x.re * y.re - x.im * y.im, x.re * y.im + x.im * y.re};
}

// Y (n x m): Y[i, q] = product over r < s of T[i, columns[r, q]]; T has rows of `width` numbers.
// The order of the factors is that of r, in the precision of T as on the host.
template <typename T>
__global__ void tensor_basis(const T* __restrict__ table, long long width,
                             const int* __restrict__ columns, int s, long long n, long long m,
                             T* __restrict__ Y) {
  const long long k = static_cast<long long>(blockIdx.x) * THREADS + threadIdx.x;
  if (k >= n * m) return;
  const long long i = k / m, q = k % m;
  const T* row = table + i * width;
  T value = row[columns[q]];
  for (int r = 1; r < s; ++r) value = times(value, row[columns[r * m + q]]);
  Y[k] = value;
}
