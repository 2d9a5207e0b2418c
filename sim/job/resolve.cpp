#include "sim/job/resolve.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>

#include <fmt/format.h>

#include "models/document/words.h"
#include "models/error.h"
#include "models/experiment/rank_layout.h"
#include "models/vit/cost_graph.h"
#include "sim/job/link_figures.h"
#include "sim/job/network_figures.h"
#include "sim/job/offload.h"
#include "sim/job/programs.h"
#include "sim/job/sources.h"

namespace vitsim {

namespace {

bool is_same_link(const std::optional<LinkSpec>& a, const std::optional<LinkSpec>& b) {
  return a.has_value() == b.has_value() &&
         (!a || (a->profile == b->profile && a->sheet == b->sheet && a->count == b->count &&
                 a->bandwidth == b->bandwidth && a->latency == b->latency));
}

/// Tells nodes apart by what their ranks find: number of GPUs, links, switch.
class NodeKinds {
 public:
  explicit NodeKinds(const ClusterSpec& cluster) : cluster_(cluster) {
    kinds_.reserve(cluster.nodes.size());
    for (std::size_t node = 0; node < cluster.nodes.size(); ++node) {
      // Neighbours in the file are mostly alike.
      if (node > 0 && is_same(node, node - 1)) {
        kinds_.push_back(kinds_.back());
        continue;
      }
      const auto same =
          std::ranges::find_if(first_, [&](std::size_t other) { return is_same(node, other); });
      kinds_.push_back(static_cast<std::size_t>(same - first_.begin()));
      if (same == first_.end()) {
        first_.push_back(node);
      }
    }
  }

  [[nodiscard]] std::size_t of(std::size_t node) const { return kinds_[node]; }

 private:
  [[nodiscard]] bool is_same(std::size_t a, std::size_t b) const {
    const NodeSpec& one = cluster_.nodes[a];
    const NodeSpec& other = cluster_.nodes[b];
    return one.gpus.size() == other.gpus.size() && one.switch_name == other.switch_name &&
           is_same_link(one.nic, other.nic) && is_same_link(one.intra_node, other.intra_node);
  }

  const ClusterSpec& cluster_;
  std::vector<std::size_t> kinds_;  // by node
  std::vector<std::size_t> first_;  // node of each kind
};

/// Numbers the classes of a job's ranks and makes their compute models.
class ClassFinder {
 public:
  ClassFinder(const ClusterSpec& cluster, const TrainingSpec& training, const ProfileSet& profiles)
      : kinds_(cluster), cluster_(cluster), training_(training), profiles_(profiles) {}

  /// The class of a rank that lives at `place`; its model is made with the first of its kind.
  std::uint32_t find(ResolvedJob& job,
                     const RankPlace& place,
                     const StepShape& shape,
                     std::int64_t stage,
                     std::optional<double> shard,
                     std::uint32_t position) {
    const GpuSpec& gpu = cluster_.nodes[place.node].gpus[place.gpu];
    const auto [entry, fresh] = index_.try_emplace({model_number(gpu.model),
                                                    gpu.slowdown,
                                                    shape.count,
                                                    shape.size,
                                                    shape.last,
                                                    kinds_.of(place.node),
                                                    stage,
                                                    shard.value_or(0)},
                                                   static_cast<std::uint32_t>(job.classes.size()));
    if (fresh) {
      job.classes.push_back({.gpu = gpu.model,
                             .slowdown = gpu.slowdown,
                             .shape = shape,
                             .first = position,
                             .compute = model(gpu, shape.size),
                             .held = {.part = training_.model, .stage = stage, .shard = shard}});
    }
    ++job.classes[entry->second].count;
    return entry->second;
  }

  void throw_if_any() {
    if (!problems_.empty()) {
      throw UserError(std::move(problems_));
    }
  }

 private:
  std::size_t model_number(const std::string& name) {
    if (last_name_ == nullptr || *last_name_ != name) {
      const auto entry = numbers_.try_emplace(name, numbers_.size()).first;
      last_name_ = &entry->first;
      last_number_ = entry->second;
    }
    return last_number_;
  }

