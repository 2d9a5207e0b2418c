#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "sim/job/resolved_job.h"

namespace vitsim {

/// What differs between one real run of a job and the next, as the profiles' spreads say.
class Noise {
 public:
  Noise(std::span<const RankClass> classes,
        std::span<const LinkNoise> links,
        std::uint64_t seed,
        int replicates,
        std::span<const std::string> kinds = {});

  /// `kinds` of GPUs are numbered first, others as they come: jobs that number them alike draw the
  /// same factors for the same kind.
  Noise(const ResolvedJob& job,
        std::uint64_t seed,
        int replicates,
        std::span<const std::string> kinds = {})
      : Noise(job.classes, job.link_noise, seed, replicates, kinds) {}

  /// Whether anything is known at all: without a spread of any GPU there is no interval.
  [[nodiscard]] bool is_known() const { return known_; }

  /// Whether every spread is known to be zero.
  [[nodiscard]] bool is_zero() const { return zero_; }

  /// Factor on the compute of each kind of GPU in a whole run. Draws of one kind over the
  /// replicates are stratified: each of `replicates` equal slices of its Student distribution is
  /// drawn once, in an order of its own.
  [[nodiscard]] double run_factor(std::size_t kind, int replicate) const;

  /// Factor on every transfer in a whole run.
  [[nodiscard]] double network_factor(int replicate) const;

  /// Factor on one GPU among nominally equal ones, all run long: of the rank at `position`, which
  /// belongs to `rank_class`.
  [[nodiscard]] double unit_factor(std::size_t rank_class,
                                   std::size_t position,
                                   int replicate) const;

  /// The `most` largest of the unit factors of a class of `count` ranks, falling, drawn as what
  /// they are instead of one by one.
  [[nodiscard]] std::vector<double> largest_unit_factors(std::size_t rank_class,
                                                         std::int64_t count,
                                                         std::size_t most,
                                                         int replicate) const;

  /// Of `unit_factor`: sigma of the logarithm.
  [[nodiscard]] double unit_sigma(std::size_t rank_class) const {
    return classes_[rank_class].unit_sigma;
  }

  /// From step to step: sigma of the logarithm.
  [[nodiscard]] double step_sigma(std::size_t rank_class) const {
    return classes_[rank_class].step_sigma;
  }

  /// One step's factor for one rank.
  [[nodiscard]] double step_factor(std::size_t rank_class,
                                   std::size_t position,
                                   int replicate,
                                   std::int64_t step) const;

  /// A standard normal for the sum of an epoch's steps.
  [[nodiscard]] double epoch_scatter(int replicate, std::int64_t epoch) const;

  [[nodiscard]] int replicates() const { return replicates_; }

  /// Kind of GPU of a class.
  [[nodiscard]] std::size_t kind(std::size_t rank_class) const { return classes_[rank_class].kind; }

  [[nodiscard]] std::size_t kind_count() const { return kinds_.size(); }

  [[nodiscard]] double run_sigma(std::size_t kind) const { return kinds_[kind].sigma; }

  [[nodiscard]] double network_sigma() const { return network_.sigma; }

 private:
  struct Source {
    double sigma = 0;
    double degrees = 30;
  };

  struct ClassNoise {
    std::size_t kind = 0;
    double unit_sigma = 0;
    double step_sigma = 0;
  };

  [[nodiscard]] double stratified(const Source& source, std::uint64_t stream, int replicate) const;

  std::uint64_t seed_;
  int replicates_;
  bool known_ = false;
  bool zero_ = true;
  std::vector<Source> kinds_;
  Source network_;
  std::vector<ClassNoise> classes_;
};

}  // namespace vitsim
