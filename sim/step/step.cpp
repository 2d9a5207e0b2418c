#include "sim/step/step.h"

#include <algorithm>

#include "models/error.h"
#include "sim/step/accounting.h"
#include "sim/step/data_load.h"
#include "sim/step/event_job.h"
#include "sim/step/forward.h"
#include "sim/step/optimizer.h"

// A step by arrays, phase after phase for all ranks. Buckets are taken one after the other: when
// bucket k becomes ready on a rank depends on the communication of buckets before k alone, so its
// readiness is known for all ranks once bucket k-1's ends are. What is exact about this is that no
// two collectives of the job share a link at any time, see communicator.cpp.

namespace vitsim {

StepSimulator::StepSimulator(const Network& network, std::vector<std::int64_t> ranks, SyncPlan plan)
    : group_(network, std::move(ranks)),
      plan_(std::move(plan)),
      calls_(sync_calls(plan_, group_)),
      arrays_(ArraySync::make(group_, calls_, plan_.collective_overhead)),
      busy_per_step_(size()),
      speeds_(size()),
      cursor_(size()),
      communicating_(size()) {
  if (!plan_.overlap_slowdown.empty() && plan_.overlap_slowdown.size() != size()) {
    throw UserError("one overlap slowdown per rank is needed, or none");
  }
  alone_ = alone_times(group_, calls_, plan_.collective_overhead);
  for (const std::vector<Tick>& call : alone_) {
    for (std::size_t i = 0; i < call.size(); ++i) {
      busy_per_step_[i] += call[i];
    }
  }
  begins_.assign(alone_.size(), std::vector<Tick>(size()));
  ends_ = begins_;
  outcome_.resize(size());
}

void StepSimulator::set_speed(std::uint32_t position, const std::vector<SlowInterval>& intervals) {
  speeds_[position] = ComputeSpeed(intervals);
}

const StepOutcome& StepSimulator::run(std::span<const RankWork> work,
                                      std::span<const Tick> starts,
                                      std::vector<StepSpan>* spans) {
  return arrays_ ? run_arrays(work, starts, spans) : run_events(work, starts, {}, spans);
}

const StepOutcome& StepSimulator::run_arrays(std::span<const RankWork> work,
                                             std::span<const Tick> starts,
                                             std::vector<StepSpan>* spans) {
  VITSIM_CHECK(work.size(), ==, std::size_t{size()});
  VITSIM_CHECK(starts.size(), ==, std::size_t{size()});
  run_until_last_backward(work, starts, spans);
  run_overlapped_backward(work, spans);
  finish_step(work, spans);
  account_step();
  return outcome_;
}

void StepSimulator::run_until_last_backward(std::span<const RankWork> work,
                                            std::span<const Tick> starts,
                                            std::vector<StepSpan>* spans) {
  for (std::uint32_t i = 0; i < size(); ++i) {
    ComputeStream stream{speeds_[i], i, starts[i], spans};
    const std::span<const MicroBatchWork> batches = work[i].micro_batches;
    for (std::size_t m = 0; m < batches.size(); ++m) {
      load_data(stream, batches[m]);
      run_forward(stream, batches[m]);
      if (m + 1 < batches.size()) {
        run_backward(stream, batches[m]);
      }
      check_clock(stream.now);
    }
    cursor_[i] = stream.now;
  }
}

void StepSimulator::run_overlapped_backward(std::span<const RankWork> work,
                                            std::vector<StepSpan>* spans) {
  const auto backward = [&](std::size_t i) {
    return work[i].micro_batches.empty() ? Tick{0} : work[i].micro_batches.back().backward;
  };
  const auto overlap = [&](std::size_t i) {
    return plan_.overlap_slowdown.empty() ? 1.0 : plan_.overlap_slowdown[i];
  };
  const auto compute_until = [&](std::size_t i, double from, double to) {
    const Tick part = backward_part(backward(i), from, to);
    if (part == 0) {
      return;
    }
    if (overlap(i) == 1 && speeds_[i].is_constant()) {
      cursor_[i] += part;
    } else {
      cursor_[i] = overlapped_backward(speeds_[i], cursor_[i], part, overlap(i), communicating_[i]);
    }
  };
  if (spans != nullptr) {
    outcome_.ready = cursor_;  // until it is over, where it began
  }
  double share = 0;
  for (std::size_t k = 0; k < calls_.reductions.size(); ++k) {
    const double ready_share = calls_.reductions[k].ready_share;
    for (std::size_t i = 0; i < cursor_.size(); ++i) {
      compute_until(i, share, ready_share);
      begins_[k][i] = k == 0 ? cursor_[i] : std::max(cursor_[i], ends_[k - 1][i]);
    }
    share = ready_share;
    arrays_->reduce(k, begins_[k], ends_[k]);
    for (std::size_t i = 0; i < cursor_.size(); ++i) {
      if (k == 0) {
        communicating_[i].clear();
      }
      if (overlap(i) == 1) {
        continue;
      }
      if (!communicating_[i].empty() && communicating_[i].back().end == begins_[k][i]) {
        communicating_[i].back().end = ends_[k][i];
      } else {
        communicating_[i].push_back({.begin = begins_[k][i], .end = ends_[k][i]});
      }
    }
  }
  for (std::uint32_t i = 0; i < size(); ++i) {
    compute_until(i, share, 1);
    if (spans != nullptr) {
      ComputeStream{speeds_[i], i, 0, spans}.note(
          Stream::kCompute, Phase::kBackward, outcome_.ready[i], cursor_[i]);
    }
    outcome_.ready[i] = cursor_[i];
    const Tick last = calls_.reductions.empty() ? 0 : ends_[calls_.reductions.size() - 1][i];
    outcome_.sync_end[i] = std::max(cursor_[i], last);
  }
}

void StepSimulator::finish_step(std::span<const RankWork> work, std::vector<StepSpan>* spans) {
  for (std::uint32_t i = 0; i < size(); ++i) {
    ComputeStream stream{speeds_[i], i, outcome_.sync_end[i], spans};
    run_optimizer(stream, work[i]);
    cursor_[i] = stream.now;
  }
  const std::size_t reductions = calls_.reductions.size();
  for (std::size_t k = 0; k < calls_.gathers.size(); ++k) {
    begins_[reductions + k] = cursor_;
    arrays_->gather(k, cursor_, cursor_);
    ends_[reductions + k] = cursor_;
  }
  for (std::uint32_t i = 0; i < size(); ++i) {
    ComputeStream stream{speeds_[i], i, cursor_[i], spans};
    run_other(stream, work[i]);
    outcome_.end[i] = stream.now;
    for (std::size_t k = 0; spans != nullptr && k < begins_.size(); ++k) {
      const SyncCall& call = k < reductions ? calls_.reductions[k] : calls_.gathers[k - reductions];
      stream.note(Stream::kCommunication,
                  Phase::kGradientAllReduce,
                  begins_[k][i],
                  ends_[k][i],
                  call.bytes);
    }
  }
}

void StepSimulator::account_step() {
  for (std::size_t i = 0; i < cursor_.size(); ++i) {
    const Accounted sums =
        account(calls_, alone_, begins_, ends_, i, outcome_.ready[i], outcome_.sync_end[i]);
    outcome_.busy[i] = busy_per_step_[i];
    outcome_.exposed[i] = sums.exposed;
    outcome_.wait[i] = sums.wait;
  }
}

}  // namespace vitsim
