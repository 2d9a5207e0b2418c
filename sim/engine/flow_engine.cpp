#include "sim/engine/flow_engine.h"

#include <algorithm>

#include "models/error.h"

// Results depend on who flows where, not on how it came about: fair_shares.cpp. Bytes left over at
// a change of rate are a double; its error, 1e-16 of the message, is far below a picosecond's worth
// of bytes. A flow that keeps its first rate is delivered by the exact rounding of clock.h.

namespace vitsim {

FlowEngine::FlowEngine(const LinkTable& links) : table_(links) {
  for (LinkId id = 0; id < table_.size(); ++id) {
    shares_.add_link(table_[id].bandwidth.value());
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
  streams_.emplace_back();
  return shares_.add_flow(path);
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
    refresh_figures(id);
  }
  schedule(now() + stream.latency, Kind::kLatencyPaid, id, 0);
}

void FlowEngine::refresh_figures(StreamId id) {
  Stream& stream = streams_[id];
  const LinkFigures alone = table_.figures(shares_.path(id), stream.bytes);
  stream.figured_bytes = stream.bytes;
  stream.figured_version = table_version_;
  stream.latency = to_ticks(alone.latency);
  stream.alone_transfer = transfer_ticks(stream.bytes, alone.bandwidth);
  stream.alone_rate = alone.bandwidth.value();
}

/// New figures for a message under way; its latency is paid, or will be as announced.
void FlowEngine::refresh_running(StreamId id) {
  Stream& stream = streams_[id];
  const Tick latency = stream.latency;
  refresh_figures(id);
  stream.latency = latency;
  stream.figured_bytes = -1;  // the next message must look again
}

void FlowEngine::run() {
  for (;;) {
    while (queue_.has_now()) {
      ++events_;
      handle(queue_.pop_now().what);
    }
    if (shares_.is_stale()) {
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
  if (stream.figured_version != table_version_) {
    refresh_running(id);
  }
  if (shares_.join(id, stream.alone_rate)) {
    apply_rate(id, stream.alone_rate);
  }
}

void FlowEngine::deliver(StreamId id) {
  Stream& stream = streams_[id];
  ++stream.generation;
  if (stream.bytes != 0) {
    shares_.leave(id);
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
  shares_.set_capacity(link, bandwidth.value());
  shares_.for_each_flow_on(link, [&](StreamId id) {
    refresh_running(id);
    shares_.set_cap(id, streams_[id].alone_rate);
  });
}

void FlowEngine::recompute_rates() {
  for (const StreamId id : shares_.resolve()) {
    apply_rate(id, shares_.rate(id));
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
  shares_.clear();
  waiting_.clear();
  free_waiting_.clear();
}

}  // namespace vitsim
