#include "models/vit/fsdp_units.h"

#include <algorithm>

#include "models/vit/modules.h"

namespace vitsim {

std::int64_t FsdpUnits::largest_block() const {
  std::int64_t largest = 0;
  for (const Block& block : blocks) {
    largest = std::max(largest, block.elements);
  }
  return largest;
}

FsdpUnits fsdp_units(const ModelPart& part) {
  FsdpUnits units;
  std::int64_t last = -1;
  for (const LeafModule& module : leaf_modules(part)) {
    const std::int64_t block = block_of(module.name);
    if (block < 0) {
      units.root += module.elements;
      continue;
    }
    if (block != last) {
      units.blocks.push_back({.begin = module.begin});
      last = block;
    }
    units.blocks.back().elements += module.elements;
    units.blocks.back().end = module.end;
  }
  return units;
}

}  // namespace vitsim
