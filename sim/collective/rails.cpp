#include "sim/collective/rails.h"

#include <fmt/format.h>

#include "sim/collective/staged_collective.h"

namespace vitsim {

namespace {

// NOLINTNEXTLINE(cppcoreguidelines-virtual-class-destructor): never deleted by CollectiveListener.
class RailCollective final : public EventCollective, public CollectiveListener {
 public:
  RailCollective(StreamSet& streams,
                 std::vector<StagedPlan> plans,
                 CollectiveListener& done,
                 std::uint32_t collective)
      : done_(done), collective_(collective), left_(plans.front().ranks, plans.size()) {
    for (std::uint32_t rail = 0; rail < plans.size(); ++rail) {
      rails_.push_back(make_staged_collective(streams, std::move(plans[rail]), *this, rail, rail));
    }
  }

  void start(std::uint32_t position) override {
    for (const auto& rail : rails_) {
      rail->start(position);
    }
  }

  void reset() override {
    left_.assign(left_.size(), rails_.size());
    for (const auto& rail : rails_) {
      rail->reset();
    }
  }

  void on_event(std::uint32_t /*tag*/) override {}  // the rails have handlers of their own

  void collective_done(std::uint32_t /*rail*/, std::uint32_t position) override {
    if (--left_[position] == 0) {
      done_.collective_done(collective_, position);
    }
  }

  [[nodiscard]] std::vector<std::string> waiting() const override {
    std::vector<std::string> found;
    for (std::size_t rail = 0; rail < rails_.size(); ++rail) {
      for (const std::string& line : rails_[rail]->waiting()) {
        found.push_back(fmt::format("NIC {}: {}", rail, line));
      }
    }
    return found;
  }

 private:
  CollectiveListener& done_;
  std::uint32_t collective_;
  std::vector<std::unique_ptr<EventCollective>> rails_;
  std::vector<std::size_t> left_;  // rails that are not done, by position
};

}  // namespace

std::unique_ptr<EventCollective> make_rail_collective(StreamSet& streams,
                                                      std::vector<StagedPlan> plans,
                                                      CollectiveListener& done,
                                                      std::uint32_t collective) {
  return std::make_unique<RailCollective>(streams, std::move(plans), done, collective);
}

}  // namespace vitsim
