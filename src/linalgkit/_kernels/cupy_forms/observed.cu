// Sums over the observed entries of a matrix: a warp a line, lane q of it owns the columns q,
// q + 32, ... of every vector, so that a line needs neither a barrier nor atomics.
//
// T is what is stored, W its real type, S what is computed with, I the indices. All lanes have
// the same sums, hence take the same branches.

__device__ inline double modulus(double x) { return fabs(x); }
__device__ inline double modulus(Complex<double> x) { return hypot(x.re, x.im); }
__device__ inline double real_product(double x, double y) { return x * y; }
__device__ inline double real_product(Complex<double> x, Complex<double> y) {
  return x.re * y.re + x.im * y.im;
}
__device__ inline double minus(double x, double y) { return x - y; }
__device__ inline Complex<double> minus(Complex<double> x, Complex<double> y) {
  return {x.re - y.re, x.im - y.im};
}

// Factor of a weight by which a loss (1 Huber, 2 l1) differs from squares.
__device__ inline double loss_factor(double size, int loss, double scale) {
  if (loss == 0) return 1.0;
  return (loss == 1 ? scale : 1.0) / (size > scale ? size : scale);
}

__device__ inline double loss_value(double size, int loss, double scale) {
  if (loss == 2) return size;
  return loss == 1 && size > scale ? scale * (2.0 * size - scale) : size * size;
}

// f . x
template <typename T, typename S>
__device__ S row_product(const T* f, const S* x, int k) {
  S sum = {};
  for (int q = threadIdx.x % WARP; q < k; q += WARP) add_product(sum, wide(f[q]), x[q]);
  return warp_sum(sum);
}

// total += factor * conj(f)
template <typename T, typename S>
__device__ void add_row(S* total, S factor, const T* f, int k) {
  for (int q = threadIdx.x % WARP; q < k; q += WARP)
    add_product(total[q], factor, conjugate(wide(f[q])));
}

// Preconditioned conjugate gradients from X on; each warp has room for six vectors in `room`.
template <typename T, typename S, typename W, typename I>
__global__ void pcg_rows(const long long* __restrict__ indptr, const I* __restrict__ indices,
                         const T* __restrict__ y, const W* __restrict__ weights, int has_weights,
                         const T* __restrict__ F, const T* __restrict__ X,
                         const T* __restrict__ shift, int has_shift, const W* __restrict__ e,
                         const W* __restrict__ ridge, const W* __restrict__ load, int steps,
                         double tol, int loss, double scale, long long n, int k,
                         long long n_warps, S* __restrict__ room, double* __restrict__ factors,
                         T* __restrict__ result, W* __restrict__ rel, int* __restrict__ taken) {
  const long long warp = static_cast<long long>(blockIdx.x) * WARPS + threadIdx.x / WARP;
  const int lane = threadIdx.x % WARP;
  if (warp >= n_warps) return;  // the whole warp
  S *x = room + warp * 4 * k, *d = x + k, *r = d + k, *image = r + k;
  double *inverse = factors + warp * 2 * k, *added = inverse + k;
  for (long long row = warp; row < n; row += n_warps) {
    const long long low = indptr[row], high = indptr[row + 1];
    for (int q = lane; q < k; q += WARP) {
      x[q] = wide(X[row * k + q]);
      r[q] = image[q] = S{};  // the image holds the right side until the first step
    }
    double p = 0.0;
    for (long long t = low; t < high; ++t) {
      const long long j = indices[t];
      const T* f = F + j * k;
      S value = wide(y[t]);
      if (has_shift) value = minus(value, wide(shift[j]));
      const S residual = minus(value, row_product(f, x, k));
      const double weight = (has_weights ? static_cast<double>(weights[t]) : 1.0) *
                            loss_factor(modulus(residual), loss, scale);
      p += weight;
      add_row(r, scaled(weight, residual), f, k);
      add_row(image, scaled(weight, value), f, k);
    }
    double size = 0.0, rz = 0.0;
    for (int q = lane; q < k; q += WARP) {
      added[q] = ridge[q] + p * load[q];
      const double diagonal = p * e[q] + added[q];
      inverse[q] = diagonal > 0.0 ? 1.0 / diagonal : 1.0;
      r[q] = minus(r[q], scaled(added[q], x[q]));
      d[q] = scaled(inverse[q], r[q]);
      size += real_product(image[q], image[q]) * inverse[q];
      rz += real_product(r[q], d[q]);
    }
    size = warp_sum(size);
    rz = warp_sum(rz);
    int count = 0;
    const bool solvable = size != 0.0, known = size < 1e308;
    for (; solvable && known && count < steps && rz > tol * tol * size; ++count) {
      double curvature = 0.0;
      for (int q = lane; q < k; q += WARP) image[q] = scaled(added[q], d[q]);
      for (long long t = low; t < high; ++t) {
        const long long j = indices[t];
        const T* f = F + j * k;
        double weight = has_weights ? static_cast<double>(weights[t]) : 1.0;
        if (loss != 0) {
          S value = wide(y[t]);
          if (has_shift) value = minus(value, wide(shift[j]));
          S start = {};
          for (int q = lane; q < k; q += WARP)
            add_product(start, wide(f[q]), wide(X[row * k + q]));
          weight *= loss_factor(modulus(minus(value, warp_sum(start))), loss, scale);
        }
        add_row(image, scaled(weight, row_product(f, d, k)), f, k);
      }
      for (int q = lane; q < k; q += WARP) curvature += real_product(d[q], image[q]);
      curvature = warp_sum(curvature);
      if (!(curvature > 0.0 && rz * curvature < 1e308)) break;
      const double alpha = rz / curvature;
      double next = 0.0;
      for (int q = lane; q < k; q += WARP) {
        add_product(x[q], alpha, d[q]);
        add_product(r[q], -alpha, image[q]);
        next += real_product(r[q], r[q]) * inverse[q];
      }
      next = warp_sum(next);
      const double beta = next / rz;
      rz = next;
      for (int q = lane; q < k; q += WARP) {
        S turned = scaled(inverse[q], r[q]);
        add_product(turned, beta, d[q]);
        d[q] = turned;
      }
    }
    for (int q = lane; q < k; q += WARP) narrow(solvable ? x[q] : S{}, result[row * k + q]);
    if (lane == 0) {
      rel[row] = static_cast<W>(!solvable ? 0.0 : known && rz < 1e308 ? sqrt(rz / size) : 1.0 / 0.0);
      taken[row] = count;
    }
  }
}

