#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "sim/collective/schedule.h"
#include "sim/engine/flow_engine.h"
#include "sim/engine/network.h"

namespace vitsim {

/// Hears when a position of a group has done its part of a collective.
class CollectiveListener {
 public:
  virtual ~CollectiveListener() = default;

  virtual void collective_done(std::uint32_t collective, std::uint32_t position) = 0;
};

/// The streams of one communicator: one per channel, source and destination, so that all messages
/// between the two keep their order, whichever collective they belong to.
class StreamSet {
 public:
  StreamSet(FlowEngine& engine, const Network& network, std::vector<std::int64_t> ranks)
      : engine_(engine), network_(network), ranks_(std::move(ranks)) {}

  /// Made at first use.
  StreamId between(std::uint32_t channel, std::uint32_t from, std::uint32_t to);

  [[nodiscard]] FlowEngine& engine() { return engine_; }

 private:
  FlowEngine& engine_;
  const Network& network_;
  std::vector<std::int64_t> ranks_;
  std::unordered_map<std::uint64_t, StreamId> streams_;
  std::vector<LinkId> path_;
};

/// One collective call at event level. Every position starts on its own; sends are eager: the
/// receiver need not have started.
class EventCollective : public EventHandler {
 public:
  /// Position `position` joins now.
  virtual void start(std::uint32_t position) = 0;

  /// As new, for another call of the same size.
  virtual void reset() = 0;

  /// "position 3 waits for a message from position 2", for every position that is not done.
  [[nodiscard]] virtual std::vector<std::string> waiting() const = 0;
};

/// `done` must outlive the result; `collective` is handed back to it.
std::unique_ptr<EventCollective> make_event_collective(StreamSet& streams,
                                                       StagedPlan plan,
                                                       CollectiveListener& done,
                                                       std::uint32_t collective);
std::unique_ptr<EventCollective> make_event_collective(StreamSet& streams,
                                                       TreePlan plan,
                                                       CollectiveListener& done,
                                                       std::uint32_t collective);

}  // namespace vitsim
