#include "sim/collective/staged_collective.h"

#include <algorithm>

#include <fmt/format.h>

namespace vitsim {

namespace {

/// Ranks that walk through the stages of a plan, each as fast as its own messages and those it
/// waits for allow.
class StagedCollective final : public EventCollective {
 public:
  StagedCollective(StreamSet& streams,
                   StagedPlan plan,
                   CollectiveListener& done,
                   std::uint32_t collective,
                   std::optional<std::uint32_t> rail)
      : engine_(streams.engine()),
        plan_(std::move(plan)),
        done_(done),
        collective_(collective),
        handler_(engine_.add_handler(*this)),
        streams_(plan_.entries.size()),
        arrived_(plan_.entries.size()),
        states_(plan_.ranks) {
    for (std::uint32_t rank = 0; rank < plan_.ranks; ++rank) {
      for (std::uint32_t stage = 0; stage < plan_.stages; ++stage) {
        if (const auto to = plan_.at(rank, stage).to) {
          streams_[index(rank, stage)] =
              rail ? streams.on_rail(*rail, 0, rank, *to) : streams.between(0, rank, *to);
        }
      }
    }
  }

  void start(std::uint32_t position) override {
    State& state = states_[position];
    state.started = true;
    enter(position, 0);
    advance(position);
  }

  void reset() override {
    std::fill(arrived_.begin(), arrived_.end(), 0U);
    std::fill(states_.begin(), states_.end(), State{});
  }

  /// A message of `sender` is delivered: its own step may end, and the receiver's.
  void on_event(std::uint32_t sender) override {
    State& state = states_[sender];
    const std::uint32_t receiver = *plan_.at(sender, state.stage).to;
    ++arrived_[index(receiver, state.stage)];
    state.delivered = true;
    advance(sender);
    advance(receiver);
  }

  [[nodiscard]] std::vector<std::string> waiting() const override {
    std::vector<std::string> found;
    for (std::uint32_t rank = 0; rank < plan_.ranks; ++rank) {
      const State& state = states_[rank];
      if (!state.started) {
        found.push_back(fmt::format("position {} has not started", rank));
      } else if (state.stage < plan_.stages) {
        const Stage& stage = plan_.at(rank, state.stage);
        found.push_back(stage.from && arrived_[index(rank, state.stage)] <= state.step
                            ? fmt::format("position {} waits for step {} of stage {} from {}",
                                          rank,
                                          state.step,
                                          state.stage,
                                          *stage.from)
                            : fmt::format("position {} waits for its own message", rank));
      }
    }
    return found;
  }

 private:
  struct State {
    std::uint32_t stage = 0;
    std::uint32_t step = 0;  // of the stage
    bool started = false;
    bool delivered = false;  // the own message of this step
  };

  [[nodiscard]] std::size_t index(std::uint32_t rank, std::uint32_t stage) const {
    return static_cast<std::size_t>(rank) * plan_.stages + stage;
  }

  /// Skips stages in which the rank has no part, and sends the first message of the next.
  void enter(std::uint32_t rank, std::uint32_t stage) {
    State& state = states_[rank];
    state.step = 0;
    for (state.stage = stage; state.stage < plan_.stages; ++state.stage) {
      const Stage& entry = plan_.at(rank, state.stage);
      if (entry.to || entry.from) {
        send(rank);
        return;
      }
    }
    done_.collective_done(collective_, rank);
  }

  void send(std::uint32_t rank) {
    State& state = states_[rank];
    const Stage& stage = plan_.at(rank, state.stage);
    state.delivered = !stage.to;
    if (stage.to) {
      engine_.send(streams_[index(rank, state.stage)], stage.bytes, handler_, rank);
    }
  }

  void advance(std::uint32_t rank) {
    State& state = states_[rank];
    while (state.started && state.stage < plan_.stages && state.delivered) {
      const Stage& stage = plan_.at(rank, state.stage);
      if (stage.from && arrived_[index(rank, state.stage)] <= state.step) {
        return;
      }
      if (++state.step == stage.repeat) {
        enter(rank, state.stage + 1);
      } else {
        send(rank);
      }
    }
  }

  FlowEngine& engine_;
  StagedPlan plan_;
  CollectiveListener& done_;
  std::uint32_t collective_;
  HandlerId handler_;
  std::vector<StreamId> streams_;       // [rank * stages + stage]
  std::vector<std::uint32_t> arrived_;  // [rank * stages + stage]: messages so far
  std::vector<State> states_;
};

}  // namespace

std::unique_ptr<EventCollective> make_staged_collective(StreamSet& streams,
                                                        StagedPlan plan,
                                                        CollectiveListener& done,
                                                        std::uint32_t collective,
                                                        std::optional<std::uint32_t> rail) {
  return std::make_unique<StagedCollective>(streams, std::move(plan), done, collective, rail);
}

}  // namespace vitsim
