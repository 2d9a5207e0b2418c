#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "sim/step/program.h"

namespace vitsim {

/// Steps that are not like most: of those from `from` up to `to` of the run, each `every`-th. Of
/// several kinds that claim a step the first one has it.
struct RareProgram {
  std::shared_ptr<const StepProgram> full;
  std::shared_ptr<const StepProgram> last;  // of a short last step of an epoch
  std::int64_t from = 0;
  std::int64_t to = 0;
  std::int64_t every = 1;

  [[nodiscard]] bool claims(std::int64_t step) const {
    return step >= from && step < to && (step + 1) % every == 0;
  }
};

/// The kind of a step; none: it is like most.
const RareProgram* rare_kind(std::span<const RareProgram> rare, std::int64_t step);

/// How many steps from this one on are certainly of its kind.
std::int64_t steps_alike(std::span<const RareProgram> rare, std::int64_t step);

/// Do epochs of `steps` steps that begin at these two steps have the same kinds of steps?
bool epochs_alike(std::span<const RareProgram> rare,
                  std::int64_t steps,
                  std::int64_t one,
                  std::int64_t other);

}  // namespace vitsim
