#include "calibrate/compute/operator_curve.h"

#include <algorithm>

#include "models/vit/cost_graph.h"

namespace vitsim {

namespace {

double at_rate(double amount, double rate) {
  return rate > 0 ? amount / rate : 0;
}

}  // namespace

PassWork pass_work(const ModelPart& part,
                   Precision precision,
                   bool fused_attention,
                   std::int64_t batch) {
  PassWork work;
  const auto images = static_cast<double>(batch);
  for (const Operator& op :
       forward_operators(part,
                         precision,
                         fused_attention ? AttentionKernel::kFused : AttentionKernel::kUnfused)) {
    // Whole-pass curves were fitted without these.
    if (op.kind == OperatorKind::kCopy || op.kind == OperatorKind::kCast) {
      continue;
    }
    const auto count = static_cast<double>(op.count);
    work.flops += count * images * op.flops.value();
    work.bytes += count * (images * op.activation_bytes.value() + op.parameter_bytes.value());
    work.launches += count;
  }
  return work;
}

double pass_seconds(const OperatorCurve& curve,
                    const ModelPart& part,
                    std::int64_t batch,
                    double passes) {
  const PassWork work = pass_work(part, curve.precision, curve.fused_attention, batch);
  return passes * std::max(work.launches * curve.overhead.value(),
                           at_rate(work.flops, curve.flops_per_s.value()) +
                               at_rate(work.bytes, curve.bytes_per_s.value()));
}

double optimizer_seconds(const OperatorCurve& curve,
                         const VitSpec& model,
                         OptimizerKind optimizer) {
  const double bytes =
      update_bytes_per_parameter(optimizer).value() * static_cast<double>(parameter_count(model));
  return at_rate(bytes, curve.bytes_per_s.value());
}

}  // namespace vitsim
