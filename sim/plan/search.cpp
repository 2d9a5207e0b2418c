// The search. A candidate is a set of GPUs, a way to train, and how a step's samples are dealt. Its
// micro-batches are balanced by water-filling (balance.h), which also says when the slowest rank
// has computed: no step is shorter, whatever its communication. Times by micro-batch are tabulated
// once for each kind of GPU and way to compute, so that a bound costs some microseconds where a
// prediction costs hundreds.
//
// First the most promising candidate of every kind of change is predicted, so that a plan can name
// the best of each. Then all are predicted in the order of their bounds, until the next bound is no
// better than the best prediction (best-first branch and bound, Land and Doig 1960, with a single
// level). Where predictions would be too many the search stops earlier and says how many candidates
// it has left out.
//
// Neglected by the bound: noise, which hits all candidates alike, and with tensor or pipeline
// parallelism what splitting the kernels of a pass costs.
#include "sim/plan/search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <oneapi/tbb/parallel_for.h>

#include "models/error.h"
#include "models/experiment/epoch.h"
#include "models/report/cost.h"
#include "models/vit/memory.h"
#include "sim/job/resolve.h"
#include "sim/plan/balance.h"

namespace vitsim {

namespace {

constexpr double kWorthAChange = 1e-3;     // what one more change must bring
constexpr std::size_t kMostDivisors = 24;  // of a global batch, as accumulation steps
constexpr std::int64_t kTabulated = 4096;  // micro-batches
constexpr std::size_t kAtOnce = 32;        // predictions between two looks at the bounds
constexpr std::int64_t kMostPredictions = 10'000;
constexpr double kMostPredictedRanks = 2e6;  // a prediction costs by its ranks

/// Ranks of a set of GPUs that compute alike.
struct KindOfRank {
  std::string gpu;
  double slowdown = 1;
  std::vector<std::uint32_t> ranks;
};

std::vector<KindOfRank> kinds_of_ranks(const ClusterSpec& cluster) {
  std::vector<KindOfRank> kinds;
  std::uint32_t rank = 0;
  for (const NodeSpec& node : cluster.nodes) {
    for (const GpuSpec& gpu : node.gpus) {
      auto same = std::ranges::find_if(kinds, [&](const KindOfRank& kind) {
        return kind.gpu == gpu.model && kind.slowdown == gpu.slowdown;
      });
      if (same == kinds.end()) {
        kinds.push_back({.gpu = gpu.model, .slowdown = gpu.slowdown, .ranks = {}});
        same = std::prev(kinds.end());
      }
      same->ranks.push_back(rank++);
    }
  }
  return kinds;
}

/// What a rank computes in a pass and in an update, by micro-batch.
class PassTable {
 public:
  PassTable(std::shared_ptr<const ComputeModel> model, std::int64_t most)
      : model_(std::move(model)) {
    for (std::int64_t batch = 0; batch <= std::min(most, kTabulated); ++batch) {
      const MicroBatchTimes times = model_->at(batch);
      load_.push_back(times.data_load);
      gpu_.push_back(times.forward + times.backward);
    }
  }

  [[nodiscard]] const ComputeModel& model() const { return *model_; }

  [[nodiscard]] Seconds step(std::int64_t batch, std::int64_t passes, double slowdown) const {
    Seconds load;
    Seconds gpu;
    if (batch < static_cast<std::int64_t>(load_.size())) {
      load = load_[static_cast<std::size_t>(batch)];
      gpu = gpu_[static_cast<std::size_t>(batch)];
    } else {
      const MicroBatchTimes times = model_->at(batch);
      load = times.data_load;
      gpu = times.forward + times.backward;
    }
    return static_cast<double>(passes) * (load + gpu * slowdown);
  }

