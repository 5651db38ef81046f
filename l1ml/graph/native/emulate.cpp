// SPDX-License-Identifier: Apache-2.0
//
// Executes the kernels of l1ml.graph.kernels for blocks of events.
//
// Every tensor element is a row of `Lanes` events, so that each instruction works on many events at
// once and zero weights cost nothing.  Kernels read rows by number: moving elements costs nothing.
// T is float or double: the Python side has proven that T holds every number on the way exactly, so the
// order of additions does not matter.

#include <cmath>
#include <cstdint>
#include <vector>

namespace {

// The numbers of l1ml.graph.kernels.kernel: Kind, Round and Over.
enum Kind : int32_t {
  COPY, AFFINE, SUM, SUB, PROD, MAX, MIN, DOT, COMPARE, SELECT, ARGMAX, STEPS, LOOKUP, SCALED, AND, OR, XOR
};
enum Rounding : int32_t { NONE, RND_CONV, TRN, TRN_ZERO, RND, RND_ZERO, RND_INF, RND_MIN_INF };
enum Overflow : int32_t { KEEP, CLIP, WRAP, ZERO };
enum Field : int32_t { FACTOR, OFFSET, LO, HI, UNIT, SPAN, INVERSE, FIELDS };

}  // namespace

extern "C" {

// One kernel: units that each read `reads` rows and make `makes`.  Mirrors `_Op` in runner.py.
struct L1mlOp {
  int32_t kind;
  int32_t reads;
  int32_t makes;
  int32_t tile;       // AFFINE: columns made together: 1, 2 or 4
  int32_t tiles;      // AFFINE: groups of columns; DOT: rows of the second factor
  int32_t constants;  // T per unit in `params`
  int32_t rounding;
  int32_t overflow;
  int32_t post_wide;  // 1: `post` and what it computes are double
  int32_t unused;
  const int32_t* in;          // (units, reads) row numbers
  const int32_t* out;         // (units, makes) row numbers, -1 for a result nobody reads
  const int32_t* which;       // (units) parameter set
  const void* params;         // T, sets of `constants`
  const void* table;          // T: LOOKUP
  const int32_t* start;       // AFFINE: first entry per group of columns
  const int32_t* index;       // AFFINE: which of the rows read, per entry
  const int32_t* column;      // AFFINE: (tiles, tile) the columns, -1 for none
  const void* weight;         // AFFINE, T: (entries, tile)
  const void* post;           // sets of FIELDS; null: nothing follows
  const int32_t* post_which;  // (units, makes) set
};

// Units `first` to `last - 1` of a kernel.
struct L1mlStep {
  int32_t op;
  int32_t first;
  int32_t last;
};

// What all blocks have in common.  Mirrors `_Net` in runner.py.
struct L1mlNet {
  const L1mlOp* ops;
  const L1mlStep* steps;
  int32_t n_ops;
  int32_t n_steps;
  int32_t n_rows;
  int32_t n_constants;
  int32_t n_in;
  int32_t n_out;
  int32_t wide;                 // 1: double, else float
  int32_t max_reads;
  const int32_t* constant_row;
  const double* constant;
  const int32_t* in_row;
  const double* to_code;        // inputs must be integers between lo and hi once multiplied by this
  const double* lo;
  const double* hi;
  const int32_t* out_row;
};

}  // extern "C"

