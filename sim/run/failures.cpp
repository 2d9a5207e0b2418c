// Failures are a Poisson process, so that the time to the next one does not depend on what was
// before. Between two failures nothing happens but training and checkpoints, one after the other:
// how far the run gets until the next failure follows from a division, and a history costs as many
// steps as it has failures.
//
// With blocking checkpoints a segment is `interval` of training and then a checkpoint; a failure
// goes back to the end of the last segment. An asynchronous checkpoint costs no time but is whole
// only after it was written, and the next one waits for that.
//
// What is neglected: that a failure shows late, that storage is shared, that parts fail in groups.
#include "sim/run/failures.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "models/document/quantity_text.h"
#include "models/error.h"
#include "sim/sample/random.h"

namespace vitsim {

namespace {

constexpr std::uint64_t kFailureStream = 101;
constexpr double kMostFailures = 1e7;  // of one history

// Counts of checkpoints are quotients of times that add up to each other: 3 intervals of work have
// 3 of them, whatever the last bit says.
constexpr double kRoundingOfCounts = 1e-9;

double whole(double quotient) {
  return std::floor(quotient + kRoundingOfCounts);
}

/// Draws times to failures.
class FailureClock {
 public:
  FailureClock(const FailingRun& run, std::uint64_t seed, int replicate)
      : run_(run), seed_(seed), replicate_(static_cast<std::uint64_t>(replicate)) {}

  /// The next failure after `now`, `alive` being the share of parts that are left; moves on.
  /// Infinity where none comes.
  struct Next {
    double at = std::numeric_limits<double>::infinity();
    double restart = 0;
  };

  Next next(double now, double alive) {
    Next found;
    if (run_.mean_time_between && alive > 0) {
      const double u = uniform_at(seed_, {kFailureStream, replicate_, drawn_++});
      found = {.at = now - run_.mean_time_between->value() / alive * std::log(u),
               .restart = run_.restart.value()};
    }
    while (given_ < run_.given.size() && run_.given[given_].at.value() < now) {
      ++given_;  // in a restart that covers it
    }
    if (given_ < run_.given.size() && run_.given[given_].at.value() <= found.at) {
      found = {.at = run_.given[given_].at.value(), .restart = run_.given[given_].restart.value()};
      ++given_;
    }
    return found;
  }

