#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "models/experiment/parallelism.h"
#include "models/vit/vit.h"

namespace vitsim {

/// Encoder blocks [first, last), one after the other.
struct BlockRange {
  std::int64_t first = 0;
  std::int64_t last = 0;

  bool operator==(const BlockRange&) const = default;

  [[nodiscard]] std::int64_t count() const { return last - first; }
};

/// What one rank holds of a model and computes of a sample: blocks, shards of their matrices, a
/// share of the tokens, and perhaps the embedding or the head. A whole model is the part that one
/// rank alone holds. The cost graph, parameters, buckets and memory of a rank follow from its part.
struct ModelPart {
  VitSpec model;
  std::vector<BlockRange> blocks;  // one range for each chunk of an interleaved pipeline
  bool embedding = true;           // of patches or tokens, with the positions
  bool head = true;                // with the last norm
  std::int64_t tensor = 1;         // ranks that share the matrices of each block
  std::int64_t sequence = 1;       // ranks that share the tokens of each sample, in all of a block
  bool norms_split = false;        // tensor-parallel ranks share the tokens of norms and residuals
  Recompute recompute = Recompute::kNone;
  bool attention_alone = false;  // the attention's own products, without all else of the blocks

  /// The whole model.
  // NOLINTNEXTLINE(google-explicit-constructor): a model is a part of itself.
  ModelPart(const VitSpec& vit) : model(vit), blocks{{.first = 0, .last = vit.layers}} {}

  bool operator==(const ModelPart&) const = default;

  [[nodiscard]] std::int64_t block_count() const;

  /// The tokens of a sample, filled up so that they split evenly.
  [[nodiscard]] std::int64_t padded_tokens() const;

  /// Tokens of a sample in this rank's products.
  [[nodiscard]] std::int64_t tokens() const { return padded_tokens() / sequence; }

  /// Tokens of a sample in this rank's norms and residuals.
  [[nodiscard]] std::int64_t norm_tokens() const {
    return norms_split ? tokens() / tensor : tokens();
  }

  /// Whether the rank holds and computes everything by itself.
  [[nodiscard]] bool is_whole() const;

  /// Its blocks without embedding and head.
  [[nodiscard]] ModelPart only_blocks() const;

  /// Embedding and head without the blocks.
  [[nodiscard]] ModelPart only_ends() const;

  /// One of its ranges; the embedding goes with the first, the head with the last.
  [[nodiscard]] ModelPart chunk(std::size_t index) const;
};

/// What ends of a model and its stages cost, for dealing blocks to pipeline stages: time is
/// `slowness` of the stage times the work of what it holds, a block's work being 1.
struct StageCosts {
  double embedding = 0;
  double head = 0;
  std::vector<double> slowness;  // by stage; empty: all 1
};

/// Blocks of each of `stages` x `chunks` consecutive parts of a pipeline; part i is chunk
/// i / stages of stage i % stages. Equal numbers where they divide and the stages are equally fast,
/// as the frameworks deal them; else so that the slowest stage takes least, every part at least one
/// block.
std::vector<std::int64_t> deal_blocks(std::int64_t layers,
                                      std::int64_t stages,
                                      std::int64_t chunks,
                                      const StageCosts& costs);

/// The part of one stage; `blocks` as dealt.
ModelPart part_of_stage(const VitSpec& model,
                        const ParallelismSpec& split,
                        Recompute recompute,
                        std::span<const std::int64_t> blocks,
                        std::int64_t stage);

/// Every learned tensor of the part, sharded: rows or columns of matrices by tensor-parallel rank,
/// norms and the outputs' biases whole. The head of a token model is the embedding's matrix; a part
/// with only the head has a copy of it.
std::vector<ParameterTensor> parameters(const ModelPart& part);

std::int64_t parameter_count(const ModelPart& part);

/// Elements of one sample that pass from block to block, and between the ranks that share one.
inline std::int64_t hidden_elements(const ModelPart& part) {
  return part.padded_tokens() * part.model.width;
}

}  // namespace vitsim
