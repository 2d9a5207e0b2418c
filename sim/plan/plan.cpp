#include "sim/plan/plan.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>
#include <oneapi/tbb/parallel_for.h>

#include "calibrate/profile/gpu_names.h"
#include "calibrate/profile/lookup.h"
#include "models/document/quantity_text.h"
#include "models/document/words.h"
#include "models/error.h"
#include "models/experiment/resolved.h"
#include "sim/job/resolve.h"
#include "sim/sample/step_model.h"

namespace vitsim {

namespace {

constexpr std::size_t kMostOverall = 3;  // options whatever they change
constexpr double kWorthTelling = 0.005;  // a change that saves less is noise

std::vector<Override> joined(const std::vector<Override>& a, const std::vector<Override>& b) {
  std::vector<Override> all = a;
  all.insert(all.end(), b.begin(), b.end());
  return all;
}

const std::vector<std::string>& plannable_keys() {
  static const std::vector<std::string> kKeys = {"cluster.nodes",
                                                 "training.micro_batch_per_gpu",
                                                 "training.gradient_accumulation_steps",
                                                 "training.gradient_sync",
                                                 "training.zero",
                                                 "training.fsdp",
                                                 "training.parallelism",
                                                 "training.recompute",
                                                 "training.all_reduce"};
  return kKeys;
}

// Contradictions of the request with itself.
void check_request(const PlanRequest& request, const Experiment& base) {
  std::vector<std::string> problems;
  const nlohmann::json known = resolved(base);
  for (const std::string& key : request.keep) {
    std::string path = "/" + key;
    std::ranges::replace(path, '.', '/');
    const bool is_plannable = std::ranges::any_of(plannable_keys(), [&](const std::string& word) {
      return word == key || key.starts_with(word + ".") || word.starts_with(key + ".");
    });
    bool is_there = false;
    try {
      is_there = known.contains(nlohmann::json::json_pointer(path));
    } catch (const nlohmann::json::exception&) {
      is_there = false;
    }
    if (!is_plannable && !is_there) {
      problems.push_back(
          fmt::format("--keep {}: unknown key{}", key, did_you_mean(key, plannable_keys())));
    }
    for (const VariedKey& varied : request.vary) {
      if (is_kept({key}, varied.key)) {
        problems.push_back(fmt::format(
            "--keep {} contradicts --vary {}: leave out one of the two", key, varied.key));
      }
    }
    if (key.starts_with("cluster") && !request.add.empty() && is_kept({key}, "cluster.nodes")) {
      problems.push_back(fmt::format("--keep {} contradicts --add: leave out one of the two", key));
    }
  }
  if (request.limits.budget && base.prices.per_gpu_hour.empty()) {
    problems.push_back(fmt::format(
        "--budget needs what GPUs cost: {}: /prices is missing, e.g. \"prices\": {{\"{}\": 1.5}}",
        request.file.string(),
        base.cluster.nodes.front().gpus.front().model));
  }
  if (request.objective == Objective::kCost && base.prices.per_gpu_hour.empty()) {
    problems.push_back(fmt::format(
        "--objective cost needs what GPUs cost: {}: /prices is missing, e.g. \"prices\": {{\"{}\": "
        "1.5}}",
        request.file.string(),
        base.cluster.nodes.front().gpus.front().model));
  }
  for (const AddedGpus& added : request.add) {
    if (!base.prices.per_gpu_hour.empty() && !base.prices.per_gpu_hour.contains(added.gpu)) {
      problems.push_back(fmt::format("--add {}: {}: /prices has no price of {}: add it",
                                     added.gpu,
                                     request.file.string(),
                                     in_quotes(added.gpu)));
    }
  }
  if (!problems.empty()) {
    throw UserError(std::move(problems));
  }
}

void check_names(const std::vector<AddedGpus>& additions, const ProfileLibrary& library) {
  std::vector<std::string> problems;
  for (const AddedGpus& added : additions) {
    if (!library.gpu(added.gpu) && !library.sheet(added.gpu)) {
      problems.push_back(fmt::format(
          "--add {}: unknown GPU{}", added.gpu, unknown_gpu_hint(added.gpu, library.gpu_names())));
    }
  }
  if (!problems.empty()) {
    throw UserError(std::move(problems));
  }
}

void merge(ProfileSet& all, ProfileSet more) {
  all.gpus.merge(more.gpus);
  all.links.merge(more.links);
  all.sheets.merge(more.sheets);
  all.link_sheets.merge(more.link_sheets);
}

// Profiles of everything that a candidate may name.
ProfileSet profiles_of(const PlanSpace& space, const ProfileLibrary& library) {
  ProfileSet all = load_profiles(space.base, library);
  const auto add = [&](const std::vector<Override>& set) {
    try {
      merge(all,
            load_profiles(experiment_from_text(space.text, space.file, joined(space.settings, set)),
                          library));
    } catch (const UserError&) {
      // The search says why this candidate is refused.
    }
  };
  for (const GpuSet& set : space.sets) {
    if (!set.added.empty() && set.is_one_step) {
      add(joined(set.set, {{"training.micro_batch_per_gpu", "1"}}));
    }
  }
  for (const Variant& variant : space.variants) {
    if (!variant.set.empty() && !variant.compute_key.empty()) {
      add(variant.set);
    }
  }
  return all;
}

}  // namespace

std::string batches_text(const std::vector<std::int64_t>& batches) {
  if (batches.size() == 1) {
    return fmt::format("{}", batches.front());
  }
  constexpr std::size_t kMostListed = 8;
  if (batches.size() <= kMostListed) {
    return fmt::format("({})", fmt::join(batches, ", "));
  }
  std::vector<std::pair<std::int64_t, std::int64_t>> runs;  // count, batch
  for (const std::int64_t batch : batches) {
    if (runs.empty() || runs.back().second != batch) {
      runs.emplace_back(0, batch);
    }
    ++runs.back().first;
  }
  std::vector<std::string> words;
  for (const auto& [count, batch] : runs) {
    if (words.size() == kMostListed) {
      words.emplace_back("...");
      break;
    }
    words.push_back(fmt::format("{} x {}", count, batch));
  }
  return fmt::format("({})", fmt::join(words, ", "));
}

namespace {

// "a", "a and b", "a, b and c".
std::string listed(const std::vector<std::string>& words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) {
    text += i == 0 ? words[i] : i + 1 < words.size() ? ", " + words[i] : " and " + words[i];
  }
  return text;
}

/// Makes a plan of a space that is set up.
class Planner {
 public:
  Planner(const PlanRequest& request, PlanSpace space)
      : request_(request),
        space_(std::move(space)),
        search_(space_, request.objective, request.limits),
        by_time_(space_, Objective::kTime, {}) {}

