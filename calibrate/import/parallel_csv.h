#pragma once

#include <istream>
#include <string>

#include "calibrate/import/piece.h"

namespace vitsim {

/// Step times of language models by parallelism, one configuration a row, as the vTrain study
/// published those of Megatron-DeepSpeed on A100s (Bang et al., MICRO 2024): gpus, global_batch,
/// micro_batch, hidden, heads, layers, sequence, tensor, data, pipeline, iteration_ms. Columns
/// `gpu`, `precision`, `vocabulary` and `mlp` may say what the study's table leaves open; else the
/// GPU is `gpu`, or the study's, the precision fp16, the vocabulary 51,200 and the MLP 4 times as
/// wide as the model, which a warning names. Throws UserError with every problem of the file.
Piece read_parallel_table(std::istream& stream, const std::string& origin, const std::string& gpu);

}  // namespace vitsim
