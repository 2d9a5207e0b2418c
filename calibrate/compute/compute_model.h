#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "calibrate/profile/profile.h"
#include "models/experiment/training.h"
#include "models/report/basis.h"
#include "models/units.h"
#include "models/vit/memory.h"

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

/// How long one kind of GPU computes in one training, and how sure that is.
class ComputeModel {
 public:
  virtual ~ComputeModel() = default;

  /// Times of a micro-batch of `samples`; zero for none.
  [[nodiscard]] virtual MicroBatchTimes at(std::int64_t samples) const = 0;

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
