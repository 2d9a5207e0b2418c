#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "models/link_kind.h"
#include "models/units.h"
#include "sim/collective/algorithm.h"
#include "sim/collective/loaded_links.h"
#include "sim/collective/nccl_loads.h"
#include "sim/engine/network.h"

namespace vitsim {

/// What NCCL's cost model looks at besides the links' bandwidths.
struct NcclSurroundings {
  std::int64_t ranks = 1;
  std::int64_t nodes = 1;
  std::int64_t ranks_per_node = 1;  // of the largest node
  Accelerator generation = Accelerator::kAmpere;
  bool equal_gpus = true;            // NCCL offers LL128 only among equal ones
  LinkKind intra = LinkKind::kPcie;  // the slowest kind inside a node
  Seconds intra_latency;             // of a small message between two GPUs of a node
  Seconds inter_latency;             // and between two nodes
  BytesPerSecond ring_bandwidth;     // what a ring's bytes get over its slowest link
  BytesPerSecond switch_bandwidth;   // AllReduce bytes / time where the switch sums; 0: none
  bool network_reduces = false;      // the network's switches sum
};

/// What a call costs by NCCL's model: time = latency + bytes x wire_factor / what the links give.
struct NcclCost {
  Seconds latency;
  double wire_factor = 1;  // bytes on the most travelled links by bytes of the call
};

/// By the constants of NCCL 2.28 (src/graph/tuning.cc), which 2.30 keeps for Volta, Ampere and
/// Hopper. A link's own latency takes the place of the constant for its kind where it is longer.
/// Nothing where NCCL does not offer the algorithm for this collective in these surroundings.
std::optional<NcclCost> nccl_cost(const NcclSurroundings& surroundings,
                                  CollectiveKind kind,
                                  Algorithm algorithm,
                                  std::int64_t bytes);

/// A call of a collective as loads on links.
struct NcclCall {
  std::shared_ptr<const LoadedLinks> links;
  double wire_bytes = 0;
  Tick fixed = 0;  // what comes on top of the links' times

  /// From the last rank's start to everybody's end, alone on the network.
  [[nodiscard]] Tick duration() const { return fixed + links->slowest(wire_bytes); }
};

/// NCCL's algorithms among the ranks of one group, with the loads on links that they make.
class NcclModel {
 public:
  explicit NcclModel(const NcclGroup& group);

  [[nodiscard]] const NcclSurroundings& surroundings() const { return surroundings_; }

  /// False between CPUs, and where a link's figures were fitted to collectives, whose costs they
  /// include: then messages over the network say everything.
  [[nodiscard]] bool applies() const { return !is_between_cpus_ && !is_measured_; }

  [[nodiscard]] bool is_between_cpus() const { return is_between_cpus_; }

  /// Whether this collective was measured over the links of this group.
  [[nodiscard]] bool has_table(CollectiveKind kind) const;

  /// Nothing where NCCL does not offer the algorithm here.
  [[nodiscard]] std::optional<NcclCall> call(CollectiveKind kind,
                                             Algorithm algorithm,
                                             std::int64_t bytes) const;

  /// The algorithm and protocol with the shortest call, as NCCL chooses.
  [[nodiscard]] Algorithm choose(CollectiveKind kind, std::int64_t bytes) const;

  /// The same among rings.
  [[nodiscard]] Algorithm choose_ring(CollectiveKind kind, std::int64_t bytes) const;

 private:
  [[nodiscard]] Algorithm shortest(std::span<const Algorithm> candidates,
                                   CollectiveKind kind,
                                   std::int64_t bytes) const;
  [[nodiscard]] const std::shared_ptr<const LoadedLinks>& links_of(Algorithm algorithm) const;
  [[nodiscard]] std::optional<NcclCall> measured_call(CollectiveKind kind,
                                                      std::int64_t bytes) const;

  NcclSurroundings surroundings_;
  bool is_between_cpus_ = false;
  bool is_measured_ = false;
  std::shared_ptr<const MeasuredCollectives> measured_;
  std::shared_ptr<const LoadedLinks> idle_;  // no link at all
  std::shared_ptr<const LoadedLinks> ring_;
  std::shared_ptr<const LoadedLinks> tree_;
  std::shared_ptr<const LoadedLinks> tree_between_;
  std::shared_ptr<const LoadedLinks> collnet_;
  std::shared_ptr<const LoadedLinks> pairwise_;
};

}  // namespace vitsim
