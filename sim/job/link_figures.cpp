#include "sim/job/link_figures.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <set>
#include <string_view>

#include <fmt/format.h>

#include "models/document/quantity_text.h"

namespace vitsim {

namespace {

// A switch that sums, of which no figure is known: the share of the links' rate that eight H100
// reach, 274 of 365 GB/s.
constexpr double kUsualSwitchShare = 0.75;

Accelerator generation_of(std::string_view architecture) {
  if (architecture == "hopper") {
    return Accelerator::kHopper;
  }
  if (architecture == "blackwell") {
    return Accelerator::kBlackwell;
  }
  const bool is_old =
      architecture == "pascal" || architecture == "volta" || architecture == "turing";
  return is_old ? Accelerator::kVolta : Accelerator::kAmpere;
}

/// A profile without a data sheet is a CPU's where its device is no maker's of GPUs, or where
/// nothing but its name can tell.
bool is_cpu(const std::string& name, const ProfileSet& profiles) {
  if (profiles.sheets.contains(name)) {
    return false;
  }
  const auto profile = profiles.gpus.find(name);
  const std::string device = profile == profiles.gpus.end() ? "" : profile->second.device_name;
  if (device.empty()) {
    return name.starts_with("cpu");
  }
  constexpr std::array<std::string_view, 6> kMakers = {
      "NVIDIA", "GeForce", "Tesla", "Quadro", "AMD Instinct", "AMD Radeon"};
  return std::ranges::none_of(kMakers,
                              [&](std::string_view maker) { return device.starts_with(maker); });
}

void describe_profile(ResolvedJob& job, const LinkProfile& profile) {
  job.link_noise.push_back({profile.name, profile.spread});
  job.collective_overhead = std::max(job.collective_overhead, profile.collective_overhead);
  job.basis.push_back(
      {.part = fmt::format("network ({})", profile.name),
       .kind = "measured",
       .detail =
           profile.provenance.sources.empty()
               ? "a link profile"
               : fmt::format("AllReduces of {} recorded runs", profile.provenance.sources.size()),
       .error = profile.fit.runs > 0 ? std::optional(profile.fit.mean_abs_error) : std::nullopt});
}

void describe_sheet(ResolvedJob& job, const LinkSheet& sheet, bool is_assumed) {
  job.link_noise.push_back({sheet.name, {.run_sigma = sheet.spread}});
  job.basis.push_back(
      {.part = fmt::format("network ({})", sheet.name),
       .kind = is_assumed ? "assumed" : "data-sheet",
       .detail = fmt::format("{}{:.4g} GB/s delivered, {:.0f} % from machine to machine. {}",
                             is_assumed ? "the usual path between GPUs of this kind, " : "",
                             sheet.bandwidth.value() * 1e-9,
                             100 * sheet.spread,
                             sheet.source),
       .error = std::nullopt});
  if (is_assumed) {
    job.warnings.push_back(fmt::format(
        "the path between a node's GPUs is not calibrated: {} is assumed; name a link, a profile "
        "or figures in cluster.intra_node",
        sheet.name));
  }
}

void describe_specified(ResolvedJob& job, double spread) {
  job.link_noise.push_back({"as specified", {.run_sigma = spread}});
  job.basis.push_back({.part = "network",
                       .kind = "given",
                       .detail = fmt::format("bandwidth and latency as specified in the file, "
                                             "taken to be within {:.0f} %",
                                             100 * spread),
                       .error = std::nullopt});
}

void describe_pcie(ResolvedJob& job, std::int64_t nodes) {
  job.link_noise.push_back({"pcie3-x16", {.run_sigma = kSpecifiedLinkSpread}});
  job.basis.push_back(
      {.part = "network",
       .kind = "assumed",
       .detail = fmt::format("PCIe 3.0 x16 inside {}, {:.0f} GB/s and {:.0f} us: name a profile "
                             "or figures in cluster.intra_node",
                             nodes == 1 ? "the node" : fmt::format("{} nodes", nodes),
                             kPcie3Bandwidth.value() * 1e-9,
                             kPcie3Latency.value() * 1e6),
       .error = std::nullopt});
  job.warnings.push_back(
      fmt::format("the path between {} GPUs is not calibrated: PCIe 3.0 x16 is assumed",
                  nodes == 1 ? "the node's" : "a node's"));
}

}  // namespace

namespace {

// Tables of a profile as times of calls: for other numbers of ranks as a ring's time grows.
std::shared_ptr<const MeasuredCollectives> measured_collectives(const LinkProfile& profile) {
  if (profile.collectives.empty()) {
    return nullptr;
  }
  return std::make_shared<const MeasuredCollectives>(MeasuredCollectives{
      .name = profile.name,
      .time = [profile](std::string_view kind, std::int64_t ranks, std::int64_t bytes)
          -> std::optional<Seconds> {
        const CollectiveTimes* const table = profile.table(kind, ranks);
        if (table == nullptr || bytes <= 0) {
          return std::nullopt;
        }
        const auto share = [](std::int64_t n) {
          return static_cast<double>(n - 1) / static_cast<double>(n);
        };
        const Seconds time = table->at(Bytes(static_cast<double>(bytes)));
        const Seconds latency = table->points.front().time;
        const double steps = static_cast<double>(ranks - 1) / static_cast<double>(table->ranks - 1);
        const Seconds scaled = latency * steps + std::max(time - latency, Seconds(0)) *
                                                     (share(ranks) / share(table->ranks));
        // The job adds a call's overhead by itself.
        return std::max(scaled - profile.collective_overhead, Seconds(0));
      }});
}

}  // namespace

LinkData link_data(const LinkSpec& spec, const ProfileSet& profiles) {
  if (spec.sheet) {
    const LinkSheet& sheet = profiles.link_sheets.at(*spec.sheet);
    LinkTraits traits{.kind = sheet.kind, .switch_reduces = sheet.switch_reduces};
    if (sheet.switch_reduces) {
      traits.switch_bandwidth =
          sheet.switch_bandwidth.value_or(sheet.bandwidth * kUsualSwitchShare);
    }
    return {.latency = sheet.latency, .bandwidth = sheet.bandwidth, .traits = traits};
  }
  if (!spec.profile) {
    return {.latency = spec.latency.value_or(Seconds(0)), .bandwidth = *spec.bandwidth};
  }
  const LinkProfile& profile = profiles.links.at(*spec.profile);
  LinkData data{.latency = profile.latency,
                .bandwidth = profile.bandwidth,
                .traits = {.is_measured = true, .collectives = measured_collectives(profile)}};
  if (!profile.curve.empty()) {
    for (const LinkPoint& point : profile.curve) {
      data.bandwidth = std::max(data.bandwidth, point.bandwidth);
    }
    data.curve = std::make_shared<const LinkCurve>([profile](std::int64_t message_bytes) {
      const LinkPoint point = profile.at(Bytes(static_cast<double>(message_bytes)));
      return LinkFigures{.latency = point.latency, .bandwidth = point.bandwidth};
    });
  }
  return data;
}

void add_paths_inside_nodes(ClusterSpec& cluster, const ProfileSet& profiles) {
  if (cluster.intra_node) {
    return;
  }
  for (NodeSpec& node : cluster.nodes) {
    if (node.intra_node) {
      continue;
    }
    std::set<std::string> measured;
    const LinkSheet* slowest = nullptr;
    for (const GpuSpec& gpu : node.gpus) {
      const auto profile = profiles.gpus.find(gpu.model);
      measured.insert(profile == profiles.gpus.end() ? "" : profile->second.intra_node);
      const auto sheet = profiles.sheets.find(gpu.model);
      const auto path = sheet == profiles.sheets.end()
                            ? profiles.link_sheets.end()
                            : profiles.link_sheets.find(usual_path(sheet->second));
      if (path != profiles.link_sheets.end() &&
          (slowest == nullptr || path->second.bandwidth < slowest->bandwidth)) {
        slowest = &path->second;
      }
    }
    if (measured.size() == 1 && profiles.links.contains(*measured.begin())) {
      node.intra_node = LinkSpec{.profile = *measured.begin()};
    } else if (slowest != nullptr && node.gpus.size() > 1) {
      node.intra_node = LinkSpec{.sheet = slowest->name, .is_assumed = true};
    }
  }
}

Accelerator accelerator_of(const NodeSpec& node, const ProfileSet& profiles) {
  Accelerator oldest = Accelerator::kBlackwell;
  for (const GpuSpec& gpu : node.gpus) {
    const auto sheet = profiles.sheets.find(gpu.model);
    const Accelerator here = sheet != profiles.sheets.end()
                                 ? generation_of(sheet->second.architecture)
                             : is_cpu(gpu.model, profiles) ? Accelerator::kCpu
                                                           : Accelerator::kAmpere;
    oldest = std::min(oldest, here);
  }
  return oldest;
}

void describe_links(ResolvedJob& job,
                    const std::vector<const LinkSpec*>& crossed,
                    const ProfileSet& profiles) {
  std::set<std::string> seen;
  std::optional<double> specified;  // spread
  std::int64_t assumed = 0;         // nodes
  for (const LinkSpec* spec : crossed) {
    if (spec == nullptr) {
      ++assumed;
    } else if (spec->sheet) {
      if (seen.insert("link " + *spec->sheet).second) {
        describe_sheet(job, profiles.link_sheets.at(*spec->sheet), spec->is_assumed);
      }
    } else if (spec->profile) {
      if (seen.insert("profile " + *spec->profile).second) {
        describe_profile(job, profiles.links.at(*spec->profile));
      }
    } else {
      specified = std::max(specified.value_or(0), spec->spread);
    }
  }
  if (specified) {
    describe_specified(job, *specified);
  }
  if (assumed > 0) {
    describe_pcie(job, assumed);
  }
}

std::pair<Bytes, Bytes> reduction_sizes(const StepProgram& program) {
  constexpr std::int64_t kScalar = 8;  // norms and flags, which nobody measures
  Bytes least(std::numeric_limits<double>::infinity());
  Bytes most(0);
  for (const Operation& operation : program.classes.front().operations) {
    const Collective* collective = operation.collective();
    if (collective != nullptr && collective->axis == 0 &&
        collective->kind == CollectiveKind::kAllReduce && collective->bytes > kScalar) {
      const Bytes bytes(static_cast<double>(collective->bytes));
      least = std::min(least, bytes);
      most = std::max(most, bytes);
    }
  }
  return {least, most};
}

void widen_beyond_tables(ResolvedJob& job,
                         const std::vector<const LinkSpec*>& crossed,
                         const ProfileSet& profiles,
                         std::int64_t ranks,
                         Bytes least,
                         Bytes most) {
  constexpr double kSigmaPerDoubling = 0.1;
  constexpr double kMostSigma = 1;
  std::set<std::string> seen;
  for (const LinkSpec* spec : crossed) {
    if (spec == nullptr || !spec->profile || !seen.insert(*spec->profile).second) {
      continue;
    }
    const LinkProfile& profile = profiles.links.at(*spec->profile);
    const CollectiveTimes* const table = profile.table("all-reduce", ranks);
    if (table == nullptr) {
      continue;
    }
    double doublings = 0;
    const auto beyond = [&](double ratio, const std::string& what) {
      if (ratio > 1.0001) {
        doublings += std::log2(ratio);
        job.warnings.push_back(
            fmt::format("{}: {}, and the interval grows with the distance", profile.name, what));
      }
    };
    beyond(most / table->most(),
           fmt::format("AllReduces of {} are larger than any that was measured, {}",
                       human(most),
                       human(table->most())));
    beyond(table->least() / least,
           fmt::format("AllReduces of {} are smaller than any that was measured, {}",
                       human(least),
                       human(table->least())));
    const double more = static_cast<double>(ranks) / static_cast<double>(table->ranks);
    beyond(
        std::max(more, 1 / more),
        fmt::format("AllReduces among {} ranks are told from those among {}", ranks, table->ranks));
    if (doublings > 0) {
      for (LinkNoise& noise : job.link_noise) {
        if (noise.name == profile.name) {
          noise.spread.run_sigma = std::min(
              kMostSigma,
              std::hypot(noise.spread.run_sigma.value_or(0), kSigmaPerDoubling * doublings));
        }
      }
    }
  }
}

}  // namespace vitsim
