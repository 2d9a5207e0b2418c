#pragma once

#include <cstdint>
#include <initializer_list>

namespace vitsim {

/// Random numbers that are a function of a key, e.g. (seed, purpose, epoch, index), and of how many
/// were drawn: never of threads or of what was drawn elsewhere. SplitMix64 (Steele, Lea and Flood,
/// "Fast splittable pseudorandom number generators", 2014), its state made by mixing the key in.
class CounterRandom {
 public:
  CounterRandom(std::uint64_t seed, std::initializer_list<std::uint64_t> key)
      : state_(mix(seed + kGamma)) {
    for (const std::uint64_t part : key) {
      state_ = mix(state_ ^ mix(part + kGamma));
    }
  }

  std::uint64_t next() { return mix(state_ += kGamma); }

  /// Uniform in [0, bound), `bound` positive and below 2^31: the bias is below 2^-33.
  std::int64_t below(std::int64_t bound) {
    return static_cast<std::int64_t>(((next() >> 33U) * static_cast<std::uint64_t>(bound)) >> 31U);
  }

 private:
  static constexpr std::uint64_t kGamma = 0x9e3779b97f4a7c15U;

  static constexpr std::uint64_t mix(std::uint64_t z) {
    z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31U);
  }

  std::uint64_t state_;
};

}  // namespace vitsim
