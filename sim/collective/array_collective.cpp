#include "sim/collective/array_collective.h"

#include <algorithm>
#include <map>

namespace vitsim {

void ArrayCollective::add_rings(const std::vector<Tick>& hop,
                                std::int64_t steps,
                                std::size_t ring_size,
                                std::size_t copies,
                                Order order) {
  RingPhase phase{.order = std::move(order), .ring_size = ring_size, .copies = copies};
  std::map<std::vector<Tick>, std::uint32_t> numbers;
  for (auto first = hop.begin(); first != hop.end();
       first += static_cast<std::ptrdiff_t>(ring_size)) {
    std::vector<Tick> own(first, first + static_cast<std::ptrdiff_t>(ring_size));
    const auto [found, fresh] =
        numbers.try_emplace(own, static_cast<std::uint32_t>(phase.rings.size()));
    if (fresh) {
      phase.rings.emplace_back(std::move(own), steps);
    }
    phase.which.push_back(found->second);
  }
  phases_.push_back(std::move(phase));
}

ArrayCollective ArrayCollective::together(Tick duration) {
  ArrayCollective collective;
  collective.together_ = duration;
  return collective;
}

void ArrayCollective::run(std::span<const Tick> starts, std::span<Tick> ends) {
  if (together_) {
    const Tick end = *std::max_element(starts.begin(), starts.end()) + *together_;
    check_clock(end);
    std::fill(ends.begin(), ends.end(), end);
    return;
  }
  if (chain_) {
    chain_->run(starts, ends, scratch_);
    return;
  }
  if (uneven_) {
    uneven_->run(starts, ends, scratch_);
    return;
  }
  if (estimate_) {
    const Tick end = *std::max_element(starts.begin(), starts.end()) + *estimate_;
    check_clock(end);
    std::fill(ends.begin(), ends.end(), end);
    return;
  }
  if (phases_.empty()) {
    std::copy(starts.begin(), starts.end(), ends.begin());
    return;
  }
  for (const RingPhase& phase : phases_) {
    const std::span<const Tick> begin = &phase == phases_.data() ? starts : ends;
    if (phase.order == nullptr) {
      phase.rings.front().run(begin, ends, scratch_);
      continue;
    }
    const std::size_t n = phase.ring_size;
    from_.resize(n);
    to_.resize(n);
    const std::uint32_t* member = phase.order->data();
    for (const std::uint32_t ring : phase.which) {
      for (std::size_t i = 0; i < n; ++i) {
        from_[i] = begin[member[i]];
      }
      phase.rings[ring].run(from_, to_, scratch_);
      for (std::size_t copy = 0; copy < phase.copies; ++copy, member += n) {
        for (std::size_t i = 0; i < n; ++i) {
          ends[member[i]] = to_[i];
        }
      }
    }
  }
}

std::optional<Tick> ArrayCollective::uniform() const {
  if (together_) {
    return together_;
  }
  if (phases_.empty()) {
    return estimate_;
  }
  Tick sum = 0;
  for (const RingPhase& phase : phases_) {
    const std::optional<Tick> first = phase.rings.front().uniform();
    for (const Ring& ring : phase.rings) {
      if (!first || ring.uniform() != first) {
        return std::nullopt;
      }
    }
    sum += *first;
  }
  return sum;
}

}  // namespace vitsim
