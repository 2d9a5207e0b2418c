#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "calibrate/profile/library.h"
#include "models/experiment/experiment.h"
#include "models/report/report.h"
#include "sim/plan/search.h"
#include "sim/predict/predict.h"

namespace vitsim {

/// What `vitsim plan` was asked.
struct PlanRequest {
  std::string text;  // of the cluster file
  std::filesystem::path file;
  std::vector<Override> settings;
  Objective objective = Objective::kTime;
  PlanLimits limits;
  std::vector<std::string> keep;  // keys that stay
  std::vector<VariedKey> vary;    // keys to try besides
  std::vector<AddedGpus> add;
  bool keeps_global_batch = true;
  PredictOptions predict;
};

/// A change to the file, predicted.
struct PlanOption {
  std::string change;         // in words
  std::vector<Override> set;  // what reproduces it; empty: the file as it stands
  std::vector<std::int64_t> micro_batch;
  std::int64_t accumulation = 1;
  Quantiles total_s;  // run, failures included
  Quantiles epoch_s;
  double step_s = 0;
  std::optional<RunCost> cost;
  std::optional<Goodput> goodput;
  bool fits = true;                // every rank in its memory
  double memory_share = 0;         // of the fullest rank's memory; 0: capacity unknown
  double gain_share = 0;           // of the run's time that it saves
  std::optional<double> p_better;  // share of new runs in which it is better; none: no spread
  double excess = 0;               // by which share it misses the limits
  std::string limited_by;          // the verdict
};

/// GPUs left out or added, with balanced micro-batches, trained in the file's way; without noise.
struct PlanStep {
  std::string what;     // "node older (gtx-1070)"
  std::string title;    // "the GTX 1070", for sentences
  std::string refusal;  // why it cannot train; else empty
  std::vector<Override> set;
  std::vector<std::int64_t> micro_batch;
  std::int64_t accumulation = 1;
  double epoch_s = 0;
  double total_s = 0;
  std::optional<RunCost> cost;
  double gain_share = 0;
  bool fits = true;
};

/// What a change that the plan may not make would save of the best option's run.
struct WhatIf {
  std::string change;
  double gain_share = 0;
};

struct Plan {
  std::string headline;              // the sentence that matters
  PlanOption base;                   // the file as it stands
  std::vector<PlanOption> options;   // best first
  std::optional<PlanStep> balanced;  // the file's GPUs with balanced micro-batches
  std::vector<PlanStep> without;
  std::vector<PlanStep> with;
  std::string limits_now;     // what limits the best option
  std::vector<WhatIf> next;   // best first
  bool base_is_best = false;  // no option is better than the file as it stands
  bool is_feasible = true;    // some option keeps the limits
  std::string miss;           // where not: by how much the best misses them
  SearchResult search;
  std::vector<std::string> notes;
};

/// Searches for changes to a cluster file and compares them with the file as it stands. Throws
/// UserError where the request contradicts itself or the file cannot be planned.
Plan make_plan(const PlanRequest& request, const ReportPlanProgress& report);

/// Micro-batches for sentences: "16", "(15, 21, 21, 1, 22)", "(64 x 12, 32 x 20)".
std::string batches_text(const std::vector<std::int64_t>& batches);

/// `vitsim-plan/1`.
nlohmann::json to_json(const Plan& plan, const PlanRequest& request);

}  // namespace vitsim
