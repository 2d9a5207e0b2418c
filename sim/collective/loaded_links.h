#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "sim/collective/event_collective.h"
#include "sim/collective/stream_set.h"
#include "sim/engine/clock.h"
#include "sim/engine/network.h"

namespace vitsim {

/// What a pipelined collective puts on one link: `share` of the bytes that it is called with.
struct LinkLoad {
  LinkId link = 0;
  double share = 0;
};

/// Links that a collective loads at once, as pipelines do that keep every link busy from the first
/// byte to the last. Everybody waits until all ranks are there and the most loaded link is through:
///
///   end = max(start) + fixed + max over links of (latency + ceil(share x wire bytes) / bandwidth)
class LoadedLinks {
 public:
  LoadedLinks(const LinkTable& links, std::vector<LinkLoad> loads);

  /// What the slowest link takes for `wire_bytes`, its latency included.
  [[nodiscard]] Tick slowest(double wire_bytes) const;

  /// The largest latency of a loaded link, which `slowest` includes.
  [[nodiscard]] Tick latency() const { return latency_; }

  [[nodiscard]] const std::vector<LinkLoad>& loads() const { return loads_; }

  /// Bytes on a link of that share.
  static std::int64_t bytes_on(double share, double wire_bytes);

 private:
  /// Equal links with equal loads count once.
  struct Kind {
    double share = 0;
    Tick latency = 0;
    BytesPerSecond bandwidth;
  };

  std::vector<LinkLoad> loads_;
  std::vector<Kind> kinds_;
  Tick latency_ = 0;
};

/// The same at event level: each link carries its load as one flow, which other traffic slows down.
/// `links` must outlive the result, `done` as well; `collective` is handed back to it.
std::unique_ptr<EventCollective> make_loaded_collective(StreamSet& streams,
                                                        std::shared_ptr<const LoadedLinks> links,
                                                        double wire_bytes,
                                                        Tick fixed,
                                                        CollectiveListener& done,
                                                        std::uint32_t collective);

}  // namespace vitsim