  Plan make(const ReportPlanProgress& report) {
    Plan plan;
    plan.base = option({});
    plan.base.change = "as it stands";
    plan.search = search_.run(report);
    add_options(plan);
    add_steps(plan);
    plan.headline = headline(plan);
    judge(plan);
    add_next(plan);
    return plan;
  }

 private:
  [[nodiscard]] ResolvedExperiment resolved_with(const std::vector<Override>& set) const {
    return resolve(experiment_from_text(space_.text, space_.file, joined(space_.settings, set)),
                   space_.profiles);
  }

  // Kinds of GPUs in the order of the file, so that options meet the same luck.
  [[nodiscard]] std::vector<std::string> kinds() const {
    std::vector<std::string> names;
    for (const NodeSpec& node : space_.base.cluster.nodes) {
      for (const GpuSpec& gpu : node.gpus) {
        if (std::ranges::find(names, gpu.model) == names.end()) {
          names.push_back(gpu.model);
        }
      }
    }
    return names;
  }

  [[nodiscard]] PlanOption option(const std::vector<Override>& set) const {
    const ResolvedExperiment resolved = resolved_with(set);
    PredictOptions options = request_.predict;
    options.gains = true;
    const Report report = predict(resolved, options).front();
    const TrainingSpec& training = resolved.jobs.front().training;
    PlanOption found{.set = set,
                     .micro_batch = training.micro_batch,
                     .accumulation = training.accumulation,
                     .total_s = report.goodput ? report.goodput->total_s : report.total_s,
                     .epoch_s = report.epoch_s,
                     .step_s = report.step_s.p50,
                     .cost = report.cost,
                     .goodput = report.goodput,
                     .limited_by = verdict_sentence(report)};
    for (const RankClassReport& ranks : report.rank_classes) {
      found.fits = found.fits && ranks.memory.fits;
      if (ranks.memory.capacity_bytes) {
        found.memory_share =
            std::max(found.memory_share, ranks.memory.total_bytes / *ranks.memory.capacity_bytes);
      }
    }
    if (report.verdict.limit == Verdict::Limit::kCommunication) {
      std::vector<std::string> links;
      for (const Basis& basis : report.basis) {
        if (!basis.part.starts_with("rank")) {
          links.push_back(basis.part);
        }
      }
      found.limited_by += fmt::format(", over {}", fmt::join(links, " and "));
    }
    found.excess = excess_of(found);
    return found;
  }

