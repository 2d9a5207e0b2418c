#include "models/experiment/rank_layout.h"

namespace vitsim {

RankPlaceInSplit RankLayout::place(std::int64_t position) const {
  RankPlaceInSplit place;
  place.tensor = position % tensor_;
  position /= tensor_;
  place.sequence = position % sequence_;
  position /= sequence_;
  place.data = position % data_;
  place.stage = position / data_;
  return place;
}

std::int64_t RankLayout::position(const RankPlaceInSplit& place) const {
  return ((place.stage * data_ + place.data) * sequence_ + place.sequence) * tensor_ + place.tensor;
}

RankLayout::Groups RankLayout::tensor_groups() const {
  Groups groups;
  const std::int64_t world = tensor_ * sequence_ * data_ * stages_;
  for (std::int64_t first = 0; first < world; first += tensor_) {
    auto& group = groups.emplace_back();
    for (std::int64_t i = 0; i < tensor_; ++i) {
      group.push_back(static_cast<std::uint32_t>(first + i));
    }
  }
  return groups;
}

RankLayout::Groups RankLayout::sequence_groups() const {
  Groups groups;
  for (std::int64_t stage = 0; stage < stages_; ++stage) {
    for (std::int64_t data = 0; data < data_; ++data) {
      for (std::int64_t tensor = 0; tensor < tensor_; ++tensor) {
        auto& group = groups.emplace_back();
        for (std::int64_t i = 0; i < sequence_; ++i) {
          group.push_back(static_cast<std::uint32_t>(
              position({.tensor = tensor, .sequence = i, .data = data, .stage = stage})));
        }
      }
    }
  }
  return groups;
}

RankLayout::Groups RankLayout::gradient_groups() const {
  Groups groups;
  for (std::int64_t stage = 0; stage < stages_; ++stage) {
    for (std::int64_t tensor = 0; tensor < tensor_; ++tensor) {
      auto& group = groups.emplace_back();
      for (std::int64_t data = 0; data < data_; ++data) {
        for (std::int64_t sequence = 0; sequence < sequence_; ++sequence) {
          group.push_back(static_cast<std::uint32_t>(
              position({.tensor = tensor, .sequence = sequence, .data = data, .stage = stage})));
        }
      }
    }
  }
  return groups;
}

RankLayout::Groups RankLayout::pipelines() const {
  Groups groups;
  const std::int64_t stage_ranks = tensor_ * sequence_ * data_;
  for (std::int64_t first = 0; first < stage_ranks; ++first) {
    auto& group = groups.emplace_back();
    for (std::int64_t stage = 0; stage < stages_; ++stage) {
      group.push_back(static_cast<std::uint32_t>(stage * stage_ranks + first));
    }
  }
  return groups;
}

RankLayout::Groups RankLayout::pipeline_ends() const {
  Groups groups;
  for (const std::vector<std::uint32_t>& pipeline : pipelines()) {
    groups.push_back({pipeline.front(), pipeline.back()});
    for (std::size_t stage = 1; stage + 1 < pipeline.size(); ++stage) {
      groups.push_back({pipeline[stage]});
    }
  }
  return groups;
}

std::int64_t micro_batches_per_step(const TrainingSpec& training) {
  return training.parallelism.pipeline.micro_batches.value_or(training.accumulation);
}

EpochPlan plan_epoch(std::int64_t subset, std::int64_t world_size, const TrainingSpec& training) {
  const RankLayout layout(training.parallelism, world_size);
  std::vector<std::int64_t> batches;
  if (training.micro_batch.size() == 1) {
    batches = training.micro_batch;
  } else {
    for (std::int64_t data = 0; data < layout.data(); ++data) {
      batches.push_back(
          training.micro_batch[static_cast<std::size_t>(layout.position({.data = data}))]);
    }
  }
  const EpochPlan by_replica =
      plan_epoch(subset, layout.data(), batches, micro_batches_per_step(training));
  EpochPlan plan = by_replica;
  plan.full.clear();
  plan.last.clear();
  for (std::int64_t position = 0; position < world_size; ++position) {
    const auto replica = static_cast<std::size_t>(layout.place(position).data);
    plan.full.push_back(by_replica.full[replica]);
    plan.last.push_back(by_replica.last[replica]);
  }
  return plan;
}

}  // namespace vitsim