namespace {

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64;
#else
constexpr int VECTOR_BYTES = 32;
#endif

template <int R, typename T>
inline T rounded(T v) {
  switch (R) {
    case RND_CONV: return std::nearbyint(v);
    case TRN: return std::floor(v);
    case TRN_ZERO: return std::trunc(v);
    case RND: return std::floor(v + T(0.5));
    case RND_ZERO: return std::copysign(std::ceil(std::fabs(v) - T(0.5)), v);
    case RND_INF: return std::copysign(std::floor(std::fabs(v) + T(0.5)), v);
    case RND_MIN_INF: return std::ceil(v - T(0.5));
  }
  return v;
}

// Sends a row through one parameter set; P may be wider than T.
template <typename T, typename P, int Lanes, int R, int O>
void post(T* y, const T* x, const void* set) {
  const P* p = static_cast<const P*>(set);
  const P factor = p[FACTOR], offset = p[OFFSET], lo = p[LO], hi = p[HI];
  const P unit = p[UNIT], span = p[SPAN], inverse = p[INVERSE];
#pragma GCC ivdep
  for (int l = 0; l < Lanes; ++l) {
    P v = rounded<R>(P(x[l]) * factor + offset);
    if (O == CLIP) {
      v = v < lo ? lo : v;
      v = v > hi ? hi : v;
    } else if (O == WRAP) {
      v -= span * std::floor((v - lo) * inverse);
    } else if (O == ZERO) {
      v = (v < lo) | (v > hi) ? P(0) : v;
    }
    y[l] = T(v * unit);
  }
}

template <typename T>
using Post = void (*)(T*, const T*, const void*);

template <typename T, typename P, int Lanes, int R>
Post<T> post_of(int32_t overflow) {
  switch (overflow) {
    case CLIP: return post<T, P, Lanes, R, CLIP>;
    case WRAP: return post<T, P, Lanes, R, WRAP>;
    case ZERO: return post<T, P, Lanes, R, ZERO>;
  }
  return post<T, P, Lanes, R, KEEP>;
}

template <typename T, typename P, int Lanes>
Post<T> post_of(int32_t rounding, int32_t overflow) {
  switch (rounding) {
    case RND_CONV: return post_of<T, P, Lanes, RND_CONV>(overflow);
    case TRN: return post_of<T, P, Lanes, TRN>(overflow);
    case TRN_ZERO: return post_of<T, P, Lanes, TRN_ZERO>(overflow);
    case RND: return post_of<T, P, Lanes, RND>(overflow);
    case RND_ZERO: return post_of<T, P, Lanes, RND_ZERO>(overflow);
    case RND_INF: return post_of<T, P, Lanes, RND_INF>(overflow);
    case RND_MIN_INF: return post_of<T, P, Lanes, RND_MIN_INF>(overflow);
  }
  return post_of<T, P, Lanes, NONE>(overflow);
}

template <typename T, int Lanes>
class Kernel {
 public:
  Kernel(const L1mlOp& op, T* rows, const T** pointers) : op(op), rows(rows), pointers(pointers), post(nullptr) {
    if (!op.post) return;
    post = op.post_wide ? post_of<T, double, Lanes>(op.rounding, op.overflow)
                        : post_of<T, T, Lanes>(op.rounding, op.overflow);
    post_bytes = FIELDS * (op.post_wide ? sizeof(double) : sizeof(T));
  }

  // Runs units `first` to `last - 1`.
  void run(int32_t first, int32_t last) const {
    for (int32_t u = first; u < last; ++u) {
      const int32_t* in = op.in + size_t(u) * op.reads;
      switch (op.kind) {
        case COPY: store(u, row(in[0])); break;
        case AFFINE: affine(u, in); break;
        case SUM: fold(u, in, [](T a, T b) { return a + b; }); break;
        case SUB: fold(u, in, [](T a, T b) { return a - b; }); break;
        case PROD: fold(u, in, [](T a, T b) { return a * b; }); break;
        case MAX: fold(u, in, [](T a, T b) { return a < b ? b : a; }); break;
        case MIN: fold(u, in, [](T a, T b) { return b < a ? b : a; }); break;
        case DOT: dot(u, in); break;
        case COMPARE: fold(u, in, [](T a, T b) { return a >= b ? T(1) : T(0); }); break;
        case SELECT: select(u, in); break;
        case ARGMAX: argmax(u, in); break;
        case STEPS: steps(u, in); break;
        case LOOKUP: lookup(u, in); break;
        case SCALED: scaled(u, in); break;
        case AND: bitwise(u, in, [](int64_t a, int64_t b) { return a & b; }); break;
        case OR: bitwise(u, in, [](int64_t a, int64_t b) { return a | b; }); break;
        case XOR: bitwise(u, in, [](int64_t a, int64_t b) { return a ^ b; }); break;
      }
    }
  }

