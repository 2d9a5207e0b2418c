#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "models/report/report.h"

namespace vitsim {

/// One figure of two reports of the same training.
struct ComparedFigure {
  /// `kTotal` figures are held against each other; a `kPart` of a step (a phase, a rank's wait) is
  /// held against the whole step, since a millisecond of a phase that lasts two says nothing.
  enum class Kind { kTotal, kPart, kMemory };

  Kind kind = Kind::kTotal;
  std::string name;           // "step", "forward", "rank 1 (tesla-p4) wait"
  double a = 0;               // seconds, or bytes
  double b = 0;               // the same
  double difference = 0;      // of b from a: relative to a, of a part relative to a's step
  bool judged = true;         // whether the tolerance applies
  std::optional<double> p05;  // a's interval
  std::optional<double> p95;

  /// Whether b falls into a's interval; none where there is no interval.
  [[nodiscard]] std::optional<bool> inside() const;
};

/// A parameter, defaults included, that two reports do not share; "-" where one has none.
struct DifferentParameter {
  std::string key;  // "training.epochs"
  std::string a;
  std::string b;
};

/// Two reports side by side. `a` is what the other is held against.
struct Comparison {
  std::vector<ComparedFigure> figures;
  std::vector<DifferentParameter> parameters;
  std::vector<std::string> notes;        // what could not be compared
  std::vector<std::size_t> named_a;      // ranks that may be the slowest, the likeliest first
  std::optional<std::size_t> slowest_b;  // rank that is last most often; none for one rank
  /// Whether `slowest_b` is one of `named_a`, or of the same GPU and micro-batch as one of them:
  /// chance decides which of these is last. None for one rank.
  std::optional<bool> slowest_agree;

  /// The figure of that name; none where a report lacks it.
  [[nodiscard]] const ComparedFigure* find(std::string_view name) const;

  /// Judged figures whose difference exceeds `tolerance`.
  [[nodiscard]] std::vector<const ComparedFigure*> beyond(double tolerance) const;
};

/// Compares total, epoch, step, phases, every rank's compute and wait, and memory. Figures that a
/// report does not hold (an epoch of a run that was stopped in the first) are left out with a note.
Comparison compare(const Report& a, const Report& b);

/// `vitsim-comparison/1`.
nlohmann::json to_json(const Comparison& comparison, double tolerance);

}  // namespace vitsim
