#include "sim/engine/flow_engine.h"

#include <algorithm>
#include <limits>

#include "models/error.h"

// Progressive filling, one bound at a time. Every link of a component offers its flows an equal
// share, residual / open flows; a flow's own cap is a bound with one flow. The least bound is
// final: its flows get that rate, which is then taken from the residual of the other links they
// cross. Shares only rise on the way, so a heap of bounds with stale entries re-read on the way out
// finds the next one; a component of L links and F flows with paths of H hops costs
// O((L + F H) log L).
//
// Results depend on who flows where, not on how it came about: bounds are taken by (rate, link
// number), all flows of one bound get the same value, and from a residual equal values are
// subtracted, whose order does not matter. Bytes left over at a change of rate are a double; its
// error, 1e-16 of the message, is far below a picosecond's worth of bytes. A flow that keeps its
// first rate is delivered by the exact rounding of clock.h.

namespace vitsim {

FlowEngine::FlowEngine(const LinkTable& links) : table_(links), links_(links.size()) {
  for (LinkId id = 0; id < links_.size(); ++id) {
    links_[id].capacity = table_[id].bandwidth.value();
  }
}

HandlerId FlowEngine::add_handler(EventHandler& handler) {
  handlers_.push_back(&handler);
  return static_cast<HandlerId>(handlers_.size() - 1);
}

StreamId FlowEngine::add_stream(std::span<const LinkId> path) {
  VITSIM_CHECK(path.size(), >, 0U);
  VITSIM_CHECK(path.size(), <, 0xffffU);
  VITSIM_CHECK(streams_.size(), <, std::size_t{1} << 30U);
  const auto id = static_cast<StreamId>(streams_.size());
  Stream stream;
  stream.first_hop = static_cast<std::uint32_t>(hops_.size());
  stream.hops = static_cast<std::uint16_t>(path.size());
  for (const LinkId link : path) {
    hops_.push_back({.link = link, .stream = id});
  }
  streams_.push_back(stream);
  return id;
}

void FlowEngine::send(StreamId id, std::int64_t bytes, HandlerId handler, std::uint32_t tag) {
  Stream& stream = streams_[id];
  if (stream.state == State::kIdle) {
    begin(id, bytes, handler, tag);
    return;
  }
  std::uint32_t slot = 0;
  if (free_waiting_.empty()) {
    slot = static_cast<std::uint32_t>(waiting_.size());
    waiting_.emplace_back();
  } else {
    slot = free_waiting_.back();
    free_waiting_.pop_back();
  }
  waiting_[slot] = {.bytes = bytes, .handler = handler, .tag = tag};
  (stream.first_waiting == kNone ? stream.first_waiting : waiting_[stream.last_waiting].next) =
      slot;
  stream.last_waiting = slot;
}

void FlowEngine::at(Tick time, HandlerId handler, std::uint32_t tag) {
  VITSIM_CHECK(time, >=, now());
  schedule(time, Kind::kTimer, handler, tag);
}

void FlowEngine::begin(StreamId id, std::int64_t bytes, HandlerId handler, std::uint32_t tag) {
  Stream& stream = streams_[id];
  stream.state = State::kLatency;
  stream.handler = handler;
  stream.tag = tag;
  stream.bytes = bytes;
  if (stream.figured_bytes != bytes || stream.figured_version != table_version_) {
    refresh_figures(stream);
  }
  schedule(now() + stream.latency, Kind::kLatencyPaid, id, 0);
}

void FlowEngine::refresh_figures(Stream& stream) {
  LinkFigures alone{Seconds(0), BytesPerSecond(std::numeric_limits<double>::infinity())};
  for (std::uint32_t hop = stream.first_hop; hop < stream.first_hop + stream.hops; ++hop) {
    const LinkFigures link = table_[hops_[hop].link].at(stream.bytes);
    alone.latency += link.latency;
    alone.bandwidth = std::min(alone.bandwidth, link.bandwidth);
  }
  stream.figured_bytes = stream.bytes;
  stream.figured_version = table_version_;
  stream.latency = to_ticks(alone.latency);
  stream.alone_transfer = transfer_ticks(stream.bytes, alone.bandwidth);
  stream.alone_rate = alone.bandwidth.value();
}

void FlowEngine::run() {
  for (;;) {
    while (queue_.has_now()) {
      ++events_;
      handle(queue_.pop_now().what);
    }
    if (!dirty_.empty()) {
      recompute_rates();
    } else if (!queue_.empty()) {
      queue_.advance();
    } else {
      return;
    }
  }
}

void FlowEngine::handle(std::uint64_t what) {
  const auto kind = static_cast<Kind>(what >> 62U);
  const auto index = static_cast<std::uint32_t>(what >> 32U) & 0x3fffffffU;
  const auto extra = static_cast<std::uint32_t>(what);
  switch (kind) {
    case Kind::kLatencyPaid:
      start_flowing(index);
      break;
    case Kind::kDelivered:
      if (streams_[index].generation == extra) {
        deliver(index);
      }
      break;
    case Kind::kTimer:
      handlers_[index]->on_event(extra);
      break;
  }
}

void FlowEngine::start_flowing(StreamId id) {
  Stream& stream = streams_[id];
  stream.state = State::kFlowing;
  stream.rated = false;
  stream.rate = 0;
  ++stream.generation;
  if (stream.bytes == 0) {
    schedule(now(), Kind::kDelivered, id, stream.generation);
    return;
  }
  bool alone = stream.figured_version == table_version_;
  for (std::uint32_t at = stream.first_hop; at < stream.first_hop + stream.hops; ++at) {
    Hop& hop = hops_[at];
    Link& link = links_[hop.link];
    alone = alone && link.flows == 0 && !link.dirty;
    hop.previous = kNone;
    hop.next = link.first_hop;
    if (hop.next != kNone) {
      hops_[hop.next].previous = at;
    }
    link.first_hop = at;
    ++link.flows;
  }
  if (alone) {
    apply_rate(id, stream.alone_rate);
  } else {
    mark_dirty(hops_[stream.first_hop].link);
  }
}

void FlowEngine::deliver(StreamId id) {
  Stream& stream = streams_[id];
  ++stream.generation;
  if (stream.bytes != 0) {
    for (std::uint32_t at = stream.first_hop; at < stream.first_hop + stream.hops; ++at) {
      const Hop& hop = hops_[at];
      Link& link = links_[hop.link];
      (hop.previous == kNone ? link.first_hop : hops_[hop.previous].next) = hop.next;
      if (hop.next != kNone) {
        hops_[hop.next].previous = hop.previous;
      }
      if (--link.flows != 0) {
        mark_dirty(hop.link);
      }
    }
  }
  bytes_delivered_ += static_cast<std::uint64_t>(stream.bytes);
  stream.state = State::kIdle;
  const HandlerId handler = stream.handler;
  const std::uint32_t tag = stream.tag;
  if (stream.first_waiting != kNone) {
    const std::uint32_t slot = stream.first_waiting;
    const Waiting next = waiting_[slot];
    stream.first_waiting = next.next;
    free_waiting_.push_back(slot);
    begin(id, next.bytes, next.handler, next.tag);
  }
  handlers_[handler]->on_event(tag);
}

void FlowEngine::set_bandwidth(LinkId link, BytesPerSecond bandwidth) {
  table_.set_bandwidth(link, bandwidth);
  ++table_version_;
  links_[link].capacity = bandwidth.value();
  if (links_[link].flows != 0) {
    mark_dirty(link);
  }
}

void FlowEngine::mark_dirty(LinkId link) {
  if (!links_[link].dirty) {
    links_[link].dirty = true;
    dirty_.push_back(link);
  }
}

void FlowEngine::recompute_rates() {
  ++visit_;
  for (const LinkId link : dirty_) {
    links_[link].dirty = false;
    if (links_[link].visited != visit_ && links_[link].flows != 0) {
      collect_component(link);
      share_component();
      for (std::size_t i = 0; i < component_flows_.size(); ++i) {
        apply_rate(component_flows_[i], component_rates_[i]);
      }
    }
  }
  dirty_.clear();
}

void FlowEngine::collect_component(LinkId from) {
  component_links_.assign(1, from);
  component_flows_.clear();
  links_[from].visited = visit_;
  for (std::size_t next = 0; next < component_links_.size(); ++next) {
    for (std::uint32_t at = links_[component_links_[next]].first_hop; at != kNone;
         at = hops_[at].next) {
      const StreamId id = hops_[at].stream;
      Stream& stream = streams_[id];
      if (stream.visited == visit_) {
        continue;
      }
      stream.visited = visit_;
      stream.component_index = static_cast<std::uint32_t>(component_flows_.size());
      component_flows_.push_back(id);
      for (std::uint32_t hop = stream.first_hop; hop < stream.first_hop + stream.hops; ++hop) {
        const LinkId link = hops_[hop].link;
        if (links_[link].visited != visit_) {
          links_[link].visited = visit_;
          component_links_.push_back(link);
        }
      }
    }
  }
}

void FlowEngine::share_component() {
  // A heap whose top is the least bound; among equals links before caps, lower numbers first.
  const auto later = [](const Bound& a, const Bound& b) {
    if (a.rate != b.rate) {
      return a.rate > b.rate;
    }
    return a.is_cap != b.is_cap ? a.is_cap : a.index > b.index;
  };
  component_rates_.assign(component_flows_.size(), 0);
  bounds_.clear();
  for (const LinkId id : component_links_) {
    Link& link = links_[id];
    link.residual = link.capacity;
    link.open_flows = link.flows;
    bounds_.push_back({.rate = link.capacity / link.flows, .index = id});
  }
  for (const StreamId id : component_flows_) {
    Stream& stream = streams_[id];
    if (stream.figured_version != table_version_) {
      const Tick latency = stream.latency;  // paid already
      refresh_figures(stream);
      stream.latency = latency;
      stream.figured_bytes = -1;  // the next message must look again
    }
    double narrowest = std::numeric_limits<double>::infinity();
    for (std::uint32_t hop = stream.first_hop; hop < stream.first_hop + stream.hops; ++hop) {
      narrowest = std::min(narrowest, links_[hops_[hop].link].capacity);
    }
    if (stream.alone_rate < narrowest) {
      bounds_.push_back({.rate = stream.alone_rate, .index = id, .is_cap = true});
    }
  }
  std::make_heap(bounds_.begin(), bounds_.end(), later);
  std::size_t open = component_flows_.size();
  while (open != 0) {
    std::pop_heap(bounds_.begin(), bounds_.end(), later);
    const Bound bound = bounds_.back();
    bounds_.pop_back();
    if (bound.is_cap) {
      if (component_rates_[streams_[bound.index].component_index] == 0) {
        fix_rate(bound.index, bound.rate);
        --open;
      }
      continue;
    }
    Link& link = links_[bound.index];
    if (link.open_flows == 0) {
      continue;
    }
    const double share = link.residual / link.open_flows;
    if (share > bound.rate) {
      bounds_.push_back({.rate = share, .index = bound.index});
      std::push_heap(bounds_.begin(), bounds_.end(), later);
      continue;
    }
    for (std::uint32_t at = link.first_hop; at != kNone; at = hops_[at].next) {
      const StreamId id = hops_[at].stream;
      if (component_rates_[streams_[id].component_index] == 0) {
        fix_rate(id, bound.rate);
        --open;
      }
    }
  }
}

void FlowEngine::fix_rate(StreamId id, double rate) {
  const Stream& stream = streams_[id];
  component_rates_[stream.component_index] = rate;
  for (std::uint32_t hop = stream.first_hop; hop < stream.first_hop + stream.hops; ++hop) {
    Link& link = links_[hops_[hop].link];
    link.residual -= rate;
    --link.open_flows;
  }
}

void FlowEngine::apply_rate(StreamId id, double rate) {
  Stream& stream = streams_[id];
  const auto bytes = static_cast<double>(stream.bytes);
  if (!stream.rated) {
    stream.rated = true;
    stream.remaining = bytes;
  } else if (rate == stream.rate) {
    return;
  } else {
    const double sent = stream.rate * to_seconds(now() - stream.updated).value();
    stream.remaining = std::max(0.0, stream.remaining - sent);
    ++stream.generation;
  }
  // Until a byte has moved the exact rounding holds, also for a flow that shares from its first
  // instant but was the first to come in it.
  const Tick left = stream.remaining != bytes ? to_ticks(Seconds(stream.remaining / rate))
                    : rate == stream.alone_rate
                        ? stream.alone_transfer
                        : transfer_ticks(stream.bytes, BytesPerSecond(rate));
  stream.rate = rate;
  stream.updated = now();
  schedule(now() + left, Kind::kDelivered, id, stream.generation);
}

void FlowEngine::reset(Tick now) {
  queue_.reset(now);
  for (Stream& stream : streams_) {
    stream.state = State::kIdle;
    ++stream.generation;
    stream.first_waiting = kNone;
  }
  for (Hop& hop : hops_) {
    hop.previous = hop.next = kNone;
  }
  for (Link& link : links_) {
    link.first_hop = kNone;
    link.flows = 0;
    link.dirty = false;
  }
  waiting_.clear();
  free_waiting_.clear();
  dirty_.clear();
}

}  // namespace vitsim
