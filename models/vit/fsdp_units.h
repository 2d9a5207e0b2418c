#pragma once

#include <cstdint>
#include <vector>

#include "models/vit/partition.h"

namespace vitsim {

/// FSDP2's units: each encoder block, and the root with everything else.
struct FsdpUnits {
  struct Block {
    std::int64_t elements = 0;
    double begin = 0;  // of forward's work
    double end = 0;
  };

  std::int64_t root = 0;  // elements
  std::vector<Block> blocks;

  [[nodiscard]] std::int64_t largest_block() const;
};

/// Of what a rank holds: with tensor parallelism, shards of the matrices (a 2-D mesh in PyTorch).
FsdpUnits fsdp_units(const ModelPart& part);

}  // namespace vitsim
