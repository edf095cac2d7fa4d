// Scalar types of the kernels: storage in float or double, arithmetic in double.

#ifndef THREADS
#define THREADS 256
#endif
#define WARP 32
#define WARPS (THREADS / WARP)

template <typename T>
struct Complex {
  T re, im;
};

__device__ inline double wide(float x) { return x; }
__device__ inline double wide(double x) { return x; }
template <typename T>
__device__ inline Complex<double> wide(Complex<T> x) {
  return {static_cast<double>(x.re), static_cast<double>(x.im)};
}

__device__ inline void narrow(double x, float& result) { result = static_cast<float>(x); }
__device__ inline void narrow(double x, double& result) { result = x; }
template <typename T>
__device__ inline void narrow(Complex<double> x, Complex<T>& result) {
  result.re = static_cast<T>(x.re);
  result.im = static_cast<T>(x.im);
}

__device__ inline double conjugate(double x) { return x; }
__device__ inline Complex<double> conjugate(Complex<double> x) { return {x.re, -x.im}; }

__device__ inline double squared_modulus(double x) { return x * x; }
__device__ inline double squared_modulus(Complex<double> x) { return x.re * x.re + x.im * x.im; }

__device__ inline double scaled(double factor, double x) { return factor * x; }
__device__ inline Complex<double> scaled(double factor, Complex<double> x) {
  return {factor * x.re, factor * x.im};
}

// sum += x y
__device__ inline void add_product(double& sum, double x, double y) { sum += x * y; }
__device__ inline void add_product(Complex<double>& sum, Complex<double> x, Complex<double> y) {
  sum.re += x.re * y.re - x.im * y.im;
  sum.im += x.re * y.im + x.im * y.re;
}
__device__ inline void add_product(Complex<double>& sum, double x, Complex<double> y) {
  sum.re += x * y.re;
  sum.im += x * y.im;
}

// The sum over a warp, in every lane and in an order that never changes.
__device__ inline double warp_sum(double x) {
  for (int offset = WARP / 2; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
  return x;
}
__device__ inline Complex<double> warp_sum(Complex<double> x) {
  return {warp_sum(x.re), warp_sum(x.im)};
}

__device__ inline void atomic_add(double* target, double x) { atomicAdd(target, x); }
__device__ inline void atomic_add(Complex<double>* target, Complex<double> x) {
  atomicAdd(&target->re, x.re);
  atomicAdd(&target->im, x.im);
}
