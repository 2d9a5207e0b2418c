#include "sim/engine/flow_engine.h"

#include <functional>
#include <map>

#include <gtest/gtest.h>

#include "models/error.h"

namespace vitsim {
namespace {

constexpr Tick kMillisecond = 1'000'000'000;

/// Notes when each tag was heard, and may do something about it.
class Listener final : public EventHandler {
 public:
  explicit Listener(FlowEngine& engine) : engine_(engine), id(engine.add_handler(*this)) {}

  void on_event(std::uint32_t tag) override {
    heard[tag] = engine_.now();
    order.push_back(tag);
    if (const auto found = actions.find(tag); found != actions.end()) {
      found->second();
    }
  }

 private:
  FlowEngine& engine_;

 public:
  HandlerId id;
  std::map<std::uint32_t, Tick> heard;
  std::vector<std::uint32_t> order;
  std::map<std::uint32_t, std::function<void()>> actions;
};

LinkTable one_link(double bytes_per_s, Seconds latency) {
  LinkTable links;
  links.add({.latency = latency, .bandwidth = BytesPerSecond(bytes_per_s)}, "link");
  return links;
}

const std::vector<LinkId> kFirst = {0};

TEST(EventQueue, KeepsOrderAmongEqualTimes) {
  EventQueue queue;
  queue.push(5, 0);
  queue.push(3, 1);
  queue.push(5, 2);
  queue.push(3, 3);
  queue.push(0, 4);
  std::vector<std::uint64_t> order;
  while (!queue.empty()) {
    if (!queue.has_now()) {
      queue.advance();
      if (queue.now() == 3) {
        queue.push(5, 5);
      }
    }
    order.push_back(queue.pop_now().what);
  }
  EXPECT_EQ(order, (std::vector<std::uint64_t>{4, 1, 3, 0, 2, 5}));
}

// 1 MB at 1 GB/s is 1 ms; latency 0.25 ms comes before each message, so two of one stream take
// 2.5 ms and the second never overtakes.
TEST(FlowEngine, StreamsAreOrdered) {
  FlowEngine engine(one_link(1e9, milliseconds(0.25)));
  Listener listener(engine);
  const StreamId stream = engine.add_stream(kFirst);
  engine.send(stream, 1'000'000, listener.id, 1);
  engine.send(stream, 1'000'000, listener.id, 2);
  engine.send(stream, 0, listener.id, 3);
  engine.run();
  EXPECT_EQ(listener.heard[1], kMillisecond * 5 / 4);
  EXPECT_EQ(listener.heard[2], kMillisecond * 5 / 2);
  EXPECT_EQ(listener.heard[3], kMillisecond * 11 / 4);  // latency alone
  EXPECT_EQ(engine.bytes_delivered(), 2'000'000U);
}

// 4 MB at 1 GB/s; after 1 ms the link falls to a quarter for 4 ms (1 MB passes), then recovers:
// 1 + 4 + 2 = 7 ms.
TEST(FlowEngine, RunningFlowsFollowTheLink) {
  FlowEngine engine(one_link(1e9, Seconds(0)));
  Listener listener(engine);
  engine.send(engine.add_stream(kFirst), 4'000'000, listener.id, 0);
  listener.actions[1] = [&] { engine.set_bandwidth(0, BytesPerSecond(0.25e9)); };
  listener.actions[2] = [&] { engine.set_bandwidth(0, BytesPerSecond(1e9)); };
  engine.at(kMillisecond, listener.id, 1);
  engine.at(5 * kMillisecond, listener.id, 2);
  engine.run();
  EXPECT_EQ(listener.heard[0], 7 * kMillisecond);
}

// A curve that lets a small message reach 0.25 GB/s of a link of 1 GB/s: three such messages do not
// hinder one another, the big one gets the rest. Small: 0.25 MB at 0.25 GB/s = 1 ms. Big: 1 MB, of
// which 0.25 MB pass in the first millisecond; then alone: 1 + 0.75 ms.
TEST(FlowEngine, CurvesCapOneMessageAndLinksAll) {
  LinkTable links;
  const auto curve = std::make_shared<const LinkCurve>([](std::int64_t bytes) {
    return LinkFigures{Seconds(0), BytesPerSecond(bytes < 500'000 ? 0.25e9 : 1e9)};
  });
  links.add({.bandwidth = BytesPerSecond(1e9), .curve = curve}, "link");
  FlowEngine engine(links);
  Listener listener(engine);
  for (std::uint32_t i = 0; i < 3; ++i) {
    engine.send(engine.add_stream(kFirst), 250'000, listener.id, i);
  }
  engine.send(engine.add_stream(kFirst), 1'000'000, listener.id, 3);
  engine.run();
  for (std::uint32_t i = 0; i < 3; ++i) {
    EXPECT_EQ(listener.heard[i], kMillisecond);
  }
  EXPECT_EQ(listener.heard[3], kMillisecond * 7 / 4);
}

// One flow leaves in the instant in which another comes: they never share.
TEST(FlowEngine, ArrivalAndDepartureInOneInstant) {
  FlowEngine engine(one_link(1e9, Seconds(0)));
  Listener listener(engine);
  const StreamId second = engine.add_stream(kFirst);
  listener.actions[9] = [&] { engine.send(second, 1'000'000, listener.id, 1); };
  engine.at(kMillisecond, listener.id, 9);  // before the delivery at the same time
  engine.send(engine.add_stream(kFirst), 1'000'000, listener.id, 0);
  engine.run();
  EXPECT_EQ(listener.order, (std::vector<std::uint32_t>{9, 0, 1}));
  EXPECT_EQ(listener.heard[0], kMillisecond);
  EXPECT_EQ(listener.heard[1], 2 * kMillisecond);
}

TEST(FlowEngine, RefusesTimesBeyondTheClock) {
  FlowEngine engine(one_link(1e-3, Seconds(0)));
  Listener listener(engine);
  EXPECT_THROW(engine.send(engine.add_stream(kFirst), 1'000'000'000, listener.id, 0), UserError);
}

}  // namespace
}  // namespace vitsim
