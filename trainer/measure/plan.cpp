#include "trainer/measure/plan.h"

#include <algorithm>
#include <thread>

#include <fmt/format.h>

namespace vitsim {

namespace {

constexpr std::int64_t kSyntheticSamples = 1 << 16;

std::vector<std::int64_t> around(const std::vector<std::int64_t>& micro_batch) {
  std::vector<std::int64_t> wanted = micro_batch;
  const std::int64_t most = *std::ranges::max_element(micro_batch);
  for (const std::int64_t batch : {std::int64_t{1}, most / 2, 2 * most, most / 4}) {
    wanted.push_back(std::max<std::int64_t>(batch, 1));
  }
  std::vector<std::int64_t> once;
  for (const std::int64_t batch : wanted) {
    if (std::ranges::count(once, batch) == 0) {
      once.push_back(batch);
    }
  }
  return once;
}

VitSpec named(const char* name, const VitSpec& like) {
  VitSpec model = *vit_variant(name);
  model.image_size = like.image_size;
  model.channels = like.channels;
  model.classes = like.classes;
  return model;
}

// Half and twice as wide, with heads of the same width.
VitSpec resized(VitSpec model, std::int64_t times, std::int64_t over) {
  const auto scale = [&](std::int64_t& dimension) { dimension = dimension * times / over; };
  scale(model.width);
  scale(model.heads);
  scale(model.mlp);
  return model;
}

std::vector<VitSpec> other_sizes(const VitSpec& model) {
  const std::string name = model_name(model);
  if (!vit_variant(name)) {
    std::vector<VitSpec> sizes = {resized(model, 2, 1)};
    if (model.heads % 2 == 0 && model.width % 2 == 0 && model.mlp % 2 == 0) {
      sizes.insert(sizes.begin(), resized(model, 1, 2));
    }
    return sizes;
  }
  std::vector<VitSpec> sizes;
  for (const char* other : {"vit-s-16", "vit-ti-16", "vit-b-16"}) {
    if (name != other && model.image_size % 16 == 0) {
      sizes.push_back(named(other, model));
    }
  }
  return sizes;
}

}  // namespace

DatasetSpec synthetic_images() {
  return {.name = "synthetic", .samples = kSyntheticSamples};
}

MeasurementPlan plan_measurement(const PlanRequest& request,
                                 const Device& device,
                                 std::vector<std::string>& left_out) {
  const bool cpu = device.torch_device().is_cpu();
  MeasurementPlan plan;
  if (request.experiment) {
    plan.training = request.experiment->training;
  }
  TrainingSpec& training = plan.training;
  if (!request.experiment) {
    training.model = *vit_variant("vit-b-16");
    training.dataset = synthetic_images();
    training.micro_batch = {cpu ? 4 : 64};
    if (!cpu) {
      // No file says how many: enough that steps seldom wait.
      training.loader.workers = std::clamp<std::int64_t>(std::thread::hardware_concurrency(), 2, 8);
    }
  } else if (training.dataset.name == "synthetic") {
    training.dataset.samples = kSyntheticSamples;
  }
  training.dataset.fraction = 1;
  training.accumulation = 1;
  std::vector<VitSpec> models = request.models;
  for (VitSpec& model : models) {
    model.image_size = training.model.image_size;
    model.channels = training.model.channels;
    model.classes = training.model.classes;
  }
  if (models.empty()) {
    models = other_sizes(training.model);
    models.insert(models.begin(), training.model);
    if (!cpu && !request.experiment) {
      models.push_back(named("vit-l-16", training.model));
    }
  } else {
    training.model = models.front();
  }

  plan.precisions = request.precisions;
  if (plan.precisions.empty()) {
    plan.precisions = {training.precision};
    if (!request.experiment && !cpu) {
      plan.precisions = {Precision::kBf16, Precision::kTf32, Precision::kFp32, Precision::kAmpBf16};
    }
  }
  std::erase_if(plan.precisions, [&](Precision precision) {
    if (!device.supports(precision)) {
      left_out.push_back(
          fmt::format("not measured: {}: {} does not support it", name(precision), device.name()));
      return true;
    }
    return false;
  });

  std::vector<std::int64_t> batches = request.micro_batches;
  if (batches.empty()) {
    batches = around(training.micro_batch);
  } else {
    training.micro_batch = {batches.front()};
  }
  if (plan.precisions.empty()) {
    return plan;
  }
  training.precision = plan.precisions.front();
  // The first model in all precisions, then others at few micro-batches.
  for (const Precision precision : plan.precisions) {
    for (const std::int64_t batch : batches) {
      plan.steps.push_back({models.front(), precision, batch});
    }
  }
  std::vector<std::int64_t> few = {batches.front()};
  if (batches.size() > 1) {
    few.push_back(batches[batches.size() > 2 ? 2 : 1]);
  }
  // A GPU computes one image faster than the host launches its kernels: that tells the launches.
  if (!cpu && std::ranges::count(few, 1) == 0) {
    few.push_back(1);
  }
  for (const Precision precision : plan.precisions) {
    for (std::size_t i = 1; i < models.size(); ++i) {
      for (const std::int64_t batch : request.models.empty() ? few : batches) {
        plan.steps.push_back({models[i], precision, batch});
      }
    }
  }
  return plan;
}

}  // namespace vitsim
