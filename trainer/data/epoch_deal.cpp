#include "trainer/data/epoch_deal.h"

#include <algorithm>

#include "models/error.h"

namespace vitsim {

namespace {

// Samples of the ranks before `rank`.
std::int64_t samples_before(const std::vector<StepShape>& ranks, std::int64_t rank) {
  std::int64_t samples = 0;
  for (std::int64_t r = 0; r < rank; ++r) {
    samples += ranks[static_cast<std::size_t>(r)].samples();
  }
  return samples;
}

}  // namespace

EpochDeal::EpochDeal(const EpochPlan& plan, std::int64_t rank, std::int64_t world)
    : plan_(plan), rank_(rank), world_(world) {
  VITSIM_CHECK(static_cast<std::int64_t>(plan.full.size()), ==, world);
  VITSIM_CHECK(static_cast<std::int64_t>(plan.last.size()), ==, world);
  VITSIM_CHECK(rank, >=, 0);
  VITSIM_CHECK(rank, <, world);
  interleaved_ = std::ranges::all_of(
      plan.full, [&](const StepShape& shape) { return shape == plan.full.front(); });
}

std::int64_t EpochDeal::micro_batches_before(std::int64_t step) const {
  VITSIM_CHECK(step, >=, 0);
  VITSIM_CHECK(step, <=, plan_.steps);
  const auto rank = static_cast<std::size_t>(rank_);
  const std::int64_t full_steps = std::min(step, plan_.steps - 1);
  return full_steps * plan_.full[rank].count + (step == plan_.steps ? plan_.last[rank].count : 0);
}

std::vector<std::int64_t> EpochDeal::positions(std::int64_t micro_batch) const {
  VITSIM_CHECK(micro_batch, >=, 0);
  VITSIM_CHECK(micro_batch, <, micro_batches());
  const auto rank = static_cast<std::size_t>(rank_);
  const std::int64_t step = std::min(micro_batch / plan_.full[rank].count, plan_.steps - 1);
  const auto& shapes = step == plan_.steps - 1 ? plan_.last : plan_.full;
  const StepShape& shape = shapes[rank];
  const std::int64_t in_step = micro_batch - step * plan_.full[rank].count;
  const std::int64_t size = in_step == shape.count - 1 ? shape.last : shape.size;

  std::vector<std::int64_t> positions(static_cast<std::size_t>(size));
  std::int64_t first = in_step * shape.size;
  std::int64_t stride = 1;
  if (interleaved_) {
    first = (step * plan_.full[rank].samples() + first) * world_ + rank_;
    stride = world_;
  } else {
    first += step * samples_before(plan_.full, world_) + samples_before(shapes, rank_);
  }
  for (std::int64_t i = 0; i < size; ++i) {
    positions[static_cast<std::size_t>(i)] = (first + i * stride) % plan_.subset;
  }
  return positions;
}

}  // namespace vitsim
