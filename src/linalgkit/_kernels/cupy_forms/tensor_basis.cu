// Tables of polynomials, a thread a variable, and products of columns, a thread a product.

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

#define DEGREES 16  // of a variable that are written together

// result[place, j - 1] = polynomial of degree j of t[place], j = 1 ... p, by the recurrence of the
// rows A, B, C of coefficients (3 x p), in the precision of t. The numbers of a block lie one after
// another: they go through shared memory so that they are written so, too.
template <typename T>
__global__ void recurrence_table(const T* __restrict__ t, long long count,
                                 const T* __restrict__ coefficients, int p,
                                 T* __restrict__ result) {
  __shared__ T tile[THREADS][DEGREES + 1];
  const long long start = static_cast<long long>(blockIdx.x) * THREADS;
  const int thread = threadIdx.x;
  const int points = count - start < THREADS ? static_cast<int>(count - start) : THREADS;
  const T x = thread < points ? t[start + thread] : T(0);
  T before = T(0), last = T(1);
  for (int first = 0; first < p; first += DEGREES) {
    const int degrees = p - first < DEGREES ? p - first : DEGREES;
    for (int j = 0; j < degrees; ++j) {
      const T* c = coefficients + first + j;
      const T next = (c[0] * x + c[p]) * last - c[2 * p] * before;
      before = last;
      last = next;
      tile[thread][j] = next;
    }
    __syncthreads();
    for (int k = thread; k < points * degrees; k += THREADS)
      result[(start + k / degrees) * p + first + k % degrees] = tile[k / degrees][k % degrees];
    __syncthreads();  // the tile is free again
  }
}

// result[i] = polynomial of degree degrees[i] of t[i].
__global__ void recurrence_values(const double* __restrict__ t,
                                  const long long* __restrict__ degrees, long long count,
                                  const double* __restrict__ coefficients, int p,
                                  double* __restrict__ result) {
  const long long i = static_cast<long long>(blockIdx.x) * THREADS + threadIdx.x;
  if (i >= count) return;
  const double x = t[i];
  double before = 0.0, last = 1.0;
  for (long long j = 0; j < degrees[i]; ++j) {
    const double next =
        (coefficients[j] * x + coefficients[p + j]) * last - coefficients[2 * p + j] * before;
    before = last;
    last = next;
  }
  result[i] = last;
}
