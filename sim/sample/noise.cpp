#include "sim/sample/noise.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "models/distribution.h"
#include "sim/sample/random.h"

namespace vitsim {

namespace {

// Streams of random numbers, so that no two sources share draws.
enum : std::uint64_t {
  kRunStream = 1,
  kNetworkStream = 2,
  kUnitStream = 3,
  kStepStream = 4,
  kEpochStream = 5,
  kOrderStream = 6
};

constexpr double kManyDegrees = 30;

// A place in a pseudo-random order of 0..count-1: a Feistel network over the next power of four,
// walked until it falls inside.
std::uint64_t permuted(std::uint64_t index,
                       std::uint64_t count,
                       std::uint64_t seed,
                       std::uint64_t stream) {
  std::uint64_t half_bits = 1;
  while ((std::uint64_t{1} << (2 * half_bits)) < count) {
    ++half_bits;
  }
  const std::uint64_t mask = (std::uint64_t{1} << half_bits) - 1;
  do {
    std::uint64_t left = index >> half_bits;
    std::uint64_t right = index & mask;
    for (std::uint64_t round = 0; round < 4; ++round) {
      const double u = uniform_at(seed, {stream, round, right});
      const auto scrambled = static_cast<std::uint64_t>(u * 0x1.0p52) & mask;
      left = std::exchange(right, left ^ scrambled);
    }
    index = (left << half_bits) | right;
  } while (index >= count);
  return index;
}

}  // namespace

Noise::Noise(std::span<const RankClass> classes,
             std::span<const LinkNoise> links,
             std::uint64_t seed,
             int replicates,
             std::span<const std::string> known_kinds)
    : seed_(seed), replicates_(replicates) {
  std::map<std::string, std::size_t> kinds;
  for (const std::string& kind : known_kinds) {
    if (kinds.try_emplace(kind, kinds_.size()).second) {
      kinds_.push_back({.sigma = 0, .degrees = kManyDegrees});
    }
  }
  bool all_known = true;
  for (const RankClass& rank : classes) {
    const Spread& spread = rank.compute->spread;
    const auto [entry, fresh] = kinds.try_emplace(rank.gpu, kinds_.size());
    if (fresh) {
      kinds_.push_back({.sigma = 0, .degrees = kManyDegrees});
    }
    // Micro-batches of one kind may be known unequally well: the widest spread rules them all.
    const Source own{.sigma = spread.run_sigma.value_or(0),
                     .degrees = spread.run_degrees ? *spread.run_degrees : kManyDegrees};
    Source& widest = kinds_[entry->second];
    if (std::pair(own.sigma, -own.degrees) > std::pair(widest.sigma, -widest.degrees)) {
      widest = own;
    }
    all_known &= spread.run_sigma.has_value();
    classes_.push_back({.kind = entry->second,
                        .unit_sigma = spread.unit_sigma.value_or(0),
                        .step_sigma = spread.step_sigma.value_or(0)});
    zero_ &= kinds_[entry->second].sigma == 0 && classes_.back().unit_sigma == 0 &&
             classes_.back().step_sigma == 0;
  }
  known_ = all_known;
  for (const LinkNoise& link : links) {
    // Links in a row move together: the widest rules.
    if (link.spread.run_sigma.value_or(0) > network_.sigma) {
      network_ = {.sigma = *link.spread.run_sigma,
                  .degrees = link.spread.run_degrees ? *link.spread.run_degrees : kManyDegrees};
    }
    zero_ &= network_.sigma == 0;
  }
}

double Noise::stratified(const Source& source, std::uint64_t stream, int replicate) const {
  if (source.sigma == 0) {
    return 1;
  }
  const auto slice = static_cast<double>(permuted(static_cast<std::uint64_t>(replicate),
                                                  static_cast<std::uint64_t>(replicates_),
                                                  seed_,
                                                  stream));
  const double p = (slice + 0.5) / replicates_;
  return std::exp(source.sigma * student_quantile(p, source.degrees));
}

double Noise::run_factor(std::size_t kind, int replicate) const {
  return stratified(kinds_[kind], kRunStream + 16 * (kind + 1), replicate);
}

double Noise::network_factor(int replicate) const {
  return stratified(network_, kNetworkStream, replicate);
}

double Noise::unit_factor(std::size_t rank_class, std::size_t position, int replicate) const {
  const double sigma = classes_[rank_class].unit_sigma;
  return sigma == 0
             ? 1
             : std::exp(
                   sigma *
                   normal_quantile(uniform_at(
                       seed_, {kUnitStream, static_cast<std::uint64_t>(replicate), position})));
}

// The largest of n uniforms is V^(1/n); given it the others are n-1 uniforms below it (David and
// Nagaraja, "Order Statistics", 2.5).
std::vector<double> Noise::largest_unit_factors(std::size_t rank_class,
                                                std::int64_t count,
                                                std::size_t most,
                                                int replicate) const {
  const double sigma = classes_[rank_class].unit_sigma;
  std::vector<double> factors;
  double log_u = 0;
  for (std::size_t k = 0; k < most && static_cast<std::int64_t>(k) < count; ++k) {
    const double v =
        uniform_at(seed_, {kOrderStream, static_cast<std::uint64_t>(replicate), rank_class, k});
    log_u += std::log(v) / static_cast<double>(count - static_cast<std::int64_t>(k));
    // 1 - u is exact where u is close to 1; the quantile is odd about 1/2.
    factors.push_back(sigma == 0 ? 1 : std::exp(-sigma * normal_quantile(-std::expm1(log_u))));
  }
  return factors;
}

double Noise::step_factor(std::size_t rank_class,
                          std::size_t position,
                          int replicate,
                          std::int64_t step) const {
  const double sigma = classes_[rank_class].step_sigma;
  if (sigma == 0) {
    return 1;
  }
  const double z = normal_quantile(uniform_at(seed_,
                                              {kStepStream,
                                               static_cast<std::uint64_t>(replicate),
                                               position,
                                               static_cast<std::uint64_t>(step)}));
  return std::exp(sigma * z - sigma * sigma / 2);
}

double Noise::epoch_scatter(int replicate, std::int64_t epoch) const {
  return normal_quantile(uniform_at(
      seed_,
      {kEpochStream, static_cast<std::uint64_t>(replicate), static_cast<std::uint64_t>(epoch)}));
}

}  // namespace vitsim
