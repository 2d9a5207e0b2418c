#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "models/units.h"

namespace vitsim {

/// Typed figures are what somebody expects of a link, not what it was seen to deliver: standard
/// deviation of the logarithm of its times.
inline constexpr double kSpecifiedLinkSpread = 0.1;

/// What a link delivers: written out, or the name of a measured link profile or of a link's data
/// sheet. Exactly one of `profile`, `sheet` and `bandwidth` is set; latency defaults to zero where
/// a bandwidth is written.
struct LinkSpec {
  std::optional<std::string> profile;
  std::optional<BytesPerSecond> bandwidth;
  std::optional<Seconds> latency;
  std::optional<std::string> sheet;
  double spread = kSpecifiedLinkSpread;  // of figures that are written out
  std::int64_t count = 1;   // of NICs: a node has so many, each with such a link of its own
  bool is_assumed = false;  // nobody wrote it: the usual one of the node's GPUs
  std::string where;        // "tesla.json:9: /cluster/network", for messages; may be empty
};

/// One GPU of a node. `slowdown` stretches its compute.
struct GpuSpec {
  std::string model;
  double slowdown = 1;
  std::string where;  // "tesla.json:7: /cluster/nodes/0/gpus/0", for messages; may be empty
};

/// One machine. `count` of the file is expanded: every node here is one machine. A node that a link
/// names hangs on a switch only where it has a `nic` or a `switch_name` of its own.
struct NodeSpec {
  std::string name;
  std::vector<GpuSpec> gpus;
  std::optional<LinkSpec> nic;             // else the cluster's network
  std::optional<std::string> switch_name;  // else the first, see below
  std::optional<LinkSpec> intra_node;      // else the cluster's
  std::optional<std::string> host;         // address, for real runs
  std::optional<Bytes> host_memory;        // what offloaded state may take of it
};

/// A link between two switches, or a switch and a node.
struct TrunkSpec {
  std::string a;
  std::string b;
  LinkSpec link;
};

/// Machines and the network between them. Ranks are numbered node by node, GPUs in list order.
struct ClusterSpec {
  std::vector<NodeSpec> nodes;
  std::optional<LinkSpec> network;     // every NIC without its own figures
  std::optional<LinkSpec> intra_node;  // path between two GPUs of a node
  std::vector<std::string> switches;   // empty: one switch joins all
  std::vector<TrunkSpec> links;

  [[nodiscard]] std::int64_t world_size() const;
};

/// Where a rank lives.
struct RankPlace {
  std::size_t node = 0;
  std::size_t gpu = 0;  // index within the node
};

/// Place of every rank, in rank order.
std::vector<RankPlace> rank_places(const ClusterSpec& cluster);

/// PCIe 3.0 x16 between two GPUs of a node where nothing is said: 15.75 GB/s on the wire, of which
/// about 12 GB/s arrive (NCCL's own constant for PCI); a peer copy starts in about 5 us.
inline constexpr BytesPerSecond kPcie3Bandwidth{12e9};
inline constexpr Seconds kPcie3Latency{5e-6};

}  // namespace vitsim
