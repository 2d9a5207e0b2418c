#pragma once

#include <cstdint>
#include <vector>

#include "models/experiment/epoch.h"
#include "models/experiment/training.h"

namespace vitsim {

/// Where a rank stands in each way in which the training is split.
struct RankPlaceInSplit {
  std::int64_t tensor = 0;
  std::int64_t sequence = 0;
  std::int64_t data = 0;  // its replica of the model
  std::int64_t stage = 0;
};

/// How ranks are dealt to the degrees of parallelism: tensor first, so that those who talk most are
/// neighbours, then sequence, data, pipeline.
class RankLayout {
 public:
  /// The degrees must divide `world_size`.
  RankLayout(const ParallelismSpec& split, std::int64_t world_size)
      : tensor_(split.tensor),
        sequence_(split.sequence_ranks()),
        stages_(split.pipeline.stages),
        data_(world_size / split.model_ranks()) {}

  [[nodiscard]] std::int64_t tensor() const { return tensor_; }

  [[nodiscard]] std::int64_t sequence() const { return sequence_; }

  /// Replicas of the model.
  [[nodiscard]] std::int64_t data() const { return data_; }

  [[nodiscard]] std::int64_t stages() const { return stages_; }

  [[nodiscard]] RankPlaceInSplit place(std::int64_t position) const;
  [[nodiscard]] std::int64_t position(const RankPlaceInSplit& place) const;

  using Groups = std::vector<std::vector<std::uint32_t>>;

  /// Positions that differ in one respect alone. Gradients are summed over the replicas and over
  /// the ranks that share a sample's tokens, who hold the same weights.
  [[nodiscard]] Groups tensor_groups() const;
  [[nodiscard]] Groups sequence_groups() const;
  [[nodiscard]] Groups gradient_groups() const;
  [[nodiscard]] Groups pipelines() const;

  /// First and last stage of each pipeline, and every other position alone.
  [[nodiscard]] Groups pipeline_ends() const;

 private:
  std::int64_t tensor_;
  std::int64_t sequence_;
  std::int64_t stages_;
  std::int64_t data_;
};

/// Micro-batches of a step: those of a pipeline are its accumulation.
std::int64_t micro_batches_per_step(const TrainingSpec& training);

/// The epoch of a training whose model may be split: samples are dealt to replicas of the model,
/// and all ranks of one do the same micro-batches.
EpochPlan plan_epoch(std::int64_t subset, std::int64_t world_size, const TrainingSpec& training);

}  // namespace vitsim
