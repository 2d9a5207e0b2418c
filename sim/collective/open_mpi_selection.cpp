#include "sim/collective/open_mpi_selection.h"

#include <initializer_list>

namespace vitsim {

namespace {

/// Open MPI's numbering, as its documentation and parameters give it.
enum class OpenMpiAlgorithm {
  kNonOverlapping = 2,
  kRecursiveDoubling = 3,
  kRing = 4,
  kSegmentedRing = 5,
  kRabenseifner = 6,
};

struct Rule {
  std::int64_t below;  // bytes
  OpenMpiAlgorithm algorithm;
};

}  // namespace

Algorithm open_mpi_algorithm(std::int64_t ranks, std::int64_t bytes) {
  using enum OpenMpiAlgorithm;
  constexpr std::int64_t kKi = 1024;
  const auto choose = [&](std::initializer_list<Rule> rules) {
    for (const Rule& rule : rules) {
      if (bytes < rule.below) {
        return rule.algorithm;
      }
    }
    return kRabenseifner;
  };
  const OpenMpiAlgorithm algorithm = [&] {
    if (ranks < 4) {
      return choose({{8, kRing},
                     {4 * kKi, kRecursiveDoubling},
                     {8 * kKi, kRing},
                     {16 * kKi, kRecursiveDoubling},
                     {64 * kKi, kRing},
                     {256 * kKi, kSegmentedRing}});
    }
    if (ranks < 8) {
      return choose({{16, kRing}, {8 * kKi, kRecursiveDoubling}});
    }
    if (ranks < 16) {
      return choose({{8 * kKi, kRecursiveDoubling}});
    }
    if (ranks < 32) {
      return choose({{64, kSegmentedRing}, {4 * kKi, kRecursiveDoubling}});
    }
    if (ranks < 64) {
      return choose({{128, kSegmentedRing}});
    }
    if (ranks < 128) {
      return choose({{256 * kKi, kRecursiveDoubling}});
    }
    if (ranks < 256) {
      return choose({{128 * kKi, kNonOverlapping}, {256 * kKi, kRecursiveDoubling}});
    }
    if (ranks < 512) {
      return choose({{4 * kKi, kNonOverlapping}});
    }
    if (ranks < 2048) {
      return choose({{2 * kKi, kNonOverlapping}, {16 * kKi, kRecursiveDoubling}});
    }
    if (ranks < 4096) {
      return choose(
          {{2 * kKi, kNonOverlapping}, {4 * kKi, kSegmentedRing}, {16 * kKi, kRecursiveDoubling}});
    }
    return choose(
        {{2 * kKi, kNonOverlapping}, {16 * kKi, kSegmentedRing}, {32 * kKi, kRecursiveDoubling}});
  }();
  switch (algorithm) {
    case kNonOverlapping:
      return Algorithm::kReduceBroadcast;
    case kRecursiveDoubling:
      return Algorithm::kRecursiveDoubling;
    case kRing:
    case kSegmentedRing:  // called with segments of 0 bytes: a plain ring
      // With fewer elements (of 4 bytes) than ranks Open MPI's ring doubles instead.
      return bytes / 4 < ranks ? Algorithm::kRecursiveDoubling : Algorithm::kRing;
    case kRabenseifner:
      return Algorithm::kHalvingDoubling;
  }
  return Algorithm::kRing;
}

}  // namespace vitsim
