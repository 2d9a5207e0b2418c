#include <fmt/format.h>
#include <fmt/ranges.h>

#include "models/error.h"
#include "sim/step/event_job.h"
#include "sim/step/step.h"

namespace vitsim {

namespace {

/// Feeds one step to every position and applies link changes on time.
class SingleStep final : public StepFeed, public EventHandler {
 public:
  SingleStep(FlowEngine& engine,
             std::span<const RankWork> work,
             std::span<const LinkChange> changes,
             std::vector<Tick>& ends)
      : engine_(engine), work_(work), changes_(changes), ends_(ends) {}

  const RankWork* next_step(std::uint32_t position, std::int64_t step) override {
    return step == 0 ? &work_[position] : nullptr;
  }

  void step_ended(std::uint32_t position, std::int64_t /*step*/, Tick end) override {
    ends_[position] = end;
    ++ended_;
  }

  void on_event(std::uint32_t change) override {
    engine_.set_bandwidth(changes_[change].link, changes_[change].bandwidth);
  }

  [[nodiscard]] std::size_t ended() const { return ended_; }

 private:
  FlowEngine& engine_;
  std::span<const RankWork> work_;
  std::span<const LinkChange> changes_;
  std::vector<Tick>& ends_;
  std::size_t ended_ = 0;
};

}  // namespace

const StepOutcome& StepSimulator::run_events(std::span<const RankWork> work,
                                             std::span<const Tick> starts,
                                             std::span<const LinkChange> changes,
                                             std::vector<StepSpan>* spans) {
  VITSIM_CHECK(work.size(), ==, std::size_t{size()});
  VITSIM_CHECK(starts.size(), ==, std::size_t{size()});
  FlowEngine engine(group_.network().links());
  SingleStep feed(engine, work, changes, outcome_.end);
  EventJob job(engine, group_, plan_, calls_, speeds_, feed);
  job.note_spans(spans);
  const HandlerId changer = engine.add_handler(feed);
  for (std::uint32_t i = 0; i < changes.size(); ++i) {
    engine.at(changes[i].at, changer, i);
  }
  for (std::uint32_t i = 0; i < size(); ++i) {
    job.begin(i, starts[i]);
  }
  engine.run();
  if (feed.ended() != size()) {
    throw InternalError(fmt::format("a step does not end: {}", fmt::join(job.waiting(), "; ")));
  }
  for (std::size_t i = 0; i < size(); ++i) {
    outcome_.ready[i] = job.times()[i].ready;
    outcome_.sync_end[i] = job.times()[i].sync_end;
  }
  begins_ = job.call_begins();
  ends_ = job.call_ends();
  events_ = engine.events();
  account_step();
  return outcome_;
}

}  // namespace vitsim
