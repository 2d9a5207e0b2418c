#include "sim/collective/lone_run.h"

#include <string>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "models/error.h"

namespace vitsim {

namespace {

/// Notes the end of every position of one collective.
// NOLINTNEXTLINE(cppcoreguidelines-virtual-class-destructor): never deleted by its base.
class EndRecorder final : public CollectiveListener, public EventHandler {
 public:
  EndRecorder(FlowEngine& engine, std::size_t positions) : engine_(engine), ends_(positions) {}

  void collective_done(std::uint32_t /*collective*/, std::uint32_t position) override {
    ends_[position] = engine_.now();
    ++done_;
  }

  void on_event(std::uint32_t position) override { collective_->start(position); }

  void set_collective(EventCollective& collective) { collective_ = &collective; }

  [[nodiscard]] std::size_t done() const { return done_; }

  [[nodiscard]] const std::vector<Tick>& ends() const { return ends_; }

 private:
  FlowEngine& engine_;
  EventCollective* collective_ = nullptr;
  std::vector<Tick> ends_;
  std::size_t done_ = 0;
};

}  // namespace

std::vector<Tick> run_alone(FlowEngine& engine,
                            std::string_view what,
                            std::span<const Tick> starts,
                            const MakeCollective& make) {
  EndRecorder recorder(engine, starts.size());
  const std::unique_ptr<EventCollective> collective = make(recorder);
  recorder.set_collective(*collective);
  const HandlerId handler = engine.add_handler(recorder);
  for (std::uint32_t position = 0; position < starts.size(); ++position) {
    engine.at(starts[position], handler, position);
  }
  engine.run();
  if (recorder.done() != starts.size()) {
    throw InternalError(
        fmt::format("{} does not end: {}", what, fmt::join(collective->waiting(), "; ")));
  }
  return recorder.ends();
}

}  // namespace vitsim
