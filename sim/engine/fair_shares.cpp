#include "sim/engine/fair_shares.h"

#include <algorithm>

#include "models/error.h"

// Progressive filling, one bound at a time. Every link offers its flows an equal share, residual /
// open flows; a flow's own cap is a bound with one flow. The least bound is final: its flows get
// that rate, which is then taken from the residual of the other links they cross. Bounds are taken
// by (rate, links before caps, number).
//
// Seen from one link l, this is a local computation. Call (rate, bound) of a flow its level. Link l
// begins with the candidate C_l / n. When its turn comes, all flows of l with a lower level have
// been subtracted, in rising order. If the share of the rest is larger than the candidate it is the
// next candidate; else the link is full, and the candidate is the rate of all flows on it that have
// none. So the level of a link is a function of the lower levels of the flows on it. Levels follow
// from lower levels alone: there is exactly one solution, and whoever finds a set of levels that
// satisfies every link has found the one that filling from scratch gives, to the last bit.
//
// After a change the levels of most links stay. `resolve` walks through the levels in rising order,
// but looks only at links that a change has touched: those that a flow joined or left, and the
// links of every flow that gets another level on the way. A touched link starts over from C_l / n;
// the flows on it that are limited elsewhere are its events, applied in order, as long as they keep
// their level. Where a touched link reaches the level it had before and is not full, that level is
// undone: its flows are open again, and their other links are touched. Everything below the present
// level is final, so every link is looked at once.
//
// The cost is that of sorting the flows on the touched links, whatever else is going on in the
// network. In the worst case all links are touched; then it is progressive filling.

