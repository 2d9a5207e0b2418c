#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "calibrate/compute/operator_rates.h"
#include "calibrate/profile/profile.h"
#include "models/experiment/training.h"
#include "models/report/basis.h"
#include "models/units.h"
#include "models/vit/memory.h"
#include "models/vit/partition.h"

namespace vitsim {

/// Everything known about parts, by name.
struct ProfileSet {
  std::map<std::string, GpuProfile> gpus;
  std::map<std::string, LinkProfile> links;
  std::map<std::string, GpuSheet> sheets;
  std::map<std::string, LinkSheet> link_sheets;
};

/// Phases of one micro-batch.
struct MicroBatchTimes {
  Seconds data_load;
  Seconds forward;
  Seconds backward;
};

/// What the collectives of one micro-batch's passes take that compute waits for: those within a
/// block, among the ranks that share its matrices or tokens.
struct PassCommunication {
  Seconds forward;
  Seconds backward;  // without what recomputation repeats of forward
};

/// One pass over a batch of any part of a model of one precision.
using PassFunction = std::function<PassTime(const ModelPart& part, Pass pass, std::int64_t batch)>;

/// How long one kind of GPU computes in one training, and how sure that is.
class ComputeModel {
 public:
  virtual ~ComputeModel() = default;

  /// Times of a micro-batch of `samples`; zero for none.
  [[nodiscard]] virtual MicroBatchTimes at(std::int64_t samples) const = 0;

  /// Compute of a micro-batch on a rank that holds a part of the model: the whole model's times by
  /// the ratio of what `part_passes` gives for the part's kernels and launches to the whole's. In
  /// each block the host launches ahead of kernels and collectives alike, so that where it is the
  /// slower one their time hides behind it; what they take is not in the result.
  [[nodiscard]] MicroBatchTimes at(std::int64_t samples,
                                   const ModelPart& part,
                                   const PassCommunication& communication) const;

  /// What of an update, or of copies of gradients, falls to a rank that holds a part.
  [[nodiscard]] static double share_of(const ModelPart& part);

  Seconds optimizer;    // per step, whole state
  Seconds other;        // per step
  Seconds epoch_start;  // per epoch
  double overlap_slowdown = 1;
  Spread spread;  // model error included where the figures are not measured
  Basis basis;    // `part` is left to the caller
  MemoryModel memory;
  std::optional<LoaderTimes> loader;  // of the training's data set; none: nobody measured it
  std::optional<Bytes> capacity;
  std::optional<Watts> rated_power;  // of the data sheet: thermal design power
  std::string device_name;
  PassFunction part_passes;  // empty: by the flops of matrix products alone
};

/// The best available model, in this order: measured steps of this model and precision; throughput
/// curves of this GPU; figures of this GPU in another precision, or of other calibrated GPUs,
/// scaled by data sheets. Throws UserError where nothing is known of `gpu`.
std::unique_ptr<ComputeModel> make_compute_model(const std::string& gpu,
                                                 const TrainingSpec& training,
                                                 std::int64_t micro_batch,
                                                 const ProfileSet& profiles);

/// Peak arithmetic that a precision can use on a GPU: tensor cores where it has them; never less
/// than fp32, since libraries fall back to it.
FlopsPerSecond peak_flops(const GpuSheet& sheet, Precision precision);

}  // namespace vitsim