  std::shared_ptr<const ComputeModel> model(const GpuSpec& gpu, std::int64_t micro_batch) {
    const auto [entry, fresh] = models_.try_emplace({gpu.model, micro_batch});
    if (fresh) {
      try {
        entry->second = make_compute_model(gpu.model, training_, micro_batch, profiles_);
      } catch (const UserError& error) {
        for (const std::string& problem : error.problems()) {
          problems_.push_back(gpu.where.empty() ? problem : gpu.where + ": " + problem);
        }
      }
    }
    return entry->second;
  }

  using Key = std::tuple<std::size_t,
                         double,
                         std::int64_t,
                         std::int64_t,
                         std::int64_t,
                         std::size_t,
                         std::int64_t,
                         double>;

  NodeKinds kinds_;
  const ClusterSpec& cluster_;
  const TrainingSpec& training_;
  const ProfileSet& profiles_;
  std::map<Key, std::uint32_t> index_;
  std::map<std::string, std::size_t> numbers_;
  const std::string* last_name_ = nullptr;
  std::size_t last_number_ = 0;
  std::map<std::pair<std::string, std::int64_t>, std::shared_ptr<const ComputeModel>> models_;
  std::vector<std::string> problems_;
};

/// What embedding and head cost by a block, and how fast the slowest rank of each stage is.
StageCosts stage_costs(const ResolvedJob& job) {
  const VitSpec& model = job.training.model;
  ModelPart embedding = ModelPart(model).only_ends();
  ModelPart head = embedding;
  embedding.head = false;
  head.embedding = false;
  const Flops block =
      forward_flops(ModelPart(model).only_blocks()) / static_cast<double>(model.layers);
  StageCosts costs{.embedding = forward_flops(embedding) / block,
                   .head = forward_flops(head) / block,
                   .slowness = std::vector<double>(
                       static_cast<std::size_t>(job.training.parallelism.pipeline.stages), 0.0)};
  for (const RankClass& ranks : job.classes) {
    const MicroBatchTimes times = ranks.compute->at(ranks.micro_batch());
    double& slowest = costs.slowness[static_cast<std::size_t>(ranks.held.stage)];
    slowest = std::max(slowest, ranks.slowdown * (times.forward + times.backward).value());
  }
  return costs;
}

/// Says what part of the model each class holds.
void deal_model(ResolvedJob& job) {
  const ParallelismSpec& split = job.training.parallelism;
  std::vector<std::int64_t> blocks = {job.training.model.layers};
  if (split.pipeline.stages > 1) {
    blocks = deal_blocks(
        job.training.model.layers, split.pipeline.stages, split.pipeline.chunks, stage_costs(job));
  }
  for (RankClass& ranks : job.classes) {
    ranks.held.part =
        part_of_stage(job.training.model, split, job.training.recompute, blocks, ranks.held.stage);
  }
}

/// Shares of the state by position, as the file has them; none where it gives no proportions, or
/// equal ones.
std::vector<double> given_shards(const TrainingSpec& training, std::size_t world_size) {
  std::vector<double> shares = training.parallelism.shards.proportions;
  const bool are_equal =
      std::ranges::adjacent_find(shares, std::ranges::not_equal_to()) == shares.end();
  if (are_equal) {
    return {};
  }
  VITSIM_CHECK(shares.size(), ==, world_size);
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  for (double& share : shares) {
    share /= sum;
  }
  return shares;
}

/// Deals the state by what the GPUs' memories have left; returns the shares by position. GPUs that
/// are left with the same hold equal shards.
std::vector<double> deal_by_memory(ResolvedJob& job) {
  const auto shares = shards_by_memory(job.training, job.limits());
  if (!shares) {
    throw UserError(
        "training.parallelism.shards \"by-memory\" needs the memory of every GPU: name GPUs whose "
        "data sheet or profile has it, or give one proportion per rank");
  }
  if (std::ranges::adjacent_find(*shares, std::ranges::not_equal_to()) == shares->end()) {
    return {};
  }
  for (std::size_t of = 0; of < shares->size(); ++of) {
    job.classes[of].held.shard = (*shares)[of];
  }
  std::vector<double> by_position;
  for (const std::uint32_t of : job.class_of) {
    by_position.push_back((*shares)[of]);
  }
  return by_position;
}

ResolvedJob make_job(const ClusterSpec& cluster,
                     const std::shared_ptr<const Network>& network,
                     const TrainingSpec& training,
                     std::vector<std::int64_t> ranks,
                     const ProfileSet& profiles) {
  const std::int64_t whole = training.parallelism.model_ranks();
  if (static_cast<std::int64_t>(ranks.size()) % whole != 0) {
    throw UserError(
        fmt::format("{} ranks hold no whole number of replicas of the model, each split among {} "
                    "ranks (tensor x "
                    "sequence x pipeline): take a multiple of {}",
                    ranks.size(),
                    whole,
                    whole));
  }
  ResolvedJob job{.training = training, .network = network};
  job.plan = plan_epoch(subset_samples(training.dataset.samples, training.dataset.fraction),
                        static_cast<std::int64_t>(ranks.size()),
                        training);
  const RankLayout layout(training.parallelism, static_cast<std::int64_t>(ranks.size()));
  const std::vector<RankPlace> places = rank_places(cluster);
  ClassFinder finder(cluster, training, profiles);
  job.class_of.reserve(ranks.size());
  std::vector<double> shards = given_shards(training, ranks.size());
  for (std::uint32_t position = 0; position < ranks.size(); ++position) {
    job.class_of.push_back(
        finder.find(job,
                    places[static_cast<std::size_t>(ranks[position])],
                    job.plan.full[position],
                    layout.place(position).stage,
                    shards.empty() ? std::nullopt : std::optional(shards[position]),
                    position));
  }
  finder.throw_if_any();
  deal_model(job);
  for (const RankClass& each : job.classes) {
    job.epoch_start = std::max(job.epoch_start, each.compute->epoch_start);
  }
  if (training.parallelism.shards.by_memory) {
    shards = deal_by_memory(job);
  }
  job.group = std::make_shared<const Communicator>(*network, std::move(ranks), std::move(shards));
  const std::vector<const LinkSpec*> crossed = crossed_links(job, cluster);
  describe_sources(job, crossed, profiles);
  const bool is_decoded = training.dataset.name == "image-folder";
  if (is_decoded && std::ranges::any_of(
                        job.classes, [](const RankClass& each) { return !each.compute->loader; })) {
    job.warnings.emplace_back(
        "reading and decoding images is not in the prediction: nobody measured it on these hosts "
        "(vitsim calibrate FILE does)");
  }
  set_offload(job, cluster, profiles);
  build_programs(job);
  widen_beyond_measured(job, crossed, profiles);
  return job;
}

}  // namespace

void check_samples(const Experiment& experiment) {
  std::vector<std::string> problems;
  for (const TrainingSpec* training : trainings(experiment)) {
    const DatasetSpec& dataset = training->dataset;
    if (dataset.samples == 0) {
      problems.push_back(fmt::format(
          "{}{}data set {} needs \"samples\" to be predicted: only a training counts its files",
          dataset.where,
          dataset.where.empty() ? "" : ": ",
          in_quotes(dataset.name)));
    }
  }
  if (!problems.empty()) {
    throw UserError(std::move(problems));
  }
}

ResolvedExperiment resolve(const Experiment& experiment, const ProfileSet& profiles) {
  ResolvedExperiment resolved{.experiment = experiment, .network = nullptr, .jobs = {}};
  ClusterSpec& cluster = resolved.experiment.cluster;
  add_paths_inside_nodes(cluster, profiles);
  resolved.network = std::make_shared<const Network>(network_data(cluster, profiles));
  if (experiment.jobs.empty()) {
    std::vector<std::int64_t> everybody(static_cast<std::size_t>(cluster.world_size()));
    std::iota(everybody.begin(), everybody.end(), std::int64_t{0});
    resolved.jobs.push_back(
        make_job(cluster, resolved.network, experiment.training, std::move(everybody), profiles));
  }
  for (const JobSpec& job : experiment.jobs) {
    resolved.jobs.push_back(make_job(cluster, resolved.network, job.training, job.ranks, profiles));
    resolved.jobs.back().name = job.name;
    resolved.jobs.back().start = job.start;
  }
  for (ResolvedJob& job : resolved.jobs) {
    job.warnings.insert(job.warnings.end(), experiment.warnings.begin(), experiment.warnings.end());
  }
  return resolved;
}

}  // namespace vitsim
