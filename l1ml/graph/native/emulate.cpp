// SPDX-License-Identifier: Apache-2.0
//
// Executes the kernels of l1ml.graph.kernels for blocks of events.
//
// Every tensor element is a row of `Lanes` events, so that each instruction works on many events at
// once and zero weights cost nothing.  T is float or double: the Python side has proven that every
// intermediate sum is an integer that T holds exactly, so the order of additions does not matter.

#include <cmath>
#include <cstdint>
#include <vector>

namespace {

enum Kind : int32_t { AFFINE = 0, ROUND = 1, SCALE = 2, COUNT = 3 };
enum Rounding : int32_t { RND_CONV = 0, TRN = 1, TRN_ZERO = 2, RND = 3 };

}  // namespace

extern "C" {

// One kernel; rows are indices into the block's table of rows.  Mirrors `_Op` in native.py.
struct L1mlOp {
  int32_t kind;
  int32_t rounding;
  int32_t rows_in;    // elements of the input tensor
  int32_t rows_out;   // elements of the output tensor
  int32_t inner_in;   // length of the last axis, input
  int32_t inner_out;  // length of the last axis, output
  int32_t first_in;   // first row of the input tensor
  int32_t first_out;  // first row of the output tensor
  int32_t steps;      // COUNT: thresholds per channel
  int32_t then_round; // AFFINE: 1 if `scale, rounding, lo, hi` follow at once
  double scale;       // ROUND: 2**-drop
  double lo;
  double hi;
  const int32_t* start;  // AFFINE: per output channel, first entry in index/weight (CSR)
  const int32_t* index;
  const double* weight;  // AFFINE: weights; SCALE: multipliers; COUNT: thresholds
  const double* bias;    // AFFINE: bias; SCALE: offsets; COUNT: base
  const double* factor;  // SCALE: 2**-shift per channel; COUNT: step
};

}  // extern "C"

