#pragma once

#include <istream>
#include <optional>
#include <string>

#include "calibrate/import/piece.h"

namespace vitsim {

/// A rank's own clock beside DeepSpeed's timers, one row per micro-step
/// (`microstep,start_unix,forward_ms,...,ds_fwd_microstep,...`). Gives what a log gives, with more
/// digits, and "step". The table does not tell how many micro-steps make a step: until
/// `group_micro_steps` is told, all samples are by micro-step.
Piece read_rank_clock(std::istream& stream,
                      const std::string& origin,
                      const std::string& run,
                      std::int64_t rank);

/// Turns "gradient_all_reduce", "optimizer" (of the last micro-step) and "step" (the sum) of such a
/// piece into samples by step of `accumulation` micro-steps; an unfinished last step is left out.
void group_micro_steps(Piece& piece, std::int64_t accumulation);

/// AllReduce by message size (`bytes,rep,allreduce_ms`): "all_reduce" samples of no run, one per
/// size, with `bytes`, `rank` and, where known, `ranks`.
Piece read_all_reduce_table(std::istream& stream,
                            const std::string& origin,
                            const std::string& name,
                            std::int64_t rank,
                            std::optional<std::int64_t> ranks);

}  // namespace vitsim
