#include "sim/step/event_executor.h"

#include <algorithm>

#include <fmt/format.h>

#include "models/error.h"

// Timers carry a position and a stream. A change of pace leaves an outdated timer behind: only one
// that rings at its lane's `finish` counts.

namespace vitsim {

namespace {

// Messages between neighbours travel on channels of their own, apart from those of collectives.
constexpr std::uint32_t kTransferChannel = 1000;

constexpr std::size_t kCompute = static_cast<std::size_t>(Stream::kCompute);

constexpr bool communicates_on(std::size_t stream) {
  return is_communication(static_cast<Stream>(stream));
}

constexpr std::uint64_t pack(std::uint64_t a, std::uint64_t b, std::uint64_t c) {
  return a << 44U | b << 20U | c;
}

}  // namespace

/// Hears of delivered transfers.
// NOLINTNEXTLINE(cppcoreguidelines-virtual-class-destructor): final, never deleted by its base.
class EventExecutor::MailHandler final : public EventHandler {
 public:
  explicit MailHandler(EventExecutor& executor) : executor_(executor) {}

  void on_event(std::uint32_t tag) override {
    const auto [position, mail] = executor_.sending_[tag];
    const std::uint32_t stream = executor_.sending_stream_[tag];
    executor_.free_tags_.push_back(tag);
    Mail& arrived = executor_.mails_[mail];
    ++arrived.delivered;
    std::vector<PendingTransfer> ready;
    while (!arrived.receivers.empty() && arrived.taken < arrived.delivered) {
      ready.push_back(arrived.receivers.front());
      arrived.receivers.erase(arrived.receivers.begin());
      ++arrived.taken;
    }
    executor_.finished(position, stream);
    for (const PendingTransfer& receiver : ready) {
      executor_.finished(receiver.position, receiver.stream);
    }
  }