  [[nodiscard]] double excess_of(const PlanOption& option) const {
    double excess = option.fits ? 0 : 1e9;
    if (request_.limits.deadline) {
      excess = std::max(excess, option.total_s.p50 / request_.limits.deadline->value() - 1);
    }
    if (request_.limits.budget && option.cost && option.cost->price) {
      const double budget = *request_.limits.budget;
      excess = std::max(excess,
                        budget > 0                ? *option.cost->price / budget - 1
                        : *option.cost->price > 0 ? 1e9
                                                  : 0.0);
    }
    return excess;
  }

  [[nodiscard]] double objective_of(const PlanOption& option) const {
    switch (request_.objective) {
      case Objective::kCost:
        return option.cost ? option.cost->price.value_or(0) : 0;
      case Objective::kEnergy:
        return option.cost ? option.cost->energy_kwh.value_or(0) : 0;
      case Objective::kTime:
        break;
    }
    return option.total_s.p50;
  }

  [[nodiscard]] std::string change_of(const Tried& tried) const {
    std::vector<std::string> words;
    const Candidate& candidate = tried.candidate;
    const auto add = [&](const std::string& text) {
      if (!text.empty()) {
        words.push_back(text);
      }
    };
    add(space_.sets[candidate.set].change);
    add(space_.variants[candidate.variant].change);
    if (candidate.accumulation != space_.base.training.accumulation) {
      add(fmt::format("{} accumulation steps", candidate.accumulation));
    }
    if (candidate.micro_batch != space_.base.training.micro_batch) {
      add(fmt::format("micro-batch{} {}",
                      candidate.micro_batch.size() > 1 ? "es" : "",
                      batches_text(candidate.micro_batch)));
    }
    return fmt::format("{}", fmt::join(words, "; "));
  }

  // The best few, and the best of what people ask first: the file's way on fewer GPUs, all GPUs,
  // micro-batches alone. Of changes that come to the same the smallest.
  [[nodiscard]] std::vector<const Tried*> worth_telling(const std::vector<Tried>& best) const {
    constexpr double kTheSame = 1e-4;
    std::vector<const Tried*> distinct;
    for (const Tried& tried : best) {
      const bool is_known = std::ranges::any_of(distinct, [&](const Tried* other) {
        return other->candidate.set == tried.candidate.set &&
               std::abs(other->objective - tried.objective) < kTheSame * tried.objective;
      });
      if (!tried.set.empty() && std::isfinite(tried.objective) && !is_known) {
        distinct.push_back(&tried);
      }
    }
    std::vector<const Tried*> chosen;
    const auto add = [&](const Tried* tried) {
      if (tried != nullptr && std::ranges::find(chosen, tried) == chosen.end()) {
        chosen.push_back(tried);
      }
    };
    const auto first = [&](auto is_wanted) -> const Tried* {
      const auto found = std::ranges::find_if(
          distinct, [&](const Tried* tried) { return is_wanted(tried->candidate); });
      return found == distinct.end() ? nullptr : *found;
    };
    for (std::size_t i = 0; i < std::min(distinct.size(), kMostOverall); ++i) {
      add(distinct[i]);
    }
    add(first([](const Candidate& of) { return of.variant == 0; }));
    add(first([](const Candidate& of) { return of.set == 0; }));
    add(first([](const Candidate& of) { return of.set == 0 && of.variant == 0; }));
    return chosen;
  }

