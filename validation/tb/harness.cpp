// SPDX-License-Identifier: Apache-2.0
//
// Drives a Verilated model with arrays: one row of 64-bit chunks per clock in, one row out.
//
// "l1ml_ports.h" is generated beside this file and lists the ports of the model:
//   L1ML_CLOCK, L1ML_RESET, L1ML_RESET_ACTIVE  names of clock and reset, and the reset's active level
//   L1ML_INPUTS(X), L1ML_OUTPUTS(X)            X(signal, width) for every port, in the order of the chunks
// A signal of `width` bits takes ceil(width / 64) chunks, least significant first.
//
// Row k of the output is sampled just before the rising edge that ends clock k, while row k of the input
// is applied.  A purely registered path of latency L therefore shows in[k] at out[k + L].

#include <cstdint>
#include <memory>

#include "Vl1ml.h"
#include "Vl1ml___024root.h"
#include "l1ml_ports.h"
#include "verilated.h"

double sc_time_stamp() { return 0; }

namespace {

constexpr unsigned chunks(unsigned width) { return (width + 63) / 64; }

// Ports up to 64 bits are plain integers.
template <unsigned Width, typename Port>
inline const uint64_t* load(Port& port, const uint64_t* in) {
  constexpr uint64_t kMask = Width >= 64 ? ~uint64_t{0} : (uint64_t{1} << (Width % 64)) - 1;
  port = static_cast<Port>(*in & kMask);
  return in + 1;
}

template <unsigned Width, typename Port>
inline uint64_t* store(const Port& port, uint64_t* out) {
  *out = static_cast<uint64_t>(port);
  return out + 1;
}

// Wider ones are arrays of 32-bit words.
template <unsigned Width, std::size_t Words>
inline const uint64_t* load(VlWide<Words>& port, const uint64_t* in) {
  for (unsigned n = 0; n < Words; ++n) {
    port[n] = static_cast<EData>(in[n / 2] >> (32 * (n % 2)));
  }
  if constexpr (Width % 32 != 0) port[Words - 1] &= (EData{1} << (Width % 32)) - 1;
  return in + chunks(Width);
}

template <unsigned Width, std::size_t Words>
inline uint64_t* store(const VlWide<Words>& port, uint64_t* out) {
  for (unsigned n = 0; n < Words; n += 2) {
    out[n / 2] = port[n] | (n + 1 < Words ? uint64_t{port[n + 1]} << 32 : 0);
  }
  return out + chunks(Width);
}

class Model {
 public:
  explicit Model(int seed) {
    context_.randReset(2);  // uninitialised state starts at random, differently for every seed
    context_.randSeed(seed);
    top_ = std::make_unique<Vl1ml>(&context_);
  }
  ~Model() { top_->final(); }

  void reset(bool active) { top_->L1ML_RESET = active ? L1ML_RESET_ACTIVE : !L1ML_RESET_ACTIVE; }

  void drive(const uint64_t* in) {
#define L1ML_LOAD(signal, width) in = load<width>(top_->signal, in);
    L1ML_INPUTS(L1ML_LOAD)
#undef L1ML_LOAD
    top_->L1ML_CLOCK = 0;
    top_->eval();
  }

  void sample(uint64_t* out) const {
#define L1ML_STORE(signal, width) out = store<width>(top_->signal, out);
    L1ML_OUTPUTS(L1ML_STORE)
#undef L1ML_STORE
  }

  void edge() {
    top_->L1ML_CLOCK = 1;
    top_->eval();
  }

 private:
  VerilatedContext context_;
  std::unique_ptr<Vl1ml> top_;
};

}  // namespace

// Runs one fresh model: `reset_cycles` clocks of reset with the first row applied, `skip` rows whose outputs
// are dropped, then `cycles` rows.
extern "C" __attribute__((visibility("default"))) void l1ml_run(const uint64_t* in, uint64_t* out,
                                                                int64_t skip, int64_t cycles,
                                                                int64_t in_chunks, int64_t out_chunks,
                                                                int64_t reset_cycles, int seed) {
  Model model{seed};
  model.reset(true);
  for (int64_t k = 0; k < reset_cycles; ++k) {
    model.drive(in);
    model.edge();
  }
  model.reset(false);
  for (int64_t k = 0; k < skip; ++k, in += in_chunks) {
    model.drive(in);
    model.edge();
  }
  for (int64_t k = 0; k < cycles; ++k, in += in_chunks, out += out_chunks) {
    model.drive(in);
    model.sample(out);
    model.edge();
  }
}
