#include "sim/job/scenario.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "calibrate/profile/gpu_names.h"
#include "models/document/words.h"
#include "models/error.h"
#include "sim/job/link_figures.h"

namespace vitsim {

namespace {

// Every written link of a cluster.
std::vector<const LinkSpec*> all_links(const ClusterSpec& cluster) {
  std::vector<const LinkSpec*> links;
  const auto add = [&](const std::optional<LinkSpec>& link) {
    if (link) {
      links.push_back(&*link);
    }
  };
  add(cluster.network);
  add(cluster.intra_node);
  for (const NodeSpec& node : cluster.nodes) {
    add(node.nic);
    add(node.intra_node);
  }
  for (const TrunkSpec& trunk : cluster.links) {
    links.push_back(&trunk.link);
  }
  return links;
}

std::vector<const TrainingSpec*> trainings(const Experiment& experiment) {
  std::vector<const TrainingSpec*> all;
  for (const JobSpec& job : experiment.jobs) {
    all.push_back(&job.training);
  }
  if (all.empty()) {
    all.push_back(&experiment.training);
  }
  return all;
}

// Whether the GPU was measured well enough to need no other.
bool knows_itself(const GpuProfile& profile, const TrainingSpec& training) {
  const bool steps = std::ranges::any_of(profile.steps, [&](const StepCurve& curve) {
    return curve.precision == training.precision &&
           same_architecture(curve.model, training.model) && !curve.points.empty();
  });
  return steps && profile.memory_constant;
}

std::string unknown(const std::string& where,
                    std::string_view what,
                    const std::string& name,
                    const std::vector<std::string>& known) {
  return fmt::format("{}{}unknown {} {}{}",
                     where,
                     where.empty() ? "" : ": ",
                     what,
                     in_quotes(name),
                     did_you_mean(name, known));
}

NetworkData network_data(const ClusterSpec& cluster, const ProfileSet& profiles) {
  NetworkData network{.switches = cluster.switches};
  const LinkData default_intra = cluster.intra_node ? link_data(*cluster.intra_node, profiles)
                                                    : LinkData{.latency = kPcie3Latency,
                                                               .bandwidth = kPcie3Bandwidth,
                                                               .traits = {.kind = LinkKind::kPcie}};
  for (const NodeSpec& spec : cluster.nodes) {
    NodeData node{
        .name = spec.name,
        .gpus = static_cast<std::int64_t>(spec.gpus.size()),
        .switch_name = spec.switch_name.value_or(""),
        .intra_node = spec.intra_node ? link_data(*spec.intra_node, profiles) : default_intra,
        .accelerator = accelerator_of(spec, profiles)};
    const bool on_trunk = std::ranges::any_of(cluster.links, [&](const TrunkSpec& trunk) {
      return trunk.a == spec.name || trunk.b == spec.name;
    });
    if (spec.nic) {
      node.nic = link_data(*spec.nic, profiles);
      node.nics = spec.nic->count;
    } else if (cluster.network && (!on_trunk || spec.switch_name)) {
      node.nic = link_data(*cluster.network, profiles);
      node.nics = cluster.network->count;
    }
    network.nodes.push_back(std::move(node));
  }
  for (const TrunkSpec& trunk : cluster.links) {
    network.trunks.push_back({trunk.a, trunk.b, link_data(trunk.link, profiles)});
  }
  return network;
}

// What the ring of these ranks crosses; of the paths inside nodes those that nobody names are null.
std::vector<const LinkSpec*> crossed_links(const ClusterSpec& cluster,
                                           const std::vector<std::int64_t>& ranks,
                                           const ProfileSet& profiles) {
  const Network network(network_data(cluster, profiles));
  std::set<LinkOrigin> crossed;
  std::vector<LinkId> path;
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    path.clear();
    network.append_route(ranks[i], ranks[(i + 1) % ranks.size()], path);
    for (const LinkId link : path) {
      crossed.insert(network.origin(link));
    }
  }
  const auto named = [](const std::optional<LinkSpec>& own, const std::optional<LinkSpec>& all) {
    return own ? &*own : all ? &*all : nullptr;
  };
  std::vector<const LinkSpec*> specs;
  for (const LinkOrigin& origin : crossed) {
    switch (origin.part) {
      case LinkOrigin::Part::kNic:
        specs.push_back(named(cluster.nodes[origin.index].nic, cluster.network));
        break;
      case LinkOrigin::Part::kInsideNode:
        specs.push_back(named(cluster.nodes[origin.index].intra_node, cluster.intra_node));
        break;
      case LinkOrigin::Part::kTrunk:
        specs.push_back(&cluster.links[origin.index].link);
        break;
    }
  }
  return specs;
}

void describe_compute(Scenario& scenario) {
  std::map<std::string, std::vector<std::int64_t>> by_basis;  // gpu and detail: ranks
  std::vector<std::string> order;
  for (std::size_t rank = 0; rank < scenario.ranks.size(); ++rank) {
    const std::string key =
        scenario.ranks[rank].gpu + "\n" + scenario.ranks[rank].compute->basis.detail;
    if (!by_basis.contains(key)) {
      order.push_back(key);
    }
    by_basis[key].push_back(static_cast<std::int64_t>(rank));
  }
  for (const std::string& key : order) {
    const auto& ranks = by_basis[key];
    const ScenarioRank& first = scenario.ranks[static_cast<std::size_t>(ranks.front())];
    Basis basis = first.compute->basis;
    basis.part = fmt::format("{} ({})", rank_list(ranks), first.gpu);
    if (basis.kind != "measured" && basis.kind != "interpolated") {
      scenario.warnings.push_back(fmt::format("{}: {}", basis.part, basis.detail));
    }
    scenario.basis.push_back(std::move(basis));
  }
}

Scenario make_job(const ClusterSpec& cluster,
                  const TrainingSpec& training,
                  const std::vector<std::int64_t>& cluster_ranks,
                  const ProfileSet& profiles) {
  const std::vector<RankPlace> places = rank_places(cluster);
  Scenario scenario{.training = training};
  const auto world = static_cast<std::int64_t>(cluster_ranks.size());
  scenario.plan = plan_epoch(subset_samples(training.dataset.samples, training.dataset.fraction),
                             world,
                             training.micro_batch,
                             training.accumulation);
  std::map<std::pair<std::string, std::int64_t>, std::shared_ptr<const ComputeModel>> models;
  std::vector<std::string> problems;
  for (std::size_t index = 0; index < cluster_ranks.size(); ++index) {
    const RankPlace place = places[static_cast<std::size_t>(cluster_ranks[index])];
    const NodeSpec& node = cluster.nodes[place.node];
    const GpuSpec& gpu = node.gpus[place.gpu];
    const std::int64_t micro_batch = scenario.plan.full[index].size;
    auto& model = models[{gpu.model, micro_batch}];
    if (!model) {
      try {
        model = make_compute_model(gpu.model, training, micro_batch, profiles);
      } catch (const UserError& error) {
        for (const std::string& problem : error.problems()) {
          problems.push_back(gpu.where.empty() ? problem : gpu.where + ": " + problem);
        }
        continue;
      }
    }
    scenario.ranks.push_back({.cluster_rank = cluster_ranks[index],
                              .node = node.name,
                              .gpu = gpu.model,
                              .slowdown = gpu.slowdown,
                              .micro_batch = micro_batch,
                              .compute = model});
  }
  if (!problems.empty()) {
    throw UserError(std::move(problems));
  }
  describe_compute(scenario);
  if (world > 1) {
    describe_links(scenario, crossed_links(cluster, cluster_ranks, profiles), profiles);
  }
  return scenario;
}

}  // namespace