  void add_options(Plan& plan) const {
    const std::vector<const Tried*> chosen = worth_telling(plan.search.best);
    std::vector<PlanOption> options(chosen.size());
    std::vector<std::vector<double>> totals(chosen.size() + 1);
    const std::vector<std::string> order = kinds();
    const bool known = plan.base.total_s.p05.has_value();
    oneapi::tbb::parallel_for(std::size_t{0}, totals.size(), [&](std::size_t i) {
      const std::vector<Override> set =
          i < chosen.size() ? chosen[i]->set : std::vector<Override>();
      if (i < chosen.size()) {
        options[i] = option(set);
        options[i].change = change_of(*chosen[i]);
        options[i].gain_share = 1 - options[i].total_s.p50 / plan.base.total_s.p50;
      }
      if (known) {
        totals[i] = sampled_totals_s(resolved_with(set), request_.predict, order);
      }
    });
    // Price and energy follow the run's time, at a rate of each option's own.
    const auto rate = [&](const PlanOption& option) {
      return objective_of(option) / option.total_s.p50;
    };
    for (std::size_t i = 0; known && i < options.size(); ++i) {
      const double own = rate(options[i]);
      const double base = rate(plan.base);
      double better = 0;
      for (std::size_t replicate = 0; replicate < totals[i].size(); ++replicate) {
        const double difference = base * totals.back()[replicate] - own * totals[i][replicate];
        better += difference > 0 ? 1.0 : difference == 0 ? 0.5 : 0.0;
      }
      options[i].p_better = better / static_cast<double>(totals[i].size());
    }
    std::ranges::stable_sort(options, [&](const PlanOption& a, const PlanOption& b) {
      return a.excess != b.excess ? a.excess < b.excess : objective_of(a) < objective_of(b);
    });
    plan.options = std::move(options);
  }

  [[nodiscard]] PlanStep step_of(std::size_t set, const Plan& plan) const {
    PlanStep step{.what = space_.sets[set].step, .title = listed(space_.sets[set].left_out)};
    const std::optional<Tried> best = by_time_.best_of_set(set);
    if (!best) {
      step.refusal = "no split of the global batch fits these GPUs";
      return step;
    }
    step.set = best->set;
    step.micro_batch = best->candidate.micro_batch;
    step.accumulation = best->candidate.accumulation;
    step.epoch_s = best->plain.epoch.value();
    step.total_s = best->plain.total.value();
    step.cost = best->plain.cost;
    step.fits = best->plain.fits;
    step.gain_share = 1 - step.total_s / plain_base_total_s(plan);
    return step;
  }

  // Steps are predicted without noise; so is what they are compared with.
  [[nodiscard]] double plain_base_total_s(const Plan& plan) const {
    if (!plain_base_s_) {
      try {
        plain_base_s_ = by_time_.predict({}).plain.total.value();
      } catch (const UserError&) {
        plain_base_s_ = plan.base.total_s.p50;
      }
    }
    return *plain_base_s_;
  }

