#include "sim/step/groups.h"

#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>

#include "models/error.h"

namespace vitsim {

ProgramGroups::ProgramGroups(std::shared_ptr<const Communicator> everybody,
                             const StepProgram& program)
    : everybody_(std::move(everybody)) {
  for (const GroupAxis& axis : program.axes) {
    auto& groups = axes_.emplace_back();
    members_.push_back(axis.groups);
    if (axis.groups.empty()) {
      groups.push_back(everybody_);
      places_.emplace_back();
      continue;
    }
    places_.push_back(group_places(axis, program.positions()));
    for (const std::vector<std::uint32_t>& members : axis.groups) {
      std::vector<std::int64_t> ranks;
      ranks.reserve(members.size());
      for (const std::uint32_t position : members) {
        ranks.push_back(everybody_->ranks()[position]);
      }
      groups.push_back(std::make_shared<const Communicator>(network(), std::move(ranks)));
    }
  }
}

std::uint32_t ProgramGroups::peer(const Transfer& transfer, std::uint32_t position) const {
  const GroupPlace mine = place(transfer.axis, position);
  const std::int64_t index = std::int64_t{mine.index} + transfer.distance;
  const std::int64_t size = group(transfer.axis, mine.group).size();
  if (index < 0 || index >= size || index == mine.index) {
    throw InternalError(fmt::format(
        "step program: position {} transfers to place {} of a group of {}", position, index, size));
  }
  return this->position(transfer.axis, mine.group, static_cast<std::uint32_t>(index));
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
