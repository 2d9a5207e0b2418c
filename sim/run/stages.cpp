// Long runs of jobs that share a network.
//
// Simulated message by message, weeks of several jobs take hours. But between two changes (a job
// starts or ends, an disturbance begins or ends) the jobs repeat their steps beside the same
// neighbours under the same conditions. In such a stage job j's full step takes s_j seconds where
// it takes a_j alone and undisturbed; both are means over a few dozen steps, simulated message by
// message. An epoch that takes A_j alone passes at 1 / (A_j s_j / a_j) of it per second, and one
// that several stages see is put together of its parts:
//
//   sum over stages of (time in stage) / (A_j s_j / a_j) = 1.
//
// A job of which a rank is paused stands still, and leaves the links to the others.
//
// Jobs that send at the same time and jobs that take turns fare differently, so a stage's steps
// begin with each job where it stands within its own when the stage begins, to a quarter of a step.
//
// Neglected: that barriers at the ends of epochs shift the jobs against each other within a stage,
// and that they leave the network alone between two epochs; what a change does to the one step in
// which it falls. Costs steady_steps once for each different
// stage.
#include "sim/run/stages.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "models/error.h"
#include "sim/run/disturbances.h"
#include "sim/run/steady.h"

namespace vitsim {

namespace {

constexpr Seconds kNever{std::numeric_limits<double>::infinity()};

// An epoch alone: its first steps, settling included, and its last simulated, the others added.
Seconds simulate_epoch(const Network& network, const JobPlan& job, Seconds step) {
  constexpr std::int64_t kFew = 50;
  JobPlan part = job;
  part.epochs = 1;
  part.steps = std::min(job.steps, kFew);
  part.start = Seconds(0);
  return simulate_run(network, part).epochs.front() +
         step * static_cast<double>(job.steps - part.steps);
}

}  // namespace

/// Where a job stands.
struct StagedRun::Progress {
  enum class At { kBefore, kEpoch, kBetween, kOver };
  At at = At::kBefore;
  Seconds until;    // kBefore, kBetween: the next epoch begins
  Seconds began;    // kEpoch
  double done = 0;  // kEpoch: share of its steps
  std::vector<Seconds> epochs;

  [[nodiscard]] bool runs() const { return at == At::kEpoch || at == At::kBetween; }
};

StagedRun::StagedRun(const Network& network,
                     std::span<const JobPlan> jobs,
                     std::span<const Disturbance> disturbances)
    : network_(network), jobs_(jobs), disturbances_(disturbances) {
  const Disturbances check(network, disturbances);  // throws what is wrong with them
  for (const JobPlan& job : jobs) {
    check_plan(job);
    const SteadyJob alone{.plan = &job};
    const Seconds step = steady_steps(network, {&alone, 1}).front();
    alone_.push_back({.step = step, .epoch = simulate_epoch(network, job, step)});
  }
}

std::vector<std::size_t> StagedRun::in_force(Seconds now,
                                             std::optional<std::size_t> without) const {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < disturbances_.size(); ++i) {
    if (i != without && disturbances_[i].from <= now && now < disturbances_[i].to) {
      found.push_back(i);
    }
  }
  return found;
}

bool StagedRun::is_paused(std::size_t job, const std::vector<std::size_t>& disturbances) const {
  return std::ranges::any_of(disturbances, [&](std::size_t disturbance) {
    return disturbances_[disturbance].what == Disturbance::What::kPause &&
           std::ranges::find(jobs_[job].ranks, disturbances_[disturbance].rank) !=
               jobs_[job].ranks.end();
  });
}

