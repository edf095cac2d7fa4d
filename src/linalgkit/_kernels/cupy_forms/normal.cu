// Philox4x64-10 and the method of Box and Muller, a thread a block of four words.

typedef unsigned long long Word;

// Words of NumPy's generator: it counts before it computes.
__device__ inline void philox(Word x[4], Word key0, Word key1) {
  if (++x[0] == 0) ++x[1];
  for (int round = 0; round < 10; ++round) {
    const Word low0 = 0xD2E7470EE14C6C93ull * x[0], high0 = __umul64hi(0xD2E7470EE14C6C93ull, x[0]);
    const Word low1 = 0xCA5A826395121157ull * x[2], high1 = __umul64hi(0xCA5A826395121157ull, x[2]);
    x[0] = high1 ^ x[1] ^ key0;
    x[1] = low1;
    x[2] = high0 ^ x[3] ^ key1;
    x[3] = low0;
    key0 += 0x9E3779B97F4A7C15ull;
    key1 += 0xBB67AE8584CAA73Bull;
  }
}

// Y (rows x m): row r is made of the words of `blocks` blocks from first + r * blocks on.
template <typename T>
__global__ void normal_rows(Word key0, Word key1, Word i, Word j, Word stream, Word first,
                            long long blocks, long long rows, long long m, double unit,
                            T* __restrict__ Y) {
  const long long k = static_cast<long long>(blockIdx.x) * THREADS + threadIdx.x;
  if (k >= rows * blocks) return;
  const long long row = k / blocks, column = k % blocks * 4;
  Word x[4] = {first + static_cast<Word>(k), i, j, stream};
  philox(x, key0, key1);
  for (int pair = 0; pair < 2; ++pair) {
    const double u = (static_cast<double>(x[2 * pair] >> 11) + 0.5) * 0x1p-53;
    const double v = static_cast<double>(x[2 * pair + 1] >> 11) * 0x1p-52;
    const double radius = unit * sqrt(-2.0 * log(u));
    double numbers[2];
    sincospi(v, &numbers[1], &numbers[0]);
    for (int part = 0; part < 2; ++part) {
      const long long c = column + 2 * pair + part;
      if (c < m) Y[row * m + c] = static_cast<T>(radius * numbers[part]);
    }
  }
}
