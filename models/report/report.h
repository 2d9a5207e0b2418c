#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "models/units.h"

namespace vitsim {

/// Quantiles over new real runs. Without a known spread p05 and p95 are absent.
struct Quantiles {
  double mean = 0;
  std::optional<double> p05;
  double p50 = 0;
  std::optional<double> p95;
};

/// Busy seconds per full step, mean over ranks, waiting excluded.
struct PhaseSeconds {
  double data_load_s = 0;
  double forward_s = 0;
  double backward_s = 0;
  double gradient_all_reduce_s = 0;
  double optimizer_s = 0;
  double other_s = 0;
};

struct MemoryParts {
  double weights = 0;
  double gradients = 0;
  double optimizer = 0;
  double buffers = 0;
  double activations = 0;
  double constant = 0;

  [[nodiscard]] double total() const {
    return weights + gradients + optimizer + buffers + activations + constant;
  }
};

struct RankMemory {
  double total_bytes = 0;
  std::optional<double> capacity_bytes;  // unknown where no sheet or profile says
  bool fits = true;
  MemoryParts parts;
};

struct RankReport {
  std::int64_t rank = 0;
  std::string node;
  std::string gpu;
  std::string device;  // of a real run: what the GPU or CPU calls itself
  std::int64_t micro_batch = 0;
  double compute_s = 0;   // per full step
  double wait_s = 0;      // per full step
  double late_share = 0;  // share of steps in which it was the last to be ready, ties split
  double gain_s = 0;      // what an epoch would gain were it as fast as the median rank
  RankMemory memory;
  std::optional<std::int64_t> largest_micro_batch;
};

/// What an event of the cluster file cost: run time with it less run time without it.
struct EventCost {
  std::string what;
  double cost_s = 0;
};

/// Where a figure comes from: measured, interpolated, from operator curves, or a data sheet.
struct Basis {
  std::string part;    // "rank 0 (tesla-p4)" or "network (tesla-ethernet)"
  std::string kind;    // measured, interpolated, extrapolated, operator-curves, data-sheet, given
  std::string detail;  // one sentence
  std::optional<double> error;  // relative, as leave-one-out shows it
};

/// The result of a prediction or of a real run, in the same form.
struct Report {
  std::string source = "predicted";  // or "measured"
  std::string resolved_json;         // every parameter after defaults, a JSON object as text
  std::int64_t steps_per_epoch = 0;
  std::int64_t samples_per_epoch = 0;
  Quantiles epoch_s;  // a run's median epoch time, as the slowest rank sees it
  Quantiles step_s;   // a full step
  Quantiles total_s;  // the whole run
  double samples_per_s = 0;
  // Of a real run: three times forward's matrix products per sample, by the median step; and what
  // share that is of the ranks' dense peaks, where their data sheets are known.
  std::optional<double> model_flops_per_s;
  std::optional<double> model_flops_utilisation;
  PhaseSeconds phases;
  double exposed_communication_s = 0;
  double wait_s = 0;
  std::vector<RankReport> ranks;
  std::vector<EventCost> events;
  std::string bottleneck;
  std::vector<Basis> basis;
  std::vector<std::string> warnings;
};

/// Ranks that may be the slowest, the likeliest first: the fewest that are last in 9 of 10 steps,
/// with those that are as likely as the last of them. None where a rank is alone.
std::vector<std::size_t> likely_slowest(const Report& report);

/// `vitsim-report/1`, docs: FORMATS in docs/formats.md.
nlohmann::json to_json(const Report& report);

/// Reads what `to_json` wrote. Throws UserError naming `origin` where it is something else.
Report report_from_json(const nlohmann::json& json, const std::string& origin);

/// The same from a file; every problem is reported with file, line and path.
Report read_report(const std::filesystem::path& file);
Report report_from_text(std::string_view text, const std::string& origin);

}  // namespace vitsim
