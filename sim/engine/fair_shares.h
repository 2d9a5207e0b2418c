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

  /// Flow `id` begins. Its rate stays at or below `cap` bytes per second; a cap that is not below
  /// the narrowest link of the path means nothing. True where no other flow is on the path and none
  /// was since the last `resolve`: then the rate is known at once.
  bool join(Flow id, double cap);

  /// Flow `id` ends.
  void leave(Flow id);

  /// From now on. Whether a cap means anything follows from the capacities: call `set_cap` for each
  /// flow on the link afterwards.
  void set_capacity(Link link, double capacity);

  /// A new cap for a flow that flows.
  void set_cap(Flow id, double cap);

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
  static constexpr std::uint32_t kAbsent = 0xfffffffe;  // does not flow
  static constexpr std::uint32_t kOwnCap = 0xfffffffd;  // after every link
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
    double cap = kUncapped;         // kUncapped also where it means nothing
    std::uint32_t bound = kAbsent;  // the link that limits it, kOwnCap, kNone: open, or kAbsent
    std::uint32_t opened = 0;       // the resolve that began with it open
    std::uint32_t settled = 0;      // the resolve in which it got its rate
    // The narrowest link of the path, as of `capacities_`.
    std::uint32_t capacities = 0;
    double narrowest_capacity = 0;
    std::uint32_t narrowest = kNone;
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
    std::uint32_t touched = 0;  // the resolve that looks at it
    std::uint32_t open = 0;     // flows that have no rate yet as seen from here
    std::uint32_t event = 0;    // next in events_, and their end
    std::uint32_t last = 0;
    double residual = 0;       // capacity that the others left
    double candidate = 0;      // no level below this one
    double former = kNoLevel;  // its level before, as long as that may still hold
  };

  /// A flow that another bound limits, as one of its links sees it.
  struct Event {
    double rate = 0;
    std::uint32_t bound = 0;
    Flow flow = 0;

    [[nodiscard]] Level level() const { return {.rate = rate, .bound = bound}; }
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
  void touch(Link id, const Level& now);
  void advance(LinkState& link, const Level& now);
  void settle(Flow id, const Level& level);
  void forget_former(LinkState& link);
  void fill(Link id);
  void undo(Link id);
  void push(const Level& level, std::uint32_t index);
  [[nodiscard]] bool are_all_ample() const;
  void take_turn(Link id, double rate);
  Pending pop();

  std::vector<LinkState> links_;
  std::vector<FlowState> flows_;
  std::vector<Hop> hops_;    // by flow, in the order of its path
  std::vector<Link> paths_;  // likewise
  std::vector<Link> dirty_;
  std::vector<Flow> opened_;  // flows without a rate, since the last resolve
  std::vector<Flow> settled_;
  std::vector<Event> events_;
  std::vector<Pending> pending_;   // a heap, the first level on top
  std::size_t open_flows_ = 0;     // while rates are resolved: flows without a rate
  std::size_t former_levels_ = 0;  // and touched links whose former level may still be void
  std::uint32_t resolve_ = 0;
  std::uint32_t capacities_ = 1;  // counts changes of capacity
};

// In the header because every message of every stream comes by.

inline void FairShares::mark_dirty(Link link) {
  if (!links_[link].dirty) {
    links_[link].dirty = true;
    dirty_.push_back(link);
  }
}

inline bool FairShares::join(Flow id, double cap) {
  FlowState& flow = flows_[id];
  if (flow.capacities != capacities_) {
    find_narrowest(flow);
  }
  bool alone = true;
  for (std::uint32_t at = flow.first_hop; at < flow.last_hop; ++at) {
    Hop& hop = hops_[at];
    LinkState& link = links_[hop.link];
    alone = alone && link.flows == 0 && !link.dirty;
    hop.previous = kNone;
    hop.next = link.first_hop;
    if (hop.next != kNone) {
      hops_[hop.next].previous = at;
    }
    link.first_hop = at;
    ++link.flows;
  }
  const bool is_capped = cap < flow.narrowest_capacity;
  flow.cap = kUncapped;
  if (is_capped) {
    flow.cap = cap;
  }
  if (alone) {
    flow.rate = is_capped ? cap : flow.narrowest_capacity;
    flow.bound = is_capped ? kOwnCap : flow.narrowest;
    if (!is_capped) {
      links_[flow.narrowest].level = flow.rate;
    }
    return true;
  }
  flow.bound = kNone;
  opened_.push_back(id);
  for (const Hop& hop : hops(flow)) {
    mark_dirty(hop.link);
  }
  return false;
}

inline void FairShares::leave(Flow id) {
  FlowState& flow = flows_[id];
  flow.bound = kAbsent;
  for (const Hop& hop : hops(flow)) {
    LinkState& link = links_[hop.link];
    (hop.previous == kNone ? link.first_hop : hops_[hop.previous].next) = hop.next;
    if (hop.next != kNone) {
      hops_[hop.next].previous = hop.previous;
    }
    if (--link.flows != 0) {
      mark_dirty(hop.link);
    } else {
      link.level = kNoLevel;
    }
  }
}

}  // namespace vitsim
