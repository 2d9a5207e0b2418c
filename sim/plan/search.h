#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "calibrate/compute/compute_model.h"
#include "models/experiment/experiment.h"
#include "sim/plan/gpu_sets.h"
#include "sim/plan/variants.h"
#include "sim/predict/run_time.h"

namespace vitsim {

enum class Objective { kTime, kCost, kEnergy };
inline constexpr std::array<std::string_view, 3> kObjectiveNames = {"time", "cost", "energy"};

/// What a plan has to keep.
struct PlanLimits {
  std::optional<Seconds> deadline;  // of the whole run
  std::optional<double> budget;     // in the file's currency
};

/// The file that is changed, and what it is changed by.
struct PlanSpace {
  std::string text;
  std::filesystem::path file;
  std::vector<Override> settings;  // that hold for every candidate
  Experiment base;
  ProfileSet profiles;
  std::vector<GpuSet> sets;
  std::vector<Variant> variants;
  bool keeps_micro_batch = false;
  bool keeps_accumulation = false;
  bool keeps_global_batch = true;
};

/// GPUs, way to train and batches: a change to the file.
struct Candidate {
  std::size_t set = 0;
  std::size_t variant = 0;
  std::int64_t global_batch = 0;  // samples of a step
  std::int64_t accumulation = 1;
  std::vector<std::int64_t> micro_batch;  // one number for all ranks, or one per rank
  double bound_s = 0;                     // the run takes no less
};

/// A candidate and its prediction without noise.
struct Tried {
  Candidate candidate;
  std::vector<Override> set;  // what reproduces it
  PlainPrediction plain;
  double objective = 0;
  double excess = 0;        // by which share it misses the limits; 0: it keeps them
  std::size_t changes = 0;  // that a person would count
};

/// How far a search is. The function returns whether to go on.
struct PlanProgress {
  std::int64_t predicted = 0;
  std::int64_t candidates = 0;
  std::optional<Seconds> best;  // run
};

using ReportPlanProgress = std::function<bool(const PlanProgress&)>;

struct SearchResult {
  std::vector<Tried> best;  // by what they change, the best of each; best first
  std::int64_t candidates = 0;
  std::int64_t predicted = 0;
  std::int64_t bounded_away = 0;  // whose bound is no better than what was found
  std::int64_t not_tried = 0;     // left when the search was interrupted or had tried enough
  bool interrupted = false;
  std::map<std::string, std::int64_t> refused;  // reasons
};

/// Searches a space for the candidates that are best by `objective` within the limits.
///
/// Every candidate's micro-batches are balanced, and the slowest rank's compute bounds its run from
/// below. Candidates are predicted in the order of their bounds, some dozens at a time, until no
/// bound is better than the best prediction: what is left cannot win. The order, and with it the
/// answer, does not depend on the number of threads.
class PlanSearch {
 public:
  /// `space` must outlive it.
  PlanSearch(const PlanSpace& space, Objective objective, PlanLimits limits);
  ~PlanSearch();
  PlanSearch(const PlanSearch&) = delete;
  PlanSearch& operator=(const PlanSearch&) = delete;

  [[nodiscard]] SearchResult run(const ReportPlanProgress& report) const;

  /// The fastest of one set of GPUs trained in the file's way, with its accumulation where that
  /// fits; nothing where it cannot train.
  [[nodiscard]] std::optional<Tried> best_of_set(std::size_t set) const;

  /// The prediction of changes to the file; throws UserError where they cannot train.
  [[nodiscard]] Tried predict(const std::vector<Override>& set) const;

 private:
  struct Tables;

  [[nodiscard]] std::vector<Candidate> candidates(std::size_t set, std::size_t variant) const;
  [[nodiscard]] std::vector<Override> overrides(const Candidate& candidate) const;
  void judge(Tried& tried) const;
  [[nodiscard]] double excess_of(Seconds total, std::optional<double> price) const;
  [[nodiscard]] std::vector<Tried> predict_all(const std::vector<Candidate>& some,
                                               std::map<std::string, std::int64_t>& refused) const;

  const PlanSpace& space_;
  Objective objective_;
  PlanLimits limits_;
  std::unique_ptr<Tables> tables_;
};

/// Passes of all ranks in a step of a split model, whose calls are simulated one by one: longer
/// ones are left out of the search.
inline constexpr std::int64_t kMostSplitPasses = 256;

/// Micro-batches as a value of the file: a number, or a list.
std::string micro_batch_text(const std::vector<std::int64_t>& micro_batch);

}  // namespace vitsim
