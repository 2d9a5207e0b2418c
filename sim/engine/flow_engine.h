#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/engine/clock.h"
#include "sim/engine/event_queue.h"
#include "sim/engine/fair_shares.h"
#include "sim/engine/network.h"

namespace vitsim {

/// Who hears of a delivered message or a timer.
class EventHandler {
 public:
  virtual ~EventHandler() = default;

  virtual void on_event(std::uint32_t tag) = 0;
};

using HandlerId = std::uint32_t;
using StreamId = std::uint32_t;

/// Messages over shared links, event by event.
///
/// A message waits the latency of its path, then its bytes flow. Flows share links max-min fairly
/// (fair_shares.h). A flow never exceeds its own cap, which is the path's figure for messages of
/// its size. Messages of one stream go one after the other: the next one's latency starts when its
/// predecessor is delivered.
///
/// Rates change only where they must: everything of one instant happens first, then the rates that
/// the comings and goings of the instant can change are computed anew. A flow whose rate stays the
/// same keeps its delivery, to the tick; a flow that has its links for itself costs no computation
/// at all.
class FlowEngine {
 public:
  /// `links` is copied: later changes are this engine's own.
  explicit FlowEngine(const LinkTable& links);

  [[nodiscard]] Tick now() const { return queue_.now(); }

  /// Events popped so far.
  [[nodiscard]] std::uint64_t events() const { return events_; }

  [[nodiscard]] std::uint64_t bytes_delivered() const { return bytes_delivered_; }

  HandlerId add_handler(EventHandler& handler);

  /// An ordered stream of messages over `path` (not empty).
  StreamId add_stream(std::span<const LinkId> path);

  /// Sends now, or as soon as the stream's earlier messages are delivered. `handler` hears `tag`
  /// at delivery.
  void send(StreamId id, std::int64_t bytes, HandlerId handler, std::uint32_t tag);

  /// `handler` hears `tag` at `time`, which must not lie in the past.
  void at(Tick time, HandlerId handler, std::uint32_t tag);

  /// From now on, for running flows too.
  void set_bandwidth(LinkId link, BytesPerSecond bandwidth);

  /// Runs until nothing is pending.
  void run();

  /// Forgets pending messages and timers and sets the clock; links, streams and handlers stay.
  void reset(Tick now);

 private:
  enum class Kind : std::uint64_t { kLatencyPaid, kDelivered, kTimer };
  enum class State : std::uint8_t { kIdle, kLatency, kFlowing };
  static constexpr std::uint32_t kNone = 0xffffffff;

  struct Stream {
    State state = State::kIdle;
    bool rated = false;            // has got a rate since it began to flow
    std::uint32_t generation = 0;  // of the delivery that counts; older ones are void
    HandlerId handler = 0;
    std::uint32_t tag = 0;
    std::int64_t bytes = 0;
    double rate = 0;       // bytes per second
    double remaining = 0;  // bytes at `updated`
    Tick updated = 0;
    // What a message of `figured_bytes` finds when alone, valid for `figured_version` of the links.
    std::int64_t figured_bytes = -1;
    std::uint64_t figured_version = 0;
    Tick latency = 0;
    Tick alone_transfer = 0;
    double alone_rate = 0;  // also the most it may have in company
    std::uint32_t first_waiting = kNone;
    std::uint32_t last_waiting = kNone;
  };

  struct Waiting {
    std::int64_t bytes = 0;
    HandlerId handler = 0;
    std::uint32_t tag = 0;
    std::uint32_t next = kNone;
  };

  /// Throws UserError where `time` is beyond the clock.
  void schedule(Tick time, Kind kind, std::uint32_t index, std::uint32_t extra) {
    check_clock(time);
    queue_.push(
        time,
        static_cast<std::uint64_t>(kind) << 62U | static_cast<std::uint64_t>(index) << 32U | extra);
  }

  void handle(std::uint64_t what);
  void begin(StreamId id, std::int64_t bytes, HandlerId handler, std::uint32_t tag);
  void refresh_figures(StreamId id);
  void refresh_running(StreamId id);
  void start_flowing(StreamId id);
  void deliver(StreamId id);
  void recompute_rates();
  void apply_rate(StreamId id, double rate);

  LinkTable table_;
  std::uint64_t table_version_ = 0;
  FairShares shares_;  // links and flows are numbered as links and streams
  std::vector<Stream> streams_;
  std::vector<Waiting> waiting_;
  std::vector<std::uint32_t> free_waiting_;
  std::vector<EventHandler*> handlers_;
  EventQueue queue_;
  std::uint64_t events_ = 0;
  std::uint64_t bytes_delivered_ = 0;
};

}  // namespace vitsim
