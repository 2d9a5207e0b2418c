#include "sim/collective/staged_arrays.h"

#include <algorithm>
#include <map>
#include <utility>

// In every stage each rank sends at most one message and waits for at most one. It sends when its
// stage before has ended; after the latency of the path the bytes flow. If the flows are known not
// to disturb one another, the whole collective is a recurrence over stages:
//
//   e_i[s] = max(delivered_i[s], delivered_j[s])    (own message; j is the rank i waits for)
//
// Messages of different ranks meet on the way into a rank, and on the NIC of a node of several
// GPUs. Two cases are simple. Flows on a link take turns: one begins when the other has ended or
// later. Or they go together: k flows of one stage begin at the same tick and all get the same
// rate, so that they also end together. The max-min rate of a flow is then the least of capacity /
// k over its path and of its own cap, if every flow on each of its links gets that same rate: the
// link that gives the least is full, and all flows on it are held by it.
//
// Both are checked as the ranks go along: every link remembers its last group of flows, when the
// group began and when it ends. Anything else, e.g. a rank so early that its message arrives while
// its partner still receives from another one, is for the event level. Costs ranks x stages.

namespace vitsim {

StagedArrays::StagedArrays(const Network& network,
                           std::span<const std::int64_t> ranks,
                           StagedPlan plan)
    : network_(network), groups_(network.links().size()) {
  const LinkTable& links = network.links();
  std::map<std::pair<std::int64_t, std::vector<std::uint32_t>>, std::uint32_t> numbers;
  std::pair<std::int64_t, std::vector<std::uint32_t>> key;
  std::pair<std::int64_t, std::vector<std::uint32_t>> last_key;
  for (std::uint32_t stage = 0; stage < plan.stages; ++stage) {
    first_message_.push_back(messages_.size());
    for (std::uint32_t position = 0; position < plan.ranks; ++position) {
      const Stage& entry = plan.at(position, stage);
      if (!entry.to) {
        continue;
      }
      Message message{.from = position, .to = *entry.to, .bytes = entry.bytes};
      message.first_link = static_cast<std::uint32_t>(links_.size());
      network.append_route(ranks[position], ranks[*entry.to], links_);
      message.last_link = static_cast<std::uint32_t>(links_.size());
      const std::span<const LinkId> path = std::span(links_).subspan(message.first_link);
      key.first = entry.bytes;
      key.second.clear();
      for (const LinkId link : path) {
        key.second.push_back(links.kind(link));
      }
      if (key == last_key) {
        message.figures = messages_.back().figures;
        messages_.push_back(message);
        continue;
      }
      last_key = key;
      const auto [found, fresh] =
          numbers.try_emplace(key, static_cast<std::uint32_t>(figures_.size()));
      if (fresh) {
        const LinkFigures alone = links.figures(path, entry.bytes);
        figures_.push_back({.latency = to_ticks(alone.latency),
                            .transfer = transfer_ticks(entry.bytes, alone.bandwidth),
                            .rate = alone.bandwidth.value()});
      }
      message.figures = found->second;
      messages_.push_back(message);
    }
  }
  first_message_.push_back(messages_.size());
}

bool StagedArrays::run(std::span<const Tick> starts, std::span<Tick> ends) {
  std::fill(groups_.begin(), groups_.end(), Group{.stage = 0xffffffff});
  now_.assign(starts.begin(), starts.end());
  for (std::uint32_t stage = 0; stage + 1 < first_message_.size(); ++stage) {
    const std::span<const Message> messages = std::span(messages_).subspan(
        first_message_[stage], first_message_[stage + 1] - first_message_[stage]);
    if (!begin_stage(stage, messages) || !end_stage(messages)) {
      return false;
    }
  }
  std::copy(now_.begin(), now_.end(), ends.begin());
  return true;
}

/// Puts the flows of a stage on their links. False where one begins before another has ended.
bool StagedArrays::begin_stage(std::uint32_t stage, std::span<const Message> messages) {
  begins_.resize(messages.size());
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const Message& message = messages[i];
    const Tick begin = now_[message.from] + figures_[message.figures].latency;
    begins_[i] = begin;
    for (std::uint32_t at = message.first_link; at < message.last_link; ++at) {
      Group& group = groups_[links_[at]];
      if (group.stage == stage) {
        if (group.begin != begin) {
          return false;
        }
        ++group.flows;
        continue;
      }
      if (begin < group.end) {
        return false;
      }
      group.stage = stage;
      group.flows = 1;
      group.begin = begin;
      group.rate = 0;
    }
  }
  return true;
}

/// Lets the flows of a stage end. False where those of one link do not get the same rate.
bool StagedArrays::end_stage(std::span<const Message> messages) {
  const LinkTable& links = network_.links();
  next_ = now_;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const Message& message = messages[i];
    const Figures& alone = figures_[message.figures];
    double rate = alone.rate;
    for (std::uint32_t at = message.first_link; at < message.last_link; ++at) {
      const LinkId link = links_[at];
      rate = std::min(rate, links[link].bandwidth.value() / groups_[link].flows);
    }
    const Tick transfer =
        rate == alone.rate ? alone.transfer : transfer_ticks(message.bytes, BytesPerSecond(rate));
    const Tick end = begins_[i] + transfer;
    check_clock(end);
    for (std::uint32_t at = message.first_link; at < message.last_link; ++at) {
      Group& group = groups_[links_[at]];
      if (group.rate != 0 && (group.rate != rate || group.end != end)) {
        return false;
      }
      group.rate = rate;
      group.end = end;
    }
    next_[message.from] = std::max(next_[message.from], end);
    next_[message.to] = std::max(next_[message.to], end);
  }
  std::swap(now_, next_);
  return true;
}

}  // namespace vitsim
