// Enough of CUDA's language to run a kernel on the host, one block after another.
//
// The threads of a block are fibres. A warp's lanes are resumed in turn, each running to its next
// shuffle, until all wait at a __syncthreads; only then does the next warp run. So a barrier that
// is missing between warps, or a shuffle that only some lanes reach, gives wrong numbers.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <utility>
#include <vector>
#include <setjmp.h>
#include <ucontext.h>

#define __global__
#define __device__
#define __shared__ static

struct Index {
  int x;
};
static Index threadIdx, blockIdx;
static std::vector<double> host_shared_memory;
static double host_lanes[1024];

// A fibre is entered through its context, and left and resumed by jumps, which need no system call.
struct Fibre {
  ucontext_t context;
  jmp_buf place;
  bool is_started = false;
};
static jmp_buf host_main;
static std::vector<Fibre> host_fibres;
static std::vector<char> host_done, host_waits;
static std::function<void()> host_body;

static void host_yield() {
  if (!_setjmp(host_fibres[threadIdx.x].place)) _longjmp(host_main, 1);
}

static void host_resume(int thread) {
  threadIdx.x = thread;
  if (_setjmp(host_main)) return;
  Fibre& fibre = host_fibres[thread];
  if (fibre.is_started) _longjmp(fibre.place, 1);
  fibre.is_started = true;
  setcontext(&fibre.context);
}

static void host_entry() {
  host_body();
  host_done[threadIdx.x] = 1;
  _longjmp(host_main, 1);
}

static void __syncthreads() {
  host_waits[threadIdx.x] = 1;
  host_yield();
}

static double __shfl_xor_sync(unsigned, double x, int mask) {
  host_lanes[threadIdx.x] = x;
  host_yield();
  const double other = host_lanes[threadIdx.x ^ mask];
  host_yield();
  return other;
}

static double atomicAdd(double* target, double x) {
  const double old = *target;
  *target = old + x;
  return old;
}

// Never fused with what comes before or after; the host's compiler does not fuse at -O0.
static double __dadd_rn(double x, double y) { return x + y; }
static double __dsub_rn(double x, double y) { return x - y; }

static unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return static_cast<unsigned __int128>(a) * b >> 64;
}

static void sincospi(double x, double* sine, double* cosine) {
  const double quarter = std::floor(2 * x + 0.5), angle = M_PI * (x - quarter / 2);
  const double s = std::sin(angle), c = std::cos(angle);
  const double turned[4] = {s, c, -s, -c};
  const int k = static_cast<int>(std::fmod(quarter, 4) + 4) % 4;
  *sine = turned[k];
  *cosine = turned[(k + 1) % 4];
}

static void host_run_warp(int warp) {
  for (bool ran = true; ran;) {
    ran = false;
    for (int t = 32 * warp + 31; t >= 32 * warp; --t) {
      if (host_done[t] || host_waits[t]) continue;
      host_resume(t);
      ran = true;
    }
  }
}

static void host_run_block(int threads) {
  const std::size_t stack_bytes = 1 << 16;
  const std::unique_ptr<char[]> stacks(new char[stack_bytes * threads]);
  host_fibres.assign(threads, Fibre());
  host_done.assign(threads, 0);
  host_waits.assign(threads, 0);
  for (int t = 0; t < threads; ++t) {
    ucontext_t& context = host_fibres[t].context;
    getcontext(&context);
    context.uc_stack.ss_sp = stacks.get() + stack_bytes * t;
    context.uc_stack.ss_size = stack_bytes;
    makecontext(&context, host_entry, 0);
  }
  for (int running = threads; running > 0;) {
    // Backwards, so that nothing rests on thread 0 being first.
    for (int warp = threads / 32 - 1; warp >= 0; --warp) host_run_warp(warp);
    running = 0;
    for (char done : host_done) running += !done;
    host_waits.assign(threads, 0);
  }
}

template <class... A, std::size_t... I>
static void host_call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
  kernel(*static_cast<A*>(arguments[I])...);
}

template <class... A>
static void host_launch(void (*kernel)(A...), int blocks, int threads, std::size_t shared,
                        void** arguments) {
  host_shared_memory.assign(shared / sizeof(double) + 1, 1e300);  // never zeroed on a device
  host_body = [=] { host_call(kernel, arguments, std::index_sequence_for<A...>()); };
  for (int block = 0; block < blocks; ++block) {
    blockIdx.x = block;
    host_run_block(threads);
  }
}
