#pragma once

#include <istream>
#include <optional>
#include <string>

#include "calibrate/import/piece.h"

namespace vitsim {

/// A rank's own clock beside DeepSpeed's timers, one row per micro-step
/// (`microstep,start_unix,forward_ms,...,ds_fwd_microstep,...`). Gives what a log gives, with more
/// digits, and "step". The table does not tell how many micro-steps make a step: until
/// `group_micro_steps` is told, "step" too is by micro-step.
Piece read_rank_clock(std::istream& stream,
                      const std::string& origin,
                      const std::string& run,
                      std::int64_t rank);

/// Adds up "step" over the `accumulation` micro-steps of each step; of all samples the micro-steps
/// of an unfinished last step are left out.
void group_micro_steps(Piece& piece, std::int64_t accumulation);

/// AllReduce by message size (`bytes,rep,allreduce_ms`): "all_reduce" samples of no run, one per
/// size, with `bytes`, `rank` and, where known, `ranks`.
Piece read_all_reduce_table(std::istream& stream,
                            const std::string& origin,
                            const std::string& name,
                            std::int64_t rank,
                            std::optional<std::int64_t> ranks);

}  // namespace vitsim
