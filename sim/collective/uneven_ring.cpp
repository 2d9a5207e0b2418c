#include "sim/collective/uneven_ring.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace vitsim {

std::vector<std::int64_t> pieces_of(std::span<const double> shares, std::int64_t bytes) {
  std::vector<std::int64_t> pieces;
  pieces.reserve(shares.size());
  for (const double share : shares) {
    pieces.push_back(static_cast<std::int64_t>(std::ceil(share * static_cast<double>(bytes))));
  }
  return pieces;
}

std::size_t sent_piece(CollectiveKind kind,
                       std::size_t ranks,
                       std::size_t position,
                       std::size_t step) {
  const std::size_t behind = kind == CollectiveKind::kReduceScatter ? step + 1 : step;
  return (position + ranks - behind) % ranks;
}

StagedPlan uneven_ring_plan(CollectiveKind kind, std::span<const std::int64_t> pieces) {
  const auto ranks = static_cast<std::uint32_t>(pieces.size());
  StagedPlan plan = empty_plan(ranks, ranks - 1);
  for (std::uint32_t position = 0; position < ranks; ++position) {
    for (std::uint32_t step = 0; step + 1 < ranks; ++step) {
      plan.at(position, step) = {.to = (position + 1) % ranks,
                                 .from = (position + ranks - 1) % ranks,
                                 .bytes = pieces[sent_piece(kind, ranks, position, step)]};
    }
  }
  return plan;
}

UnevenRing::UnevenRing(CollectiveKind kind,
                       std::span<const std::int64_t> pieces,
                       const HopsOf& hops)
    : kind_(kind) {
  std::map<std::int64_t, std::size_t> sizes;
  for (const std::int64_t bytes : pieces) {
    const auto [found, fresh] = sizes.try_emplace(bytes, hop_.size());
    if (fresh) {
      hop_.push_back(hops(bytes));
      check_clock(*std::ranges::max_element(hop_.back()));
    }
    size_of_.push_back(found->second);
  }
}

void UnevenRing::run(std::span<const Tick> starts,
                     std::span<Tick> ends,
                     std::vector<Tick>& scratch) const {
  const std::size_t n = size_of_.size();
  // Two rows with the last position repeated in front, as in ring.cpp.
  scratch.resize(2 * (n + 1));
  Tick* now = scratch.data();
  Tick* next = now + n + 1;
  std::copy(starts.begin(), starts.end(), now + 1);
  for (std::size_t step = 0; step + 1 < n; ++step) {
    for (std::size_t i = 0; i < n; ++i) {
      now[i + 1] += hop_[size_of_[sent_piece(kind_, n, i, step)]][i];
    }
    now[0] = now[n];
    for (std::size_t i = 1; i <= n; ++i) {
      next[i] = std::max(now[i], now[i - 1]);
      check_clock(next[i]);
    }
    std::swap(now, next);
  }
  std::copy(now + 1, now + 1 + n, ends.begin());
}

}  // namespace vitsim
