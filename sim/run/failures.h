#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "models/units.h"

namespace vitsim {

/// A failure at a time that the cluster file gives.
struct GivenFailure {
  Seconds at;  // from the start of the run
  Seconds restart;
};

/// A training that writes checkpoints on parts that fail.
///
/// Failures come at random with a constant rate, and at given times. One loses what was trained
/// since the last checkpoint that is whole; then the restart is paid, in which parts may fail
/// again.
struct FailingRun {
  Seconds work;                  // without checkpoints and failures
  Seconds interval;              // of training from one checkpoint to the next; 0: none is written
  Seconds checkpoint;            // what writing one takes
  bool is_asynchronous = false;  // training goes on meanwhile
  std::optional<Seconds> mean_time_between;  // failures of the whole job; none: only given ones
  Seconds restart;                           // after a random failure
  std::vector<GivenFailure> given;           // in the order of time
  /// Speed by the number of failures so far, 1 before the first, where the job goes on without
  /// what failed; the rate of failures falls with the parts. Empty: the part comes back.
  std::function<double(int replicate, std::int64_t failures)> speed;
  std::int64_t parts = 1;  // that may fail, where they do not come back
};

/// One history of a run.
struct FailureHistory {
  Seconds total;
  std::int64_t failures = 0;
  Seconds lost;        // training, and writing of checkpoints, that was in vain
  Seconds checkpoint;  // in which training stood still, that was not in vain
  Seconds restart;
};

/// The history of one replicate; the same seed gives the same. Throws UserError where the run
/// hardly ever gets from one checkpoint to the next, or every part fails before its end.
FailureHistory simulate_failures(const FailingRun& run, std::uint64_t seed, int replicate);

/// Mean time of a run on parts that come back, with checkpoints that block: of `M`, `R`, `C` and
/// the interval `t`, M e^(R/M) (e^((t+C)/M) - 1) work / t (Daly 2006, "A higher order estimate of
/// the optimum checkpoint interval for restart dumps", eq. 13). Failures at random alone. An
/// asynchronous checkpoint is taken as one that costs nothing but lengthens each restart.
Seconds expected_run_time(const FailingRun& run);

/// sqrt(2 C M) (Young 1974): the interval that loses least where a checkpoint is short.
Seconds young_interval(Seconds checkpoint, Seconds mean_time_between);

/// Daly's (2006) estimate of higher order.
Seconds daly_interval(Seconds checkpoint, Seconds mean_time_between);

/// The interval between checkpoints that loses least, `run.interval` aside: found by simulating
/// intervals about Young's and Daly's on the same failures. No longer than the work.
Seconds best_interval(const FailingRun& run, std::uint64_t seed);

}  // namespace vitsim
