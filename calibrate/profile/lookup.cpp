#include "calibrate/profile/lookup.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "calibrate/profile/gpu_names.h"
#include "models/document/words.h"
#include "models/error.h"

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

// Whether the GPU was measured well enough to need no other.
bool is_fully_calibrated(const GpuProfile& profile, const TrainingSpec& training) {
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
        need_others |= !profile || !is_fully_calibrated(*profile, *training);
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
      } else if (bad.insert("link " + *link->sheet).second) {
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

}  // namespace vitsim
