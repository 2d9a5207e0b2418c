#pragma once

#include <cstdint>
#include <initializer_list>

namespace vitsim {

/// A uniform number in (0, 1) from a seed and a place, e.g. (replicate, rank, step): the same place
/// gives the same number whatever was drawn before and on any thread. Each coordinate goes through
/// SplitMix64's finalizer (Steele, Lea, Flood 2014).
inline double uniform_at(std::uint64_t seed, std::initializer_list<std::uint64_t> place) {
  const auto mix = [](std::uint64_t x) {
    x = (x ^ (x >> 30U)) * 0xbf58476d1ce4e5b9U;
    x = (x ^ (x >> 27U)) * 0x94d049bb133111ebU;
    return x ^ (x >> 31U);
  };
  std::uint64_t state = mix(seed + 0x9e3779b97f4a7c15U);
  for (const std::uint64_t coordinate : place) {
    state = mix(state ^ (coordinate + 0x9e3779b97f4a7c15U));
  }
  return (static_cast<double>(state >> 11U) + 0.5) * 0x1.0p-53;
}

}  // namespace vitsim
