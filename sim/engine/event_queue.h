#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <vector>

#include "sim/engine/clock.h"

namespace vitsim {

/// Pending events in order of time; events at equal times leave in the order they came.
///
/// A radix heap (Ahuja, Mehlhorn, Orlin, Tarjan, "Faster algorithms for the shortest path problem",
/// J. ACM 37, 1990, section 2): simulated time never goes back, so an event needs to be placed only
/// by the highest bit in which its time differs from the clock's. Bucket 0 holds what happens now,
/// bucket b what differs first in bit b-1. When now is used up the lowest non-empty bucket is dealt
/// out around its earliest time. An event moves down at most 63 times, in practice a handful,
/// always by an append; equal times share a bucket at every moment, so their order is kept without
/// a sequence number.
class EventQueue {
 public:
  struct Event {
    Tick time = 0;
    std::uint64_t what = 0;
  };

  /// The clock: the time of the last event popped.
  [[nodiscard]] Tick now() const { return now_; }

  [[nodiscard]] bool empty() const { return occupied_ == 0 && !has_now(); }

  /// Is something left at the present instant?
  [[nodiscard]] bool has_now() const { return next_ < buckets_[0].size(); }

  /// `time` must not lie before now().
  void push(Tick time, std::uint64_t what) {
    const auto bucket = bucket_of(time);
    buckets_[bucket].push_back({time, what});
    if (bucket != 0) {
      occupied_ |= std::uint64_t{1} << (bucket - 1);
    }
  }

  /// Next event of the present instant; `has_now()` must hold.
  Event pop_now() { return buckets_[0][next_++]; }

  /// Moves the clock to the earliest pending event. Nothing may be left now, something later must.
  void advance() {
    buckets_[0].clear();
    next_ = 0;
    const auto lowest = static_cast<std::size_t>(std::countr_zero(occupied_)) + 1;
    occupied_ &= occupied_ - 1;
    std::vector<Event>& bucket = buckets_[lowest];
    Tick earliest = bucket.front().time;
    for (const Event& event : bucket) {
      earliest = event.time < earliest ? event.time : earliest;
    }
    now_ = earliest;
    for (const Event& event : bucket) {
      push(event.time, event.what);
    }
    bucket.clear();
  }

  /// Forgets all events and sets the clock.
  void reset(Tick now) {
    for (std::vector<Event>& bucket : buckets_) {
      bucket.clear();
    }
    next_ = 0;
    occupied_ = 0;
    now_ = now;
  }

 private:
  [[nodiscard]] std::size_t bucket_of(Tick time) const {
    return static_cast<std::size_t>(
        std::bit_width(static_cast<std::uint64_t>(time) ^ static_cast<std::uint64_t>(now_)));
  }

  std::array<std::vector<Event>, 64> buckets_;  // times are not negative: 63 bits
  std::size_t next_ = 0;                        // first of bucket 0 not popped yet
  std::uint64_t occupied_ = 0;                  // bit b-1: bucket b is not empty
  Tick now_ = 0;
};

}  // namespace vitsim
