#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "models/experiment/experiment.h"
#include "trainer/measure/step_measurement.h"

namespace vitsim {

/// What the command line asks to be measured; empty lists mean "choose".
struct PlanRequest {
  std::optional<Experiment> experiment;
  std::vector<VitSpec> models;
  std::vector<Precision> precisions;
  std::vector<std::int64_t> micro_batches;
};

/// What will be measured, in order of importance.
struct MeasurementPlan {
  TrainingSpec training;  // everything but model, precision, micro-batch; the overlap's own
  std::vector<StepCase> steps;
  std::vector<Precision> precisions;
};

/// Images for every step of a measurement without starting the loader again.
DatasetSpec synthetic_images();

/// The file's model at its own micro-batches and around them; then smaller and larger models, from
/// which throughput curves for sizes in between are learnt. Without a file: named variants, from
/// vit-b-16 downwards on a CPU, from vit-b-16 in both directions on a GPU. Precisions that the
/// device does not support are left out and named in `left_out`.
MeasurementPlan plan_measurement(const PlanRequest& request,
                                 const Device& device,
                                 std::vector<std::string>& left_out);

}  // namespace vitsim
