#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "models/report/basis.h"
#include "models/report/communication.h"
#include "models/report/rank_set.h"
#include "models/report/step_picture.h"
#include "models/units.h"
#include "models/vit/memory.h"

namespace vitsim {

/// Quantiles over new real runs. Without a known spread p05 and p95 are absent.
struct Quantiles {
  double mean = 0;
  std::optional<double> p05;
  double p50 = 0;
  std::optional<double> p95;
};

/// Busy seconds per full step, mean over ranks, straggler wait excluded. Of the communication only
/// what compute does not hide adds to the step: data_load + forward + backward + optimizer + other
/// + exposed communication + straggler wait is the median step.
struct PhaseSeconds {
  double data_load_s = 0;
  double forward_s = 0;
  double backward_s = 0;
  double gradient_all_reduce_s = 0;
  double parameter_all_gather_s = 0;
  double tensor_parallel_s = 0;
  double pipeline_send_s = 0;
  double optimizer_s = 0;
  double other_s = 0;

  /// Of the phases on compute and loader.
  [[nodiscard]] double compute_s() const {
    return data_load_s + forward_s + backward_s + optimizer_s + other_s;
  }

  /// Of all communication, hidden or not.
  [[nodiscard]] double communication_s() const {
    return gradient_all_reduce_s + parameter_all_gather_s + tensor_parallel_s + pipeline_send_s;
  }
};

struct RankMemory {
  double total_bytes = 0;
  // Of a real run on a GPU, peaks of LibTorch's allocator: what tensors held, and what it had taken
  // of the GPU, which is the total.
  std::optional<double> allocated_bytes;
  std::optional<double> reserved_bytes;
  std::optional<double> capacity_bytes;  // unknown where no sheet or profile says
  bool fits = true;
  MemoryParts parts;
};

/// What a GPU drew while a real run trained, by its own sensor.
struct GpuPower {
  double mean_w = 0;
  double peak_w = 0;
  double energy_j = 0;
};

/// One rank of a full step.
struct RankReport {
  std::int64_t rank = 0;
  std::string node;
  std::string gpu;
  std::string device;  // of a real run: what the GPU or CPU calls itself
  std::int64_t micro_batch = 0;
  double compute_s = 0;
  double wait_s = 0;      // straggler wait
  double late_share = 0;  // share of steps in which it was the last to be ready, ties split
  double gain_s = 0;      // what an epoch would gain were it as fast as the median rank
  RankMemory memory;
  std::optional<std::int64_t> largest_micro_batch;
  std::optional<GpuPower> power;  // of a real run, where the driver tells it
};

/// Ranks that the model cannot tell apart; times are means over them.
struct RankClassReport {
  std::int64_t count = 0;
  std::int64_t first_rank = 0;
  std::string node;  // of the first
  std::string gpu;
  std::int64_t micro_batch = 0;
  double compute_s = 0;
  double wait_s = 0;
  PhaseSeconds phases;
  double exposed_communication_s = 0;
  double late_share = 0;  // share of steps in which one of them was the last to be ready
  double gain_s = 0;      // what an epoch would gain were all of them as fast as the median rank
  RankMemory memory;
  std::optional<std::int64_t> largest_micro_batch;
};

/// Ranks that the others wait for, together.
struct StragglerGroup {
  RankSet ranks;
  std::string gpu;
  std::string node;  // of the first rank
  double compute_s = 0;
};

/// What a step is limited by.
struct Verdict {
  enum class Limit { kNotKnown, kCompute, kCommunication, kStraggler, kDataLoading };

  Limit limit = Limit::kNotKnown;
  std::vector<StragglerGroup> stragglers;  // the slowest first
  double gain_s = 0;                       // of an epoch, were all of them as fast as `reference_s`
  double reference_s = 0;                  // compute of the median rank
  bool reference_is_median = true;         // else of the median of the ranks that are no stragglers
  RankSet other_candidates;                // ranks that may be slower still in a new run
};

/// What a disturbance of the cluster file cost: run time with it less run time without it.
struct DisturbanceCost {
  std::string what;
  double cost_s = 0;
};

/// A run whose parts fail: work since the last checkpoint is lost, restarts are paid. Means over
/// histories of failures, quantiles of the run's time.
struct Goodput {
  Quantiles total_s;  // p50 included
  double failures = 0;
  double lost_s = 0;        // work that was done again
  double checkpoint_s = 0;  // in which training stood still
  double restart_s = 0;
  double effective_share = 1;     // of the run's time that brought the training further
  double checkpoint_every_s = 0;  // interval between checkpoints, of training
  std::int64_t checkpoint_every_steps = 0;
};

/// What the whole run uses and costs, failures included.
struct RunCost {
  double gpu_hours = 0;
  std::optional<double> price;       // in the file's currency; none where it has no prices
  std::string currency;              // may be empty
  std::optional<double> energy_kwh;  // none where a GPU's power is unknown
  std::optional<double> co2e_kg;
  double energy_spread = 0;  // standard deviation of the logarithm of the energy
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
  std::vector<CommunicationRow> communication;
  std::vector<std::string> remarks;  // why the chosen way to train costs what it costs
  double exposed_communication_s = 0;
  double wait_s = 0;
  std::int64_t world_size = 0;
  std::vector<RankClassReport> rank_classes;
  std::vector<RankReport> ranks;    // none where they are many, see `kMostListedRanks`
  std::vector<StepTrack> timeline;  // of a typical step; empty where it was not asked for
  std::vector<LinkUse> links;       // the same
  std::vector<DisturbanceCost> disturbances;
  std::optional<Goodput> goodput;  // where something may fail
  std::optional<RunCost> cost;     // where prices or power are known
  Verdict verdict;
  std::vector<Basis> basis;
  std::vector<std::string> warnings;
};

/// A report of more ranks lists them only where it is asked to.
inline constexpr std::int64_t kMostListedRanks = 64;

/// Entries of `late_share` that may be the straggler, the likeliest first: the fewest that are last
/// in 9 of 10 steps, with those that are as likely as the last of them.
std::vector<std::size_t> likely_last(const std::vector<double>& late_share);

/// Listed ranks that may be the straggler, as above. None where a rank is alone.
std::vector<std::size_t> likely_stragglers(const Report& report);

/// The verdict in words, with memory that runs out first: one or two sentences.
std::string verdict_sentence(const Report& report);

/// `vitsim-report/1`, docs/formats/report.md says what each key means.
nlohmann::json to_json(const Report& report);

/// Reads what `to_json` wrote. Throws UserError naming `origin` where it is something else.
Report report_from_json(const nlohmann::json& json, const std::string& origin);

/// The same from a file; every problem is reported with file, line and path.
Report read_report(const std::filesystem::path& file);
Report report_from_text(std::string_view text, const std::string& origin);

}  // namespace vitsim