namespace vitsim {

FairShares::Link FairShares::add_link(double capacity) {
  links_.push_back({.capacity = capacity});
  return static_cast<Link>(links_.size() - 1);
}

FairShares::Flow FairShares::add_flow(std::span<const Link> path) {
  const auto flow = static_cast<Flow>(flows_.size());
  FlowState state;
  state.first_hop = static_cast<std::uint32_t>(hops_.size());
  paths_.insert(paths_.end(), path.begin(), path.end());
  for (const Link link : path) {
    hops_.push_back({.link = link, .flow = flow});
  }
  state.last_hop = static_cast<std::uint32_t>(hops_.size());
  flows_.push_back(state);
  return flow;
}

/// Of equally narrow links the first by number.
void FairShares::find_narrowest(FlowState& flow) {
  Level narrowest{.rate = kNoLevel, .bound = kNone};
  for (const Hop& hop : hops(flow)) {
    const Level full{.rate = links_[hop.link].capacity, .bound = hop.link};
    narrowest = full.before(narrowest) ? full : narrowest;
  }
  flow.narrowest = narrowest.bound;
  flow.narrowest_capacity = narrowest.rate;
  flow.capacities = capacities_;
}

void FairShares::set_capacity(Link link, double capacity) {
  links_[link].capacity = capacity;
  ++capacities_;
  if (links_[link].flows != 0) {
    mark_dirty(link);
  }
}

void FairShares::set_cap(Flow id, double cap) {
  FlowState& flow = flows_[id];
  find_narrowest(flow);
  flow.cap = kUncapped;
  if (cap < flow.narrowest_capacity) {
    flow.cap = cap;
  }
  flow.bound = kNone;
  opened_.push_back(id);
  for (const Hop& hop : hops(flow)) {
    mark_dirty(hop.link);
  }
}

std::span<const FairShares::Flow> FairShares::resolve() {
  ++resolve_;
  settled_.clear();
  events_.clear();
  pending_.clear();
  open_flows_ = 0;
  former_levels_ = 0;
  for (const Flow flow : opened_) {
    FlowState& state = flows_[flow];
    if (state.bound != kNone || state.opened == resolve_) {
      continue;  // gone, alone now, or met before
    }
    state.opened = resolve_;
    ++open_flows_;
    if (state.cap != kUncapped) {
      push({.rate = state.cap, .bound = kOwnCap}, flow);
    }
  }
  opened_.clear();
  const Level lowest{.rate = 0, .bound = 0};
  for (const Link link : dirty_) {
    links_[link].dirty = false;
    if (links_[link].flows != 0) {
      touch(link, lowest);
    }
  }
  dirty_.clear();
  bool looked = false;
  while (!pending_.empty()) {
    if (!looked && open_flows_ + former_levels_ == 0) {
      looked = true;
      if (are_all_ample()) {
        break;
      }
    }
    const Pending next = pop();
    if (next.bound == kOwnCap) {
      if (flows_[next.index].bound == kNone) {
        settle(next.index, next.level());
      }
      continue;
    }
    take_turn(next.index, next.rate);
  }
  return settled_;
}

/// The present level is `rate` at a touched link, which may be its candidate or its former level.
void FairShares::take_turn(Link id, double rate) {
  LinkState& link = links_[id];
  for (;;) {
    advance(link, {.rate = rate, .bound = id});
    if (link.open == 0) {
      forget_former(link);  // its flows get less elsewhere
      return;
    }
    if (rate == link.candidate) {
      const double share = link.residual / link.open;
      if (share <= link.candidate) {
        fill(id);
        return;
      }
      link.candidate = share;
    }
    if (rate == link.former) {
      undo(id);
    }
    rate = std::min(link.candidate, link.former);
    const Level next{.rate = rate, .bound = id};
    if (!pending_.empty() && pending_.front().level().before(next)) {
      push(next, id);
      return;
    }
    // Nobody else comes before: its turn again.
  }
}

/// Looks at a link from now on: its flows are as they were up to the level `now`.
void FairShares::touch(Link id, const Level& now) {
  LinkState& link = links_[id];
  if (link.touched == resolve_) {
    return;
  }
  link.touched = resolve_;
  link.former = link.level;
  former_levels_ += link.former == kNoLevel ? 0 : 1;
  link.level = kNoLevel;
  link.residual = link.capacity;
  link.open = link.flows;
  link.candidate = link.capacity / link.flows;
  link.event = static_cast<std::uint32_t>(events_.size());
  for (std::uint32_t at = link.first_hop; at != kNone; at = hops_[at].next) {
    const FlowState& flow = flows_[hops_[at].flow];
    if (flow.bound != kNone && flow.bound != id) {
      events_.push_back({.rate = flow.rate, .bound = flow.bound, .flow = hops_[at].flow});
    }
  }
  link.last = static_cast<std::uint32_t>(events_.size());
  sort_events(link);
  // Candidates below the present level were passed before, and would be again.
  for (Level level{.rate = link.candidate, .bound = id}; level.before(now) && link.open != 0;
       level.rate = link.candidate) {
    advance(link, level);
    if (link.open != 0) {
      const double share = link.residual / link.open;
      VITSIM_CHECK(share, >, link.candidate);
      link.candidate = share;
    }
  }
  push({.rate = std::min(link.candidate, link.former), .bound = id}, id);
}

/// Subtracts what flows get that are limited elsewhere, below the level `now`.
void FairShares::advance(LinkState& link, const Level& now) {
  for (; link.event < link.last && events_[link.event].level().before(now); ++link.event) {
    const Event& event = events_[link.event];
    const FlowState& flow = flows_[event.flow];
    if (flow.settled != resolve_ && flow.bound != kNone) {
      link.residual -= event.rate;
      --link.open;
    }
  }
}

/// Gives `flow` its level, which is the present one.
void FairShares::settle(Flow id, const Level& level) {
  FlowState& flow = flows_[id];
  for (const Hop& hop : hops(flow)) {
    if (hop.link != level.bound) {
      touch(hop.link, level);
    }
  }
  for (const Hop& hop : hops(flow)) {
    if (hop.link != level.bound) {
      LinkState& other = links_[hop.link];
      advance(other, level);
      other.residual -= level.rate;
      --other.open;
    }
  }
  open_flows_ -= flow.bound == kNone ? 1 : 0;
  flow.rate = level.rate;
  flow.bound = level.bound;
  flow.settled = resolve_;
  settled_.push_back(id);
}

void FairShares::forget_former(LinkState& link) {
  former_levels_ -= link.former == kNoLevel ? 0 : 1;
  link.former = kNoLevel;
}

/// The link is full: the candidate is the rate of all its flows that have no lower one.
void FairShares::fill(Link id) {
  LinkState& link = links_[id];
  link.level = link.candidate;
  forget_former(link);
  const Level level{.rate = link.candidate, .bound = id};
  for (std::uint32_t at = link.first_hop; at != kNone; at = hops_[at].next) {
    const FlowState& flow = flows_[hops_[at].flow];
    if (flow.settled == resolve_) {
      continue;
    }
    const bool stays =
        flow.bound == id
            ? flow.rate == level.rate
            : flow.bound != kNone && Level{.rate = flow.rate, .bound = flow.bound}.before(level);
    if (!stays) {
      settle(hops_[at].flow, level);
    }
  }
}

/// The link is not full at its former level: its flows are open again.
void FairShares::undo(Link id) {
  LinkState& link = links_[id];
  const Level level{.rate = link.former, .bound = id};
  forget_former(link);
  for (std::uint32_t at = link.first_hop; at != kNone; at = hops_[at].next) {
    const Flow which = hops_[at].flow;
    FlowState& flow = flows_[which];
    if (flow.settled == resolve_ || flow.bound != id) {
      continue;
    }
    for (const Hop& hop : hops(flow)) {
      if (hop.link != id) {
        touch(hop.link, level);
      }
    }
    flow.bound = kNone;
    ++open_flows_;
    if (flow.cap != kUncapped) {
      push({.rate = flow.cap, .bound = kOwnCap}, which);
    }
  }
}

/// Rising levels. Most links carry a handful of flows.
void FairShares::sort_events(const LinkState& link) {
  constexpr std::uint32_t kFew = 16;
  const auto before = [](const Event& a, const Event& b) { return a.level().before(b.level()); };
  Event* const first = events_.data() + link.event;
  Event* const last = events_.data() + link.last;
  if (link.last - link.event > kFew) {
    std::sort(first, last, before);
    return;
  }
  for (Event* next = first; next != last; ++next) {
    const Event event = *next;
    Event* place = next;
    for (; place != first && before(event, place[-1]); --place) {
      *place = place[-1];
    }
    *place = event;
  }
}

void FairShares::push(const Level& level, std::uint32_t index) {
  std::size_t at = pending_.size();
  const Pending added{.rate = level.rate, .bound = level.bound, .index = index};
  pending_.push_back(added);
  for (std::size_t above = 0; at != 0; at = above) {
    above = (at - 1) / 2;
    if (!level.before(pending_[above].level())) {
      break;
    }
    pending_[at] = pending_[above];
  }
  pending_[at] = added;
}

FairShares::Pending FairShares::pop() {
  const Pending top = pending_.front();
  const Pending moved = pending_.back();
  pending_.pop_back();
  const std::size_t size = pending_.size();
  if (size == 0) {
    return top;
  }
  std::size_t at = 0;
  for (std::size_t below = 1; below < size; below = 2 * at + 1) {
    if (below + 1 < size && pending_[below + 1].level().before(pending_[below].level())) {
      ++below;
    }
    if (!pending_[below].level().before(moved.level())) {
      break;
    }
    pending_[at] = pending_[below];
    at = below;
  }
  pending_[at] = moved;
  return top;
}

/// When no flow is open and no former level in question: does the first candidate of each link that
/// waits for its turn lie above the levels of all flows on it? Then no turn changes anything. This
/// saves most of the work where one crowded link limits everybody.
bool FairShares::are_all_ample() const {
  return std::all_of(pending_.begin(), pending_.end(), [&](const Pending& pending) {
    if (pending.bound == kOwnCap) {
      return true;
    }
    const LinkState& link = links_[pending.index];
    const Level candidate{.rate = link.candidate, .bound = pending.index};
    return link.event == link.last || events_[link.last - 1].level().before(candidate);
  });
}

void FairShares::clear() {
  for (FlowState& flow : flows_) {
    flow.bound = kAbsent;
  }
  for (LinkState& link : links_) {
    link.first_hop = kNone;
    link.flows = 0;
    link.level = kNoLevel;
    link.dirty = false;
  }
  dirty_.clear();
  opened_.clear();
}

}  // namespace vitsim