 private:
  const FailingRun& run_;
  std::uint64_t seed_;
  std::uint64_t replicate_;
  std::uint64_t drawn_ = 0;
  std::size_t given_ = 0;
};

[[noreturn]] void never_done(const FailingRun& run) {
  throw UserError(fmt::format(
      "the run hardly ever gets from one checkpoint to the next: something fails every {}, {}; "
      "write checkpoints more often (training.checkpoint.every) or shorten them",
      run.mean_time_between ? human(*run.mean_time_between) : "time it is begun",
      run.interval.value() > 0 ? fmt::format("a checkpoint comes every {} and takes {}",
                                             human(run.interval),
                                             human(run.checkpoint))
                               : std::string("and no checkpoint is written")));
}

}  // namespace

FailureHistory simulate_failures(const FailingRun& run, std::uint64_t seed, int replicate) {
  constexpr double kLongest = 1000;  // times the work: nobody waits for that
  if (!run.speed && expected_run_time(run) > kLongest * run.work) {
    never_done(run);
  }
  const double work = run.work.value();
  const double written = run.checkpoint.value();
  // An asynchronous checkpoint cannot begin before the last one was written.
  const double interval = run.interval.value() <= 0 ? 0
                          : run.is_asynchronous     ? std::max(run.interval.value(), written)
                                                    : run.interval.value();
  const double stop = run.is_asynchronous ? 0 : written;  // of training, for a checkpoint
  FailureClock clock(run, seed, replicate);
  FailureHistory history;
  const auto failed = [&] { return static_cast<double>(history.failures); };
  const auto alive = [&] {
    return run.speed ? 1 - failed() / static_cast<double>(run.parts) : 1.0;
  };
  double now = 0;
  double secured = 0;
  double speed = 1;
  FailureClock::Next next = clock.next(0, 1);
  while (true) {
    const double left = work - secured;
    const double checkpoints = interval > 0 ? whole(left / interval) : 0;
    const double finish = now + left / speed + checkpoints * stop;
    if (finish <= next.at) {
      history.checkpoint += Seconds(checkpoints * stop);
      history.total = Seconds(finish);
      return history;
    }
    // What was secured since `now`.
    const double ran = next.at - now;
    const double segment = interval / speed + stop;
    const double behind = run.is_asynchronous ? std::max(0.0, ran - written) : ran;
    const double done = interval > 0 ? std::min(checkpoints, whole(behind / segment)) : 0;
    secured += done * interval;
    history.checkpoint += Seconds(done * stop);
    history.lost += Seconds(std::max(0.0, ran - done * segment));
    // Restart, until nothing fails meanwhile.
    now = next.at;
    while (true) {
      ++history.failures;
      if (run.speed) {
        if (history.failures >= run.parts) {
          throw UserError(
              "every GPU fails before the run is done: \"on_failure\": \"continue\" needs parts "
              "that "
              "are left");
        }
        speed = run.speed(replicate, history.failures);
      }
      const double up = now + next.restart;
      next = clock.next(now, alive());
      if (next.at >= up) {
        history.restart += Seconds(up - now);
        now = up;
        break;
      }
      history.restart += Seconds(next.at - now);
      now = next.at;
    }
    if (failed() > kMostFailures) {
      never_done(run);
    }
  }
}

Seconds expected_run_time(const FailingRun& run) {
  if (!run.mean_time_between) {
    return run.work;
  }
  const double mean = run.mean_time_between->value();
  const bool is_written = run.interval.value() > 0;
  const Seconds interval = is_written ? run.interval : run.work;
  const Seconds stop = is_written && !run.is_asynchronous ? run.checkpoint : Seconds(0);
  // An asynchronous checkpoint is whole only after it was written: a failure loses that, too.
  const Seconds again = is_written && run.is_asynchronous ? run.checkpoint : Seconds(0);
  return Seconds(mean * std::exp((run.restart + again).value() / mean) *
                 std::expm1((interval + stop).value() / mean) * (run.work / interval));
}

Seconds young_interval(Seconds checkpoint, Seconds mean_time_between) {
  return Seconds(std::sqrt(2 * checkpoint.value() * mean_time_between.value()));
}

Seconds daly_interval(Seconds checkpoint, Seconds mean_time_between) {
  if (checkpoint >= 2 * mean_time_between) {
    return mean_time_between;
  }
  const double ratio = checkpoint / (2 * mean_time_between);
  return young_interval(checkpoint, mean_time_between) * (1 + std::sqrt(ratio) / 3 + ratio / 9) -
         checkpoint;
}

Seconds best_interval(const FailingRun& run, std::uint64_t seed) {
  if (!run.mean_time_between || run.checkpoint.value() <= 0) {
    return run.checkpoint.value() <= 0 && run.mean_time_between ? Seconds(0) : run.work;
  }
  // A run long enough that its failures average out, on parts that come back.
  constexpr double kFailures = 4000;
  constexpr int kHalf = 16;
  const double step = std::pow(4.0, 1.0 / kHalf);  // from a quarter of Young's to four times that
  FailingRun trial{.work = kFailures * *run.mean_time_between,
                   .checkpoint = run.checkpoint,
                   .is_asynchronous = run.is_asynchronous,
                   .mean_time_between = run.mean_time_between,
                   .restart = run.restart};
  const Seconds young = young_interval(run.checkpoint, *run.mean_time_between);
  std::vector<Seconds> candidates = {young, daly_interval(run.checkpoint, *run.mean_time_between)};
  for (int i = -kHalf; i <= kHalf; ++i) {
    candidates.push_back(young * std::pow(step, i));
  }
  std::ranges::sort(candidates);
  Seconds best = run.work;
  Seconds least(std::numeric_limits<double>::infinity());
  for (const Seconds interval : candidates) {
    trial.interval = interval;
    // e^8 tries for one segment: nobody trains like that.
    if ((interval + run.checkpoint) / *run.mean_time_between > 8) {
      continue;
    }
    const Seconds total = simulate_failures(trial, seed, 0).total;
    if (total < least) {
      least = total;
      best = interval;
    }
  }
  return std::min(best, run.work);
}

}  // namespace vitsim
