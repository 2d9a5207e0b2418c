#pragma once

#include <filesystem>

#include "calibrate/import/piece.h"

namespace vitsim {

/// A run directory of this project's trainer, as far as its files exist: `resolved.json` and
/// `report.json` give the configuration, `epochs.csv` the "epoch" and "memory" samples,
/// `timeline.jsonl` every phase by rank and micro-step, "step" and, where the reductions say how
/// many bytes they moved, "all_reduce" by size. The run is called after the folder.
///
/// A reduction's duration on a rank holds its wait for the others: for "all_reduce" the shortest of
/// the ranks' durations of the same instance counts. Of phases that happen once a step
/// ("optimizer", "gradient_all_reduce") all micro-steps but the last of a step have zero. Throws
/// UserError with every problem of every file.
Piece read_run_directory(const std::filesystem::path& folder);

}  // namespace vitsim
