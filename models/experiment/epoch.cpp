#include "models/experiment/epoch.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <numeric>
#include <string_view>

#include "models/wide_integer.h"

namespace vitsim {

namespace {

std::int64_t ceil_divide(std::int64_t a, std::int64_t b) {
  return a / b + (a % b != 0 ? 1 : 0);
}

StepShape deal(std::int64_t samples, std::int64_t micro_batch) {
  const std::int64_t count = ceil_divide(samples, micro_batch);
  return {.count = count, .size = micro_batch, .last = samples - (count - 1) * micro_batch};
}

StepShape deal_or_none(std::int64_t samples, std::int64_t micro_batch) {
  return samples == 0 ? StepShape{.count = 0, .size = micro_batch, .last = 0}
                      : deal(samples, micro_batch);
}

// Shares of `left` in the proportions of `weights`; what floors leave over goes to the largest
// remainders, the lower rank first.
std::vector<std::int64_t> largest_remainder(std::int64_t left,
                                            std::span<const std::int64_t> weights) {
  const std::int64_t total = std::accumulate(weights.begin(), weights.end(), std::int64_t{0});
  std::vector<std::int64_t> shares(weights.size());
  std::vector<std::int64_t> remainders(weights.size());
  std::int64_t dealt = 0;
  for (std::size_t rank = 0; rank < weights.size(); ++rank) {
    const Int128 product = static_cast<Int128>(left) * weights[rank];
    shares[rank] = static_cast<std::int64_t>(product / total);
    remainders[rank] = static_cast<std::int64_t>(product % total);
    dealt += shares[rank];
  }
  std::vector<std::size_t> order(weights.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(
      order, [&](std::size_t a, std::size_t b) { return remainders[a] > remainders[b]; });
  for (std::size_t i = 0; dealt < left; ++i, ++dealt) {
    ++shares[order[i]];
  }
  return shares;
}

}  // namespace

std::int64_t subset_samples(std::int64_t samples, double fraction) {
  // Fixed notation of the shortest round-trip decimal: digits, at most one point, no exponent.
  std::array<char, 400> buffer{};
  const auto written =
      std::to_chars(buffer.begin(), buffer.end(), fraction, std::chars_format::fixed);
  const std::string_view text(buffer.data(), static_cast<std::size_t>(written.ptr - buffer.data()));
  // A fraction needs at most 17 significant digits; beyond 18 decimals a sample count of 10^18
  // could not tell the difference.
  Int128 digits = 0;
  Int128 scale = 1;
  bool after_point = false;
  for (const char c : text) {
    if (c == '.') {
      after_point = true;
      continue;
    }
    if (after_point && scale >= static_cast<Int128>(1'000'000'000'000'000'000)) {
      break;
    }
    digits = digits * 10 + (c - '0');
    scale *= after_point ? 10 : 1;
  }
  return static_cast<std::int64_t>(static_cast<Int128>(samples) * digits / scale);
}

EpochPlan plan_epoch(std::int64_t subset,
                     std::int64_t world_size,
                     std::span<const std::int64_t> micro_batch,
                     std::int64_t accumulation) {
  const auto world = static_cast<std::size_t>(world_size);
  std::vector<std::int64_t> batches(micro_batch.begin(), micro_batch.end());
  if (batches.size() == 1) {
    batches.resize(world, batches.front());
  }
  const bool equal =
      std::ranges::adjacent_find(batches, std::ranges::not_equal_to()) == batches.end();

  EpochPlan plan{.subset = subset};
  for (const std::int64_t batch : batches) {
    plan.full.push_back({.count = accumulation, .size = batch, .last = batch});
  }
  if (equal) {
    const std::int64_t per_rank = ceil_divide(subset, world_size);
    const std::int64_t per_step = batches.front() * accumulation;
    plan.steps = ceil_divide(per_rank, per_step);
    plan.samples = per_rank * world_size;
    plan.last.assign(world, deal(per_rank - (plan.steps - 1) * per_step, batches.front()));
    return plan;
  }
  const std::int64_t per_step =
      accumulation * std::accumulate(batches.begin(), batches.end(), std::int64_t{0});
  plan.steps = ceil_divide(subset, per_step);
  plan.samples = subset;
  const auto shares = largest_remainder(subset - (plan.steps - 1) * per_step, batches);
  for (std::size_t rank = 0; rank < world; ++rank) {
    plan.last.push_back(deal_or_none(shares[rank], batches[rank]));
  }
  return plan;
}

}  // namespace vitsim