  void add_steps(Plan& plan) const {
    (void)plain_base_total_s(plan);
    std::vector<std::size_t> wanted = {0};
    for (std::size_t set = 1; set < space_.sets.size(); ++set) {
      if (space_.sets[set].is_one_step) {
        wanted.push_back(set);
      }
    }
    std::vector<PlanStep> steps(wanted.size());
    oneapi::tbb::parallel_for(
        std::size_t{0}, wanted.size(), [&](std::size_t i) { steps[i] = step_of(wanted[i], plan); });
    if (steps.front().refusal.empty()) {
      plan.balanced = steps.front();
      plan.balanced->what = "balanced micro-batches";
    }
    for (std::size_t i = 1; i < wanted.size(); ++i) {
      const bool adds = !space_.sets[wanted[i]].added.empty();
      (adds ? plan.with : plan.without).push_back(std::move(steps[i]));
    }
    const auto by_time = [](const PlanStep& a, const PlanStep& b) {
      return a.refusal.empty() != b.refusal.empty() ? a.refusal.empty() : a.total_s < b.total_s;
    };
    std::ranges::stable_sort(plan.without, by_time);
    std::ranges::stable_sort(plan.with, by_time);
  }

  // The best set of GPUs, trained in the file's way.
  [[nodiscard]] const Tried* best_in_the_files_way(const Plan& plan) const {
    for (const Tried& tried : plan.search.best) {
      if (tried.candidate.variant == 0 && tried.plain.fits &&
          space_.sets[tried.candidate.set].added.empty()) {
        return &tried;
      }
    }
    return nullptr;
  }

  // Where price or energy are to be least.
  [[nodiscard]] std::string headline_of_cost(const Plan& plan) const {
    const bool price = request_.objective == Objective::kCost;
    const auto amount = [&](const PlanOption& option) {
      return price ? fmt::format("{:.2f}{}{}",
                                 objective_of(option),
                                 space_.base.prices.currency.empty() ? "" : " ",
                                 space_.base.prices.currency)
                   : fmt::format("{:.3g} kWh", objective_of(option));
    };
    const PlanOption& best = best_option(plan);
    const char* const verb = price ? "costs" : "needs";
    return best.set.empty()
               ? fmt::format("Nothing found is better than the file as it stands, which {} {}.",
                             verb,
                             amount(best))
               : fmt::format("The best plan {} {} instead of {} and takes {} instead of {}: {}.",
                             verb,
                             amount(best),
                             amount(plan.base),
                             human(Seconds(best.total_s.p50)),
                             human(Seconds(plan.base.total_s.p50)),
                             best.change);
  }

  [[nodiscard]] std::string headline(const Plan& plan) const {
    if (request_.objective != Objective::kTime) {
      return headline_of_cost(plan);
    }
    const auto time = [](double seconds) { return human(Seconds(seconds)); };
    const double now = plan.base.epoch_s.p50;
    // Plain predictions beside a median with noise: scaled to the median.
    const double scale = plan.base.total_s.p50 / plain_base_total_s(plan);
    const Tried* best = best_in_the_files_way(plan);
    const bool leaves_out = best != nullptr && best->candidate.set > 0;
    const double balanced_s =
        plan.balanced && plan.balanced->fits ? plan.balanced->total_s : plan.base.total_s.p50;
    const bool balancing = plan.balanced && plan.balanced->fits &&
                           plan.balanced->micro_batch.size() > 1 &&
                           plan.balanced->micro_batch != space_.base.training.micro_batch &&
                           plan.balanced->gain_share > kWorthTelling;
    std::string text;
    if (!plan.base.fits) {
      text = "As it stands the training runs out of memory. ";
    }
    if (leaves_out && best->plain.total.value() < balanced_s * (1 - kWorthTelling) &&
        best->plain.total.value() < plain_base_total_s(plan) * (1 - kWorthTelling)) {
      const GpuSet& set = space_.sets[best->candidate.set];
      text += fmt::format("Without {} an epoch takes {} instead of {}",
                          listed(set.left_out),
                          time(best->plain.epoch.value() * scale),
                          time(now));
      text += balancing ? fmt::format("; with balanced micro-batches {} on all GPUs it takes {}.",
                                      batches_text(plan.balanced->micro_batch),
                                      time(plan.balanced->epoch_s * scale))
                        : ".";
      return text;
    }
    if (balancing) {
      text += fmt::format("With balanced micro-batches {} an epoch takes {} instead of {}",
                          batches_text(plan.balanced->micro_batch),
                          time(plan.balanced->epoch_s * scale),
                          time(now));
      const auto left =
          std::ranges::find_if(plan.without, [](const PlanStep& step) { return step.fits; });
      text +=
          left == plan.without.end() || !left->refusal.empty()
              ? "."
              : fmt::format("; without {} it takes {}.", left->title, time(left->epoch_s * scale));
      return text;
    }
    text += fmt::format(
        "No other GPUs and no other split of the batch among them save time: an epoch takes {}.",
        time(now));
    if (!plan.options.empty() && plan.options.front().gain_share > kWorthTelling) {
      text += fmt::format(" The best change found ({}) saves {:.1f} %.",
                          plan.options.front().change,
                          100 * plan.options.front().gain_share);
    }
    return text;
  }

