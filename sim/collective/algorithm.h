#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace vitsim {

enum class CollectiveKind {
  kAllReduce,
  kReduceScatter,
  kAllGather,
  kBroadcast,
  kAllToAll,
  kReduce,
};
inline constexpr std::array<std::string_view, 6> kCollectiveNames = {
    "all-reduce", "reduce-scatter", "all-gather", "broadcast", "all-to-all", "reduce"};

/// Does everything travel along one chain of the ranks? A reduction to one rank is a broadcast that
/// runs backwards; it takes as long, and is timed as one.
constexpr bool is_chain(CollectiveKind kind) {
  return kind == CollectiveKind::kBroadcast || kind == CollectiveKind::kReduce;
}

constexpr std::string_view name(CollectiveKind kind) {
  return kCollectiveNames[static_cast<std::size_t>(kind)];
}

/// Who sends what to whom, once libraries' choices are made. The first are steps of messages
/// over the network, as is pairwise; the others are NCCL's, in one of its protocols where it offers
/// several.
enum class Algorithm {
  kRing,
  kTree,               // two binary trees, half of the bytes each, pipelined
  kHalvingDoubling,    // Rabenseifner: recursive halving, then recursive doubling
  kHierarchical,       // inside each node, between nodes per GPU index, inside
  kRecursiveDoubling,  // everything to a partner at distance 1, 2, 4, ...
  kReduceBroadcast,    // one binomial tree up, then down
  kPairwise,           // all-to-all: in round k to the rank k places on
  kNcclRingLl,
  kNcclRingLl128,
  kNcclRingSimple,
  kNcclTreeLl,
  kNcclTreeLl128,
  kNcclTreeSimple,
  kNvls,          // the switch of a node sums
  kNvlsTree,      // the same, and two trees between the nodes
  kCollNet,       // a chain in each node, and the network's switch sums
  kPat,           // binomial trees in parallel, one for each rank's share
  kNcclPairwise,  // all-to-all: sends and receives of one group call
  kMeasured,      // whatever was measured took so long
};
inline constexpr std::array<std::string_view, 19> kAlgorithmNames = {"ring",
                                                                     "tree",
                                                                     "halving-doubling",
                                                                     "hierarchical",
                                                                     "recursive-doubling",
                                                                     "reduce-broadcast",
                                                                     "pairwise",
                                                                     "ring (LL)",
                                                                     "ring (LL128)",
                                                                     "ring (Simple)",
                                                                     "tree (LL)",
                                                                     "tree (LL128)",
                                                                     "tree (Simple)",
                                                                     "nvls",
                                                                     "nvls-tree",
                                                                     "collnet",
                                                                     "pat",
                                                                     "send-receive",
                                                                     "measured"};

/// Whether the algorithm loads links at once instead of sending messages in steps.
constexpr bool is_nccl(Algorithm algorithm) {
  return algorithm >= Algorithm::kNcclRingLl;
}

/// Whether every rank passes on to one neighbour what it gets from another.
constexpr bool is_ring(Algorithm algorithm) {
  return algorithm == Algorithm::kRing ||
         (algorithm >= Algorithm::kNcclRingLl && algorithm <= Algorithm::kNcclRingSimple);
}

/// Whether sums go up trees and come down them.
constexpr bool is_tree(Algorithm algorithm) {
  return algorithm == Algorithm::kTree ||
         (algorithm >= Algorithm::kNcclTreeLl && algorithm <= Algorithm::kNcclTreeSimple);
}

constexpr std::string_view name(Algorithm algorithm) {
  return kAlgorithmNames[static_cast<std::size_t>(algorithm)];
}

}  // namespace vitsim