 private:
  EventExecutor& executor_;
};

EventExecutor::EventExecutor(FlowEngine& engine,
                             const ProgramGroups& groups,
                             std::span<const ComputeSpeed> speeds,
                             std::size_t most_operations,
                             StepFeed& feed)
    : engine_(engine),
      groups_(groups),
      speeds_(speeds),
      feed_(feed),
      handler_(engine.add_handler(*this)),
      mail_handler_(std::make_unique<MailHandler>(*this)),
      mail_handler_id_(engine.add_handler(*mail_handler_)),
      machines_(groups.positions()),
      times_(groups.positions(), most_operations) {}

EventExecutor::~EventExecutor() = default;

const EventExecutor::Order& EventExecutor::order_of(const ClassProgram& program) {
  std::unique_ptr<Order>& order = orders_[&program];
  if (order != nullptr) {
    return *order;
  }
  order = std::make_unique<Order>();
  const std::vector<Operation>& operations = program.operations;
  order->successors.resize(operations.size());
  order->predecessors.resize(operations.size());
  order->next_on_stream.assign(operations.size(), kNone);
  order->call.resize(operations.size());
  order->first.fill(kNone);
  std::array<std::uint32_t, kStreams> last{};
  last.fill(kNone);
  std::vector<std::uint32_t> calls;
  for (std::uint32_t i = 0; i < operations.size(); ++i) {
    for (const std::uint32_t before : operations[i].after) {
      order->successors[before].push_back(i);
      ++order->predecessors[i];
    }
    const auto stream = static_cast<std::size_t>(operations[i].stream);
    (last[stream] == kNone ? order->first[stream] : order->next_on_stream[last[stream]]) = i;
    last[stream] = i;
    if (const Collective* collective = operations[i].collective()) {
      calls.resize(std::max<std::size_t>(calls.size(), collective->axis + 1));
      order->call[i] = calls[collective->axis]++;
    }
  }
  return *order;
}

void EventExecutor::begin(std::uint32_t position, Tick time) {
  Machine& machine = machines_[position];
  machine.idle = true;
  machine.lanes[kCompute].finish = time;
  engine_.at(time, handler_, static_cast<std::uint32_t>(position * kStreams + kCompute));
}

void EventExecutor::on_event(std::uint32_t tag) {
  const auto position = static_cast<std::uint32_t>(tag / kStreams);
  const std::size_t stream = tag % kStreams;
  Machine& machine = machines_[position];
  Lane& lane = machine.lanes[stream];
  if (!machine.idle && lane.running) {
    const Operation& running = operation(machine, position, lane.head);
    if (running.collective() != nullptr) {
      call(position, lane.head)
          .collective->start(groups_.place(running.collective()->axis, position).index);
      return;
    }
  }
  if (now() != lane.finish) {
    return;
  }
  lane.finish = -1;
  if (machine.idle) {
    begin_step(position);
  } else if (lane.running) {
    finished(position, stream);
  }
}

void EventExecutor::begin_step(std::uint32_t position) {
  Machine& machine = machines_[position];
  machine.work = feed_.next_step(position, machine.step);
  machine.idle = machine.work == nullptr;
  if (machine.idle) {
    return;
  }
  const ClassProgram& program = machine.work->program->of(position);
  machine.order = &order_of(program);
  machine.step_begin = now();
  machine.left = program.operations.size();
  machine.waiting = machine.order->predecessors;
  for (std::size_t stream = 0; stream < kStreams; ++stream) {
    machine.lanes[stream] = {.head = machine.order->first[stream]};
  }
  if (machine.left == 0) {
    // A step without operations ends as it begins; the feed decides whether another follows.
    machine.idle = true;
    feed_.step_ended(position, machine.step++, now(), now());
    begin(position, now());
    return;
  }
  start_ready(position);
}

/// Starts whatever can start: compute first, so that a collective finds it and slows it down.
void EventExecutor::start_ready(std::uint32_t position) {
  const bool was_communicating = communicates(machines_[position]);
  for (std::size_t stream = 0; stream < kStreams; ++stream) {
    if (!communicates_on(stream)) {
      start_head(position, stream);
    }
  }
  for (std::size_t stream = 0; stream < kStreams; ++stream) {
    if (communicates_on(stream) && start_head(position, stream) && !was_communicating) {
      change_pace(position, true);
    }
  }
}

bool EventExecutor::start_head(std::uint32_t position, std::size_t stream) {
  Machine& machine = machines_[position];
  Lane& lane = machine.lanes[stream];
  if (machine.idle || lane.running || lane.head == kNone || machine.waiting[lane.head] != 0) {
    return false;
  }
  start(position, stream, lane.head);
  return true;
}

bool EventExecutor::communicates(const Machine& machine) const {
  for (std::size_t stream = 0; stream < kStreams; ++stream) {
    if (communicates_on(stream) && machine.lanes[stream].running) {
      return true;
    }
  }
  return false;
}

void EventExecutor::start(std::uint32_t position, std::size_t stream, std::uint32_t index) {
  Machine& machine = machines_[position];
  Lane& lane = machine.lanes[stream];
  lane.running = true;
  times_.begins(index)[position] = now();
  const Operation& mine = operation(machine, position, index);
  const auto tag = static_cast<std::uint32_t>(position * kStreams + stream);
  if (const Compute* compute = mine.compute()) {
    const Tick work = machine.work->ticks->at(index, position);
    const ComputeSpeed& speed = speeds_[position];
    if (!compute->on_gpu) {
      lane.finish = speed.finish_waiting(now(), work);
    } else {
      lane.left = static_cast<double>(work);
      lane.since = now();
      lane.finish =
          speed.finish(now(), lane.left, communicates(machine) ? compute->overlap_slowdown : 1);
    }
    engine_.at(lane.finish, handler_, tag);
  } else if (mine.collective() != nullptr) {
    const GroupPlace where = groups_.place(mine.collective()->axis, position);
    call(position, index).streams[where.index] = static_cast<std::uint8_t>(stream);
    engine_.at(now() + machine.work->program->collective_overhead, handler_, tag);
  } else {
    take_mail(position, stream, *mine.transfer());
  }
}

/// The running operation of a stream is over.
void EventExecutor::finished(std::uint32_t position, std::size_t stream) {
  Machine& machine = machines_[position];
  Lane& lane = machine.lanes[stream];
  const std::uint32_t index = lane.head;
  times_.ends(index)[position] = now();
  lane.running = false;
  lane.finish = -1;
  lane.head = machine.order->next_on_stream[index];
  for (const std::uint32_t successor : machine.order->successors[index]) {
    --machine.waiting[successor];
  }
  if (--machine.left == 0) {
    machine.idle = true;
    const std::int64_t ended = machine.step++;
    times_.step_end[position] = now();
    feed_.step_ended(position, ended, machine.step_begin, now());
    begin_step(position);
    return;
  }
  // Where the next collective follows at once compute stays slow without a break.
  if (communicates_on(stream) && !start_head(position, stream) && !communicates(machine)) {
    change_pace(position, false);
  }
  start_ready(position);
}

void EventExecutor::change_pace(std::uint32_t position, bool to_slow) {
  Machine& machine = machines_[position];
  Lane& lane = machine.lanes[kCompute];
  if (machine.idle || !lane.running || lane.finish <= now()) {
    return;
  }
  const Compute* compute = operation(machine, position, lane.head).compute();
  if (compute == nullptr || compute->overlap_slowdown == 1 || !compute->on_gpu) {
    return;
  }
  const double slow = compute->overlap_slowdown;
  lane.left = speeds_[position].left_at(lane.since, lane.left, to_slow ? 1 : slow, now());
  lane.since = now();
  lane.finish = speeds_[position].finish(now(), lane.left, to_slow ? slow : 1);
  engine_.at(lane.finish, handler_, static_cast<std::uint32_t>(position * kStreams + kCompute));
}

EventExecutor::ActiveCall& EventExecutor::call(std::uint32_t position, std::uint32_t index) {
  const Machine& machine = machines_[position];
  const Collective& collective = *operation(machine, position, index).collective();
  const GroupPlace where = groups_.place(collective.axis, position);
  const std::uint64_t group = std::uint64_t{collective.axis} << 20U | where.group;
  const std::uint64_t key =
      pack(static_cast<std::uint64_t>(machine.step) & 0xfffffU, group, machine.order->call[index]);
  const auto active = active_.find(key);
  if (active != active_.end()) {
    return calls_[active->second];
  }
  const FreeKey kind{
      collective.axis, where.group, collective.kind, collective.algorithm, collective.bytes};
  std::vector<std::uint32_t>& free = free_[kind];
  std::uint32_t slot = 0;
  const Communicator& members = groups_.group(collective.axis, where.group);
  if (!free.empty()) {
    slot = free.back();
    free.pop_back();
    calls_[slot].collective->reset();
  } else {
    slot = static_cast<std::uint32_t>(calls_.size());
    streams_.resize(std::max<std::size_t>(streams_.size(), collective.axis + 1));
    auto& sets = streams_[collective.axis];
    sets.resize(std::max<std::size_t>(sets.size(), where.group + 1));
    if (sets[where.group] == nullptr) {
      sets[where.group] = std::make_unique<StreamSet>(engine_, members.network(), members.ranks());
    }
    calls_.push_back({.collective = members.events(*sets[where.group],
                                                   collective.kind,
                                                   collective.algorithm,
                                                   collective.bytes,
                                                   *this,
                                                   slot),
                      .axis = collective.axis,
                      .group = where.group,
                      .kind = kind,
                      .streams = std::vector<std::uint8_t>(members.size())});
  }
  calls_[slot].key = key;
  calls_[slot].left = members.size();
  active_.emplace(key, slot);
  return calls_[slot];
}

void EventExecutor::collective_done(std::uint32_t collective, std::uint32_t member) {
  ActiveCall& call = calls_[collective];
  const std::uint32_t position = groups_.position(call.axis, call.group, member);
  const std::size_t stream = call.streams[member];
  if (--call.left == 0) {
    active_.erase(call.key);
    free_[call.kind].push_back(collective);
  }
  finished(position, stream);
}

EventExecutor::Mail& EventExecutor::mail(const Transfer& transfer,
                                         std::uint32_t from,
                                         std::uint32_t to) {
  const auto [entry, fresh] = mail_of_.try_emplace(pack(transfer.axis, from, to),
                                                   static_cast<std::uint32_t>(mails_.size()));
  if (fresh) {
    mails_.emplace_back();
  }
  return mails_[entry->second];
}

void EventExecutor::take_mail(std::uint32_t position,
                              std::size_t stream,
                              const Transfer& transfer) {
  const std::uint32_t peer = groups_.peer(transfer, position);
  const auto on = static_cast<std::uint32_t>(stream);
  if (transfer.direction == Transfer::Direction::kReceive) {
    Mail& mine = mail(transfer, peer, position);
    if (mine.receivers.empty() && mine.taken < mine.delivered) {
      ++mine.taken;
      // By a timer, so that nothing ends inside of what started it.
      machines_[position].lanes[stream].finish = now();
      engine_.at(now(), handler_, static_cast<std::uint32_t>(position * kStreams + stream));
    } else {
      mine.receivers.push_back({.position = position, .stream = on});
    }
    return;
  }
  Mail& mine = mail(transfer, position, peer);
  const auto number = static_cast<std::uint32_t>(&mine - mails_.data());
  std::uint32_t tag = 0;
  if (free_tags_.empty()) {
    tag = static_cast<std::uint32_t>(sending_.size());
    sending_.emplace_back();
    sending_stream_.emplace_back();
  } else {
    tag = free_tags_.back();
    free_tags_.pop_back();
  }
  sending_[tag] = {position, number};
  sending_stream_[tag] = on;
  const GroupPlace from = groups_.place(transfer.axis, position);
  const GroupPlace to = groups_.place(transfer.axis, peer);
  streams_.resize(std::max<std::size_t>(streams_.size(), transfer.axis + 1));
  auto& sets = streams_[transfer.axis];
  sets.resize(std::max<std::size_t>(sets.size(), from.group + 1));
  if (sets[from.group] == nullptr) {
    const Communicator& members = groups_.group(transfer.axis, from.group);
    sets[from.group] = std::make_unique<StreamSet>(engine_, members.network(), members.ranks());
  }
  engine_.send(sets[from.group]->between(kTransferChannel, from.index, to.index),
               transfer.bytes,
               mail_handler_id_,
               tag);
}

std::vector<std::string> EventExecutor::waiting() const {
  std::vector<std::string> found;
  for (std::uint32_t i = 0; i < machines_.size(); ++i) {
    const Machine& machine = machines_[i];
    for (std::size_t stream = 0; !machine.idle && stream < kStreams; ++stream) {
      const Lane& lane = machine.lanes[stream];
      if (lane.head == kNone) {
        continue;
      }
      const Operation& head = operation(machine, i, lane.head);
      std::string what = fmt::format(
          "rank {} in step {}: {} ", groups_.ranks()[i], machine.step, describe(head, lane.head));
      if (lane.running) {
        what += head.compute() != nullptr ? "runs" : "waits for the others";
      } else {
        std::string behind;
        for (const std::uint32_t before : head.after) {
          const auto& successors = machine.order->successors[before];
          if (std::ranges::find(successors, lane.head) != successors.end()) {
            behind +=
                (behind.empty() ? "" : ", ") + describe(operation(machine, i, before), before);
          }
        }
        what += fmt::format("waits for {} of: {}", machine.waiting[lane.head], behind);
      }
      found.push_back(std::move(what));
    }
  }
  for (const auto& [key, slot] : active_) {
    const std::vector<std::string> members = calls_[slot].collective->waiting();
    constexpr std::size_t kMost = 8;
    for (std::size_t i = 0; i < std::min(kMost, members.size()); ++i) {
      found.push_back(members[i]);
    }
  }
  return found;
}

}  // namespace vitsim
