#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace vitsim {

/// Max-min fair rates of flows over shared links, kept up to date as flows come and go.
///
/// Rates are raised together until a link l is full, sum of the rates on it = C_l; the flows on it
/// keep that rate, the others go on (Bertsekas, Gallager, "Data Networks", 6.5.2). A flow never
/// exceeds its own cap. The rates depend on who flows where and on nothing else, to the last bit:
/// see fair_shares.cpp for what is computed again after a change.
class FairShares {
 public:
  using Link = std::uint32_t;
  using Flow = std::uint32_t;

  static constexpr double kUncapped = std::numeric_limits<double>::infinity();

  /// A link that carries `capacity` bytes per second. Links are numbered 0, 1, ...
  Link add_link(double capacity);

  /// A flow over `path` (not empty), which does not flow yet. Flows are numbered 0, 1, ...
  Flow add_flow(std::span<const Link> path);

  /// `flow` begins. Its rate stays at or below `cap` bytes per second; a cap that is not below the
  /// narrowest link of the path means nothing. True where no other flow is on the path and none
  /// was since the last `resolve`: then the rate is known at once.
  bool join(Flow flow, double cap);

  /// `flow` ends.
  void leave(Flow flow);

  /// From now on. Flows on the link keep their caps unless `set_cap` says otherwise.
  void set_capacity(Link link, double capacity);

  /// A new cap for a flow that flows.
  void set_cap(Flow flow, double cap);

  /// Has anything changed since the last `resolve`?
  [[nodiscard]] bool is_stale() const { return !dirty_.empty(); }

  /// Brings all rates up to date and returns the flows that were looked at, each once; every flow
  /// whose rate changed is among them. The result is valid until the next call.
  std::span<const Flow> resolve();

  /// Bytes per second of a flow that flows.
  [[nodiscard]] double rate(Flow flow) const { return flows_[flow].rate; }

  [[nodiscard]] std::span<const Link> path(Flow flow) const {
    return std::span(paths_).subspan(flows_[flow].first_hop,
                                     flows_[flow].last_hop - flows_[flow].first_hop);
  }

  /// Flows on `link` now.
  [[nodiscard]] std::uint32_t flows_on(Link link) const { return links_[link].flows; }

  /// Calls `visit(flow)` for each flow on `link` now.
  template <typename Visit>
  void for_each_flow_on(Link link, const Visit& visit) const {
    for (std::uint32_t at = links_[link].first_hop; at != kNone; at = hops_[at].next) {
      visit(hops_[at].flow);
    }
  }

  /// Nothing flows any more.
  void clear();

 private:
  static constexpr std::uint32_t kNone = 0xffffffff;
  static constexpr std::uint32_t kOwnCap = 0xfffffffe;  // after every link
  static constexpr double kNoLevel = std::numeric_limits<double>::infinity();

  /// When a bound takes effect as rates rise: at equal rates links go by number, then caps.
  struct Level {
    double rate = 0;
    std::uint32_t bound = 0;  // a link, or kOwnCap

    [[nodiscard]] bool before(const Level& other) const {
      return rate < other.rate || (rate == other.rate && bound < other.bound);
    }
  };

  struct FlowState {
    std::uint32_t first_hop = 0;
    std::uint32_t last_hop = 0;
    double rate = 0;
    std::uint32_t bound = kNone;  // the link that limits it, kOwnCap, or kNone: open
    std::uint32_t settled = 0;    // the resolve in which it got its rate
    double cap = kUncapped;       // kUncapped also where it means nothing
    bool flows = false;
    // The narrowest link of the path, as of `capacities_`.
    std::uint32_t narrowest = kNone;
    std::uint32_t capacities = 0;
    double narrowest_capacity = 0;
  };

  /// One flow's place on one link, in the list of flows that the link carries.
  struct Hop {
    Link link = 0;
    Flow flow = 0;
    std::uint32_t previous = kNone;
    std::uint32_t next = kNone;
  };

  struct LinkState {
    std::uint32_t first_hop = kNone;
    std::uint32_t flows = 0;
    double level = kNoLevel;  // the rate at which it is full; kNoLevel: it never is
    double capacity = 0;
    bool dirty = false;
    // While rates are resolved:
    bool undone = false;        // its former level is void
    std::uint32_t touched = 0;  // the resolve that looks at it
    std::uint32_t open = 0;     // flows that have no rate yet as seen from here
    std::uint32_t event = 0;    // next in events_, and their end
    std::uint32_t last = 0;
    double residual = 0;       // capacity that the others left
    double candidate = 0;      // no level below this one
    double former = kNoLevel;  // its level before
  };

  /// A flow that another bound limits, as one of its links sees it.
  struct Event {
    Level level;
    Flow flow = 0;
  };

  /// A bound that may take effect at `rate`.
  struct Pending {
    double rate = 0;
    std::uint32_t bound = 0;
    std::uint32_t index = 0;  // the link or flow

    [[nodiscard]] Level level() const { return {.rate = rate, .bound = bound}; }
  };

  [[nodiscard]] std::span<const Hop> hops(const FlowState& flow) const {
    return {hops_.data() + flow.first_hop, hops_.data() + flow.last_hop};
  }

  void find_narrowest(FlowState& flow);
  void mark_dirty(Link link);
  void sort_events(const LinkState& link);
  void touch(Link link, const Level& now);
  void advance(LinkState& link, const Level& now);
  void settle(Flow flow, const Level& level);
  void fill(Link link);
  void undo(Link link);
  void push(const Level& level, std::uint32_t index);
  void push_link(Link link);
  Pending pop();

  std::vector<LinkState> links_;
  std::vector<FlowState> flows_;
  std::vector<Hop> hops_;    // by flow, in the order of its path
  std::vector<Link> paths_;  // likewise
  std::vector<Link> dirty_;
  std::vector<Flow> opened_;  // flows without a rate, since the last resolve
  std::vector<Flow> settled_;
  std::vector<Event> events_;
  std::vector<Pending> pending_;  // a heap, the first level on top
  std::uint32_t resolve_ = 0;
  std::uint32_t capacities_ = 1;  // counts changes of capacity
};

}  // namespace vitsim
