// Times of kernels, kind by kind.
//
// A product of m x k by k x n takes sqrt(a^2 + b^2) of its arithmetic a and its bytes b: a roofline
// whose corner is rounded, since the two overlap within a kernel, though not wholly. Its arithmetic
// is
//
//   a = 2 k m (n' (1 + k0 / w) + o) / F,   o = q sqrt(m n / (m n + q))
//
// with n' padded to whole tiles, w the smaller dimension of its weights (short products fill the
// units badly), and q outputs that the last wave of tiles leaves idle. Fused attention adds bytes
// to arithmetic on padded tiles, since its inner loop is bound by neither. All other kinds stream:
// bytes at a share of the memory's rate beside elements at a share of the vector units' rate. The
// shares below are those of PyTorch's kernels as its profiler shows them on an H100 with vit-s-16
// to vit-l-16 in four precisions; the kinds keep their ratios within 5 % over models and batches.
// What whole passes show beyond the sum (caches, clocks above the data sheet's) is a factor of each
// kind of pass. Neglected: how row-wise kernels depend on the width.
#include "calibrate/compute/operator_rates.h"

#include <algorithm>
#include <cmath>

#include "calibrate/compute/compute_model.h"

namespace vitsim {

namespace {

constexpr double kCorner = 8;          // norm of PassTime::total
constexpr double kProductShare = 0.9;  // of the memory's rate, where a product is bound by it
constexpr double kCastLaunch = 0.6;    // a conversion has a shorter way through the dispatcher

// Share of the memory's rate, and of the rate of elements where it shows.
struct StreamShare {
  double bytes;
  double elements;
};

StreamShare stream_share(OperatorKind kind) {
  switch (kind) {
    case OperatorKind::kLayerNorm:
      return {0.90, 1};
    case OperatorKind::kLayerNormBackward:
      return {0.90, 2.1};
    case OperatorKind::kLayerNormParameters:
      return {0.90, 0.45};
    case OperatorKind::kCopy:
      return {0.90, 0.90};
    case OperatorKind::kGelu:
      return {0.88, 1};
    case OperatorKind::kReduce:
      return {0.58, 1};
    case OperatorKind::kCast:
      return {0.85, 1};
    case OperatorKind::kSoftmax:
    case OperatorKind::kConvolution:
      return {0.80, 1};
    case OperatorKind::kFill:
      return {0.95, 1};
    default:
      return {0.90, 1};
  }
}

double launch_weight(OperatorKind kind) {
  switch (kind) {
    case OperatorKind::kCast:
    case OperatorKind::kFill:
    case OperatorKind::kCopy:
    case OperatorKind::kReduce:
      return kCastLaunch;
    default:
      return 1;
  }
}

double product_seconds(
    const OperatorRates& rates, const Operator& op, double flops, double bytes, Pass pass) {
  const bool own_rate = rates.head && op.name == "head";
  const double rate = (own_rate                 ? *rates.head
                       : pass == Pass::kForward ? rates.gemm_forward
                                                : rates.gemm_backward)
                          .value();
  const auto width = static_cast<double>(std::max<std::int64_t>(op.inner_width, 1));
  const double outputs = flops / 2 / width;
  const double idle = rates.gemm_outputs * std::sqrt(outputs / (outputs + rates.gemm_outputs + 1));
  const double arithmetic =
      (op.padding * flops * (1 + rates.gemm_inner / width) + 2 * width * idle) / rate;
  return std::hypot(arithmetic, bytes / (kProductShare * rates.memory.value()));
}

}  // namespace

Seconds PassTime::total() const {
  const double longer = std::max(kernels, host).value();
  if (longer <= 0) {
    return Seconds(0);
  }
  const double ratio = std::min(kernels, host).value() / longer;
  return Seconds(longer * std::pow(1 + std::pow(ratio, kCorner), 1 / kCorner));
}

double PassTime::host_share() const {
  if (host.value() <= 0) {
    return 0;
  }
  return 1 / (1 + std::pow(kernels / host, kCorner));
}

Seconds kernel_time(const OperatorRates& rates, const Operator& op, Pass pass, std::int64_t batch) {
  const auto images = static_cast<double>(batch);
  const double flops = images * op.flops.value();
  const double bytes = images * op.activation_bytes.value() + op.parameter_bytes.value();
  const double memory = rates.memory.value();
  double seconds = 0;
  switch (op.kind) {
    case OperatorKind::kGemm:
      seconds = product_seconds(rates, op, flops, bytes, pass);
      break;
    case OperatorKind::kAttention:
      seconds = op.padding * flops / rates.attention.value() + bytes / (kProductShare * memory);
      break;
    case OperatorKind::kConvolution:
      seconds = flops / rates.convolution.value() +
                bytes / (stream_share(OperatorKind::kConvolution).bytes * memory);
      break;
    default: {
      const StreamShare share = stream_share(op.kind);
      seconds = std::hypot(bytes / (share.bytes * memory),
                           images * op.elements / (share.elements * rates.elements));
    }
  }
  return Seconds(seconds) + static_cast<double>(op.launches) * rates.kernel_start;
}

double launch_count(const std::vector<Operator>& operators) {
  double launches = 0;
  for (const Operator& op : operators) {
    launches += static_cast<double>(op.count * op.launches) * launch_weight(op.kind);
  }
  return launches;
}

PassTime pass_time(const OperatorRates& rates,
                   const HostLaunch& host,
                   const std::vector<Operator>& operators,
                   Pass pass,
                   std::int64_t batch) {
  PassTime time;
  for (const Operator& op : operators) {
    time.kernels += static_cast<double>(op.count) * kernel_time(rates, op, pass, batch);
  }
  time.kernels =
      time.kernels * (pass == Pass::kForward ? rates.forward_factor : rates.backward_factor);
  time.host = launch_count(operators) * (pass == Pass::kForward ? host.forward : host.backward);
  return time;
}

std::vector<Operator> pass_operators(const ModelPart& part,
                                     Precision precision,
                                     Pass pass,
                                     AttentionKernel attention,
                                     QkvSplit split) {
  return pass == Pass::kForward ? forward_operators(part, precision, attention)
                                : backward_operators(part, precision, attention, split);
}

std::vector<Operator> pass_operators(const OperatorRates& rates, const ModelPart& part, Pass pass) {
  return pass_operators(part, rates.precision, pass, AttentionKernel::kFused, rates.qkv_split);
}

Seconds collective_launches(const HostLaunch& host, const ModelPart& part) {
  if (part.tensor == 1 || part.attention_alone) {
    return Seconds(0);
  }
  constexpr double kCallsPerBlock = 2;
  return kCallsPerBlock * static_cast<double>(part.block_count()) *
         std::log2(static_cast<double>(part.tensor)) * host.collective;
}

PassTime part_time(const OperatorRates& rates,
                   const HostLaunch& host,
                   const ModelPart& part,
                   Pass pass,
                   std::int64_t batch) {
  PassTime time = pass_time(rates, host, pass_operators(rates, part, pass), pass, batch);
  time.host += collective_launches(host, part);
  return time;
}

ArithmeticUnit arithmetic_unit(const GpuSheet& sheet, Precision precision) {
  if (is_emulated(sheet, precision) || precision == Precision::kFp32) {
    return ArithmeticUnit::kPlain;
  }
  return precision == Precision::kTf32 ? ArithmeticUnit::kTf32 : ArithmeticUnit::kShort;
}

bool is_emulated(const GpuSheet& sheet, Precision precision) {
  switch (precision) {
    case Precision::kFp32:
      return false;
    case Precision::kTf32:
      return !sheet.tf32;
    case Precision::kFp16:
    case Precision::kAmpFp16:
      return !sheet.fp16;
    case Precision::kBf16:
    case Precision::kAmpBf16:
      return !sheet.bf16;
  }
  return false;
}

double convolution_share(ArithmeticUnit unit) {
  switch (unit) {
    case ArithmeticUnit::kPlain:
      return 0.6;
    case ArithmeticUnit::kTf32:
      return 0.12;
    case ArithmeticUnit::kShort:
      return 0.07;
  }
  return 0.07;
}

double sheet_vector_rate(const GpuSheet& sheet) {
  const bool half = sheet.architecture == "volta" || sheet.architecture == "turing" ||
                    (sheet.architecture == "ampere" && sheet.has_stacked_memory());
  return (half ? 2 : 1) * sheet.fp32.value();
}

PhysicalLimit::PhysicalLimit(const GpuSheet& sheet,
                             const VitSpec& model,
                             Precision precision,
                             Pass pass)
    : arithmetic_per_image_((pass == Pass::kForward ? 1.0 : 2.0) * forward_flops(model) /
                            peak_flops(sheet, precision)),
      memory_per_image_(activation_bytes_per_sample(model, precision) / sheet.memory_bandwidth),
      weights_(static_cast<double>(parameter_count(model)) *
               gradient_bytes_per_parameter(precision) / sheet.memory_bandwidth) {}

Seconds PhysicalLimit::at(std::int64_t batch) const {
  const auto images = static_cast<double>(batch);
  return std::max(images * arithmetic_per_image_, images * memory_per_image_ + weights_);
}

}  // namespace vitsim
