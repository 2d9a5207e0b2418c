#pragma once

#include <cstdint>
#include <memory>
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

  [[nodiscard]] const Communicator& group(std::uint32_t axis, std::uint32_t group) const {
    return *axes_[axis][group];
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

  /// Does every link carry messages of one group, or of one pair of ranks, alone? Known for rings
  /// and transfers; other algorithms count as shared.
  [[nodiscard]] bool links_are_apart(const StepProgram& program) const;

 private:
  std::shared_ptr<const Communicator> everybody_;
  std::vector<std::vector<std::shared_ptr<const Communicator>>> axes_;
  std::vector<std::vector<GroupPlace>> places_;                   // by axis; empty: one group
  std::vector<std::vector<std::vector<std::uint32_t>>> members_;  // by axis; empty: one group
};

}  // namespace vitsim
