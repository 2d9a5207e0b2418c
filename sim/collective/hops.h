#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/engine/clock.h"
#include "sim/engine/network.h"

namespace vitsim {

/// The paths from each rank of an order to the next, by kind: hops over links of equal data, inside
/// a node or between nodes, are of one kind, and what a message takes is asked once for each.
class Hops {
 public:
  struct Kind {
    std::vector<LinkId> path;  // of one of them
    bool is_inside = false;    // a node
    std::vector<bool> is_nic;  // by link of the path
  };

  /// Hops of rings side by side: `ranks[k]` to `ranks[k+1]`, and from the last of every `ring_size`
  /// ranks to the first of them. None where the rings have one rank.
  Hops(const Network& network, std::span<const std::int64_t> ranks, std::size_t ring_size);

  /// Is every link crossed by one hop at most?
  [[nodiscard]] bool are_alone() const { return alone_; }

  [[nodiscard]] const std::vector<Kind>& kinds() const { return kinds_; }

  /// Do the kinds still hold, or has a bandwidth changed since?
  [[nodiscard]] bool are_current(const LinkTable& links) const {
    return changes_ == links.changes();
  }

  /// What a message of `bytes` takes on each hop when `copies` equal flows share it, latency and
  /// transfer, each rounded. Copies that are spread over `nics` of each node share a NIC with
  /// `copies / nics`, which must be whole.
  [[nodiscard]] std::vector<Tick> ticks(const LinkTable& links,
                                        std::int64_t bytes,
                                        std::size_t copies,
                                        std::size_t nics = 1) const;

 private:
  std::vector<Kind> kinds_;
  std::vector<std::uint32_t> kind_of_;  // by hop
  bool alone_ = true;
  std::uint64_t changes_ = 0;
};

}  // namespace vitsim
