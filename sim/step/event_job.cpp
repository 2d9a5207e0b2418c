#include "sim/step/event_job.h"

#include <algorithm>

#include <fmt/format.h>

#include "models/error.h"
#include "sim/step/backward.h"

namespace vitsim {

namespace {

// Timers: what a machine waits for is in its state; the tag says whether its compute stream or the
// launch of a collective is due.
constexpr std::uint32_t kComputeTimer = 0;
constexpr std::uint32_t kLaunchTimer = 1;

constexpr std::uint32_t tag_of(std::uint32_t position, std::uint32_t kind) {
  return position * 2 + kind;
}

}  // namespace

EventJob::EventJob(FlowEngine& engine,
                   const Communicator& group,
                   const SyncPlan& plan,
                   const SyncCalls& calls,
                   const std::vector<ComputeSpeed>& speeds,
                   StepFeed& feed)
    : engine_(engine),
      plan_(plan),
      calls_(calls),
      speeds_(speeds),
      feed_(feed),
      handler_(engine.add_handler(*this)),
      streams_(engine, group.network(), group.ranks()),
      call_count_(calls.reductions.size() + calls.gathers.size()),
      collective_step_(2 * call_count_, -1),
      machines_(group.size()),
      times_(group.size()),
      begins_(call_count_, std::vector<Tick>(group.size())),
      ends_(begins_) {
  for (std::uint32_t parity = 0; parity < 2; ++parity) {
    for (std::uint32_t k = 0; k < call_count_; ++k) {
      const SyncCall& call = k < calls.reductions.size()
                                 ? calls.reductions[k]
                                 : calls.gathers[k - calls.reductions.size()];
      collectives_.push_back(
          group.events(streams_, call.kind, call.algorithm, call.bytes, *this, k));
    }
  }
}

void EventJob::begin(std::uint32_t position, Tick time) {
  machines_[position].at = At::kIdle;
  wake_at(position, time);
}

void EventJob::wake_at(std::uint32_t position, Tick time) {
  machines_[position].finish = time;
  engine_.at(time, handler_, tag_of(position, kComputeTimer));
}

void EventJob::on_event(std::uint32_t tag) {
  const std::uint32_t position = tag / 2;
  Machine& machine = machines_[position];
  if (tag % 2 == kLaunchTimer) {
    collective(machine.step, machine.launched - 1).start(position);
    return;
  }
  // A change of pace leaves an outdated timer behind; only the finish of the running phase counts.
  if (now() != machine.finish || machine.at == At::kSync || machine.at == At::kGather) {
    return;
  }
  machine.finish = -1;
  if (machine.at == At::kIdle) {
    begin_step(position);
  } else if (machine.at == At::kLastBackward) {
    part_over(position);
  } else {
    phase_over(position);
  }
}

void EventJob::begin_step(std::uint32_t position) {
  Machine& machine = machines_[position];
  machine.work = feed_.next_step(position, machine.step);
  if (machine.work == nullptr) {
    return;
  }
  machine.micro_batch = 0;
  machine.part = 0;
  machine.ready = machine.launched = machine.done = 0;
  if (machine.work->micro_batches.empty()) {
    enter(position, At::kLastBackward);
  } else {
    enter(position, At::kLoad);
  }
}

void EventJob::enter(std::uint32_t position, At at) {
  Machine& machine = machines_[position];
  const ComputeSpeed& speed = speeds_[position];
  machine.at = at;
  machine.phase_begin = now();
  const auto compute = [&](Tick work) {
    wake_at(position, speed.finish(now(), static_cast<double>(work), 1));
  };
  switch (at) {
    case At::kIdle:
      break;
    case At::kLoad:
      wake_at(
          position,
          speed.finish_waiting(now(), machine.work->micro_batches[machine.micro_batch].data_load));
      break;
    case At::kForward:
      compute(machine.work->micro_batches[machine.micro_batch].forward);
      break;
    case At::kBackward:
      compute(machine.work->micro_batches[machine.micro_batch].backward);
      break;
    case At::kLastBackward:
      begin_part(position);
      break;
    case At::kSync:
      if (machine.done == calls_.reductions.size()) {
        times_[position].sync_end = now();
        enter(position, At::kOptimizer);
      }
      break;
    case At::kOptimizer:
      compute(machine.work->optimizer);
      break;
    case At::kGather:
      if (machine.done == call_count_) {
        enter(position, At::kOther);
      } else {
        machine.ready = call_count_;
        launch(position);
      }
      break;
    case At::kOther:
      compute(machine.work->other);
      break;
  }
}

void EventJob::phase_over(std::uint32_t position) {
  Machine& machine = machines_[position];
  const Tick begin = machine.phase_begin;
  switch (machine.at) {
    case At::kLoad:
      note(position, Stream::kLoader, Phase::kDataLoad, begin);
      enter(position, At::kForward);
      break;
    case At::kForward:
      note(position, Stream::kCompute, Phase::kForward, begin);
      enter(position,
            machine.micro_batch + 1 < machine.work->micro_batches.size() ? At::kBackward
                                                                         : At::kLastBackward);
      break;
    case At::kBackward:
      note(position, Stream::kCompute, Phase::kBackward, begin);
      ++machine.micro_batch;
      enter(position, At::kLoad);
      break;
    case At::kOptimizer:
      note(position, Stream::kCompute, Phase::kOptimizer, begin);
      enter(position, At::kGather);
      break;
    case At::kOther: {
      note(position, Stream::kCompute, Phase::kOther, begin);
      machine.at = At::kIdle;
      const std::int64_t ended = machine.step++;
      feed_.step_ended(position, ended, now());
      begin_step(position);
      break;
    }
    case At::kIdle:
    case At::kLastBackward:
    case At::kSync:
    case At::kGather:
      break;
  }
}

void EventJob::begin_part(std::uint32_t position) {
  Machine& machine = machines_[position];
  const std::size_t parts = calls_.reductions.size();
  const double from = machine.part == 0 ? 0 : calls_.reductions[machine.part - 1].ready_share;
  const double to = machine.part < parts ? calls_.reductions[machine.part].ready_share : 1;
  const Tick backward =
      machine.work->micro_batches.empty() ? 0 : machine.work->micro_batches.back().backward;
  const bool communicates = machine.launched > machine.done;
  machine.left = static_cast<double>(backward_part(backward, from, to));
  machine.since = now();
  wake_at(position,
          speeds_[position].finish(now(), machine.left, communicates ? overlap(position) : 1));
}

void EventJob::part_over(std::uint32_t position) {
  Machine& machine = machines_[position];
  const std::size_t parts = calls_.reductions.size();
  if (machine.part < parts) {
    // The next part begins first, so that the launch finds it and slows it down.
    ++machine.part;
    begin_part(position);
    ++machine.ready;
    if (launch(position)) {
      change_pace(position, 1, overlap(position));
    }
    return;
  }
  times_[position].ready = now();
  note(position, Stream::kCompute, Phase::kBackward, machine.phase_begin);
  enter(position, At::kSync);
}

void EventJob::change_pace(std::uint32_t position, double old_factor, double new_factor) {
  Machine& machine = machines_[position];
  if (machine.at != At::kLastBackward || old_factor == new_factor || machine.finish <= now()) {
    return;
  }
  machine.left = speeds_[position].left_at(machine.since, machine.left, old_factor, now());
  machine.since = now();
  wake_at(position, speeds_[position].finish(now(), machine.left, new_factor));
}

EventCollective& EventJob::collective(std::int64_t step, std::size_t call) {
  const std::size_t index = static_cast<std::size_t>(step % 2) * call_count_ + call;
  if (collective_step_[index] != step) {
    if (collective_step_[index] >= 0) {
      collectives_[index]->reset();
    }
    collective_step_[index] = step;
  }
  return *collectives_[index];
}

/// Takes up the next call if one is ready and the communication stream is free.
bool EventJob::launch(std::uint32_t position) {
  Machine& machine = machines_[position];
  if (machine.launched > machine.done || machine.launched == machine.ready) {
    return false;
  }
  begins_[machine.launched][position] = now();
  ++machine.launched;
  engine_.at(now() + plan_.collective_overhead, handler_, tag_of(position, kLaunchTimer));
  return true;
}

void EventJob::collective_done(std::uint32_t collective, std::uint32_t position) {
  Machine& machine = machines_[position];
  ends_[collective][position] = now();
  note(position,
       Stream::kCommunication,
       Phase::kGradientAllReduce,
       begins_[collective][position],
       bytes_of(collective));
  ++machine.done;
  // Where the next call follows at once backward stays slow without a break.
  if (!launch(position)) {
    change_pace(position, overlap(position), 1);
  }
  if (machine.at == At::kSync || machine.at == At::kGather) {
    enter(position, machine.at);
  }
}

std::vector<std::string> EventJob::waiting() const {
  std::vector<std::string> found;
  for (std::size_t i = 0; i < machines_.size(); ++i) {
    const Machine& machine = machines_[i];
    if (machine.at != At::kIdle) {
      found.push_back(fmt::format(
          "position {} in step {} waits for collective {}", i, machine.step, machine.done));
    }
  }
  return found;
}

std::int64_t EventJob::bytes_of(std::size_t call) const {
  const std::size_t reductions = calls_.reductions.size();
  return call < reductions ? calls_.reductions[call].bytes
                           : calls_.gathers[call - reductions].bytes;
}

void EventJob::note(
    std::uint32_t position, Stream stream, Phase phase, Tick begin, std::int64_t bytes) const {
  if (spans_ != nullptr && now() > begin) {
    spans_->push_back({.position = position,
                       .stream = stream,
                       .phase = phase,
                       .begin = begin,
                       .end = now(),
                       .bytes = bytes});
  }
}

}  // namespace vitsim
