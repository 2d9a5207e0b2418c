#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <vector>

#include "models/link_kind.h"
#include "models/units.h"

namespace vitsim {

/// What one message gets from a link or path when it is alone there.
struct LinkFigures {
  Seconds latency;
  BytesPerSecond bandwidth;
};

/// Figures of a link by the size of one message on the wire, e.g. a measured profile's curve.
using LinkCurve = std::function<LinkFigures(std::int64_t message_bytes)>;

/// What a library of collectives asks of a link beyond its figures.
struct LinkTraits {
  std::optional<LinkKind> kind;  // absent: a network's, or by its bandwidth inside a node
  bool is_measured = false;      // fitted to collectives, whose costs are in the figures
  bool switch_reduces = false;
  BytesPerSecond switch_bandwidth;  // AllReduce bytes / time where the switch sums
};

/// What a node's ranks run on, as far as libraries of collectives ask: a CPU, or the generation of
/// the oldest GPU.
enum class Accelerator : std::uint8_t { kCpu, kVolta, kAmpere, kHopper, kBlackwell };

/// One link. `bandwidth` is what all messages on it share. With a curve, latency and the most that
/// a single message reaches follow the message's size; the sum of all still stays below
/// `bandwidth`.
struct LinkData {
  Seconds latency;
  BytesPerSecond bandwidth;
  std::shared_ptr<const LinkCurve> curve;
  LinkTraits traits;

  [[nodiscard]] LinkFigures at(std::int64_t message_bytes) const;
};

/// Index of a directed link.
using LinkId = std::uint32_t;

/// What of a cluster a link is: the NIC of a node, the way in or out of one of its GPUs, or a
/// trunk.
struct LinkOrigin {
  enum class Part : std::uint8_t { kNic, kInsideNode, kTrunk };
  Part part = Part::kNic;
  std::size_t index = 0;  // of the node or trunk in the data

  // clang-tidy 14 takes the 0 that <=> compares with for a pointer.
  auto operator<=>(const LinkOrigin&) const = default;  // NOLINT(modernize-use-nullptr)
};

/// Directed links by number. A full-duplex cable is two of them. Links with equal data are of one
/// kind; what is asked of many links can be asked of their few kinds.
class LinkTable {
 public:
  /// Throws UserError naming `name` where bandwidth is not positive and finite, or latency is
  /// negative or not finite.
  LinkId add(const LinkData& link, const std::string& name);

  [[nodiscard]] std::size_t size() const { return kind_of_.size(); }

  [[nodiscard]] const LinkData& operator[](LinkId id) const { return kinds_[kind_of_[id]]; }

  /// The same number for links with equal data.
  [[nodiscard]] std::uint32_t kind(LinkId id) const { return kind_of_[id]; }

  /// Calls of `set_bandwidth` so far: kinds hold as long as this stays the same.
  [[nodiscard]] std::uint64_t changes() const { return changes_; }

  void set_bandwidth(LinkId id, BytesPerSecond bandwidth);

  /// Sum of latencies and least bandwidth that a message alone on `path` finds.
  [[nodiscard]] LinkFigures figures(std::span<const LinkId> path, std::int64_t message_bytes) const;

 private:
  /// Seconds, bytes per second, curve.
  using Key = std::tuple<double, double, const LinkCurve*>;

  [[nodiscard]] std::uint32_t find_kind(const LinkData& link);

  std::vector<LinkData> kinds_;
  std::map<Key, std::uint32_t> kind_numbers_;
  std::vector<std::uint32_t> kind_of_;  // by link
  std::uint64_t changes_ = 0;
};

/// One machine. Its GPUs share the NICs; a message leaves and enters by the NIC nearest to its GPU,
/// GPU g of G by NIC floor(g x NICs / G), unless it belongs to a rail. Each GPU has its own way in
/// and out at `intra_node`'s bandwidth, and a message between two GPUs of the node pays
/// `intra_node`'s latency once.
struct NodeData {
  std::string name;
  std::int64_t gpus = 1;
  std::optional<LinkData> nic;  // to `switch_name`; absent: trunks name the node, or it is alone
  std::string switch_name;      // empty: the first switch
  LinkData intra_node;
  std::int64_t nics = 1;  // so many, each with a link of its own as `nic` says
  Accelerator accelerator = Accelerator::kAmpere;
};

/// A full-duplex link between two switches, a switch and a node, or two nodes. Nodes do not
/// forward.
struct TrunkData {
  std::string a;
  std::string b;
  LinkData link;
};

/// A cluster's wires with every figure resolved. Without switches one joins all NICs.
struct NetworkData {
  std::vector<NodeData> nodes;
  std::vector<std::string> switches;
  std::vector<TrunkData> trunks;
};

/// The wires of a cluster as directed links, and the path between any two ranks. Ranks are numbered
/// node by node. Paths are shortest by hops, ties broken by the order of trunks.
class Network {
 public:
  /// Throws UserError with every problem: bad figures, unknown or doubled names, nodes that no path
  /// joins, no GPU at all.
  explicit Network(const NetworkData& data);

