#include "sim/step/array_executor.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "models/error.h"

// A program by recurrences. Ranks that do the same operations form a lane and go through them
// together, one operation after the other for all of them, so that the inner loops are plain
// arrays. When an operation begins follows from the ends of its stream's last operation and of
// those that it waits for. A collective is timed once its last member has come; until then a lane
// goes on with what does not wait for it. What is exact about this is that no two collectives of
// the job share a link at any time (ProgramGroups::links_are_apart, Communicator::arrays).
//
// Backward that runs slower beside communication needs to know when the rank's communication stream
// is busy. Every collective that can run beside it stands before it in the list and is timed first;
// of their busy stretches only the last unbroken one can reach into it, because a collective that
// did not follow at once was waiting for compute that is over by then.

namespace vitsim {

namespace {

constexpr std::size_t index_of(Stream stream) {
  return static_cast<std::size_t>(stream);
}

bool is_same_work(const Operation& a, const Operation& b) {
  if (a.stream != b.stream || a.phase != b.phase || a.after != b.after ||
      a.what.index() != b.what.index()) {
    return false;
  }
  if (const Compute* compute = a.compute()) {
    return compute->on_gpu == b.compute()->on_gpu;
  }
  if (const Collective* collective = a.collective()) {
    const Collective& other = *b.collective();
    return collective->kind == other.kind && collective->algorithm == other.algorithm &&
           collective->bytes == other.bytes && collective->axis == other.axis;
  }
  return false;  // transfers: neighbours must be free to run at different times
}

bool can_share_a_lane(const ClassProgram& a, const ClassProgram& b) {
  return std::ranges::equal(a.operations, b.operations, is_same_work);
}

bool has_transfers(const ClassProgram& program) {
  return std::ranges::any_of(program.operations, [](const Operation& operation) {
    return operation.transfer() != nullptr;
  });
}

/// Are there collectives on a second stream, which may meet those of the first on a link?
bool communicates_twice(const ClassProgram& program) {
  return std::ranges::any_of(program.operations, [](const Operation& operation) {
    return operation.stream == Stream::kReplicas;
  });
}

/// `duration` ticks after `at`, rounded half up.
inline Tick rounded_end(Tick at, double duration) {
  return at + static_cast<Tick>(std::floor(duration + 0.5));
}

/// ComputeSpeed::finish_beside at constant speed.
inline Tick finish_beside(Tick at, Tick work, double overlap, const BusyInterval& busy) {
  auto left = static_cast<double>(work);
  if (work == 0 || busy.end <= at) {
    return at + work;
  }
  if (at < busy.begin) {
    if (at + work <= busy.begin) {
      return at + work;
    }
    left -= static_cast<double>(busy.begin - at);
    at = busy.begin;
  }
  const Tick end = rounded_end(at, left * overlap);
  if (end <= busy.end) {
    return end;
  }
  left = std::max(0.0, left - static_cast<double>(busy.end - at) / overlap);
  return rounded_end(busy.end, left);
}

}  // namespace

void CallTimer::run(std::span<const Tick> starts, std::span<Tick> ends) {
  if (together_) {
    const Tick end = *std::ranges::max_element(starts) + *together_;
    check_clock(end);
    std::ranges::fill(ends, end);
  } else {
    arrays_->run(starts, ends);
  }
}

ArrayExecutor::ArrayExecutor(const StepProgram& program) : program_(program) {
  for (const GroupAxis& axis : program.axes) {
    places_.push_back(axis.groups.empty() ? std::vector<GroupPlace>()
                                          : group_places(axis, program.positions()));
  }
  make_lanes();
}

std::optional<ArrayExecutor> ArrayExecutor::make(const StepProgram& program,
                                                 const ProgramGroups& groups) {
  const bool one_group = program.axes.size() == 1 && program.axes[0].groups.empty() &&
                         std::ranges::none_of(program.classes, has_transfers) &&
                         std::ranges::none_of(program.classes, communicates_twice);
  const bool is_exact = one_group || groups.links_are_apart(program);
  if (!is_exact && std::ranges::any_of(program.classes, communicates_twice)) {
    return std::nullopt;
  }
  ArrayExecutor executor(program);
  executor.message_ = [&groups](const Transfer& transfer, std::uint32_t position) {
    return Message{.peer = groups.peer(transfer, position),
                   .duration = groups.message_alone(transfer, position)};
  };
  const auto timer = [&](const Collective& collective,
                         std::uint32_t group) -> std::optional<CallTimer> {
    if (!is_exact) {
      // Libraries that load links at once share them by known parts; messages in steps do not.
      const auto time =
          is_nccl(collective.algorithm) ? groups.together(collective, group) : std::nullopt;
      return time ? std::optional<CallTimer>(*time) : std::nullopt;
    }
    auto arrays = groups.group(collective.axis, group)
                      .arrays_or_estimate(collective.kind, collective.algorithm, collective.bytes);
    return arrays ? std::optional<CallTimer>(std::move(*arrays)) : std::nullopt;
  };
  if (!is_exact && program.axes.size() == 1) {
    return std::nullopt;
  }
  return executor.add_timers(timer) ? std::optional(std::move(executor)) : std::nullopt;
}

std::optional<ArrayExecutor> ArrayExecutor::make_of_classes(const StepProgram& program,
                                                            const TimerOf& timer,
                                                            MessageOf message) {
  if (std::ranges::any_of(program.classes, communicates_twice)) {
    return std::nullopt;
  }
  ArrayExecutor executor(program);
  executor.message_ = std::move(message);
  return executor.add_timers(timer) ? std::optional(std::move(executor)) : std::nullopt;
}

/// Compute that is slower beside communication must know every communication that can run beside
/// it: none may begin during it that stands behind it in the list, or because of another stream.
bool ArrayExecutor::can_tell_what_runs_beside() const {
  for (const ClassProgram& each : program_.classes) {
    std::optional<std::uint32_t> slowed;  // the last such compute
    for (std::uint32_t i = 0; i < each.operations.size(); ++i) {
      const Operation& operation = each.operations[i];
      if (operation.compute() != nullptr && operation.compute()->overlap_slowdown != 1) {
        slowed = i;
      }
      if (operation.stream == Stream::kReplicas) {
        return false;  // a second stream: what is busy is the union of both
      }
      if (operation.stream != Stream::kCommunication) {
        continue;
      }
      bool waits_for_slowed = !slowed;
      for (const std::uint32_t before : operation.after) {
        const Stream stream = each.operations[before].stream;
        if (stream != Stream::kCompute && stream != Stream::kCommunication) {
          return false;
        }
        waits_for_slowed |= slowed && stream == Stream::kCompute && before >= *slowed;
      }
      if (!waits_for_slowed) {
        return false;
      }
    }
  }
  return true;
}

bool ArrayExecutor::add_timers(const TimerOf& timer) {
  if (slows_beside_ && !can_tell_what_runs_beside()) {
    return false;
  }
  // By class and axis: the groups in which ranks of the class are.
  std::vector<std::vector<std::set<std::uint32_t>>> groups(
      program_.classes.size(), std::vector<std::set<std::uint32_t>>(program_.axes.size()));
  for (std::uint32_t axis = 0; axis < program_.axes.size(); ++axis) {
    for (std::uint32_t i = 0; i < program_.positions(); ++i) {
      groups[program_.class_of[i]][axis].insert(place(axis, i).group);
    }
  }
  for (std::size_t of = 0; of < program_.classes.size(); ++of) {
    for (const Operation& operation : program_.classes[of].operations) {
      const Collective* collective = operation.collective();
      if (collective == nullptr) {
        continue;
      }
      for (const std::uint32_t group : groups[of][collective->axis]) {
        const auto key = std::tuple(
            collective->kind, collective->algorithm, collective->bytes, collective->axis, group);
        if (timers_.contains(key)) {
          continue;
        }
        std::optional<CallTimer> made = timer(*collective, group);
        if (!made) {
          return false;
        }
        timers_.emplace(key, std::move(*made));
      }
    }
  }
  return true;
}

void ArrayExecutor::make_lanes() {
  std::vector<std::size_t> lane_of(program_.classes.size(), SIZE_MAX);
  for (std::size_t each = 0; each < program_.classes.size(); ++each) {
    const ClassProgram& mine = program_.classes[each];
    for (std::size_t lane = 0; lane < lanes_.size() && lane_of[each] == SIZE_MAX; ++lane) {
      if (can_share_a_lane(*lanes_[lane].program, mine)) {
        lane_of[each] = lane;
      }
    }
    if (lane_of[each] == SIZE_MAX) {
      lane_of[each] = lanes_.size();
      lanes_.push_back({.program = &mine});
    }
    slows_beside_ |= std::ranges::any_of(mine.operations, [](const Operation& operation) {
      return operation.compute() != nullptr && operation.compute()->overlap_slowdown != 1;
    });
  }
  for (std::uint32_t i = 0; i < program_.positions(); ++i) {
    Lane& lane = lanes_[lane_of[program_.class_of[i]]];
    if (has_transfers(*lane.program) && !lane.positions.empty()) {
      // Ranks that exchange messages may wait for each other: each goes on by itself.
      lanes_.push_back({.program = lane.program, .positions = {i}});
    } else {
      lane.positions.push_back(i);
    }
  }
  for (Lane& lane : lanes_) {
    const std::vector<Operation>& operations = lane.program->operations;
    lane.is_everybody = lane.positions.size() == program_.positions();
    lane.is_saved.resize(operations.size());
    lane.saved.resize(operations.size());
    lane.call.resize(operations.size());
    lane.known.resize(operations.size());
    std::vector<std::uint32_t> calls(program_.axes.size());
    std::array<std::size_t, kStreams> last{};  // by stream: the operation that was listed last
    last.fill(SIZE_MAX);
    for (std::size_t i = 0; i < operations.size(); ++i) {
      for (const std::uint32_t before : operations[i].after) {
        const std::size_t stream = index_of(operations[before].stream);
        if (last[stream] != before && stream != index_of(operations[i].stream)) {
          lane.is_saved[before] = true;
        }
      }
      if (const Collective* collective = operations[i].collective()) {
        lane.call[i] = calls[collective->axis]++;
      }
      last[index_of(operations[i].stream)] = i;
    }
    for (std::size_t i = 0; i < operations.size(); ++i) {
      lane.saved[i].resize(lane.is_saved[i] ? lane.positions.size() : 0);
    }
  }
}

GroupPlace ArrayExecutor::place(std::uint32_t axis, std::uint32_t position) const {
  return places_[axis].empty() ? GroupPlace{.group = 0, .index = position}
                               : places_[axis][position];
}

std::size_t ArrayExecutor::group_size(std::uint32_t axis, std::uint32_t group) const {
  const auto& groups = program_.axes[axis].groups;
  return groups.empty() ? program_.positions() : groups[group].size();
}

void ArrayExecutor::run(const OperationTicks& ticks,
                        std::span<const Tick> starts,
                        std::span<const ComputeSpeed> speeds,
                        std::span<Tick> step_end,
                        StepTimes* times) {
  VITSIM_CHECK(starts.size(), ==, program_.positions());
  ticks_ = &ticks;
  const bool constant = std::ranges::all_of(speeds, &ComputeSpeed::is_constant);
  speeds_ = constant ? std::span<const ComputeSpeed>() : speeds;
  times_ = times;
  for (std::vector<Tick>& stream : stream_end_) {
    stream.assign(starts.begin(), starts.end());
  }
  for (std::vector<Tick>& stream : call_begin_) {
    stream.resize(starts.size());
  }
  if (slows_beside_) {
    busy_.assign(starts.size(), {});
  }
  for (auto& [key, call] : calls_) {
    call.arrived = 0;
    call.done = false;
  }
  sends_.clear();
  received_.clear();
  for (Lane& lane : lanes_) {
    lane.next = 0;
    lane.pending.clear();
    lane.known.assign(lane.known.size(), false);
  }
  for (;;) {
    bool all_over = true;
    bool moved = false;
    for (Lane& lane : lanes_) {
      moved |= advance(lane);
      all_over &= lane.next == lane.program->operations.size() && lane.pending.empty();
    }
    if (all_over) {
      break;
    }
    if (!moved) {
      fail_stuck();
    }
  }
  for (std::size_t i = 0; i < step_end.size(); ++i) {
    Tick end = stream_end_[0][i];
    for (std::size_t stream = 1; stream < kStreams; ++stream) {
      end = std::max(end, stream_end_[stream][i]);
    }
    step_end[i] = end;
  }
  if (!step_end.empty()) {
    check_clock(*std::ranges::max_element(step_end));
  }
  if (times != nullptr) {
    std::ranges::copy(step_end, times->step_end.begin());
  }
}

/// Goes through the lane's operations as far as they can be told. Returns whether it got anywhere.
bool ArrayExecutor::advance(Lane& lane) {
  const std::vector<Operation>& operations = lane.program->operations;
  bool moved = false;
  // Collectives that were joined earlier may have been timed since.
  std::erase_if(lane.pending, [&](std::size_t i) {
    const bool known = operations[i].collective() != nullptr ? complete(lane, i) : receive(lane, i);
    moved |= known;
    return known;
  });
  while (lane.next < operations.size() && can_run(lane, lane.next)) {
    const std::size_t i = lane.next++;
    moved = true;
    if (is_plain(lane, i)) {
      if (operations[i].compute() != nullptr) {
        compute_plainly(lane, i);
      } else {
        communicate_plainly(lane, i);
      }
      lane.known[i] = true;
    } else if (operations[i].compute() != nullptr) {
      compute(lane, i);
    } else if (operations[i].collective() != nullptr) {
      arrive(lane, i);
      if (!complete(lane, i)) {
        lane.pending.push_back(i);
      }
    } else if (operations[i].transfer()->direction == Transfer::Direction::kSend) {
      send(lane, i);
    } else {
      const auto stream = index_of(operations[i].stream);
      call_begin_[stream][lane.positions.front()] = begin_of(lane, i, 0);
      if (!receive(lane, i)) {
        lane.pending.push_back(i);
      }
    }
  }
  return moved;
}

bool ArrayExecutor::can_run(const Lane& lane, std::size_t operation) const {
  const std::vector<Operation>& operations = lane.program->operations;
  const Operation& mine = operations[operation];
  if (!std::ranges::all_of(mine.after, [&](std::uint32_t before) { return lane.known[before]; })) {
    return false;
  }
  const bool beside = mine.compute() != nullptr && slows_beside_;
  // A stream's last operation is known only if those before it are.
  bool look_for_own = true;
  bool look_for_communication = beside;
  for (std::size_t i = operation; i-- > 0 && (look_for_own || look_for_communication);) {
    const bool is_own = look_for_own && operations[i].stream == mine.stream;
    const bool may_slow_it =
        look_for_communication && operations[i].stream == Stream::kCommunication;
    if ((is_own || may_slow_it) && !lane.known[i]) {
      return false;
    }
    look_for_own &= !is_own;
    look_for_communication &= !may_slow_it;
  }
  return true;
}

Tick ArrayExecutor::begin_of(const Lane& lane, std::size_t operation, std::size_t index) const {
  const std::vector<Operation>& operations = lane.program->operations;
  const Operation& mine = operations[operation];
  const std::uint32_t position = lane.positions[index];
  Tick begin = stream_end_[index_of(mine.stream)][position];
  for (const std::uint32_t before : mine.after) {
    begin = std::max(begin,
                     lane.is_saved[before]
                         ? lane.saved[before][index]
                         : stream_end_[index_of(operations[before].stream)][position]);
  }
  return begin;
}

void ArrayExecutor::note(
    Lane& lane, std::size_t operation, std::size_t index, Tick begin, Tick end) {
  const std::uint32_t position = lane.positions[index];
  stream_end_[index_of(lane.program->operations[operation].stream)][position] = end;
  if (lane.is_saved[operation]) {
    lane.saved[operation][index] = end;
  }
  if (times_ != nullptr) {
    times_->begins(operation)[position] = begin;
    times_->ends(operation)[position] = end;
  }
}

/// Most programs are one lane in one group, nothing disturbs them, and nobody asks for the times of
/// their operations: then an operation is one pass over arrays.
bool ArrayExecutor::is_plain(const Lane& lane, std::size_t operation) const {
  const Operation& mine = lane.program->operations[operation];
  const bool one_group =
      mine.collective() == nullptr || (mine.stream == Stream::kCommunication &&
                                       program_.axes[mine.collective()->axis].groups.empty());
  return lane.is_everybody && one_group && mine.transfer() == nullptr && times_ == nullptr &&
         speeds_.empty() && !lane.is_saved[operation] &&
         std::ranges::none_of(mine.after,
                              [&](std::uint32_t before) { return lane.is_saved[before]; });
}

/// Ends of the other streams that an operation waits for, by position.
std::vector<const Tick*> ArrayExecutor::waited_for(const Lane& lane, std::size_t operation) const {
  const std::vector<Operation>& operations = lane.program->operations;
  std::vector<const Tick*> ends;
  for (const std::uint32_t before : operations[operation].after) {
    if (operations[before].stream != operations[operation].stream) {
      ends.push_back(stream_end_[index_of(operations[before].stream)].data());
    }
  }
  return ends;
}

void ArrayExecutor::compute_plainly(const Lane& lane, std::size_t operation) {
  std::vector<Tick>& now = stream_end_[index_of(lane.program->operations[operation].stream)];
  for (const Tick* ends : waited_for(lane, operation)) {
    for (std::size_t i = 0; i < now.size(); ++i) {
      now[i] = std::max(now[i], ends[i]);
    }
  }
  std::vector<Tick> work(ticks_->rows());
  for (std::size_t row = 0; row < work.size(); ++row) {
    work[row] = ticks_->in_row(operation, row);
  }
  const bool by_position = ticks_->is_by_position();
  const std::uint32_t* class_of = program_.class_of.data();
  Tick latest = 0;
  if (!slows_beside_) {
    for (std::size_t i = 0; i < now.size(); ++i) {
      now[i] += work[by_position ? i : class_of[i]];
      latest = std::max(latest, now[i]);
    }
  } else {
    std::vector<double> overlap;
    for (const ClassProgram& each : program_.classes) {
      overlap.push_back(each.operations[operation].compute()->overlap_slowdown);
    }
    for (std::size_t i = 0; i < now.size(); ++i) {
      const Tick mine = work[by_position ? i : class_of[i]];
      const double slow = overlap[class_of[i]];
      now[i] = slow == 1 ? now[i] + mine : finish_beside(now[i], mine, slow, busy_[i]);
      latest = std::max(latest, now[i]);
    }
  }
  check_clock(latest);
}

void ArrayExecutor::communicate_plainly(const Lane& lane, std::size_t operation) {
  const Collective& collective = *lane.program->operations[operation].collective();
  std::vector<Tick>& now = stream_end_[index_of(Stream::kCommunication)];
  for (const Tick* ends : waited_for(lane, operation)) {
    for (std::size_t i = 0; i < now.size(); ++i) {
      now[i] = std::max(now[i], ends[i]);
    }
  }
  std::vector<Tick>& begins = call_begin_[index_of(Stream::kCommunication)];
  if (slows_beside_) {
    begins = now;
  }
  for (Tick& begin : now) {
    begin += program_.collective_overhead;
  }
  timers_.at({collective.kind, collective.algorithm, collective.bytes, collective.axis, 0})
      .run(now, now);
  for (std::uint32_t i = 0; slows_beside_ && i < now.size(); ++i) {
    mark_busy(i, begins[i], now[i]);
  }
}

void ArrayExecutor::mark_busy(std::uint32_t position, Tick begin, Tick end) {
  if (slows_beside_ && end > begin) {
    BusyInterval& busy = busy_[position];
    busy = {.begin = busy.end == begin && busy.end > busy.begin ? busy.begin : begin, .end = end};
  }
}

void ArrayExecutor::compute(Lane& lane, std::size_t operation) {
  const Compute& compute = *lane.program->operations[operation].compute();
  Tick latest = 0;
  for (std::size_t index = 0; index < lane.positions.size(); ++index) {
    const std::uint32_t position = lane.positions[index];
    const Tick begin = begin_of(lane, operation, index);
    const Tick work = ticks_->at(operation, position);
    const double overlap =
        slows_beside_ ? program_.of(position).operations[operation].compute()->overlap_slowdown : 1;
    Tick end = 0;
    if (speeds_.empty()) {
      end = overlap == 1 ? begin + work : finish_beside(begin, work, overlap, busy_[position]);
    } else if (!compute.on_gpu) {
      end = speeds_[position].finish_waiting(begin, work);
    } else if (overlap == 1) {
      end = speeds_[position].finish(begin, static_cast<double>(work), 1);
    } else {
      end = speeds_[position].finish_beside(begin, work, overlap, busy_[position]);
    }
    latest = std::max(latest, end);
    note(lane, operation, index, begin, end);
  }
  check_clock(latest);
  lane.known[operation] = true;
}

void ArrayExecutor::arrive(Lane& lane, std::size_t operation) {
  const Collective& collective = *lane.program->operations[operation].collective();
  const auto join = [&](Call& call, std::uint32_t member, Tick begin) {
    call.begins[member] = begin + program_.collective_overhead;
    ++call.arrived;
  };
  std::vector<Tick>& begins = call_begin_[index_of(lane.program->operations[operation].stream)];
  Call* call = nullptr;
  std::uint32_t group = 0;
  for (std::size_t index = 0; index < lane.positions.size(); ++index) {
    const GroupPlace where = place(collective.axis, lane.positions[index]);
    if (call == nullptr || where.group != group) {
      group = where.group;
      call = &calls_[{collective.axis, group, lane.call[operation]}];
      call->begins.resize(group_size(collective.axis, group));
    }
    const Tick begin = begin_of(lane, operation, index);
    begins[lane.positions[index]] = begin;
    join(*call, where.index, begin);
  }
}

/// Takes over the ends of a collective for all positions of the lane, once all its groups are
/// timed.
bool ArrayExecutor::complete(Lane& lane, std::size_t operation) {
  const Collective& collective = *lane.program->operations[operation].collective();
  const Call* call = nullptr;
  std::uint32_t group = 0;
  const auto find = [&](std::size_t index) {
    const GroupPlace where = place(collective.axis, lane.positions[index]);
    if (call == nullptr || where.group != group) {
      group = where.group;
      Call& found = calls_.at({collective.axis, group, lane.call[operation]});
      if (!found.done && found.arrived == found.begins.size()) {
        timers_
            .at({collective.kind, collective.algorithm, collective.bytes, collective.axis, group})
            .run(found.begins, found.begins);
        found.done = true;
      }
      call = &found;
    }
    return where.index;
  };
  for (std::size_t index = 0; index < lane.positions.size(); ++index) {
    find(index);
    if (!call->done) {
      return false;
    }
  }
  const std::vector<Tick>& begins =
      call_begin_[index_of(lane.program->operations[operation].stream)];
  for (std::size_t index = 0; index < lane.positions.size(); ++index) {
    const std::uint32_t member = find(index);
    const Tick end = call->begins[member];
    const Tick begin = begins[lane.positions[index]];
    mark_busy(lane.positions[index], begin, end);
    note(lane, operation, index, begin, end);
  }
  lane.known[operation] = true;
  return true;
}

void ArrayExecutor::send(Lane& lane, std::size_t operation) {
  const Transfer& transfer = *lane.program->operations[operation].transfer();
  for (std::size_t index = 0; index < lane.positions.size(); ++index) {
    const std::uint32_t from = lane.positions[index];
    const Message message = message_(transfer, from);
    const Tick begin = begin_of(lane, operation, index);
    const Tick end = begin + message.duration;
    sends_[{transfer.axis, from, message.peer}].push_back(end);
    mark_busy(from, begin, end);
    note(lane, operation, index, begin, end);
  }
  lane.known[operation] = true;
}

bool ArrayExecutor::receive(Lane& lane, std::size_t operation) {
  const Transfer& transfer = *lane.program->operations[operation].transfer();
  VITSIM_CHECK(lane.positions.size(), ==, 1U);
  const std::uint32_t to = lane.positions.front();
  const PairKey pair{transfer.axis, message_(transfer, to).peer, to};
  const std::vector<Tick>& arrivals = sends_[pair];
  std::size_t& received = received_[pair];
  if (received >= arrivals.size()) {
    return false;
  }
  const Tick begin = call_begin_[index_of(lane.program->operations[operation].stream)][to];
  const Tick end = std::max(begin, arrivals[received++]);
  mark_busy(to, begin, end);
  note(lane, operation, 0, begin, end);
  lane.known[operation] = true;
  return true;
}

void ArrayExecutor::fail_stuck() const {
  std::vector<std::string> waiting;
  for (const Lane& lane : lanes_) {
    const std::vector<Operation>& operations = lane.program->operations;
    for (std::size_t i = 0; i < operations.size(); ++i) {
      if (!lane.known[i]) {
        waiting.push_back(fmt::format("positions {} wait in {}{}",
                                      fmt::join(lane.positions, ", "),
                                      describe(operations[i], i),
                                      i < lane.next ? " for the others" : ""));
        break;
      }
    }
  }
  throw InternalError(fmt::format("a step does not end: {}", fmt::join(waiting, "; ")));
}

}  // namespace vitsim
