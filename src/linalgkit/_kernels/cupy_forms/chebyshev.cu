// Chebyshev polynomials, a thread a point, and sums of products along rows, a thread a sum.

// T (m x n): the recurrence in the precision of t, as on the host.
template <typename T>
__global__ void chebyshev_rows(const T* __restrict__ t, long long n, int m, T* __restrict__ rows) {
  const long long i = static_cast<long long>(blockIdx.x) * THREADS + threadIdx.x;
  if (i >= n) return;
  const T x = t[i], twice = x + x;
  T before = T(1), last = x;
  rows[i] = before;
  if (m > 1) rows[n + i] = last;
  for (int j = 2; j < m; ++j) {
    const T next = twice * last - before;
    before = last;
    last = next;
    rows[j * n + i] = next;
  }
}

// Z (n x b): Z[i, q] = sum over k < a of Y[i, k, q] B[i, k], summed in double.
template <typename T, typename S>
__global__ void row_contract(const T* __restrict__ Y, const T* __restrict__ B, long long n, int a,
                             int b, T* __restrict__ Z) {
  const long long place = static_cast<long long>(blockIdx.x) * THREADS + threadIdx.x;
  if (place >= n * b) return;
  const long long i = place / b;
  const T* y = Y + i * a * b + place % b;
  const T* w = B + i * a;
  S sum = {};
  for (int k = 0; k < a; ++k) add_product(sum, wide(y[static_cast<long long>(k) * b]), wide(w[k]));
  narrow(sum, Z[place]);
}

// B (n x r): B[i, q] = sum over k of T_k(s[i]) L[panel[i], k, q], a thread a number: each runs the
// recurrence in the precision of s while it sums in double.
template <typename T, typename R, typename S, typename I>
__global__ void panel_rows(const I* __restrict__ panel, const R* __restrict__ s,
                           const T* __restrict__ L, long long n, int terms, int r,
                           T* __restrict__ B) {
  const long long place = static_cast<long long>(blockIdx.x) * THREADS + threadIdx.x;
  if (place >= n * r) return;
  const long long i = place / r;
  const T* c = L + static_cast<long long>(panel[i]) * terms * r + place % r;
  const R x = s[i], twice = x + x;
  R last = R(1), next = x;
  S sum = {};
  for (int k = 0; k < terms; ++k) {
    add_product(sum, static_cast<double>(last), wide(c[static_cast<long long>(k) * r]));
    const R after = twice * next - last;
    last = next;
    next = after;
  }
  narrow(sum, B[place]);
}