  void judge(Plan& plan) const {
    const PlanOption& best = best_option(plan);
    plan.base_is_best = &best == &plan.base;
    plan.limits_now = best.limited_by;
    if (best.memory_share > 0.9) {
      plan.limits_now +=
          fmt::format("; {:.0f} % of the fullest GPU's memory is used", 100 * best.memory_share);
    }
    plan.is_feasible = best.excess <= 0;
    if (plan.is_feasible) {
      return;
    }
    std::vector<std::string> misses;
    if (!best.fits) {
      misses.emplace_back("it does not fit the GPUs' memory");
    }
    if (request_.limits.deadline && best.total_s.p50 > request_.limits.deadline->value()) {
      misses.push_back(fmt::format("it takes {}, {} more than the deadline of {}",
                                   human(Seconds(best.total_s.p50)),
                                   human(Seconds(best.total_s.p50) - *request_.limits.deadline),
                                   human(*request_.limits.deadline)));
    }
    if (request_.limits.budget && best.cost && best.cost->price &&
        *best.cost->price > *request_.limits.budget) {
      misses.push_back(fmt::format("it costs {:.2f}, {:.2f} more than the budget of {:.2f}",
                                   *best.cost->price,
                                   *best.cost->price - *request_.limits.budget,
                                   *request_.limits.budget));
    }
    plan.miss = fmt::format("Nothing found keeps the limits. The best is {}: {}.",
                            plan.base_is_best ? "the file as it stands" : "option 1",
                            fmt::join(misses, ", and "));
  }

  // The first option, or the file where it is no worse.
  [[nodiscard]] const PlanOption& best_option(const Plan& plan) const {
    if (plan.options.empty()) {
      return plan.base;
    }
    const PlanOption& first = plan.options.front();
    const bool base_is_better = plan.base.excess != first.excess
                                    ? plan.base.excess < first.excess
                                    : objective_of(plan.base) <= objective_of(first);
    return base_is_better ? plan.base : first;
  }

  // Changes beyond what the plan may make: a larger batch, another precision, a faster network.
  void add_next(Plan& plan) const {
    const PlanOption& best = best_option(plan);
    double now = 0;
    try {
      now = by_time_.predict(best.set).plain.total.value();
    } catch (const UserError&) {
      return;
    }
    const auto add = [&](const std::string& change, double total_s) {
      if (1 - total_s / now > kWorthTelling) {
        plan.next.push_back({.change = change, .gain_share = 1 - total_s / now});
      }
    };
    const auto try_set = [&](const std::string& change, const std::vector<Override>& more) {
      try {
        const Tried tried = by_time_.predict(joined(best.set, more));
        if (tried.plain.fits) {
          add(change, tried.plain.total.value());
        }
      } catch (const UserError&) {
        // Not possible: nothing to tell.
      }
    };
    if (request_.keeps_global_batch) {
      std::vector<std::int64_t> twice = best.micro_batch;
      for (std::int64_t& batch : twice) {
        batch *= 2;
      }
      try_set("micro-batches twice as large",
              {{"training.micro_batch_per_gpu", micro_batch_text(twice)}});
      try_set("twice the accumulation steps, a global batch twice as large",
              {{"training.gradient_accumulation_steps", fmt::format("{}", 2 * best.accumulation)}});
    }
    const std::string_view own = name(space_.base.training.precision);
    for (const char* precision : {"amp-bf16", "amp-fp16", "tf32"}) {
      if (own == "fp32" || (own == "tf32" && std::string_view(precision) != "tf32")) {
        try_set(fmt::format("precision {}", precision), {{"training.precision", precision}});
      }
    }
    const ResolvedExperiment resolved = resolved_with(best.set);
    const ResolvedJob& job = resolved.jobs.front();
    if (job.world_size() > 1) {
      const StepModel model(job);
      const double step = model.step_s();
      add("a network twice as fast", now * model.step_on_slower_network_s(0.5) / step);
    }
    std::ranges::stable_sort(plan.next, std::ranges::greater(), &WhatIf::gain_share);
    constexpr std::size_t kMostNext = 4;
    if (plan.next.size() > kMostNext) {
      plan.next.resize(kMostNext);
    }
  }

