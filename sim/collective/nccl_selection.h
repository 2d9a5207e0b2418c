#pragma once

#include <cstdint>

#include "models/units.h"
#include "sim/collective/algorithm.h"

namespace vitsim {

class Communicator;

/// What NCCL's tuning looks at.
struct NcclSurroundings {
  enum class Generation { kVolta, kAmpere, kHopper };
  std::int64_t ranks = 1;
  std::int64_t nodes = 1;
  BytesPerSecond intra;  // bus bandwidth inside a node, all channels together
  BytesPerSecond inter;  // and between nodes
  Generation generation = Generation::kAmpere;
  bool nvlink = false;  // else PCI
  std::int64_t channels = 2;
  bool equal_gpus = true;  // NCCL offers LL128 only among equal ones
};

enum class NcclProtocol { kLl, kLl128, kSimple };

struct NcclChoice {
  Algorithm algorithm = Algorithm::kRing;
  NcclProtocol protocol = NcclProtocol::kSimple;
  Seconds time;  // what NCCL expects
};

/// The algorithm and protocol with the least expected time, `latency + bytes / bandwidth` with the
/// constants of NCCL 2.28.9 (src/graph/tuning.cc): Ring or Tree, the two that need neither CollNet
/// nor NVLink SHARP.
NcclChoice nccl_choice(const NcclSurroundings& surroundings, std::int64_t bytes);

/// The surroundings as the network shows them: least bandwidths of the ring's hops inside nodes and
/// between them, for messages of a ring's size. GPU generation and link kind are not known to the
/// network; Ampere and PCI stand in (NVLink above 32 GB/s, more than PCIe 4.0 x16 has).
NcclSurroundings nccl_surroundings(const Communicator& group, std::int64_t bytes);

/// What NCCL chooses; a ring for a single rank.
Algorithm nccl_algorithm(const NcclSurroundings& surroundings, std::int64_t bytes);

}  // namespace vitsim