  [[nodiscard]] const LinkTable& links() const { return links_; }

  [[nodiscard]] std::int64_t world_size() const { return gpu_base_.back(); }

  [[nodiscard]] std::size_t node_count() const { return nodes_.size(); }

  /// Throws UserError where there is no such rank.
  [[nodiscard]] std::size_t node_of(std::int64_t rank) const;

  [[nodiscard]] const std::string& node_name(std::size_t node) const { return nodes_[node].name; }

  [[nodiscard]] const LinkOrigin& origin(LinkId link) const { return origins_[link]; }

  /// Appends the directed links that a message crosses; nothing where both are the same rank.
  /// Costs one search over the switches where the nodes hang on different ones; keeps no table, so
  /// that memory stays linear in the cluster.
  void append_route(std::int64_t from, std::int64_t to, std::vector<LinkId>& path) const;

  /// The same by NIC number `rail` of both nodes, counted round where a node has fewer.
  void append_route(std::int64_t from,
                    std::int64_t to,
                    std::uint32_t rail,
                    std::vector<LinkId>& path) const;

  /// How many NICs a node has; 1 where it hangs on trunks alone.
  [[nodiscard]] std::uint32_t nics_of(std::size_t node) const { return nodes_[node].nics; }

  [[nodiscard]] Accelerator accelerator_of(std::size_t node) const {
    return nodes_[node].accelerator;
  }

  /// The ways out and in of a rank's GPU inside its node; nothing where it is alone there.
  [[nodiscard]] std::optional<std::pair<LinkId, LinkId>> ports_of(std::int64_t rank) const;

  /// Whether every node hangs on one switch by NICs alone, so that no other link is shared.
  [[nodiscard]] bool is_star() const;

  /// Both directions of a node's NIC, or of every trunk that names it; throws UserError where the
  /// name is unknown or the node has no link.
  [[nodiscard]] std::vector<LinkId> nic_links(const std::string& node) const;

  /// Both directions of every trunk, or NIC, between two ends; throws UserError where there is
  /// none.
  [[nodiscard]] std::vector<LinkId> trunk_links(const std::string& a, const std::string& b) const;

  /// From now on; throws UserError where it is not positive and finite.
  void set_bandwidth(LinkId link, BytesPerSecond bandwidth);

 private:
  struct Edge {
    std::size_t to = 0;  // a switch, or a node for `node_edges`
    LinkId out = 0;
    LinkId in = 0;
  };

  struct Node {
    std::string name;
    std::vector<Edge> switches;    // ways to the network, in file order
    std::vector<Edge> neighbours;  // nodes joined by a cable
    LinkId first_port = 0;         // of GPU 0: out, in, then GPU 1
    std::uint32_t nics = 1;        // the first so many of `switches`, where there is a NIC
    bool has_nic = false;
    Accelerator accelerator = Accelerator::kAmpere;
  };

  struct Cable {
    std::string a;
    std::string b;
    LinkId first = 0;
  };

  /// What a name stands for: a switch or a node.
  struct Vertex {
    bool is_switch = false;
    std::size_t index = 0;
  };

  using Names = std::unordered_map<std::string, Vertex>;

  /// A curve without its latency, one for each curve, so that equal links stay of one kind.
  using CurvesWithoutLatency = std::map<const LinkCurve*, std::shared_ptr<const LinkCurve>>;

  void add_node(const NodeData& node,
                const Names& names,
                const std::string& first_switch,
                CurvesWithoutLatency& curves);
  void add_trunk(const TrunkData& trunk, std::size_t index, const Names& names);
  LinkId add_link(const LinkData& link, const std::string& name, LinkOrigin origin);
  void check_connected(std::vector<std::string>& problems) const;

  /// Ways from one node to another by the given NICs.
  void append_route_between(std::size_t source,
                            std::size_t target,
                            std::uint32_t nic_out,
                            std::uint32_t nic_in,
                            std::vector<LinkId>& path) const;

  /// Number of the NIC that is nearest to a rank of the node.
  [[nodiscard]] std::uint32_t nearest_nic(std::size_t node, std::int64_t rank) const;

  /// Links between two switches by breadth-first search; false where there is no path.
  bool append_switch_route(std::size_t from, std::size_t to, std::vector<LinkId>& path) const;

  LinkTable links_;
  std::vector<LinkOrigin> origins_;  // by link
  std::vector<Node> nodes_;
  std::vector<std::vector<Edge>> switch_edges_;
  std::vector<Cable> cables_;           // NICs and trunks; the way back is `first` + 1
  std::vector<std::int64_t> gpu_base_;  // first rank of every node, then the world size
  std::vector<std::uint32_t> node_of_;  // by rank
};

}  // namespace vitsim
