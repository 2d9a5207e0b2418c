// Ways to know how long a GPU computes, from the surest to the least: measured steps
// (measured_model.cpp), rates of its operators (operator_model.cpp), whole-pass curves of a profile
// that was fitted before there were rates (curve_model.cpp), rates of other GPUs scaled by data
// sheets (scaled_rates.cpp), their curves scaled likewise (sheet_model.cpp).
#include "calibrate/compute/compute_model.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "calibrate/compute/compute_sources.h"
#include "calibrate/compute/operator_rates.h"
#include "models/distribution.h"
#include "models/error.h"

namespace vitsim {

namespace {

// Memory figures of this GPU, else typical ones of the calibrated.
MemoryModel memory_of(const std::string& gpu, const ProfileSet& profiles) {
  const auto own = profiles.gpus.find(gpu);
  if (own != profiles.gpus.end() && own->second.memory_constant) {
    return {.constant = *own->second.memory_constant,
            .alone = own->second.memory_alone,
            .activation_factor = own->second.activation_factor};
  }
  std::vector<double> constants;
  std::vector<double> factors;
  for (const auto& [name, profile] : profiles.gpus) {
    if (profile.memory_constant) {
      constants.push_back(profile.memory_constant->value());
      factors.push_back(profile.activation_factor);
    }
  }
  return constants.empty() ? MemoryModel{.constant = mebibytes(600)}
                           : MemoryModel{.constant = Bytes(median(constants)),
                                         .activation_factor = median(factors)};
}

}  // namespace

namespace {

// A precision without a unit is computed as fp32 is, with conversions on top.
class EmulatedModel final : public ComputeModel {
 public:
  EmulatedModel(std::unique_ptr<ComputeModel> own, std::unique_ptr<ComputeModel> plain)
      : ComputeModel(*own), own_(std::move(own)), plain_(std::move(plain)) {}

  [[nodiscard]] MicroBatchTimes at(std::int64_t samples) const override {
    MicroBatchTimes times = own_->at(samples);
    const MicroBatchTimes plain = plain_->at(samples);
    times.forward = std::max(times.forward, plain.forward);
    times.backward = std::max(times.backward, plain.backward);
    return times;
  }

 private:
  std::unique_ptr<ComputeModel> own_;
  std::unique_ptr<ComputeModel> plain_;
};

// What nobody measured must not beat the data sheet: then the model is wrong, not the card good.
void check_physics(const ComputeModel& model,
                   const GpuSheet& sheet,
                   const TrainingSpec& training,
                   std::int64_t micro_batch) {
  constexpr double kRounding = 1e-9;
  const MicroBatchTimes times = model.at(micro_batch);
  for (const auto& [pass, time] :
       {std::pair(Pass::kForward, times.forward), std::pair(Pass::kBackward, times.backward)}) {
    const PhysicalLimit limit(sheet, training.model, training.precision, pass);
    VITSIM_CHECK(time.value(), >=, (1 - kRounding) * limit.at(micro_batch).value());
  }
}

}  // namespace

void widen(Spread& spread, double error) {
  const double run = spread.run_sigma.value_or(0);
  spread.run_sigma = std::sqrt(run * run + error * error);
}

std::unique_ptr<ComputeModel> make_compute_model(const std::string& gpu,
                                                 const TrainingSpec& training,
                                                 std::int64_t micro_batch,
                                                 const ProfileSet& profiles) {
  const auto profile = profiles.gpus.find(gpu);
  const auto sheet = profiles.sheets.find(gpu);
  std::unique_ptr<ComputeModel> model;
  if (profile != profiles.gpus.end()) {
    model = measured_model(profile->second, training, micro_batch, profiles);
    if (!model) {
      model = operator_model(profile->second, training, profiles);
    }
    if (!model) {
      model = curve_model(profile->second, training, profiles);
    }
  }
  if (!model) {
    if (sheet == profiles.sheets.end()) {
      throw UserError(
          profile == profiles.gpus.end()
              ? fmt::format("unknown GPU \"{}\"", gpu)
              : fmt::format("GPU \"{}\" was not measured in {} and has no data sheet to scale by",
                            gpu,
                            name(training.precision)));
    }
    model = scaled_model(gpu, sheet->second, training, profiles);
    if (model && is_emulated(sheet->second, training.precision)) {
      TrainingSpec plain = training;
      plain.precision = Precision::kFp32;
      model = std::make_unique<EmulatedModel>(
          std::move(model), make_compute_model(gpu, plain, micro_batch, profiles));
    }
    if (!model && profile != profiles.gpus.end()) {
      model = other_precision_model(profile->second, sheet->second, training, profiles);
    }
    if (!model) {
      model = sheet_model(gpu, sheet->second, training, profiles);
    }
  }
  if (profile != profiles.gpus.end() && !model->part_passes) {
    if (auto passes = pass_function(profile->second, training.precision, profiles)) {
      model->part_passes = *std::move(passes);
    }
  }
  if (profile != profiles.gpus.end()) {
    model->epoch_start = profile->second.epoch_start;
    model->overlap_slowdown = profile->second.overlap_slowdown;
    model->capacity = profile->second.memory;
    model->device_name = profile->second.device_name;
    model->loader = loader_for(profile->second.loaders, training);
    if (!model->spread.unit_sigma) {
      model->spread.unit_sigma = profile->second.spread.unit_sigma;
    }
  }
  if (sheet != profiles.sheets.end()) {
    model->capacity = model->capacity.value_or(sheet->second.memory);
    if (sheet->second.tdp_w) {
      model->rated_power = Watts(*sheet->second.tdp_w);
    }
    if (model->device_name.empty()) {
      model->device_name = sheet->second.device_name;
    }
  }
  model->memory = memory_of(gpu, profiles);
  if (sheet != profiles.sheets.end() && model->basis.kind != "measured") {
    check_physics(*model, sheet->second, training, micro_batch);
  }
  return model;
}

}  // namespace vitsim
