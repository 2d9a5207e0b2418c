#include "sim/collective/loaded_links.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include <fmt/format.h>

#include "models/error.h"

namespace vitsim {

LoadedLinks::LoadedLinks(const LinkTable& links, std::vector<LinkLoad> loads)
    : loads_(std::move(loads)) {
  std::erase_if(loads_, [](const LinkLoad& load) { return load.share <= 0; });
  for (const LinkLoad& load : loads_) {
    const LinkData& link = links[load.link];
    kinds_.push_back(
        {.share = load.share, .latency = to_ticks(link.latency), .bandwidth = link.bandwidth});
    latency_ = std::max(latency_, kinds_.back().latency);
  }
  const auto key = [](const Kind& kind) {
    return std::tuple(kind.share, kind.latency, kind.bandwidth.value());
  };
  std::ranges::sort(kinds_, {}, key);
  const auto is_same = [&](const Kind& a, const Kind& b) { return key(a) == key(b); };
  kinds_.erase(std::unique(kinds_.begin(), kinds_.end(), is_same), kinds_.end());
}

std::int64_t LoadedLinks::bytes_on(double share, double wire_bytes) {
  constexpr double kMostBytes = 9e18;
  const double bytes = std::ceil(share * wire_bytes);
  if (bytes > kMostBytes) {
    throw UserError("a collective moves more bytes than the simulator can count");
  }
  return static_cast<std::int64_t>(bytes);
}

Tick LoadedLinks::slowest(double wire_bytes) const {
  Tick slowest = 0;
  for (const Kind& kind : kinds_) {
    slowest = std::max(
        slowest, kind.latency + transfer_ticks(bytes_on(kind.share, wire_bytes), kind.bandwidth));
  }
  return slowest;
}

namespace {

class LoadedCollective final : public EventCollective {
 public:
  LoadedCollective(StreamSet& streams,
                   std::shared_ptr<const LoadedLinks> links,
                   double wire_bytes,
                   Tick fixed,
                   CollectiveListener& done,
                   std::uint32_t collective)
      : engine_(streams.engine()),
        ranks_(streams.ranks()),
        links_(std::move(links)),
        fixed_(fixed),
        done_(done),
        collective_(collective),
        handler_(engine_.add_handler(*this)),
        has_started_(ranks_.size()) {
    for (const LinkLoad& load : links_->loads()) {
      flows_.push_back({.stream = streams.along(load.link),
                        .bytes = LoadedLinks::bytes_on(load.share, wire_bytes)});
    }
  }

  void start(std::uint32_t position) override {
    has_started_[position] = true;
    if (++started_ == ranks_.size()) {
      engine_.at(engine_.now() + fixed_, handler_, kBegin);
    }
  }

  void reset() override {
    has_started_.assign(ranks_.size(), false);
    started_ = 0;
    delivered_ = 0;
    is_over_ = false;
  }

  void on_event(std::uint32_t tag) override {
    if (tag == kBegin) {
      for (const Flow& flow : flows_) {
        engine_.send(flow.stream, flow.bytes, handler_, kDelivered);
      }
    } else {
      ++delivered_;
    }
    if (delivered_ == flows_.size()) {
      is_over_ = true;
      for (std::uint32_t position = 0; position < ranks_.size(); ++position) {
        done_.collective_done(collective_, position);
      }
    }
  }

  [[nodiscard]] std::vector<std::string> waiting() const override {
    std::vector<std::string> found;
    for (std::uint32_t position = 0; position < ranks_.size() && !is_over_; ++position) {
      found.push_back(has_started_[position]
                          ? fmt::format("rank {} waits for the others", ranks_[position])
                          : fmt::format("rank {} has not started", ranks_[position]));
    }
    return found;
  }

 private:
  static constexpr std::uint32_t kBegin = 0;
  static constexpr std::uint32_t kDelivered = 1;

  struct Flow {
    StreamId stream = 0;
    std::int64_t bytes = 0;
  };

  FlowEngine& engine_;
  const std::vector<std::int64_t>& ranks_;
  std::shared_ptr<const LoadedLinks> links_;
  Tick fixed_;
  CollectiveListener& done_;
  std::uint32_t collective_;
  HandlerId handler_;
  std::vector<Flow> flows_;
  std::vector<bool> has_started_;
  std::size_t started_ = 0;
  std::size_t delivered_ = 0;
  bool is_over_ = false;
};

}  // namespace

std::unique_ptr<EventCollective> make_loaded_collective(StreamSet& streams,
                                                        std::shared_ptr<const LoadedLinks> links,
                                                        double wire_bytes,
                                                        Tick fixed,
                                                        CollectiveListener& done,
                                                        std::uint32_t collective) {
  return std::make_unique<LoadedCollective>(
      streams, std::move(links), wire_bytes, fixed, done, collective);
}

}  // namespace vitsim