 private:
  typedef T Vector __attribute__((vector_size(VECTOR_BYTES)));
  static constexpr int VECTORS = Lanes * sizeof(T) / VECTOR_BYTES;

  const L1mlOp& op;
  T* rows;
  const T** pointers;  // room for the rows of one unit
  Post<T> post;
  size_t post_bytes = 0;

  const T* row(int32_t number) const { return rows + size_t(number) * Lanes; }

  const T* params(int32_t u) const { return static_cast<const T*>(op.params) + size_t(op.which[u]) * op.constants; }

  // Stores result `number` of all units.
  void store(size_t number, const T* x) const {
    const int32_t to = op.out[number];
    if (to < 0) return;
    T* y = rows + size_t(to) * Lanes;
    if (post) {
      post(y, x, static_cast<const char*>(op.post) + post_bytes * op.post_which[number]);
    } else {
      for (int l = 0; l < Lanes; ++l) y[l] = x[l];
    }
  }

  void affine(int32_t u, const int32_t* in) const {
    for (int32_t k = 0; k < op.reads; ++k) pointers[k] = row(in[k]);
    switch (op.tile) {
      case 1: return columns<1>(u);
      case 2: return columns<2>(u);
      default: return columns<4>(u);
    }
  }

  // Columns of a group share the loads of their inputs.
  template <int Tile>
  void columns(int32_t u) const {
    constexpr int Side = VECTOR_BYTES == 64 || Tile < 4 ? 4 : 2;  // as many sums as there are registers
    const T* weight = static_cast<const T*>(op.weight);
    alignas(64) T sums[Tile][Lanes];
    for (int32_t j = 0; j < op.tiles; ++j) {
      const int32_t first = op.start[j], last = op.start[j + 1];
      for (int v = 0; v < VECTORS; v += Side) {
        Vector sum[Tile][Side] = {};
        for (int32_t k = first; k < last; ++k) {
          const T* w = weight + size_t(Tile) * k;
          const Vector* x = reinterpret_cast<const Vector*>(pointers[op.index[k]]) + v;
#pragma GCC unroll 4
          for (int s = 0; s < Side; ++s)
#pragma GCC unroll 4
            for (int c = 0; c < Tile; ++c) sum[c][s] += w[c] * x[s];
        }
#pragma GCC unroll 4
        for (int c = 0; c < Tile; ++c)
#pragma GCC unroll 4
          for (int s = 0; s < Side; ++s) reinterpret_cast<Vector*>(sums[c])[v + s] = sum[c][s];
      }
      for (int c = 0; c < Tile; ++c) {
        const int32_t column = op.column[Tile * j + c];
        if (column >= 0) store(size_t(u) * op.makes + column, sums[c]);
      }
    }
  }

  // A unit reads (n, k) rows, then (m, k) rows, and makes (n, m).
  void dot(int32_t u, const int32_t* in) const {
    constexpr int Side = 4;
    alignas(64) T y[Lanes];
    const int32_t m = op.tiles, n = op.makes / m, size = op.reads / (n + m);
    for (int32_t i = 0; i < n; ++i)
      for (int32_t j = 0; j < m; ++j) {
        const size_t number = size_t(u) * op.makes + i * m + j;
        if (op.out[number] < 0) continue;
        const int32_t *a = in + i * size, *b = in + (n + j) * size;
        for (int v = 0; v < VECTORS; v += Side) {
          Vector sum[Side] = {};
          for (int32_t k = 0; k < size; ++k) {
            const Vector* p = reinterpret_cast<const Vector*>(row(a[k])) + v;
            const Vector* q = reinterpret_cast<const Vector*>(row(b[k])) + v;
#pragma GCC unroll 4
            for (int s = 0; s < Side; ++s) sum[s] += p[s] * q[s];
          }
#pragma GCC unroll 4
          for (int s = 0; s < Side; ++s) reinterpret_cast<Vector*>(y)[v + s] = sum[s];
        }
        store(number, y);
      }
  }