 private:
  std::shared_ptr<const ComputeModel> model_;
  std::vector<Seconds> load_;
  std::vector<Seconds> gpu_;
};

/// The largest micro-batch up to `most` with which all ranks fit where shards follow memory; 0
/// where none does.
std::int64_t largest_with_shards_by_memory(
    const TrainingSpec& training,
    const std::vector<KindOfRank>& kinds,
    const std::vector<std::shared_ptr<const PassTable>>& passes,
    std::int64_t most) {
  std::vector<RankLimits> ranks;
  std::int64_t world = 0;
  for (std::size_t kind = 0; kind < kinds.size(); ++kind) {
    const ComputeModel& model = passes[kind]->model();
    ranks.push_back({.count = static_cast<std::int64_t>(kinds[kind].ranks.size()),
                     .memory = model.memory,
                     .capacity = model.capacity});
    world += ranks.back().count;
  }
  const auto fits = [&](std::int64_t micro_batch) {
    for (RankLimits& each : ranks) {
      each.micro_batch = micro_batch;
    }
    const auto shares = shards_by_memory(training, ranks);
    for (std::size_t kind = 0; shares && kind < ranks.size(); ++kind) {
      const MemoryParts parts = memory_parts(training,
                                             world,
                                             micro_batch,
                                             ranks[kind].memory,
                                             {.part = training.model, .shard = (*shares)[kind]});
      if (parts.total() > ranks[kind].capacity->value()) {
        return false;
      }
    }
    return shares.has_value();
  };
  std::int64_t low = 0;
  for (std::int64_t high = most; low < high;) {
    const std::int64_t middle = low + (high - low + 1) / 2;
    if (fits(middle)) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

std::vector<std::int64_t> divisors(std::int64_t number) {
  std::vector<std::int64_t> found;
  for (std::int64_t i = 1; i * i <= number; ++i) {
    if (number % i == 0) {
      found.push_back(i);
      if (i * i != number) {
        found.push_back(number / i);
      }
    }
  }
  std::ranges::sort(found);
  if (found.size() > kMostDivisors) {
    found.resize(kMostDivisors);
  }
  return found;
}

// What is wrong, without the values that were tried and their place.
std::string reason_of(const std::string& problem) {
  const auto path = problem.find(": /");
  const auto words = path == std::string::npos ? path : problem.find(": ", path + 2);
  return words == std::string::npos ? problem : problem.substr(words + 2);
}

bool communicates(const StepProgram& program) {
  return std::ranges::any_of(program.classes, [](const ClassProgram& each) {
    return std::ranges::any_of(
        each.operations, [](const Operation& operation) { return operation.compute() == nullptr; });
  });
}

bool is_better(const Tried& a, const Tried& b) {
  if (a.excess != b.excess) {
    return a.excess < b.excess;
  }
  const auto weighed = [](const Tried& tried) {
    return tried.objective * (1 + kWorthAChange * static_cast<double>(tried.changes));
  };
  return weighed(a) < weighed(b);
}

/// What the bound of a candidate says of objective and limits.
struct Bound {
  double excess = 0;
  double objective = 0;

  auto operator<=>(const Bound&) const = default;  // NOLINT(modernize-use-nullptr)
};

}  // namespace

struct PlanSearch::Tables {
  struct OfSet {
    ClusterSpec cluster;
    std::vector<KindOfRank> kinds;
    std::int64_t world = 0;
    double price_per_s = 0;   // 0: unknown
    double energy_per_s = 0;  // kWh; 0: unknown
    std::string problem;
  };

  struct OfVariant {
    std::optional<TrainingSpec> training;
    std::string problem;
  };

  std::vector<OfSet> sets;
  std::vector<OfVariant> variants;
  std::int64_t base_batch = 0;  // global
  std::int64_t subset = 0;
  mutable std::mutex mutex;
  mutable std::map<std::string, std::shared_ptr<const PassTable>> passes;

  /// Of a GPU in a way to train.
  std::shared_ptr<const PassTable> pass(const std::string& gpu,
                                        const TrainingSpec& training,
                                        const std::string& compute_key,
                                        std::int64_t most,
                                        const ProfileSet& profiles) const {
    const std::string key = gpu + "\n" + compute_key;
    {
      const std::lock_guard lock(mutex);
      if (const auto found = passes.find(key); found != passes.end()) {
        return found->second;
      }
    }
    TrainingSpec one = training;
    one.micro_batch = {1};
    auto table = std::make_shared<const PassTable>(
        std::shared_ptr<const ComputeModel>(make_compute_model(gpu, one, 1, profiles)), most);
    const std::lock_guard lock(mutex);
    return passes.try_emplace(key, std::move(table)).first->second;
  }
};

PlanSearch::PlanSearch(const PlanSpace& space, Objective objective, PlanLimits limits)
    : space_(space), objective_(objective), limits_(limits), tables_(std::make_unique<Tables>()) {
  const TrainingSpec& base = space.base.training;
  const std::int64_t world = space.base.cluster.world_size();
  for (std::int64_t rank = 0; rank < world; ++rank) {
    tables_->base_batch +=
        base.micro_batch[base.micro_batch.size() == 1 ? 0 : static_cast<std::size_t>(rank)];
  }
  tables_->base_batch =
      std::max<std::int64_t>(1, tables_->base_batch / base.parallelism.model_ranks()) *
      base.accumulation;
  tables_->subset = subset_samples(base.dataset.samples, base.dataset.fraction);
  const auto read = [&](const std::vector<Override>& set) {
    std::vector<Override> all = space.settings;
    all.insert(all.end(), set.begin(), set.end());
    all.push_back({"training.micro_batch_per_gpu", "1"});
    return experiment_from_text(space.text, space.file, all);
  };
  tables_->variants.resize(space.variants.size());
  for (std::size_t i = 0; i < space.variants.size(); ++i) {
    try {
      tables_->variants[i].training = read(space.variants[i].set).training;
    } catch (const UserError& error) {
      tables_->variants[i].problem = reason_of(error.problems().front());
    }
  }
  tables_->sets.resize(space.sets.size());
  oneapi::tbb::parallel_for(std::size_t{0}, space.sets.size(), [&](std::size_t i) {
    Tables::OfSet& set = tables_->sets[i];
    try {
      set.cluster = read(space.sets[i].set).cluster;
    } catch (const UserError& error) {
      set.problem = reason_of(error.problems().front());
      return;
    }
    set.kinds = kinds_of_ranks(set.cluster);
    set.world = set.cluster.world_size();
    std::vector<HeldGpus> held;
    for (const KindOfRank& kind : set.kinds) {
      held.push_back({.gpu = kind.gpu, .count = static_cast<std::int64_t>(kind.ranks.size())});
      const auto sheet = space.profiles.sheets.find(kind.gpu);
      if (sheet != space.profiles.sheets.end() && sheet->second.tdp_w) {
        held.back().rated_power = Watts(*sheet->second.tdp_w);
      }
    }
    if (const auto cost = run_cost(held, space.base.prices, Seconds(1))) {
      set.price_per_s = cost->price.value_or(0);
      set.energy_per_s = cost->energy_kwh.value_or(0);
    }
  });
}

PlanSearch::~PlanSearch() = default;

double PlanSearch::excess_of(Seconds total, std::optional<double> price) const {
  double excess = 0;
  if (limits_.deadline) {
    excess = std::max(excess, total / *limits_.deadline - 1);
  }
  if (limits_.budget && price) {
    excess = std::max(excess,
                      *limits_.budget > 0 ? *price / *limits_.budget - 1
                      : *price > 0        ? std::numeric_limits<double>::infinity()
                                          : 0.0);
  }
  return excess;
}

void PlanSearch::judge(Tried& tried) const {
  constexpr double kOutOfMemory = 1e9;  // worse than any limit that is missed
  constexpr double kNever = std::numeric_limits<double>::infinity();
  const PlainPrediction& plain = tried.plain;
  switch (objective_) {
    case Objective::kTime:
      tried.objective = plain.total.value();
      break;
    case Objective::kCost:
      tried.objective = plain.cost ? plain.cost->price.value_or(kNever) : kNever;
      break;
    case Objective::kEnergy:
      tried.objective = plain.cost ? plain.cost->energy_kwh.value_or(kNever) : kNever;
      break;
  }
  tried.excess = plain.fits ? excess_of(plain.total, plain.cost ? plain.cost->price : std::nullopt)
                            : kOutOfMemory;
  if (!std::isfinite(tried.objective)) {
    tried.excess = kNever;
  }
}

std::vector<Candidate> PlanSearch::candidates(std::size_t set, std::size_t variant) const {
  const Tables::OfSet& of_set = tables_->sets[set];
  const Tables::OfVariant& of_variant = tables_->variants[variant];
  if (!of_set.problem.empty() || !of_variant.training) {
    return {};
  }
  TrainingSpec training = *of_variant.training;
  const std::string& compute_key = space_.variants[variant].compute_key;
  const std::int64_t model_ranks = training.parallelism.model_ranks();
  if (of_set.world % model_ranks != 0) {
    return {};
  }
  const std::int64_t replicas = of_set.world / model_ranks;
  std::vector<std::int64_t> batches = {tables_->base_batch};
  if (!space_.keeps_global_batch) {
    for (const std::int64_t divisor : {2, 4, 8}) {
      if (tables_->base_batch % divisor == 0) {
        batches.push_back(tables_->base_batch / divisor);
      }
    }
    for (const std::int64_t factor : {2, 4, 8, 16, 32}) {
      batches.push_back(tables_->base_batch * factor);
    }
  }
  const std::int64_t most = *std::ranges::max_element(batches);
  std::vector<std::shared_ptr<const PassTable>> passes;
  std::vector<std::optional<std::int64_t>> largest;
  for (const KindOfRank& kind : of_set.kinds) {
    passes.push_back(tables_->pass(kind.gpu, training, compute_key, most, space_.profiles));
    const ComputeModel& model = passes.back()->model();
    largest.emplace_back();
    if (model.capacity) {
      largest.back() =
          largest_micro_batch(training, of_set.world, model.memory, *model.capacity).value_or(0);
    }
  }
  if (training.parallelism.shards.by_memory) {
    // Shards follow the micro-batches: what all ranks can take alike bounds what each may.
    const std::int64_t alike = largest_with_shards_by_memory(training, of_set.kinds, passes, most);
    std::ranges::fill(largest, std::optional(alike));
  }
  const auto update = [&](std::size_t kind) {
    const ComputeModel& model = passes[kind]->model();
    return model.optimizer * of_set.kinds[kind].slowdown + model.other;
  };
  const double epochs = static_cast<double>(training.epochs);
  const auto run_bound = [&](Seconds step, std::int64_t batch) {
    const std::int64_t steps = tables_->subset / batch;
    return epochs * static_cast<double>(steps) * step.value();
  };
  std::vector<Candidate> found;
  for (const std::int64_t batch : batches) {
    const std::vector<std::int64_t> accumulations =
        space_.keeps_accumulation ? std::vector{space_.base.training.accumulation}
                                  : divisors(batch);
    for (const std::int64_t accumulation : accumulations) {
      if (batch % accumulation != 0) {
        continue;
      }
      const std::int64_t samples = batch / accumulation;
      Candidate candidate{.set = set,
                          .variant = variant,
                          .global_batch = batch,
                          .accumulation = accumulation,
                          .micro_batch = {}};
      if (model_ranks > 1 || space_.keeps_micro_batch) {
        // Replicas of a split model take equal batches.
        const bool is_long = model_ranks > 1 && of_set.world * accumulation > kMostSplitPasses;
        if (samples % replicas != 0 || is_long) {
          continue;
        }
        const std::int64_t own = samples / replicas;
        if (space_.keeps_micro_batch && space_.base.training.micro_batch != std::vector{own}) {
          continue;
        }
        double speed = 0;  // samples per second of all ranks
        Seconds slowest;
        for (std::size_t kind = 0; kind < passes.size(); ++kind) {
          const Seconds pass = passes[kind]->step(own, 1, of_set.kinds[kind].slowdown);
          speed += static_cast<double>(of_set.kinds[kind].ranks.size() * own) / pass.value();
          slowest = std::max(slowest, static_cast<double>(accumulation) * pass + update(kind));
        }
        candidate.micro_batch = {own};
        candidate.bound_s = run_bound(
            model_ranks > 1 ? Seconds(static_cast<double>(batch) / speed) : slowest, batch);
        found.push_back(std::move(candidate));
        continue;
      }
      std::vector<BalancedRanks> ranks;
      for (std::size_t kind = 0; kind < passes.size(); ++kind) {
        ranks.push_back({.count = static_cast<std::int64_t>(of_set.kinds[kind].ranks.size()),
                         .time =
                             [&, kind](std::int64_t own) {
                               return passes[kind]->step(
                                          own, accumulation, of_set.kinds[kind].slowdown) +
                                      update(kind);
                             },
                         .largest = largest[kind]});
      }
      const auto balanced = balance(ranks, samples);
      if (!balanced) {
        continue;
      }
      bool equal = true;
      for (const RankBatches& own : balanced->batches) {
        equal = equal && own.with_more == 0 && own == balanced->batches.front();
      }
      if (equal) {
        candidate.micro_batch = {balanced->batches.front().micro_batch};
      } else {
        candidate.micro_batch.resize(static_cast<std::size_t>(of_set.world));
        for (std::size_t kind = 0; kind < passes.size(); ++kind) {
          const RankBatches& own = balanced->batches[kind];
          std::int64_t more = own.with_more;
          for (const std::uint32_t rank : of_set.kinds[kind].ranks) {
            candidate.micro_batch[rank] = own.micro_batch + (more-- > 0 ? 1 : 0);
          }
        }
      }
      candidate.bound_s = run_bound(balanced->slowest, batch);
      found.push_back(std::move(candidate));
    }
  }
  return found;
}

std::string micro_batch_text(const std::vector<std::int64_t>& micro_batch) {
  return micro_batch.size() == 1 ? fmt::format("{}", micro_batch.front())
                                 : fmt::format("[{}]", fmt::join(micro_batch, ","));
}

std::vector<Override> PlanSearch::overrides(const Candidate& candidate) const {
  std::vector<Override> set = space_.sets[candidate.set].set;
  const std::vector<Override>& way = space_.variants[candidate.variant].set;
  set.insert(set.end(), way.begin(), way.end());
  const TrainingSpec& base = space_.base.training;
  if (candidate.accumulation != base.accumulation) {
    set.push_back(
        {"training.gradient_accumulation_steps", fmt::format("{}", candidate.accumulation)});
  }
  if (candidate.micro_batch != base.micro_batch) {
    set.push_back({"training.micro_batch_per_gpu", micro_batch_text(candidate.micro_batch)});
  }
  return set;
}

Tried PlanSearch::predict(const std::vector<Override>& set) const {
  Tried tried{.candidate = {}, .set = set, .plain = {}};
  std::vector<Override> all = space_.settings;
  all.insert(all.end(), set.begin(), set.end());
  const ResolvedExperiment resolved =
      resolve(experiment_from_text(space_.text, space_.file, all), space_.profiles);
  const ResolvedJob& job = resolved.jobs.front();
  if (job.world_size() > 1 && !job.training.local_updates && !communicates(*job.full)) {
    throw UserError(fmt::format("{} is not predicted yet: its ranks exchange nothing",
                                name(job.training.gradient_sync)));
  }
  if (job.training.parallelism.model_ranks() > 1 && job.full->axes.size() < 2) {
    throw UserError("tensor, pipeline and sequence parallelism are not predicted yet");
  }
  tried.plain = predict_plainly(resolved);
  judge(tried);
  return tried;
}

std::vector<Tried> PlanSearch::predict_all(const std::vector<Candidate>& some,
                                           std::map<std::string, std::int64_t>& refused) const {
  std::vector<std::optional<Tried>> tried(some.size());
  std::vector<std::string> reasons(some.size());
  oneapi::tbb::parallel_for(std::size_t{0}, some.size(), [&](std::size_t i) {
    try {
      tried[i] = predict(overrides(some[i]));
      tried[i]->candidate = some[i];
      tried[i]->changes = (some[i].set > 0 ? 1U : 0U) +
                          space_.variants[some[i].variant].set.size() +
                          (some[i].accumulation != space_.base.training.accumulation ? 1U : 0U) +
                          (some[i].global_batch != tables_->base_batch ? 1U : 0U);
    } catch (const UserError& error) {
      reasons[i] = reason_of(error.problems().front());
    }
  });
  std::vector<Tried> result;
  for (std::size_t i = 0; i < some.size(); ++i) {
    if (tried[i]) {
      result.push_back(std::move(*tried[i]));
    } else {
      ++refused[reasons[i]];
    }
  }
  return result;
}

std::optional<Tried> PlanSearch::best_of_set(std::size_t set) const {
  std::vector<Candidate> all;
  try {
    all = candidates(set, 0);
  } catch (const UserError&) {
    return std::nullopt;
  }
  // The file's own accumulation, where the memory allows it.
  const std::int64_t own = space_.base.training.accumulation;
  if (std::ranges::find(all, own, &Candidate::accumulation) != all.end()) {
    std::erase_if(all, [&](const Candidate& candidate) { return candidate.accumulation != own; });
  }
  std::erase_if(all, [&](const Candidate& candidate) {
    return candidate.global_batch != tables_->base_batch;
  });
  std::ranges::stable_sort(all, {}, &Candidate::bound_s);
  std::optional<Tried> best;
  std::map<std::string, std::int64_t> refused;
  for (const Candidate& candidate : all) {
    if (best && best->plain.fits && candidate.bound_s >= best->plain.total.value()) {
      break;
    }
    for (Tried& tried : predict_all({candidate}, refused)) {
      const bool better =
          !best || (tried.plain.fits && !best->plain.fits) ||
          (tried.plain.fits == best->plain.fits && tried.plain.total < best->plain.total);
      if (better) {
        best = std::move(tried);
      }
    }
  }
  return best;
}

SearchResult PlanSearch::run(const ReportPlanProgress& report) const {
  SearchResult result;
  const std::size_t ways = space_.variants.size();
  const std::size_t pairs = space_.sets.size() * ways;
  for (const Tables::OfVariant& variant : tables_->variants) {
    if (!variant.training) {
      ++result.refused[variant.problem];
    }
  }
  for (const Tables::OfSet& set : tables_->sets) {
    if (!set.problem.empty()) {
      ++result.refused[set.problem];
    }
  }
  // Where the file's way fits all batches undivided, nothing is gained by computing again.
  std::vector<std::vector<Candidate>> by_pair(pairs);
  std::vector<std::string> problems(pairs);
  const auto list = [&](std::size_t pair) {
    try {
      by_pair[pair] = candidates(pair / ways, pair % ways);
    } catch (const UserError& error) {
      problems[pair] = reason_of(error.problems().front());
    }
  };
  oneapi::tbb::parallel_for(std::size_t{0}, space_.sets.size(), [&](std::size_t set) {
    list(set * ways);
    const std::vector<Candidate>& plain = by_pair[set * ways];
    const bool has_memory = std::ranges::any_of(
        plain, [](const Candidate& candidate) { return candidate.accumulation == 1; });
    for (std::size_t way = 1; way < ways; ++way) {
      if (!space_.variants[way].saves_memory || !has_memory) {
        list(set * ways + way);
      }
    }
  });
  std::vector<Candidate> all;
  std::vector<Bound> bounds;
  for (std::size_t pair = 0; pair < pairs; ++pair) {
    if (!problems[pair].empty()) {
      ++result.refused[problems[pair]];
    }
    for (Candidate& candidate : by_pair[pair]) {
      const Tables::OfSet& set = tables_->sets[candidate.set];
      const double price = candidate.bound_s * set.price_per_s;
      bounds.push_back({.excess = excess_of(Seconds(candidate.bound_s), price),
                        .objective = objective_ == Objective::kTime ? candidate.bound_s
                                     : objective_ == Objective::kCost
                                         ? price
                                         : candidate.bound_s * set.energy_per_s});
      all.push_back(std::move(candidate));
    }
  }
  result.candidates = static_cast<std::int64_t>(all.size());
  std::vector<std::size_t> order(all.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    order[i] = i;
  }
  std::ranges::stable_sort(order,
                           [&](std::size_t a, std::size_t b) { return bounds[a] < bounds[b]; });

  // The best of every kind of change: whether GPUs, accumulation and global batch change, and how
  // the way to train does.
  using Kind = std::array<std::size_t, 4>;
  const auto kind_of = [&](const Candidate& candidate) {
    return Kind{candidate.set == 0                         ? 0U
                : space_.sets[candidate.set].added.empty() ? 1U
                                                           : 2U,
                candidate.variant,
                candidate.accumulation != space_.base.training.accumulation ? 1U : 0U,
                candidate.global_batch != tables_->base_batch ? 1U : 0U};
  };
  std::map<Kind, Tried> best;
  std::optional<Tried> winner;
  std::vector<bool> done(all.size(), false);
  double ranks = 0;
  const auto predict_some = [&](const std::vector<std::size_t>& some) {
    std::vector<Candidate> chosen;
    for (const std::size_t i : some) {
      done[i] = true;
      chosen.push_back(all[i]);
      ranks += static_cast<double>(tables_->sets[all[i].set].world);
    }
    result.predicted += static_cast<std::int64_t>(some.size());
    for (Tried& tried : predict_all(chosen, result.refused)) {
      if (!winner || is_better(tried, *winner)) {
        winner = tried;
      }
      const Kind kind = kind_of(tried.candidate);
      const auto [entry, fresh] = best.try_emplace(kind, tried);
      if (!fresh && is_better(tried, entry->second)) {
        entry->second = std::move(tried);
      }
    }
    PlanProgress progress{.predicted = result.predicted, .candidates = result.candidates};
    if (winner) {
      progress.best = winner->plain.total;
    }
    result.interrupted = report && !report(progress);
    return !result.interrupted;
  };
  const auto is_affordable = [&] {
    return result.predicted < kMostPredictions && ranks < kMostPredictedRanks;
  };
  bool goes_on = true;
  {
    std::vector<std::size_t> first;
    std::map<Kind, bool> seen;
    for (const std::size_t i : order) {
      if (seen.try_emplace(kind_of(all[i]), true).second) {
        first.push_back(i);
      }
    }
    for (std::size_t i = 0; goes_on && is_affordable() && i < first.size(); i += kAtOnce) {
      goes_on = predict_some(
          {first.begin() + static_cast<std::ptrdiff_t>(i),
           first.begin() + static_cast<std::ptrdiff_t>(std::min(first.size(), i + kAtOnce))});
    }
  }
  std::size_t next = 0;
  while (goes_on && next < order.size() && is_affordable()) {
    std::vector<std::size_t> some;
    for (; next < order.size() && some.size() < kAtOnce; ++next) {
      const std::size_t i = order[next];
      if (winner && bounds[i] >= Bound{winner->excess, winner->objective}) {
        next = order.size();
        break;
      }
      if (!done[i]) {
        some.push_back(i);
      }
    }
    if (some.empty()) {
      break;
    }
    goes_on = predict_some(some);
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (!done[i]) {
      const bool bounded = winner && bounds[i] >= Bound{winner->excess, winner->objective};
      ++(bounded ? result.bounded_away : result.not_tried);
    }
  }
  for (auto& [kind, tried] : best) {
    result.best.push_back(std::move(tried));
  }
  std::ranges::stable_sort(result.best, is_better);
  return result;
}

}  // namespace vitsim
