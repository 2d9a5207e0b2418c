#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "sim/engine/flow_engine.h"
#include "sim/engine/network.h"

namespace vitsim {

/// The streams of one communicator: one per channel, source and destination, so that all messages
/// between the two keep their order, whichever collective they belong to.
class StreamSet {
 public:
  StreamSet(FlowEngine& engine, const Network& network, std::vector<std::int64_t> ranks)
      : engine_(engine), network_(network), ranks_(std::move(ranks)) {}

  /// Made at first use.
  StreamId between(std::uint32_t channel, std::uint32_t from, std::uint32_t to);

  /// The same by NIC number `rail` (below 1024) of each node; lanes (below 64) are streams apart.
  StreamId on_rail(std::uint32_t rail, std::uint32_t lane, std::uint32_t from, std::uint32_t to);

  /// A stream over a single link. Made at first use.
  StreamId along(LinkId link);

  [[nodiscard]] FlowEngine& engine() { return engine_; }

  /// The cluster's rank at each position.
  [[nodiscard]] const std::vector<std::int64_t>& ranks() const { return ranks_; }

 private:
  FlowEngine& engine_;
  const Network& network_;
  std::vector<std::int64_t> ranks_;
  std::unordered_map<std::uint64_t, StreamId> streams_;
  std::unordered_map<std::uint64_t, StreamId> rail_streams_;
  std::unordered_map<LinkId, StreamId> link_streams_;
  std::vector<LinkId> path_;
};

}  // namespace vitsim