  template <typename F>
  void fold(int32_t u, const int32_t* in, F combine) const {
    alignas(64) T y[Lanes];
    const T *a = row(in[0]), *b = row(in[1]);
    for (int l = 0; l < Lanes; ++l) y[l] = combine(a[l], b[l]);
    for (int32_t k = 2; k < op.reads; ++k) {
      const T* x = row(in[k]);
      for (int l = 0; l < Lanes; ++l) y[l] = combine(y[l], x[l]);
    }
    store(u, y);
  }

  template <typename F>
  void bitwise(int32_t u, const int32_t* in, F combine) const {
    alignas(64) T y[Lanes];
    const T *a = row(in[0]), *b = row(in[1]), *p = params(u);
    for (int l = 0; l < Lanes; ++l) y[l] = T(combine(int64_t(a[l] * p[0]), int64_t(b[l] * p[1]))) * p[2];
    store(u, y);
  }

  void scaled(int32_t u, const int32_t* in) const {
    alignas(64) T y[Lanes];
    const T *a = row(in[0]), *b = row(in[1]), *p = params(u);
    for (int l = 0; l < Lanes; ++l) y[l] = a[l] * p[0] + b[l] * p[1];
    store(u, y);
  }

  void select(int32_t u, const int32_t* in) const {
    alignas(64) T y[Lanes];
    const T *c = row(in[0]), *a = row(in[1]), *b = row(in[2]);
    for (int l = 0; l < Lanes; ++l) y[l] = c[l] != T(0) ? a[l] : b[l];
    store(u, y);
  }

  void argmax(int32_t u, const int32_t* in) const {
    alignas(64) T y[Lanes], best[Lanes];
    const T* first = row(in[0]);
    for (int l = 0; l < Lanes; ++l) y[l] = 0, best[l] = first[l];
    for (int32_t k = 1; k < op.reads; ++k) {
      const T* x = row(in[k]);
      for (int l = 0; l < Lanes; ++l) {
        y[l] = x[l] > best[l] ? T(k) : y[l];
        best[l] = x[l] > best[l] ? x[l] : best[l];
      }
    }
    store(u, y);
  }

  void steps(int32_t u, const int32_t* in) const {
    alignas(64) T y[Lanes];
    const T *x = row(in[0]), *p = params(u);
    const int32_t n = op.constants / 2;
    for (int l = 0; l < Lanes; ++l) y[l] = p[0];
    for (int32_t k = 1; k <= n; ++k) {
      const T limit = p[k], jump = p[n + k];
      for (int l = 0; l < Lanes; ++l) y[l] += x[l] >= limit ? jump : T(0);
    }
    store(u, y);
  }

  void lookup(int32_t u, const int32_t* in) const {
    alignas(64) T y[Lanes];
    const T *x = row(in[0]), *p = params(u), *table = static_cast<const T*>(op.table);
    for (int l = 0; l < Lanes; ++l) y[l] = table[int32_t(x[l] * p[0] + p[1])];
    store(u, y);
  }
};

// Checks events and turns them into rows.
template <typename T, int Lanes, typename X>
class Inputs {
 public:
  static constexpr int Side = 16;  // values of an event that are moved together: a cache line of float

  explicit Inputs(const L1mlNet& net) : net(net) {
    const size_t size = size_t(net.n_in) + Side;
    factor.assign(size, X(0)), lo.assign(size, X(0)), hi.assign(size, X(0));
    for (int32_t i = 0; i < net.n_in; ++i) factor[i] = X(net.to_code[i]), lo[i] = X(net.lo[i]), hi[i] = X(net.hi[i]);
  }

