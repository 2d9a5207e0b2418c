#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "models/experiment/training.h"
#include "trainer/communication.h"
#include "trainer/loss_scale.h"
#include "trainer/model.h"
#include "trainer/optimizer.h"
#include "trainer/run_directory.h"
#include "trainer/step/gradient_reducer.h"

namespace vitsim {

/// Where a run stands, beside its weights and optimizer state.
struct Progress {
  std::int64_t epoch = 0;          // the one that goes on
  std::int64_t step_in_epoch = 0;  // its steps done
  std::int64_t samples_in_epoch = 0;
  std::int64_t steps = 0;         // done in all
  double loss_sum = 0;            // over the epoch's samples so far whose loss is finite
  std::int64_t loss_samples = 0;  // how many these are
  double elapsed_s = 0;           // of the epoch so far
  std::vector<EpochRow> epochs;   // finished ones
  std::optional<LossScale::State> loss_scale;
};

/// What a checkpoint is made of and put back into.
struct TrainingState {
  const TrainingSpec& training;
  const VisionTransformer& model;
  GradientReducer& reducer;
  Optimizer& optimizer;
  int rank = 0;
  int size = 1;
};

/// Writes `folder`/step-N and then points `folder`/latest to it; older ones go after that. Killed
/// at any moment it leaves the previous checkpoint or the new one. Rank 0 writes weights and, where
/// every rank has all of it, optimizer state; where it is sharded, or a rank's is like no other's,
/// each writes its own. All ranks must see the same file system. The model must hold all weights
/// (WholeModel), here and in `load_checkpoint`. Collective; throws DeviceError on every rank where
/// one fails.
void save_checkpoint(const std::filesystem::path& folder,
                     const TrainingState& state,
                     const Progress& progress,
                     Communication& communication);

/// The step-N that `folder` leads to, if any: a run directory (by the checkpoint.path in its
/// resolved.json, else its own folder of checkpoints), a folder of checkpoints, or a step-N itself.
std::optional<std::filesystem::path> find_checkpoint(const std::filesystem::path& folder);

/// Puts the checkpoint back that find_checkpoint finds. Ranks may be more or fewer, and sharded
/// otherwise, than when it was written, unless each had a state of its own. Throws UserError where
/// it is missing, cut, newer than this program, or of another model, precision or optimizer.
Progress load_checkpoint(const std::filesystem::path& folder, const TrainingState& state);

}  // namespace vitsim
