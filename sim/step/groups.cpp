#include "sim/step/groups.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "models/error.h"

namespace vitsim {

ProgramGroups::ProgramGroups(std::shared_ptr<const Communicator> everybody,
                             const StepProgram& program)
    : everybody_(std::move(everybody)), class_of_(program.class_of) {
  for (const GroupAxis& axis : program.axes) {
    members_.push_back(axis.groups);
    if (axis.groups.empty()) {
      axes_.push_back({everybody_});
      places_.emplace_back();
    } else {
      axes_.emplace_back(axis.groups.size());
      places_.push_back(group_places(axis, program.positions()));
    }
  }
}

const Communicator& ProgramGroups::group(std::uint32_t axis, std::uint32_t group) const {
  std::shared_ptr<const Communicator>& made = axes_[axis][group];
  if (made == nullptr) {
    std::vector<std::int64_t> ranks;
    for (const std::uint32_t position : members_[axis][group]) {
      ranks.push_back(everybody_->ranks()[position]);
    }
    made = std::make_shared<const Communicator>(network(), std::move(ranks));
  }
  return *made;
}

std::uint32_t ProgramGroups::peer(const Transfer& transfer, std::uint32_t position) const {
  const GroupPlace mine = place(transfer.axis, position);
  const auto size = static_cast<std::int64_t>(member_count(transfer.axis, mine.group));
  std::int64_t index = std::int64_t{mine.index} + transfer.distance;
  if (transfer.around) {
    index = ((index % size) + size) % size;
  }
  if (index < 0 || index >= size || index == mine.index) {
    throw InternalError(fmt::format(
        "step program: position {} transfers to place {} of a group of {}", position, index, size));
  }
  return this->position(transfer.axis, mine.group, static_cast<std::uint32_t>(index));
}

Tick ProgramGroups::message_alone(const Transfer& transfer, std::uint32_t position) const {
  const std::uint32_t other = peer(transfer, position);
  const bool sends = transfer.direction == Transfer::Direction::kSend;
  std::vector<LinkId> path;
  network().append_route(
      ranks()[sends ? position : other], ranks()[sends ? other : position], path);
  const LinkFigures figures = network().links().figures(path, transfer.bytes);
  return to_ticks(figures.latency) + transfer_ticks(transfer.bytes, figures.bandwidth);
}

std::vector<std::uint32_t> ProgramGroups::classes_in(std::uint32_t axis,
                                                     std::uint32_t group) const {
  std::vector<std::uint32_t> classes;
  for (std::uint32_t i = 0; i < member_count(axis, group); ++i) {
    classes.push_back(class_of_[position(axis, group, i)]);
  }
  std::ranges::sort(classes);
  classes.erase(std::unique(classes.begin(), classes.end()), classes.end());
  return classes;
}

std::vector<std::uint32_t> ProgramGroups::groups_beside(std::uint32_t axis,
                                                        std::uint32_t group) const {
  std::set<std::uint32_t> beside;
  if (members_[axis].size() < 2) {
    return {};
  }
  if (on_node_.empty()) {
    on_node_.resize(network().node_count());
    for (std::uint32_t i = 0; i < positions(); ++i) {
      on_node_[network().node_of(ranks()[i])].push_back(i);
    }
  }
  for (const std::uint32_t member : members_[axis][group]) {
    for (const std::uint32_t neighbour : on_node_[network().node_of(ranks()[member])]) {
      beside.insert(place(axis, neighbour).group);
    }
  }
  const std::vector<std::uint32_t> own = classes_in(axis, group);
  std::erase_if(beside, [&](std::uint32_t other) {
    return other == group || classes_in(axis, other) != own;
  });
  return {beside.begin(), beside.end()};
}

std::optional<Tick> ProgramGroups::together(const Collective& collective,
                                            std::uint32_t group) const {
  if (member_count(collective.axis, group) == 1 || collective.bytes == 0) {
    return 0;
  }
  const Communicator& members = this->group(collective.axis, group);
  if (!is_nccl(collective.algorithm)) {
    const auto arrays =
        members.arrays_or_estimate(collective.kind, collective.algorithm, collective.bytes);
    const auto alone = arrays ? arrays->uniform() : std::nullopt;
    // Rings between nodes take all NICs: those of several groups take turns.
    const bool shares = alone && members.nodes().size() > 1;
    const std::size_t rings =
        shares ? groups_beside(collective.axis, group).size() + 1 : std::size_t{1};
    return alone ? std::optional(*alone * static_cast<Tick>(rings)) : std::nullopt;
  }
  const auto call = members.nccl()->call(
      collective.kind, collective.algorithm, members.even_bytes(collective.kind, collective.bytes));
  if (!call) {
    return std::nullopt;
  }
  std::map<LinkId, double> shares;
  for (const LinkLoad& load : call->links->loads()) {
    shares[load.link] += load.share;
  }
  for (const std::uint32_t other : groups_beside(collective.axis, group)) {
    const auto theirs = this->group(collective.axis, other)
                            .nccl()
                            ->call(collective.kind, collective.algorithm, collective.bytes);
    if (!theirs) {
      continue;
    }
    for (const LinkLoad& load : theirs->links->loads()) {
      if (const auto mine = shares.find(load.link); mine != shares.end()) {
        mine->second += load.share;
      }
    }
  }
  Tick slowest = 0;
  for (const auto& [id, share] : shares) {
    const LinkData& link = network().links()[id];
    slowest = std::max(
        slowest,
        to_ticks(link.latency) +
            transfer_ticks(LoadedLinks::bytes_on(share, call->wire_bytes), link.bandwidth));
  }
  return call->fixed + slowest;
}

bool ProgramGroups::links_are_apart(const StepProgram& program) const {
  // A user of links is a group of an axis, or a directed pair of positions.
  using User = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t>;
  std::map<LinkId, User> users;
  std::vector<LinkId> path;
  const auto claim = [&](std::uint32_t from, std::uint32_t to, const User& user) {
    path.clear();
    network().append_route(ranks()[from], ranks()[to], path);
    for (const LinkId link : path) {
      const auto [entry, fresh] = users.try_emplace(link, user);
      if (!fresh && entry->second != user) {
        return false;
      }
    }
    return true;
  };
  std::set<std::uint32_t> ring_axes;
  std::map<std::uint32_t, Stream> stream_of_axis;  // one after another only on one stream
  for (const ClassProgram& each : program.classes) {
    for (const Operation& operation : each.operations) {
      if (const Collective* collective = operation.collective()) {
        const bool is_ring = collective->kind == CollectiveKind::kReduceScatter ||
                             collective->kind == CollectiveKind::kAllGather ||
                             (collective->kind == CollectiveKind::kAllReduce &&
                              collective->algorithm == Algorithm::kRing);
        const auto [stream, fresh] = stream_of_axis.try_emplace(collective->axis, operation.stream);
        if (!is_ring || (!fresh && stream->second != operation.stream)) {
          return false;
        }
        ring_axes.insert(collective->axis);
      }
    }
  }
  for (const std::uint32_t axis : ring_axes) {
    for (std::uint32_t g = 0; g < group_count(axis); ++g) {
      const std::uint32_t size = group(axis, g).size();
      for (std::uint32_t i = 0; i < size && size > 1; ++i) {
        if (!claim(position(axis, g, i), position(axis, g, (i + 1) % size), {0, axis, g, 0})) {
          return false;
        }
      }
    }
  }
  for (std::uint32_t i = 0; i < positions(); ++i) {
    for (const Operation& operation : program.of(i).operations) {
      const Transfer* transfer = operation.transfer();
      if (transfer != nullptr && transfer->direction == Transfer::Direction::kSend) {
        const std::uint32_t to = peer(*transfer, i);
        if (!claim(i, to, {1, transfer->axis, i, to})) {
          return false;
        }
      }
    }
  }
  return true;
}

}  // namespace vitsim
