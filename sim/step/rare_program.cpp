#include "sim/step/rare_program.h"

#include <algorithm>
#include <limits>

namespace vitsim {

const RareProgram* rare_kind(std::span<const RareProgram> rare, std::int64_t step) {
  const auto found =
      std::ranges::find_if(rare, [&](const RareProgram& kind) { return kind.claims(step); });
  return found == rare.end() ? nullptr : &*found;
}

std::int64_t steps_alike(std::span<const RareProgram> rare, std::int64_t step) {
  const RareProgram* const mine = rare_kind(rare, step);
  if (mine != nullptr && mine->every > 1) {
    return 1;
  }
  std::int64_t next = std::numeric_limits<std::int64_t>::max();
  for (const RareProgram& kind : rare) {
    // Where it begins, where it ends, and the next step that it claims.
    if (kind.from > step) {
      next = std::min(next, kind.from);
    }
    if (kind.to > step) {
      next = std::min(next, kind.to);
    }
    const std::int64_t claimed = ((step + 1) / kind.every + 1) * kind.every - 1;
    if (kind.every > 1 && kind.claims(claimed)) {
      next = std::min(next, claimed);
    }
  }
  return next - step;
}

bool epochs_alike(std::span<const RareProgram> rare,
                  std::int64_t steps,
                  std::int64_t one,
                  std::int64_t other) {
  const std::int64_t first = std::min(one, other);
  const std::int64_t end = std::max(one, other) + steps;
  return std::ranges::all_of(rare, [&](const RareProgram& kind) {
    const bool is_over = kind.to <= first;
    const bool is_to_come = kind.from >= end;
    const bool lasts = kind.from <= first && kind.to >= end && steps % kind.every == 0;
    return is_over || is_to_come || lasts;
  });
}

}  // namespace vitsim