  const PlanRequest& request_;
  PlanSpace space_;
  PlanSearch search_;
  PlanSearch by_time_;
  mutable std::optional<double> plain_base_s_;
};

}  // namespace

Plan make_plan(const PlanRequest& request, const ReportPlanProgress& report) {
  PlanSpace space{.text = request.text, .file = request.file, .settings = request.settings};
  space.base = experiment_from_text(request.text, request.file, request.settings);
  if (!space.base.jobs.empty()) {
    throw UserError(
        fmt::format("{}: /jobs: a plan is made for one training: this file has \"jobs\"",
                    request.file.string()));
  }
  check_request(request, space.base);
  check_samples(space.base);
  std::vector<std::string> notes;
  const bool has_disturbances = std::ranges::any_of(
      space.base.events,
      [](const DisturbanceSpec& event) { return event.what != DisturbanceSpec::What::kFailure; });
  if (!space.base.events.empty()) {
    // Ranks are numbered anew where GPUs are left out: events would hit others.
    space.settings.push_back({"events", "[]"});
    space.base.events.clear();
    notes.emplace_back(has_disturbances ? "the plan is made without the file's events"
                                        : "the plan is made without the failures at given times");
  }
  const ProfileLibrary library(space.base.profiles);
  check_names(request.add, library);
  GpuSets sets;
  if (is_kept(request.keep, "cluster.nodes")) {
    sets.sets = {GpuSet{}};
  } else {
    sets = gpu_sets(
        nlohmann::json::parse(text_with_overrides(request.text, request.file, request.settings)),
        request.add);
  }
  space.sets = std::move(sets.sets);
  space.variants = variants(space.base, request.keep, request.vary);
  space.keeps_micro_batch = is_kept(request.keep, "training.micro_batch_per_gpu");
  space.keeps_accumulation = is_kept(request.keep, "training.gradient_accumulation_steps");
  space.keeps_global_batch = request.keeps_global_batch;
  space.profiles = profiles_of(space, library);
  const bool tries_splits = std::ranges::any_of(space.variants, [](const Variant& variant) {
    return variant.compute_key.find("training.parallelism.") != std::string::npos;
  });
  Plan plan = Planner(request, std::move(space)).make(report);
  std::ranges::copy(sets.notes, std::back_inserter(notes));
  if (plan.search.interrupted) {
    notes.push_back(fmt::format("interrupted after {} of {} candidates: the best until then",
                                plan.search.predicted,
                                plan.search.candidates));
  } else if (plan.search.not_tried > 0) {
    notes.push_back(fmt::format(
        "{} candidates whose bound is better than the best found were not predicted: too many",
        plan.search.not_tried));
  }
  if (tries_splits) {
    notes.push_back(fmt::format(
        "models were split over ranks only where a step has up to {} passes of all ranks "
        "together: longer ones take long to predict",
        kMostSplitPasses));
  }
  plan.notes = std::move(notes);
  return plan;
}

}  // namespace vitsim