// G[row] = sum of weighted residuals times conj(F), squares[row] = sum of weighted losses; `sums`
// is room for the sums. Without F (kf = 0) only the losses. Without values they are zeros.
template <typename T, typename S, typename W, typename I>
__global__ void residual_rows(const long long* __restrict__ indptr, const I* __restrict__ indices,
                              const T* __restrict__ y, int has_values,
                              const W* __restrict__ weights, int has_weights,
                              const T* __restrict__ P, const T* __restrict__ Q,
                              int k, const T* __restrict__ F, int kf, int loss, double scale,
                              long long n, long long n_warps, S* __restrict__ room,
                              T* __restrict__ G, double* __restrict__ squares) {
  const long long warp = static_cast<long long>(blockIdx.x) * WARPS + threadIdx.x / WARP;
  const int lane = threadIdx.x % WARP;
  if (warp >= n_warps) return;
  S *p = room + warp * (k + kf), *g = p + k;
  for (long long row = warp; row < n; row += n_warps) {
    for (int q = lane; q < k; q += WARP) p[q] = wide(P[row * k + q]);
    for (int q = lane; q < kf; q += WARP) g[q] = S{};
    double total = 0.0;
    for (long long t = indptr[row]; t < indptr[row + 1]; ++t) {
      const long long j = indices[t];
      const S product = row_product(Q + j * k, p, k);
      const S residual = minus(has_values ? wide(y[t]) : S{}, product);
      const double size = modulus(residual);
      const double weight = has_weights ? static_cast<double>(weights[t]) : 1.0;
      total += weight * loss_value(size, loss, scale);
      add_row(g, scaled(weight * loss_factor(size, loss, scale), residual), F + j * kf, kf);
    }
    for (int q = lane; q < kf; q += WARP) narrow(g[q], G[row * kf + q]);
    if (lane == 0) squares[row] = total;
  }
}

// values[t] = P[row] . Q[indices[t]]
template <typename T, typename S, typename I>
__global__ void entries(const long long* __restrict__ indptr, const I* __restrict__ indices,
                        const T* __restrict__ P, const T* __restrict__ Q, long long n, int k,
                        T* __restrict__ values) {
  const long long row = static_cast<long long>(blockIdx.x) * WARPS + threadIdx.x / WARP;
  const int lane = threadIdx.x % WARP;
  if (row >= n) return;
  for (long long t = indptr[row]; t < indptr[row + 1]; ++t) {
    const T* f = Q + static_cast<long long>(indices[t]) * k;
    S sum = {};
    for (int q = lane; q < k; q += WARP) add_product(sum, wide(f[q]), wide(P[row * k + q]));
    sum = warp_sum(sum);
    if (lane == 0) narrow(sum, values[t]);
  }
}

// G[row] = sum of y[t] F[indices[t]]; a lane's columns one after another, in a register.
template <typename T, typename S, typename I>
__global__ void gather_sum(const long long* __restrict__ indptr, const I* __restrict__ indices,
                           const T* __restrict__ y, const T* __restrict__ F, long long n, int k,
                           T* __restrict__ G) {
  const long long row = static_cast<long long>(blockIdx.x) * WARPS + threadIdx.x / WARP;
  if (row >= n) return;
  for (int q = threadIdx.x % WARP; q < k; q += WARP) {
    S sum = {};
    for (long long t = indptr[row]; t < indptr[row + 1]; ++t)
      add_product(sum, wide(y[t]), wide(F[static_cast<long long>(indices[t]) * k + q]));
    narrow(sum, G[row * k + q]);
  }
}
