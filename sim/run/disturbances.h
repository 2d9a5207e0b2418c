#pragma once

#include <span>
#include <vector>

#include "models/wide_integer.h"
#include "sim/run/run.h"
#include "sim/step/compute_speed.h"
#include "sim/step/step_executor.h"

namespace vitsim {

/// The disturbances of a run in ticks since its start, and what of them an epoch sees on its own
/// clock.
class Disturbances {
 public:
  /// Throws UserError where an disturbance ends before it begins, a factor or bandwidth is not
  /// positive, or a rank does not exist.
  Disturbances(const Network& network, std::span<const Disturbance> disturbances);

  [[nodiscard]] bool empty() const { return compute_.empty() && links_.empty(); }

  /// Slowdowns and pauses of `rank` after `origin`, on the clock that begins there.
  [[nodiscard]] std::vector<SlowInterval> slow_intervals(std::int64_t rank, Int128 origin) const;

  /// Changes of links after `origin`, on the clock that begins there. Where disturbances of one
  /// link overlap, the one that began last counts.
  [[nodiscard]] std::vector<LinkChange> link_changes(Int128 origin) const;

  /// The network as it is at `origin`.
  [[nodiscard]] Network network_at(Int128 origin) const;

  /// Does anything begin, last or end in (from, to]?
  [[nodiscard]] bool touches(Int128 from, Int128 to) const;

  /// All instants after `origin` at which something begins or ends, on the clock that begins there,
  /// rising.
  [[nodiscard]] std::vector<Tick> edges(Int128 origin) const;

 private:
  struct Compute {
    std::int64_t rank = 0;
    double factor = 1;
    Tick from = 0;
    Tick to = 0;
  };

  struct Link {
    LinkId link = 0;
    BytesPerSecond bandwidth;
    Tick from = 0;
    Tick to = 0;
  };

  /// What a link delivers at an instant.
  [[nodiscard]] BytesPerSecond bandwidth_at(LinkId link, Int128 time) const;

  const Network& network_;
  std::vector<Compute> compute_;
  std::vector<Link> links_;
};

}  // namespace vitsim