const std::vector<double>& StagedRun::slowdown_in(const Stage& stage,
                                                  const std::vector<Progress>& progress) {
  Quarters quarters;
  for (const std::size_t job : stage.running) {
    const double steps = progress[job].done * static_cast<double>(jobs_[job].steps);
    quarters.push_back(static_cast<int>(std::lround(4 * (steps - std::floor(steps)))) % 4);
  }
  const auto [entry, fresh] = known_.try_emplace({stage, quarters});
  if (!fresh) {
    return entry->second;
  }
  std::vector<Disturbance> now;
  for (const std::size_t disturbance : stage.disturbances) {
    now.push_back(disturbances_[disturbance]);
  }
  Seconds latest;  // all of them are in force when the last one has begun
  for (const Disturbance& disturbance : now) {
    latest = std::max(latest, disturbance.from);
  }
  const Network network = Disturbances(network_, now).network_at(to_ticks(latest));
  std::vector<SteadyJob> jobs;
  for (std::size_t k = 0; k < stage.running.size(); ++k) {
    const std::size_t index = stage.running[k];
    SteadyJob job{.plan = &jobs_[index], .slowdown = std::vector(jobs_[index].ranks.size(), 1.0)};
    for (const Disturbance& disturbance : now) {
      for (std::size_t i = 0; i < job.slowdown.size(); ++i) {
        const bool slows = disturbance.what == Disturbance::What::kSlowdown;
        job.slowdown[i] *=
            slows && disturbance.rank == jobs_[index].ranks[i] ? disturbance.factor : 1;
      }
    }
    // The rest of its step goes by before it begins the next.
    job.begin = alone_[index].step * (quarters[k] == 0 ? 0 : 1 - quarters[k] / 4.0);
    jobs.push_back(std::move(job));
  }
  const std::vector<Seconds> steps = steady_steps(network, jobs);
  for (std::size_t k = 0; k < stage.running.size(); ++k) {
    entry->second.push_back(steps[k] / alone_[stage.running[k]].step);
  }
  return entry->second;
}

std::vector<std::vector<Seconds>> StagedRun::epochs(std::optional<std::size_t> without) {
  using At = Progress::At;
  std::vector<Progress> progress(jobs_.size());
  std::vector<Seconds> edges;
  for (std::size_t job = 0; job < jobs_.size(); ++job) {
    progress[job].until = jobs_[job].start;
  }
  for (std::size_t i = 0; i < disturbances_.size(); ++i) {
    if (i != without) {
      edges.insert(edges.end(), {disturbances_[i].from, disturbances_[i].to});
    }
  }
  std::ranges::sort(edges);
  Seconds now;
  Stage seen;
  std::vector<double> stretched;  // in the stage last seen
  for (;;) {
    for (Progress& job : progress) {
      if ((job.at == At::kBefore || job.at == At::kBetween) && job.until <= now) {
        job.at = At::kEpoch;
        job.began = now;
        job.done = 0;
      }
    }
    Stage stage{.running = {}, .disturbances = in_force(now, without)};
    for (std::size_t job = 0; job < jobs_.size(); ++job) {
      if (progress[job].runs() && !is_paused(job, stage.disturbances)) {
        stage.running.push_back(job);
      }
    }
    std::erase_if(stage.disturbances, [&](std::size_t disturbance) {
      return disturbances_[disturbance].what == Disturbance::What::kPause;
    });
    std::vector<Seconds> ends(jobs_.size(), kNever);  // of epochs, as things stand
    if (!stage.running.empty() && stage != seen) {
      stretched = slowdown_in(stage, progress);
      seen = stage;
    }
    for (std::size_t k = 0; k < stage.running.size(); ++k) {
      const std::size_t job = stage.running[k];
      if (progress[job].at == At::kEpoch) {
        ends[job] = now + alone_[job].epoch * (stretched[k] * (1 - progress[job].done));
      }
    }
    const auto edge = std::ranges::upper_bound(edges, now);
    Seconds next = edge == edges.end() ? kNever : *edge;
    for (std::size_t job = 0; job < jobs_.size(); ++job) {
      const At at = progress[job].at;
      next =
          std::min(next, at == At::kBefore || at == At::kBetween ? progress[job].until : ends[job]);
    }
    if (next == kNever) {
      break;
    }
    for (std::size_t job = 0; job < jobs_.size(); ++job) {
      Progress& mine = progress[job];
      if (ends[job] <= next) {
        mine.epochs.push_back(next - mine.began);
        mine.done = 1;
        mine.at = std::ssize(mine.epochs) == jobs_[job].epochs ? At::kOver : At::kBetween;
        mine.until = next + to_seconds(jobs_[job].after_epoch);
      } else if (ends[job] < kNever) {
        mine.done += (1 - mine.done) * ((next - now) / (ends[job] - now));
      }
    }
    now = next;
  }
  std::vector<std::vector<Seconds>> epochs;
  for (Progress& job : progress) {
    VITSIM_CHECK(job.at == At::kOver, ==, true);
    epochs.push_back(std::move(job.epochs));
  }
  return epochs;
}

}  // namespace vitsim
