#pragma once

#include <istream>
#include <string>
#include <vector>

#include "calibrate/import/piece.h"

namespace vitsim {

/// The tables of the study "Scaling Vision Transformers: Evaluating DeepSpeed for Image-Centric
/// Workloads" (arXiv 2602.21081): ViT-B/16 for 1000 classes on CIFAR-10 at 224 pixels, DeepSpeed
/// ZeRO stage 0 with AdamW. All readers throw UserError with every problem of the file.

/// A table of runs, one per row (`run,cluster,placement,...`). Gives each run's configuration,
/// "epoch" samples (the slowest rank's wall time) and "memory" samples by rank. A `fp16` that ends
/// in `?` was inferred. Runs without step phases were logged without `wall_clock_breakdown`.
std::vector<Piece> read_run_table(std::istream& stream, const std::string& origin);

/// One rank's phases of every step (`rank,forward_ms,backward_ms,...`), of the run `run`.
Piece read_step_table(std::istream& stream, const std::string& origin, const std::string& run);

/// What the study's script logged at the end of each epoch (`Timestamp,Rank,Epoch,...`): wall time
/// by rank and the state of every GPU that the rank's machine lists. An epoch takes as long as its
/// slowest rank. Of an epoch that is there twice (an aborted run, then a whole one) the later one
/// counts.
Piece read_epoch_table(std::istream& stream, const std::string& origin, const std::string& run);

/// Training steps and forward passes of one GPU (`gpu,torch,what,...`): samples of no run.
Piece read_throughput_table(std::istream& stream, const std::string& origin);

}  // namespace vitsim
