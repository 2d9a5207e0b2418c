#include "sim/job/offload.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include <fmt/format.h>

#include "models/document/quantity_text.h"
#include "models/document/words.h"
#include "models/vit/memory.h"

// Offloaded state crosses PCIe to the host and back. Pinned copies over PCIe 5.0 x16 were measured
// at 55 GB/s each way; each generation doubles, each halving of the lanes halves. The host's Adam
// takes about 0.25 ns a parameter (DeepSpeed's paper), with all cores of the node. Four NVMe drives
// of generation 4 read 10 and write 5 GB/s; the ranks of a node share them.

namespace vitsim {

namespace {

constexpr double kPcie5Bandwidth = 55e9;  // bytes/s, 16 lanes
constexpr double kHostUpdate_s = 0.25e-9;
constexpr double kNvmeRead = 10e9;  // bytes/s of a node
constexpr double kNvmeWrite = 5e9;
constexpr double kStateBytes = 12;  // of a parameter: master weight and two moments

double pcie_bandwidth(const PcieSlot& slot) {
  double bandwidth = kPcie5Bandwidth * static_cast<double>(slot.lanes) / 16;
  for (std::int64_t generation = slot.generation; generation < 5; ++generation) {
    bandwidth /= 2;
  }
  return bandwidth;
}

}  // namespace

void set_offload(ResolvedJob& job, const ClusterSpec& cluster, const ProfileSet& profiles) {
  const OffloadSpec& offload = job.training.offload;
  if (!offload.any()) {
    return;
  }
  std::map<std::size_t, std::int64_t> ranks_of_node;
  for (const std::int64_t rank : job.ranks()) {
    ++ranks_of_node[job.network->node_of(rank)];
  }
  std::set<std::string> said;
  for (RankClass& each : job.classes) {
    const std::size_t node = job.network->node_of(job.ranks()[each.first]);
    const auto ranks = static_cast<double>(ranks_of_node.at(node));
    const auto sheet = profiles.sheets.find(each.gpu);
    const bool is_known = sheet != profiles.sheets.end() && sheet->second.pcie;
    const PcieSlot slot = is_known ? *sheet->second.pcie : PcieSlot{.generation = 3, .lanes = 16};
    double copy = pcie_bandwidth(slot);
    double update_s = kHostUpdate_s * ranks;
    if (offload.parameters == OffloadTarget::kNvme) {
      copy = std::min(copy, kNvmeRead / ranks);
    }
    if (offload.optimizer == OffloadTarget::kNvme) {
      update_s += ranks * kStateBytes * (1 / kNvmeRead + 1 / kNvmeWrite);
    }
    each.offload = {.copy = BytesPerSecond(copy), .update_per_parameter = Seconds(update_s)};
    said.insert(fmt::format(
        "offload from {}: assumed are PCIe {}.0 x{}{}, {} each way, and {} a parameter for the "
        "host's update",
        each.gpu,
        slot.generation,
        slot.lanes,
        is_known ? "" : " (its sheet names none)",
        human(BytesPerSecond(copy)),
        human(Seconds(update_s))));
  }
  job.warnings.insert(job.warnings.end(), said.begin(), said.end());
  std::map<std::size_t, double> needed_on;  // bytes by node
  for (std::size_t position = 0; position < job.world_size(); ++position) {
    needed_on[job.network->node_of(job.ranks()[position])] +=
        host_bytes(job.training, job.gradient_ranks(), job.rank_class(position).held).value();
  }
  for (const auto& [node, needed] : needed_on) {
    const NodeSpec& spec = cluster.nodes[node];
    if (spec.host_memory && needed > spec.host_memory->value()) {
      job.warnings.push_back(
          fmt::format("{}: offloaded state takes {} of {} of host memory: out of memory",
                      in_quotes(spec.name),
                      human(Bytes(needed)),
                      human(*spec.host_memory)));
    }
  }
}

}  // namespace vitsim
