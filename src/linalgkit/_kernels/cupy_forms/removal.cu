// Greedy removal of rows: what the loss of each would leave, a warp a row, and the choice.

#define HALVINGS 80

// sum over j of |z_j|^2 / (values_j - x)
template <typename S>
__device__ double response(const double* values, const S* z, int m, double x) {
  double sum = 0.0;
  for (int j = threadIdx.x % WARP; j < m; j += WARP) {
    const double gap = values[j] - x;
    if (gap != 0.0) sum += squared_modulus(z[j]) / gap;
  }
  return warp_sum(sum);
}

// The root of response = 1 between two bounds, halved until no number lies between them.
template <typename S>
__device__ double halved(const double* values, const S* z, int m, double low, double high) {
  for (int step = 0; step < HALVINGS; ++step) {
    const double middle = 0.5 * (low + high);
    if (!(low < middle && middle < high)) break;  // the same branch in all lanes
    if (response(values, z, m, middle) > 1.0)
      high = middle;
    else
      low = middle;
  }
  return 0.5 * (low + high);
}

// worst[i] = how far the Gram matrix of the other rows, over count, is from the identity: below, or
// with two_sided in norm; infinite for rows that are gone.
template <typename S>
__global__ void candidates(const double* __restrict__ values, const S* __restrict__ Z, long long n,
                           int m, double count, int two_sided,
                           const signed char* __restrict__ is_gone, double* __restrict__ worst) {
  const long long row = static_cast<long long>(blockIdx.x) * WARPS + threadIdx.x / WARP;
  const int lane = threadIdx.x % WARP;
  if (row >= n) return;  // the whole warp
  if (is_gone[row]) {
    if (lane == 0) worst[row] = 1.0 / 0.0;
    return;
  }
  const S* z = Z + row * m;
  double size = 0.0;
  for (int j = lane; j < m; j += WARP) size += squared_modulus(z[j]);
  size = warp_sum(size);
  const double bottom = values[0], top = values[m - 1];
  double found = 1.0 - halved(values, z, m, bottom - size, bottom) / count;
  if (two_sided) {
    const double second = m > 1 ? values[m - 2] : top - size;
    const double low = top - size > second ? top - size : second;
    const double above = halved(values, z, m, low, top) / count - 1.0;
    if (above > found) found = above;
  }
  if (lane == 0) worst[row] = found;
}

// One block: the first of the rows with the least worst, if that is at most delta and every step
// before found one; else -1. `row` returns the row, or zeros.
template <typename S>
__global__ void choose(const double* __restrict__ worst, const S* __restrict__ Z, int n, int m,
                       double delta, int step, signed char* __restrict__ is_gone,
                       long long* __restrict__ removed, S* __restrict__ row) {
  __shared__ double least[THREADS];
  __shared__ int place[THREADS];
  const int thread = threadIdx.x;
  double mine = 1.0 / 0.0;
  int at = -1;
  for (int i = thread; i < n; i += THREADS)
    if (worst[i] < mine) {
      mine = worst[i];
      at = i;
    }
  least[thread] = mine;
  place[thread] = at;
  for (int apart = THREADS / 2; apart > 0; apart /= 2) {
    __syncthreads();
    if (thread >= apart) continue;
    const int rival = thread + apart;
    const bool is_tie = least[rival] == least[thread] && place[rival] < place[thread];
    if (place[rival] >= 0 && (place[thread] < 0 || least[rival] < least[thread] || is_tie)) {
      least[thread] = least[rival];
      place[thread] = place[rival];
    }
  }
  __syncthreads();
  const bool goes_on = step == 0 || removed[step - 1] >= 0;
  const int best = goes_on && place[0] >= 0 && least[0] <= delta ? place[0] : -1;
  for (int j = thread; j < m; j += THREADS)
    row[j] = best >= 0 ? Z[static_cast<long long>(best) * m + j] : S{};
  if (thread != 0) return;
  removed[step] = best;
  if (best >= 0) is_gone[best] = 1;
}
