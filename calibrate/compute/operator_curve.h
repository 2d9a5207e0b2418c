#pragma once

#include <cstdint>

#include "calibrate/profile/profile.h"
#include "models/vit/partition.h"

namespace vitsim {

/// What launching one operator takes on the host, where no pass was short enough to show it: a
/// third of what a slow host takes, half more than a fast one.
inline constexpr Seconds kTypicalLaunch = microseconds(25);

/// What one forward pass over a batch asks of a device, summed over the cost graph.
struct PassWork {
  double flops = 0;
  double bytes = 0;
  double launches = 0;
};

PassWork pass_work(const ModelPart& part,
                   Precision precision,
                   bool fused_attention,
                   std::int64_t batch);

/// Seconds that a throughput curve gives to a pass: the device computes flops / flops_per_s +
/// bytes / bytes_per_s while the host launches ahead of it, launches * overhead; the longer of the
/// two lasts. A rate of 0 means that the term is absent. `passes` is 1 for forward and 2 for
/// backward, which does twice the work.
double pass_seconds(const OperatorCurve& curve,
                    const ModelPart& part,
                    std::int64_t batch,
                    double passes);

/// Seconds of the optimizer's update by an "optimizer" curve; 0 where it has no rate.
double optimizer_seconds(const OperatorCurve& curve, const VitSpec& model, OptimizerKind optimizer);

}  // namespace vitsim
