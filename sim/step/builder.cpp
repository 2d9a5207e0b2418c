#include "sim/step/builder.h"

#include <algorithm>

#include "models/precision.h"
#include "models/vit/buckets.h"
#include "models/vit/gradient_copies.h"
#include "models/vit/vit.h"

namespace vitsim {

std::vector<SyncBucket> flat_buckets(std::int64_t elements, std::int64_t bytes_per_element) {
  constexpr std::int64_t kMostElements = 500'000'000;
  std::vector<SyncBucket> buckets;
  for (std::int64_t left = elements; left > 0; left -= kMostElements) {
    buckets.push_back({.bytes = std::min(left, kMostElements) * bytes_per_element});
  }
  return buckets;
}

bool copies_gradients(const TrainingSpec& training, std::size_t world_size) {
  return world_size > 1 || flattens_gradients(training);
}

namespace {

StepProgram program_of_part(const TrainingSpec& training,
                            const StepInput& input,
                            const ModelPart& part) {
  const Bytes element = gradient_bytes_per_parameter(training.precision);
  const auto flat = [&] {
    return flat_buckets(parameter_count(part), static_cast<std::int64_t>(element.value()));
  };
  switch (training.gradient_sync) {
    case GradientSync::kDdp: {
      std::vector<SyncBucket> buckets;
      for (const GradientBucket& bucket : gradient_buckets(part, element)) {
        buckets.push_back({.bytes = bucket.bytes, .ready_share = bucket.ready_share});
      }
      return ddp_program(input, buckets);
    }
    case GradientSync::kDeepspeedZero0:
      return zero_0_program(input, flat());
    case GradientSync::kDeepspeedZero1:
    case GradientSync::kDistributedOptimizer:
      return zero_1_program(input, flat());
    case GradientSync::kDeepspeedZero2:
    case GradientSync::kDeepspeedZero3:
    case GradientSync::kFsdp:
      break;
  }
  return alone_program(input);
}

}  // namespace

StepProgram build_program(const TrainingSpec& training, const StepInput& input) {
  const auto part_of = [&](const ClassWork& work) {
    return work.part.value_or(ModelPart(training.model));
  };
  const bool is_one_part = std::ranges::all_of(input.classes, [&](const ClassWork& work) {
    return part_of(work) == part_of(input.classes.front());
  });
  if (is_one_part) {
    return program_of_part(training, input, part_of(input.classes.front()));
  }
  // Ranks reduce the gradients of what they hold with those who hold the same: the classes of each
  // part are written on their own.
  StepProgram program{.classes = std::vector<ClassProgram>(input.classes.size()),
                      .class_of = input.class_of,
                      .axes = input.axes,
                      .collective_overhead = input.collective_overhead};
  std::vector<bool> written(input.classes.size());
  for (std::size_t first = 0; first < input.classes.size(); ++first) {
    if (written[first]) {
      continue;
    }
    const ModelPart part = part_of(input.classes[first]);
    StepInput own = input;
    own.classes.clear();
    own.class_of.clear();
    std::vector<std::size_t> numbers;
    for (std::size_t i = first; i < input.classes.size(); ++i) {
      if (part_of(input.classes[i]) == part) {
        own.classes.push_back(input.classes[i]);
        numbers.push_back(i);
        written[i] = true;
      }
    }
    StepProgram made = program_of_part(training, own, part);
    for (std::size_t i = 0; i < numbers.size(); ++i) {
      program.classes[numbers[i]] = std::move(made.classes[i]);
    }
  }
  return program;
}

}  // namespace vitsim
