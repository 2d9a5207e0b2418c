#pragma once

#include <array>
#include <cstddef>
#include <string_view>

namespace vitsim {

enum class CollectiveKind { kAllReduce, kReduceScatter, kAllGather, kBroadcast };
inline constexpr std::array<std::string_view, 4> kCollectiveNames = {
    "all-reduce", "reduce-scatter", "all-gather", "broadcast"};

constexpr std::string_view name(CollectiveKind kind) {
  return kCollectiveNames[static_cast<std::size_t>(kind)];
}

/// Who sends what to whom, once libraries' choices are made.
enum class Algorithm {
  kRing,
  kTree,               // two binary trees, half of the bytes each, pipelined
  kHalvingDoubling,    // Rabenseifner: recursive halving, then recursive doubling
  kHierarchical,       // inside each node, between nodes per GPU index, inside
  kRecursiveDoubling,  // everything to a partner at distance 1, 2, 4, ...
  kReduceBroadcast,    // one binomial tree up, then down
};
inline constexpr std::array<std::string_view, 6> kAlgorithmNames = {
    "ring", "tree", "halving-doubling", "hierarchical", "recursive-doubling", "reduce-broadcast"};

constexpr std::string_view name(Algorithm algorithm) {
  return kAlgorithmNames[static_cast<std::size_t>(algorithm)];
}

}  // namespace vitsim
