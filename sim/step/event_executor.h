#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "sim/collective/event_collective.h"
#include "sim/collective/stream_set.h"
#include "sim/step/compute_speed.h"
#include "sim/step/groups.h"
#include "sim/step/program.h"
#include "sim/step/step_times.h"

namespace vitsim {

/// A program with the durations of its compute: what one step of a job consists of.
struct StepWork {
  const StepProgram* program = nullptr;
  const OperationTicks* ticks = nullptr;
};

/// Where the steps of a job come from and go to, at event level.
class StepFeed {
 public:
  virtual ~StepFeed() = default;

  /// Work of one position's step, or nullptr where the job is over for it.
  virtual const StepWork* next_step(std::uint32_t position, std::int64_t step) = 0;

  /// The position has ended its step, which began at `begin`; `end` is now. The times of its
  /// operations stand in EventExecutor::times() until its next step begins.
  virtual void step_ended(std::uint32_t position, std::int64_t step, Tick begin, Tick end) = 0;
};

/// A training job at event level: every rank goes through the operations of its program, each of
/// its streams by itself. Several jobs may share one engine. Ranks run on into their next step by
/// themselves, as the feed allows.
// NOLINTNEXTLINE(cppcoreguidelines-virtual-class-destructor): final, never deleted by its bases.
class EventExecutor final : public EventHandler, public CollectiveListener {
 public:
  /// All arguments must outlive it; `most_operations` is the longest list of any program fed.
  EventExecutor(FlowEngine& engine,
                const ProgramGroups& groups,
                std::span<const ComputeSpeed> speeds,
                std::size_t most_operations,
                StepFeed& feed);
  EventExecutor(const EventExecutor&) = delete;
  EventExecutor& operator=(const EventExecutor&) = delete;
  ~EventExecutor() override;

  /// Position `position` begins its next step at `time`, as the feed allows.
  void begin(std::uint32_t position, Tick time);

  void on_event(std::uint32_t tag) override;
  void collective_done(std::uint32_t collective, std::uint32_t member) override;

  /// Of each position's last step.
  [[nodiscard]] const StepTimes& times() const { return times_; }

  /// Who waits for what, where a step is not over.
  [[nodiscard]] std::vector<std::string> waiting() const;

 private:
  static constexpr std::size_t kStreams = kStreamNames.size();
  static constexpr std::uint32_t kNone = 0xffffffff;

  /// How the operations of one class follow each other.
  struct Order {
    std::vector<std::vector<std::uint32_t>> successors;  // by operation
    std::vector<std::uint32_t> predecessors;             // by operation: how many
    std::vector<std::uint32_t> next_on_stream;           // by operation
    std::array<std::uint32_t, kStreams> first{};         // by stream
    std::vector<std::uint32_t> call;                     // by operation: among its axis's
  };

  /// One of a rank's streams.
  struct Lane {
    std::uint32_t head = kNone;  // the running operation, or the next
    bool running = false;
    Tick finish = -1;  // of running compute
    double left = 0;   // work of running compute at `since`
    Tick since = 0;
  };

  struct Machine {
    const StepWork* work = nullptr;
    const Order* order = nullptr;
    std::int64_t step = 0;
    Tick step_begin = 0;
    bool idle = true;
    std::size_t left = 0;                // operations that are not over
    std::vector<std::uint32_t> waiting;  // by operation: predecessors that are not over
    std::array<Lane, kStreams> lanes;
  };

  struct PendingTransfer {
    std::uint32_t position = 0;
    std::uint32_t stream = 0;
  };

  using FreeKey = std::tuple<std::uint32_t, std::uint32_t, CollectiveKind, Algorithm, std::int64_t>;

  /// A collective of one group in one step, or a free one of that kind.
  struct ActiveCall {
    std::unique_ptr<EventCollective> collective;
    std::uint32_t axis = 0;
    std::uint32_t group = 0;
    FreeKey kind;
    std::uint64_t key = 0;              // of `active_`
    std::size_t left = 0;               // members that are not done
    std::vector<std::uint8_t> streams;  // by member: where it runs
  };

  /// Messages of one pair of positions.
  struct Mail {
    std::size_t delivered = 0;
    std::size_t taken = 0;
    std::vector<PendingTransfer> receivers;  // that wait, in order
  };

  [[nodiscard]] Tick now() const { return engine_.now(); }

  [[nodiscard]] const Operation& operation(const Machine& machine,
                                           std::uint32_t position,
                                           std::uint32_t index) const {
    return machine.work->program->of(position).operations[index];
  }

  const Order& order_of(const ClassProgram& program);
  void begin_step(std::uint32_t position);
  void start_ready(std::uint32_t position);
  bool start_head(std::uint32_t position, std::size_t stream);
  void start(std::uint32_t position, std::size_t stream, std::uint32_t index);
  void finished(std::uint32_t position, std::size_t stream);
  void change_pace(std::uint32_t position, bool to_slow);
  [[nodiscard]] bool communicates(const Machine& machine) const;
  ActiveCall& call(std::uint32_t position, std::uint32_t index);
  void take_mail(std::uint32_t position, std::size_t stream, const Transfer& transfer);
  Mail& mail(const Transfer& transfer, std::uint32_t from, std::uint32_t to);

  FlowEngine& engine_;
  const ProgramGroups& groups_;
  std::span<const ComputeSpeed> speeds_;
  StepFeed& feed_;
  HandlerId handler_;
  class MailHandler;
  std::unique_ptr<MailHandler> mail_handler_;
  HandlerId mail_handler_id_;
  std::vector<std::vector<std::unique_ptr<StreamSet>>> streams_;  // by axis and group
  std::unordered_map<const ClassProgram*, std::unique_ptr<Order>> orders_;
  std::vector<Machine> machines_;
  StepTimes times_;
  std::vector<ActiveCall> calls_;
  std::unordered_map<std::uint64_t, std::uint32_t> active_;  // by step, group and call
  std::map<FreeKey, std::vector<std::uint32_t>> free_;  // by axis, group, kind, algorithm, bytes
  std::vector<Mail> mails_;
  std::unordered_map<std::uint64_t, std::uint32_t> mail_of_;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> sending_;  // by tag: position, mail
  std::vector<std::uint32_t> sending_stream_;
  std::vector<std::uint32_t> free_tags_;
};

}  // namespace vitsim
