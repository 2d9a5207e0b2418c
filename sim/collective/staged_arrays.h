#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/collective/plan.h"
#include "sim/engine/clock.h"
#include "sim/engine/network.h"

namespace vitsim {

/// A staged plan without events: the ranks go from stage to stage, and each message takes what its
/// path gives it. Exact where the flows of a link take turns or go together, see
/// staged_arrays.cpp. Whether they do depends on the starts, so a run may refuse to answer.
class StagedArrays {
 public:
  /// `ranks[position]` is the cluster's rank; stages of the plan have one step. `network` must
  /// outlive it and keep its bandwidths.
  StagedArrays(const Network& network, std::span<const std::int64_t> ranks, StagedPlan plan);

  /// The tick at which every position ends if nothing else is on the network; `ends` may be
  /// `starts`. False where flows disturb one another, so that only events can tell; `ends` is then
  /// left as it is. Throws UserError where the end would lie beyond the clock. Not thread-safe: it
  /// owns scratch memory.
  [[nodiscard]] bool run(std::span<const Tick> starts, std::span<Tick> ends);

 private:
  /// What all messages of one kind of path and one size take when alone.
  struct Figures {
    Tick latency = 0;
    Tick transfer = 0;
    double rate = 0;  // bytes per second
  };

  struct Message {
    std::uint32_t from = 0;
    std::uint32_t to = 0;
    std::uint32_t first_link = 0;
    std::uint32_t last_link = 0;
    std::uint32_t figures = 0;
    std::int64_t bytes = 0;
  };

  /// The flows on one link that have the same begin.
  struct Group {
    std::uint32_t stage = 0;
    std::uint32_t flows = 0;
    Tick begin = 0;
    Tick end = 0;     // of this group once it is known, else of the one before
    double rate = 0;  // of each flow
  };

  bool begin_stage(std::uint32_t stage, std::span<const Message> messages);
  bool end_stage(std::span<const Message> messages);

  const Network& network_;
  std::vector<Message> messages_;           // stage by stage
  std::vector<std::size_t> first_message_;  // by stage, and the end
  std::vector<LinkId> links_;               // by message
  std::vector<Figures> figures_;
  std::vector<Group> groups_;  // by link
  std::vector<Tick> begins_;   // by message of a stage
  std::vector<Tick> now_;      // by position: end of the last stage
  std::vector<Tick> next_;
};

}  // namespace vitsim
