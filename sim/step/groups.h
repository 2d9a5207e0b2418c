#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "sim/collective/communicator.h"
#include "sim/engine/network.h"
#include "sim/step/program.h"

namespace vitsim {

/// The communicators behind a program's axes, and which rank of the cluster stands at a position.
class ProgramGroups {
 public:
  /// `everybody` has the job's ranks in the order of positions; axes without groups use it.
  ProgramGroups(std::shared_ptr<const Communicator> everybody, const StepProgram& program);

  [[nodiscard]] const Network& network() const { return everybody_->network(); }

  [[nodiscard]] const std::vector<std::int64_t>& ranks() const { return everybody_->ranks(); }

  /// All ranks, in the order of positions.
  [[nodiscard]] const std::shared_ptr<const Communicator>& everybody() const { return everybody_; }

  [[nodiscard]] std::size_t positions() const { return everybody_->size(); }

  [[nodiscard]] std::size_t group_count(std::uint32_t axis) const { return axes_[axis].size(); }

  /// Made when it is first asked for. Not thread-safe.
  [[nodiscard]] const Communicator& group(std::uint32_t axis, std::uint32_t group) const;

  [[nodiscard]] std::size_t member_count(std::uint32_t axis, std::uint32_t group) const {
    return members_[axis].empty() ? positions() : members_[axis][group].size();
  }

  [[nodiscard]] GroupPlace place(std::uint32_t axis, std::uint32_t position) const {
    return places_[axis].empty() ? GroupPlace{.group = 0, .index = position}
                                 : places_[axis][position];
  }

  /// The position of a group's member.
  [[nodiscard]] std::uint32_t position(std::uint32_t axis,
                                       std::uint32_t group,
                                       std::uint32_t index) const {
    return members_[axis].empty() ? index : members_[axis][group][index];
  }

  /// The position that a transfer goes to or comes from. Throws InternalError where the group ends
  /// before.
  [[nodiscard]] std::uint32_t peer(const Transfer& transfer, std::uint32_t position) const;

  /// What a message takes that is alone on its path.
  [[nodiscard]] Tick message_alone(const Transfer& transfer, std::uint32_t position) const;

  /// What a collective takes from when the last member of the group has come, where that is the
  /// same for all. Groups of the axis whose members are of the same classes call at the same time:
  /// on links that they share each gets its part. Nothing where members end at different times, or
  /// where only events can tell.
  [[nodiscard]] std::optional<Tick> together(const Collective& collective,
                                             std::uint32_t group) const;

  /// The classes that a group's members have, rising.
  [[nodiscard]] std::vector<std::uint32_t> classes_in(std::uint32_t axis,
                                                      std::uint32_t group) const;

  /// Does every link carry messages of one group, or of one pair of ranks, alone? Known for rings
  /// and transfers; other algorithms count as shared.
  [[nodiscard]] bool links_are_apart(const StepProgram& program) const;

 private:
  /// Other groups of the axis that call when this one does and have a rank on one of its nodes.
  [[nodiscard]] std::vector<std::uint32_t> groups_beside(std::uint32_t axis,
                                                         std::uint32_t group) const;

  std::shared_ptr<const Communicator> everybody_;
  std::vector<std::uint32_t> class_of_;  // by position
  mutable std::vector<std::vector<std::shared_ptr<const Communicator>>> axes_;
  mutable std::vector<std::vector<std::uint32_t>> on_node_;  // positions, by node; made when needed
  std::vector<std::vector<GroupPlace>> places_;              // by axis; empty: one group
  std::vector<std::vector<std::vector<std::uint32_t>>> members_;  // by axis; empty: one group
};

}  // namespace vitsim
