#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "models/report/communication.h"
#include "sim/collective/communicator.h"
#include "sim/step/program.h"

namespace vitsim {

/// What ranks send in a step, added up by collective, phase and group.
class CommunicationRows {
 public:
  explicit CommunicationRows(const StepProgram& program);

  /// Adds `share` of one rank's step: of every operation of its class (others than communication
  /// have zeros) the seconds that it is busy, and those that nothing hides.
  void add(std::uint32_t of_class,
           double share,
           std::span<const double> busy_s,
           std::span<const double> exposed_s);

  /// The rows, those that send most first; `group` has the job's ranks, `word` is what the
  /// training says of its algorithms.
  [[nodiscard]] std::vector<CommunicationRow> rows(const Communicator& group,
                                                   AllReduceAlgorithm word) const;

 private:
  using Key = std::tuple<std::string, Phase, std::string>;  // collective, phase, group

  struct Sum {
    CommunicationRow row;
    std::optional<Collective> largest;
  };

  [[nodiscard]] std::optional<Key> key_of(const Operation& operation) const;

  const StepProgram& program_;
  std::map<Key, Sum> sums_;
};

}  // namespace vitsim
