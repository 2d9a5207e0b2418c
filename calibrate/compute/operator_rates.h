#pragma once

#include <cstdint>
#include <vector>

#include "calibrate/profile/profile.h"
#include "models/units.h"
#include "models/vit/cost_graph.h"

namespace vitsim {

enum class Pass { kForward, kBackward };

/// What a pass takes of the two that work on it side by side.
struct PassTime {
  Seconds kernels;  // the device, from the first kernel to the last
  Seconds host;     // launching them

  /// The larger of the two; where they are about equal, each has to wait for the other at times, so
  /// that the corner is rounded: the eighth norm.
  [[nodiscard]] Seconds total() const;

  /// How much of the logarithm of the total the host decides: 0 where it launches ahead, 1 where
  /// the device waits for it.
  [[nodiscard]] double host_share() const;
};

/// Seconds of one kernel of this kind over a batch, its start on the device included.
Seconds kernel_time(const OperatorRates& rates, const Operator& op, Pass pass, std::int64_t batch);

/// Kernels that the host launches in a pass, weighted by what one takes to launch: a product with
/// its node in the graph of gradients is 1.
double launch_count(const std::vector<Operator>& operators);

/// A pass over a batch: the sum of its kernels beside the launches of all of them.
PassTime pass_time(const OperatorRates& rates,
                   const HostLaunch& host,
                   const std::vector<Operator>& operators,
                   Pass pass,
                   std::int64_t batch);

/// The operators of a pass of the trainer's model, or of another implementation.
std::vector<Operator> pass_operators(const ModelPart& part,
                                     Precision precision,
                                     Pass pass,
                                     AttentionKernel attention = AttentionKernel::kFused,
                                     QkvSplit split = QkvSplit::kSelect);

/// The operators of a pass of the trainer that these rates are of.
std::vector<Operator> pass_operators(const OperatorRates& rates, const ModelPart& part, Pass pass);

/// What the host takes to call the tensor-parallel collectives of a pass.
Seconds collective_launches(const HostLaunch& host, const ModelPart& part);

/// A pass of a part of a model, with the host's calls of tensor-parallel collectives.
PassTime part_time(const OperatorRates& rates,
                   const HostLaunch& host,
                   const ModelPart& part,
                   Pass pass,
                   std::int64_t batch);

/// Arithmetic that a data sheet's figures cannot be told apart by: matrix products in 16 bits,
/// in tf32, and without tensor cores.
enum class ArithmeticUnit { kPlain, kTf32, kShort };

/// The unit that computes a precision's products on this GPU: plain fp32 where it has none.
ArithmeticUnit arithmetic_unit(const GpuSheet& sheet, Precision precision);

/// True where the GPU has no unit for the precision's products and computes them as fp32 does.
bool is_emulated(const GpuSheet& sheet, Precision precision);

/// What the first convolution reaches of the rate of products: it takes its patches apart first.
double convolution_share(ArithmeticUnit unit);

/// What a GPU's vector units can do, as fp32 flops of an architecture with 128 lanes in each
/// multiprocessor: Volta, Turing and the A100's Ampere have 64 lanes for as many threads.
double sheet_vector_rate(const GpuSheet& sheet);

/// The least that a pass can take on a GPU whose data sheet is true: the products' flops at the
/// unit's peak, or weights and saved activations once through the memory.
class PhysicalLimit {
 public:
  PhysicalLimit(const GpuSheet& sheet, const VitSpec& model, Precision precision, Pass pass);

  [[nodiscard]] Seconds at(std::int64_t batch) const;

 private:
  Seconds arithmetic_per_image_;
  Seconds memory_per_image_;
  Seconds weights_;
};

}  // namespace vitsim