  bool wrong(X value, int32_t i) const {
    const X code = value * factor[i];
    return !(code >= lo[i] && code <= hi[i] && code == std::nearbyint(code));
  }

  // Loads inputs i to i + Side - 1 of `n` events, the first at `x`; tells whether any is wrong.
  bool load(const X* x, int n, int32_t i, T* rows) const {
    return net.n_in - i < Side ? tile(x, n, i, net.n_in - i, rows) : tile(x, n, i, Side, rows);
  }

 private:
  const L1mlNet& net;
  std::vector<X> factor, lo, hi;

  inline __attribute__((always_inline)) bool tile(const X* x, int n, int32_t i, int width, T* rows) const {
    alignas(64) T values[Lanes][Side];
    int bad = 0;
    for (int l = 0; l < n; ++l) {
      const X* from = x + size_t(l) * net.n_in;
      for (int j = 0; j < width; ++j) {
        const X code = from[j] * factor[i + j];
        bad |= !((code >= lo[i + j]) & (code <= hi[i + j]) & (code == std::nearbyint(code)));
        values[l][j] = T(from[j]);
      }
    }
    for (int j = 0; j < width; ++j) {
      T* row = rows + size_t(net.in_row[i + j]) * Lanes;
      for (int l = 0; l < n; ++l) row[l] = values[l][j];
      for (int l = n; l < Lanes; ++l) row[l] = row[0];  // whatever runs there stays in range
    }
    return bad != 0;
  }
};

// Returns the first event that has a value off the grid or out of range, or -1.
template <typename T, int Lanes, typename X>
int64_t run(const L1mlNet& net, const X* x, double* out, int64_t events) {
  std::vector<T> memory(size_t(net.n_rows) * Lanes + 64 / sizeof(T), T(0));
  T* rows = memory.data();
  while (reinterpret_cast<uintptr_t>(rows) % 64) ++rows;
  for (int32_t c = 0; c < net.n_constants; ++c)
    for (int l = 0; l < Lanes; ++l) rows[size_t(net.constant_row[c]) * Lanes + l] = T(net.constant[c]);
  std::vector<const T*> pointers(size_t(net.max_reads) + 1);
  std::vector<Kernel<T, Lanes>> kernels;
  for (int32_t k = 0; k < net.n_ops; ++k) kernels.emplace_back(net.ops[k], rows, pointers.data());
  const int32_t n_in = net.n_in, n_out = net.n_out;
  constexpr int Side = Inputs<T, Lanes, X>::Side;
  const Inputs<T, Lanes, X> inputs(net);
  for (int64_t first = 0; first < events; first += Lanes) {
    const int n = int(events - first < Lanes ? events - first : Lanes);
    bool bad = false;
    for (int32_t i = 0; i < n_in; i += Side) bad |= inputs.load(x + first * n_in + i, n, i, rows);
    if (bad) {
      for (int l = 0; l < n; ++l)
        for (int32_t i = 0; i < n_in; ++i)
          if (inputs.wrong(x[(first + l) * n_in + i], i)) return first + l;
    }
    for (int32_t s = 0; s < net.n_steps; ++s) kernels[net.steps[s].op].run(net.steps[s].first, net.steps[s].last);
    for (int32_t o = 0; o < n_out; ++o) {
      const T* row = rows + size_t(net.out_row[o]) * Lanes;
      double* y = out + first * n_out + o;
      for (int l = 0; l < n; ++l) y[size_t(l) * n_out] = double(row[l]) + 0.0;  // no negative zeros
    }
  }
  return -1;
}

}  // namespace

// Inputs are float or double; a network that computes in double takes double.
extern "C" int64_t l1ml_run(const L1mlNet* net, int32_t x_is_double, const void* x, double* out, int64_t events) {
  const auto* xd = static_cast<const double*>(x);
  if (net->wide) return run<double, 32>(*net, xd, out, events);
  return x_is_double ? run<float, 64>(*net, xd, out, events)
                     : run<float, 64>(*net, static_cast<const float*>(x), out, events);
}
