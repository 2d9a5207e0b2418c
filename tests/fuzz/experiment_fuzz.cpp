#include <cstddef>
#include <cstdint>
#include <string_view>

#include <nlohmann/json.hpp>

#include "models/error.h"
#include "models/experiment/epoch.h"
#include "models/experiment/experiment.h"
#include "models/experiment/resolved.h"

// Any bytes are a cluster file or a user's mistake. What is right can be resolved, printed and cut
// into steps.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const vitsim::Experiment experiment = vitsim::experiment_from_text(text, "cluster.json");
    const auto world = experiment.cluster.world_size();
    VITSIM_CHECK(world, >=, 1);
    VITSIM_CHECK(vitsim::resolved(experiment).is_object(), ==, true);
    const vitsim::TrainingSpec& training = experiment.training;
    if (experiment.jobs.empty() && training.dataset.samples > 0 && world < 10'000) {
      const auto plan = vitsim::plan_epoch(
          vitsim::subset_samples(training.dataset.samples, training.dataset.fraction),
          world,
          training.micro_batch,
          training.accumulation);
      VITSIM_CHECK(plan.steps, >=, 1);
      VITSIM_CHECK(plan.samples, >=, plan.subset);
    }
  } catch (const vitsim::UserError&) {
  }
  return 0;
}