namespace {

template <typename T, int Lanes>
inline void round_row(T* y, const T* x, T scale, int32_t mode, T lo, T hi) {
  switch (mode) {
    case RND_CONV:
      for (int l = 0; l < Lanes; ++l) y[l] = std::nearbyint(x[l] * scale);
      break;
    case TRN:
      for (int l = 0; l < Lanes; ++l) y[l] = std::floor(x[l] * scale);
      break;
    case TRN_ZERO:
      for (int l = 0; l < Lanes; ++l) y[l] = std::trunc(x[l] * scale);
      break;
    default:
      for (int l = 0; l < Lanes; ++l) y[l] = std::floor(x[l] * scale + T(0.5));
  }
  for (int l = 0; l < Lanes; ++l) {
    T v = y[l] < lo ? lo : y[l];
    y[l] = v > hi ? hi : v;
  }
}

template <typename T, int Lanes>
void execute(const L1mlOp& op, T* rows, const T* weights) {
  const T scale = T(op.scale), lo = T(op.lo), hi = T(op.hi);
  if (op.kind == AFFINE) {
    const int outer = op.rows_in / op.inner_in;
    for (int o = 0; o < outer; ++o) {
      const T* x = rows + size_t(op.first_in + o * op.inner_in) * Lanes;
      T* y = rows + size_t(op.first_out + o * op.inner_out) * Lanes;
      for (int j = 0; j < op.inner_out; ++j, y += Lanes) {
        // Four named vectors: an array would be kept in memory and wait for its own stores.
        typedef T Vector __attribute__((vector_size(Lanes * sizeof(T) / 4)));
        const T b = T(op.bias[j]);
        Vector a0 = Vector{} + b, a1 = a0, a2 = a0, a3 = a0;
        for (int32_t k = op.start[j]; k < op.start[j + 1]; ++k) {
          const T w = weights[k];
          const Vector* xi = reinterpret_cast<const Vector*>(x + size_t(op.index[k]) * Lanes);
          a0 += w * xi[0];
          a1 += w * xi[1];
          a2 += w * xi[2];
          a3 += w * xi[3];
        }
        alignas(64) T acc[Lanes];
        Vector* store = reinterpret_cast<Vector*>(acc);
        store[0] = a0, store[1] = a1, store[2] = a2, store[3] = a3;
        if (op.then_round) {
          round_row<T, Lanes>(y, acc, scale, op.rounding, lo, hi);
        } else {
          for (int l = 0; l < Lanes; ++l) y[l] = acc[l];
        }
      }
    }
    return;
  }
  for (int r = 0; r < op.rows_out; ++r) {
    const T* x = rows + size_t(op.first_in + r) * Lanes;
    T* y = rows + size_t(op.first_out + r) * Lanes;
    const int c = r % op.inner_out;
    if (op.kind == ROUND) {
      round_row<T, Lanes>(y, x, scale, op.rounding, lo, hi);
    } else if (op.kind == SCALE) {
      const T m = T(op.weight[c]), b = T(op.bias[c]), f = T(op.factor[c]);
      T tmp[Lanes];
      for (int l = 0; l < Lanes; ++l) tmp[l] = x[l] * m + b;
      round_row<T, Lanes>(y, tmp, f, TRN, lo, hi);
    } else {
      const double* t = op.weight + size_t(c) * op.steps;
      T count[Lanes] = {};
      for (int s = 0; s < op.steps; ++s) {
        const T limit = T(t[s]);
        for (int l = 0; l < Lanes; ++l) count[l] += x[l] >= limit ? T(1) : T(0);
      }
      const T base = T(op.bias[c]), step = T(op.factor[c]);
      for (int l = 0; l < Lanes; ++l) y[l] = base + step * count[l];
    }
  }
}

// Returns the first event that has a value off the grid or out of range, or -1.
template <typename T, int Lanes, typename X>
int64_t run(const L1mlOp* ops, int32_t n_ops, int32_t n_rows, const X* x, int32_t n_in, const double* to_code,
            const double* lo, const double* hi, const int32_t* out_row, const double* to_value, int32_t n_out,
            double* out, int64_t events) {
  std::vector<T> store(size_t(n_rows) * Lanes + 64 / sizeof(T), T(0));
  T* rows = store.data();
  while (reinterpret_cast<uintptr_t>(rows) % 64) ++rows;
  std::vector<std::vector<T>> weights(n_ops);
  for (int32_t k = 0; k < n_ops; ++k)
    if (ops[k].kind == AFFINE)
      for (int32_t i = 0; i < ops[k].start[ops[k].inner_out]; ++i) weights[k].push_back(T(ops[k].weight[i]));
  for (int64_t first = 0; first < events; first += Lanes) {
    const int n = int(events - first < Lanes ? events - first : Lanes);
    bool bad = false;
    for (int i = 0; i < n_in; ++i) {
      const X factor = X(to_code[i]), low = X(lo[i]), high = X(hi[i]);
      T* row = rows + size_t(i) * Lanes;
      const X* column = x + first * n_in + i;
      int wrong = 0;
      for (int l = 0; l < n; ++l) {
        const X v = column[size_t(l) * n_in] * factor;
        wrong |= !(v >= low && v <= high && v == std::nearbyint(v));
        row[l] = T(v);
      }
      bad |= wrong != 0;
    }
    if (bad) {
      for (int l = 0; l < n; ++l)
        for (int i = 0; i < n_in; ++i) {
          const X v = x[(first + l) * n_in + i] * X(to_code[i]);
          if (!(v >= X(lo[i]) && v <= X(hi[i]) && v == std::nearbyint(v))) return first + l;
        }
    }
    for (int32_t k = 0; k < n_ops; ++k) execute<T, Lanes>(ops[k], rows, weights[k].data());
    for (int o = 0; o < n_out; ++o) {
      const T* row = rows + size_t(out_row[o]) * Lanes;
      double* y = out + first * n_out + o;
      for (int l = 0; l < n; ++l) y[size_t(l) * n_out] = double(row[l]) * to_value[o];
    }
  }
  return -1;
}

}  // namespace

extern "C" int64_t l1ml_run(int32_t wide, int32_t x_is_double, const L1mlOp* ops, int32_t n_ops, int32_t n_rows,
                            const void* x, int32_t n_in, const double* to_code, const double* lo, const double* hi,
                            const int32_t* out_row, const double* to_value, int32_t n_out, double* out,
                            int64_t events) {
  const auto* xf = static_cast<const float*>(x);
  const auto* xd = static_cast<const double*>(x);
  if (wide)
    return x_is_double
               ? run<double, 32>(ops, n_ops, n_rows, xd, n_in, to_code, lo, hi, out_row, to_value, n_out, out, events)
               : run<double, 32>(ops, n_ops, n_rows, xf, n_in, to_code, lo, hi, out_row, to_value, n_out, out, events);
  return x_is_double
             ? run<float, 64>(ops, n_ops, n_rows, xd, n_in, to_code, lo, hi, out_row, to_value, n_out, out, events)
             : run<float, 64>(ops, n_ops, n_rows, xf, n_in, to_code, lo, hi, out_row, to_value, n_out, out, events);
}