ProfileSet load_profiles(const Experiment& experiment, const ProfileLibrary& library) {
  ProfileSet set;
  std::vector<std::string> problems;
  std::set<std::string> bad = {""};  // reported by the reader
  bool need_others = false;
  for (const NodeSpec& node : experiment.cluster.nodes) {
    for (const GpuSpec& gpu : node.gpus) {
      if (set.gpus.contains(gpu.model) || set.sheets.contains(gpu.model) ||
          bad.contains(gpu.model)) {
        continue;
      }
      auto profile = library.gpu(gpu.model);
      auto sheet = library.sheet(gpu.model);
      if (!profile && !sheet) {
        bad.insert(gpu.model);
        problems.push_back(fmt::format("{}{}unknown GPU {}{}",
                                       gpu.where,
                                       gpu.where.empty() ? "" : ": ",
                                       in_quotes(gpu.model),
                                       unknown_gpu_hint(gpu.model, library.gpu_names())));
        continue;
      }
      for (const TrainingSpec* training : trainings(experiment)) {
        need_others |= !profile || !knows_itself(*profile, *training);
      }
      if (profile) {
        if (auto path = library.link(profile->intra_node)) {
          set.links.emplace(profile->intra_node, std::move(*path));
        }
        set.gpus.emplace(gpu.model, std::move(*profile));
      }
      if (sheet) {
        if (auto path = library.link_sheet(usual_path(*sheet))) {
          set.link_sheets.emplace(path->name, std::move(*path));
        }
        set.sheets.emplace(gpu.model, std::move(*sheet));
      }
    }
  }
  for (const LinkSpec* link : all_links(experiment.cluster)) {
    if (link->sheet && !set.link_sheets.contains(*link->sheet)) {
      if (auto sheet = library.link_sheet(*link->sheet)) {
        set.link_sheets.emplace(*link->sheet, std::move(*sheet));
      } else {
        problems.push_back(unknown(link->where, "link", *link->sheet, library.link_sheet_names()));
      }
    }
    if (!link->profile || set.links.contains(*link->profile) || bad.contains(*link->profile)) {
      continue;
    }
    if (auto profile = library.link(*link->profile)) {
      set.links.emplace(*link->profile, std::move(*profile));
    } else {
      bad.insert(*link->profile);
      problems.push_back(
          unknown(link->where, "link profile", *link->profile, library.link_names()));
    }
  }
  if (!problems.empty()) {
    throw UserError(std::move(problems));
  }
  if (need_others) {
    for (GpuProfile& other : library.all_gpus()) {
      if (auto sheet = library.sheet(other.name)) {
        set.sheets.try_emplace(other.name, std::move(*sheet));
      }
      const std::string name = other.name;
      set.gpus.try_emplace(name, std::move(other));
    }
  }
  return set;
}

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
  ResolvedExperiment resolved{.experiment = experiment, .network = {}, .jobs = {}};
  ClusterSpec& cluster = resolved.experiment.cluster;
  add_paths_inside_nodes(cluster, profiles);
  resolved.network = network_data(cluster, profiles);
  if (experiment.jobs.empty()) {
    std::vector<std::int64_t> everybody(static_cast<std::size_t>(cluster.world_size()));
    for (std::size_t rank = 0; rank < everybody.size(); ++rank) {
      everybody[rank] = static_cast<std::int64_t>(rank);
    }
    resolved.jobs.push_back(make_job(cluster, experiment.training, everybody, profiles));
  }
  for (const JobSpec& job : experiment.jobs) {
    resolved.jobs.push_back(make_job(cluster, job.training, job.ranks, profiles));
    resolved.jobs.back().start = job.start;
  }
  for (Scenario& job : resolved.jobs) {
    job.warnings.insert(job.warnings.end(), experiment.warnings.begin(), experiment.warnings.end());
  }
  return resolved;
}

}  // namespace vitsim
