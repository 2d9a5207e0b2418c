#pragma once

#include <optional>
#include <string>

namespace vitsim {

/// Where a figure comes from: measured, interpolated, from operator curves, or a data sheet.
struct Basis {
  std::string part;  // "rank 0 (tesla-p4)" or "network (tesla-ethernet)"
  // measured, interpolated, extrapolated, operator-rates, operator-curves, data-sheet, given,
  // assumed
  std::string kind;
  std::string detail;           // one sentence
  std::optional<double> error;  // relative, as leave-one-out shows it
};

}  // namespace vitsim
